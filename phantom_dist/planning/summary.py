"""A plan as the rows of `plan.parquet`, and as the JSON object and text of `phantom-dist plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phantom_dist.core.result import duration
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.engines.lanes.cost import step_cost
from phantom_dist.planning.plan import Plan
from phantom_dist.planning.sizes import tokens
from phantom_dist.records import problem_row
from phantom_dist.spec import SweepSpec, recipe_named, written_out

Json = dict[str, Any]


def plan_rows(plan: Plan) -> list[Json]:
    """The rows of `plan.parquet`: one per given learning rate, or one per search before its first round."""
    count = 1 if plan.learning_rates else plan.typical_trials
    return [
        problem_row(trial.problem)
        | {
            "learning_rate": trial.learning_rate,
            "batch": trial.batch,
            "predicted_trial_steps": float(count * trial.problem.steps),
            "predicted_seconds": count * trial.seconds,
            "predicted_process_bytes": trial.process_bytes,
        }
        for trial in plan.trials
    ]


def plan_rows_as_run(plan: Plan, trials_of: Mapping[str, Sequence[TrialSummary]]) -> list[Json]:
    """The rows of the plan after a run: stored trials replace planned ones, the rest stays as planned.

    Args:
        plan: the plan.
        trials_of: the stored trials of each problem, by its key.
    """
    rows: list[Json] = []
    for planned in plan_rows(plan):
        trials = trials_of[planned["problem"]]
        if plan.tolerance is None:
            trials = [trial for trial in trials if trial.learning_rate == planned["learning_rate"]]
        # Each trial gets its share of the prediction for the whole search.
        share = 1 / max(1, round(planned["predicted_trial_steps"] / planned["steps"]))
        rows += [
            planned
            | {
                "learning_rate": trial.learning_rate,
                "batch": trial.batch,
                "wall_time": trial.wall_time,
                "process_bytes": trial.process_bytes if trial.outcome.trained else None,
            }
            | {name: share * planned[name] for name in ("predicted_trial_steps", "predicted_seconds")}
            for trial in trials
        ] or [planned]
    return rows


def plan_json(plan: Plan) -> Json:
    """The JSON object of `phantom-dist plan`."""
    per_problem = len(plan.learning_rates) or plan.typical_trials
    searching = plan.tolerance is not None
    rounds = per_problem if searching else 1
    seconds = sum(probe.seconds for phase in plan.phases for probe in phase.probes) + rounds * sum(
        trial.seconds for trial in plan.trials
    )
    return {
        "name": plan.spec.name,
        "models": [
            {
                "model": name,
                "title": m.title,
                "architecture": m.architecture,
                "parameters": m.parameters,
                "verified": m.verified,
                "reason": m.reason,
            }
            for name, m in plan.models.items()
        ],
        "problems": len(plan.problems),
        "trials": {
            "total": len(plan.problems) * per_problem,
            "searches": len(plan.problems) if searching else 0,
            "reason": f"each search takes about {per_problem} trials" if searching else None,
        },
        "trainings": None if plan.spec.training is None else per_problem * _configurations(plan),
        "batches": len(plan.batch_groups) * rounds,
        "lanes": max(
            len(group.members) if group.problems[0].training is None else group.trainings
            for group in plan.batch_groups
        ),
        "trial_steps": sum(steps * per_problem for steps in _steps(plan)),
        "predicted_seconds": seconds,
        "predicted_worker_bytes": max(trial.process_bytes for trial in plan.trials),
        "worker_memory_bytes": plan.resources.largest.memory_bytes,
        "workers": plan.resources.to_json()["workers"],
        "predicted_device_hours": seconds / 3600,
        "threads_per_worker": plan.spec.execution.threads,
        "tolerance": plan.tolerance,
        "groups": _rank_groups(plan),
        "ways": _ways(plan),
        "recipe": _recipe(plan.spec),
    }


def _configurations(plan: Plan) -> int:
    """Number of training configurations that the sweep has, its rates and contexts aside."""
    return len({problem.without_context for problem in plan.problems})


def _steps(plan: Plan) -> list[int]:
    """T of each problem; with a training set of each training configuration, whose contexts share its steps."""
    if plan.spec.training is None:
        return [problem.steps for problem in plan.problems]
    return [problem.steps for problem in {problem.without_context for problem in plan.problems}]


def plan_lines(shown: Json) -> Iterator[str]:
    """The JSON object of `phantom-dist plan` as text."""
    trials = shown["trials"]
    about = "about " if trials["searches"] else ""
    yield (
        f"sweep {shown['name']}: {shown['problems']} problems, {about}{trials['total']} trials "
        f"in {about}{shown['batches']} batches of up to {shown['lanes']}, {shown['trial_steps']} trial-steps"
    )
    if shown["trainings"] is not None:
        yield f"  {about}{shown['trainings']} trainings, each watched in all contexts"
    if (recipe := shown["recipe"]) is not None:
        yield f"recipe {recipe['name']}: {recipe['description']}"
        yield f"  source: {recipe['source']}"
        yield from (f"  not expressed: {what}" for what in recipe["not_expressed"])
        yield from (f"  {line}" for line in recipe["sweep"].splitlines())
    for m in shown["models"]:
        size = f"{m['title']}, {m['architecture']}, {m['parameters'] / 1e6:.4g} M parameters"
        yield f"  {m['model']}: {size}" + ("" if m["verified"] else f" (unverified: {m['reason']})")
    for group in shown["groups"]:
        config = f"{group['model']} {group['method']} {group['optimizer']} T={group['steps']}"
        how = f"ZeRO stage {group['stage']}"
        if group["lanes"] is not None:
            how = f"{group['lanes']} lanes over one sharded model"
        each = f"{group['predicted_rank_bytes'] / 1e9:.2g} GB each"
        yield f"  {config}: a group of {group['ranks']} ranks, {how}, {each}"
    for way in shown["ways"]:
        config = f"{way['model']} {way['method']} {way['optimizer']} T={way['steps']}"
        tokens = f"{'' if way['tokens_counted'] else 'about '}{way['tokens']} tokens a step"
        how = "one after another" if way["way"] == "reference" else f"{way['lanes']} {way['way']} lanes"
        yield (
            f"  {config}, {tokens}: {how}, {way['seconds_per_step']:.2g} s a trial-step "
            f"(one after another {way['seconds_one_after_another']:.2g} s)"
        )
    yield (
        f"predicted: {duration(shown['predicted_seconds'])} of worker time "
        f"({shown['predicted_device_hours']:.3g} device-hours), "
        f"{shown['predicted_worker_bytes'] / 1e9:.2g} of {shown['worker_memory_bytes'] / 1e9:.2g} GB and "
        f"{shown['threads_per_worker']} thread(s) per worker"
    )


def _recipe(spec: SweepSpec) -> Json | None:
    """The recipe that a sweep names, and the keys of the sweep as they are with it; None without one."""
    if spec.recipe is None:
        return None
    recipe = recipe_named(spec.recipe)
    return {
        "name": recipe.name,
        "description": recipe.description,
        "source": recipe.source,
        "not_expressed": list(recipe.unexpressed(on_set=spec.training is not None)),
        "sweep": written_out(spec, recipe.sweep),
    }


def _rank_groups(plan: Plan) -> list[Json]:
    """One object for each training configuration that needs a group of ranks."""
    of_problem = {p.key: group for group in plan.batch_groups for p in group.problems}
    by_config: dict[tuple[object, ...], Json] = {}
    counted: set[str] = set()
    for trial in plan.trials:
        problem = trial.problem
        group = of_problem[problem.key]
        ranks = group.rank_group
        if ranks is None or problem.key in counted:
            continue
        counted.add(problem.key)
        entry = by_config.setdefault(
            (*problem.training_config, ranks),
            {
                "model": problem.model,
                "method": problem.method,
                "optimizer": problem.optimizer.name,
                "steps": problem.steps,
                "ranks": ranks.ranks,
                "stage": ranks.stage,
                "lanes": group.trainings if ranks.lanes else None,
                "predicted_rank_bytes": trial.process_bytes,
                "problems": 0,
            },
        )
        entry["problems"] += 1
    return list(by_config.values())


def _ways(plan: Plan) -> list[Json]:
    """How trials that can be lanes of one batch are trained, at the longest prompt; groups of ranks left out."""
    by_config: dict[tuple[object, ...], Json] = {}
    for group in plan.batch_groups:
        if group.rank_group is not None:
            continue
        for problem in group.problems:
            model = plan.models[problem.model]
            count = tokens(problem, model)
            known = by_config.get(problem.lanes_config)
            if known is not None and known["tokens"] >= count:
                continue
            way = plan.chooser(group).cheapest(problem, model.size, count, group.trainings)
            lanes = 1 if way == "reference" else group.trainings
            by_config[problem.lanes_config] = {
                "model": problem.model,
                "method": problem.method,
                "optimizer": problem.optimizer.name,
                "steps": problem.steps,
                "tokens": count,
                "tokens_counted": model.tokens.are_counted and problem.training is None,
                "way": way,
                "lanes": lanes,
                "seconds_per_step": step_cost(way, problem, model.size, count, lanes).seconds,
                "seconds_one_after_another": step_cost("reference", problem, model.size, count, 1).seconds,
            }
    return list(by_config.values())
