"""Results as text for people."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from phantom_dist.cli.tables import plain as _plain
from phantom_dist.core.durations import duration
from phantom_dist.notebook import rates_table

Json = dict[str, Any]

REFUSALS = 10
"""Refused pairs that are told of, each in a line."""


def plan_text(result: Json) -> str:
    """What a run would do."""
    models = [
        f"  {m['model']}: {m['title']}, {m['architecture']}, {m['parameters'] / 1e6:.4g} M parameters"
        + ("" if m["verified"] else f" (unverified: {m['reason']})")
        for m in result["models"]
    ]
    trials = result["trials"]
    about = "about " if trials["searches"] else ""
    return "\n".join(
        [
            f"sweep {result['name']}: {result['problems']} problems, {about}{trials['total']} trials "
            f"in {about}{result['batches']} batches of up to {result['lanes']}, {result['trial_steps']} trial-steps",
            *models,
            *map(_group_text, result["groups"]),
            f"predicted: {duration(result['predicted_seconds'])} of worker time "
            f"({result['predicted_device_hours']:.3g} device-hours), "
            f"{result['predicted_worker_bytes'] / 1e9:.2g} of {result['worker_memory_bytes'] / 1e9:.2g} GB and "
            f"{result['threads_per_worker']} thread(s) per worker",
        ]
    )


def _group_text(group: Json) -> str:
    return (
        f"  {group['model']} {group['method']} {group['optimizer']} T={group['steps']}: a group of {group['ranks']} "
        f"ranks, ZeRO stage {group['stage']}, {group['predicted_rank_bytes'] / 1e9:.2g} GB each"
    )


def status_text(result: Json) -> str:
    """Where a run stands, and its critical learning rates."""
    trials = result["trials"]
    outcomes = ", ".join(f"{count} {name}" for name, count in result["outcomes"].items()) or "none"
    head = (
        f"run {result['run']}: {result['state']}, {trials['done']} of {trials['total']} trials ({outcomes})"
    )
    lines = [head]
    if result["reason"]:
        lines.append(f"stopped: {result['reason']}; continue with `phantom-dist resume DIR`")
    if result["state"] == "complete" and result["seconds"]:
        lines.append(
            f"took {duration(result['seconds'])} with {result['workers']} worker(s); "
            f"peak memory of all its processes {result['peak_memory_bytes'] / 1e9:.2f} GB"
        )
    lines += [f"{name}: {title}" for name, title in result["models"].items() if title != name]
    lines += [f"{count} trial(s) on the reference engine: {why}" for why, count in result["notes"].items()]
    if result["critical_rates"]:
        lines.append(_plain(rates_table(result["critical_rates"])))
    lines += [
        f"{r['outcome']}: {r['model']} {r['context']}: {r['error']}" for r in result["refusals"][:REFUSALS]
    ]
    if (more := len(result["refusals"]) - REFUSALS) > 0:
        lines.append(f"and {more} more, each with its reason in the column `error` of trials")
    lines += [f"error: {e['model']} {e['context']}: {e['error']}" for e in result["errors"]]
    return "\n".join(lines).rstrip()


def submit_text(result: Json) -> str:
    """A run on a cluster, or the job that it is."""
    return status_text(result) if "state" in result else f"run {result['run']} is job {result['job']}"


def fit_text(result: Json) -> str:
    """What a law was fitted to, and its errors on architectures left out."""
    lines = [
        f"{result['file']}: fitted to {result['rows']} critical rates ({result['new_rows']} new) "
        f"of {len(result['models'])} models"
    ]
    for name, item in result["classes"].items():
        groups = ", ".join(item["groups"]) or "none"
        lines.append(f"  {name}: {item['constants']} fitted constants; groups: {groups}")
    if result["lora"] is not None:
        lines.append(f"  LoRA: {result['lora']}")
    table = Table(title="errors on architectures left out", box=None, title_justify="left")
    for column in ("class", "T", "architectures", "contexts"):
        table.add_column(column)
    for column in (
        "context: median",
        "90th percentile",
        "architecture: median",
        "worst",
        "90 % intervals cover",
    ):
        table.add_column(column, justify="right")
    for column in ("upper / lower end", "out of domain: cover"):
        table.add_column(column, justify="right")
    for entry in result["validation"]:
        table.add_row(
            entry["class"],
            *(str(entry[key]) for key in ("steps", "architectures", "contexts")),
            *(
                f"{100 * entry[key]:.2f} %"
                for key in (
                    "context_error_median",
                    "context_error_p90",
                    "architecture_error_median",
                    "architecture_error_max",
                )
            ),
            *(
                ("none", "none")
                if entry["coverage_90"] is None
                else (f"{100 * entry['coverage_90']:.2f} %", f"{entry['interval_width_median']:.3f}")
            ),
            outside_domain(entry),
        )
    return "\n".join([*lines, _plain(table)])


def outside_domain(entry: Json) -> str:
    """Of a validation's entry: how many of the intervals given outside the domain hold the measured rate."""
    given = entry["out_of_domain"] - entry["withheld"]
    held = "" if given == 0 else f"{round(given * entry['coverage_out_of_domain'])} of {given}"
    withheld = f"{entry['withheld']} withheld" if entry["withheld"] else ""
    return ", ".join(part for part in (held, withheld) if part) or "none"


def predict_text(result: Json) -> str:
    """Critical learning rates with their intervals, and why some have none."""
    table = Table(title="predicted critical learning rates", box=None, title_justify="left")
    for column in ("context", "target / competitor"):
        table.add_column(column)
    for column in ("eta_c", "interval", "trial-steps"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for entry in result["predictions"]:
        interval = entry["interval"]
        table.add_row(
            entry["context"],
            f"{entry['target']} /{entry['competitor']}",
            "none" if entry["eta_c"] is None else f"{entry['eta_c']:.5g}",
            ""
            if interval is None
            else f"{interval[0]:.5g} … {interval[1]:.5g} ({100 * entry['level']:.0f} %)",
            f"{entry['trial_steps_used']:.3g}",
            "" if entry["in_domain"] else f"out of domain: {entry['reason']}",
        )
    return "\n".join([_plain(table), *(_lora_text(model, said) for model, said in result["lora"].items())])


def _lora_text(model: str, said: Json) -> str:
    """Whether LoRA suffices for a model."""
    evidence = said["evidence"]
    if evidence is None:
        return f"whether LoRA suffices for {model}: unknown ({said['reason']})"
    share = f"{evidence['sufficient_contexts']} of {evidence['contexts']} calibrated contexts"
    like = f"of {evidence['architectures']} architectures"
    word = "suffices" if said["sufficient"] else "does not suffice"
    lines = [f"LoRA {word} for {model}, as in {share} {like}. {evidence['classes']}"]
    lines += [f"  beyond the calibration: {reason}" for reason in evidence["outside_calibration"]]
    return "\n".join(lines)


def archive_text(result: Json) -> str:
    """What was packed."""
    copies = f", {result['duplicates']} copies left out" if result["duplicates"] else ""
    lines = [
        f"archive: {result['archive']}",
        f"{result['trials']} trials{copies}, {result['rows']} trace rows, {result['files']} files, "
        f"{result['bytes'] / 1e6:.4g} MB",
    ]
    return "\n".join([*lines, *(f"notice: {notice}" for notice in result["notices"])])


def verify_text(result: Json) -> str:
    """What is wrong with an archive, if anything."""
    found = f"{result['files']} files, {result['trials']} trials, {result['rows']} trace rows"
    if not result["problems"]:
        return f"{result['archive']}: sound ({found})"
    lines = [f"  {problem['where']}: {problem['what']}" for problem in result["problems"]]
    return "\n".join([f"{result['archive']}: not sound ({found})", *lines])


def doctor_text(result: Json) -> str:
    """What this machine can run, what is missing and how to get it."""
    lines = []
    for check in result["checks"]:
        mark = "ok     " if check["ok"] else "missing" if check["needed"] else "absent "
        mark = "WARNING" if check.get("warning") else mark
        lines.append(
            f"{mark} {check['name']}: {check['found']}" + ("" if check["ok"] else f"; {check['remedy']}")
        )
    return "\n".join(lines)
