"""Restores the state of a run from what its earlier starts stored."""

from __future__ import annotations

from phantom_dist.campaign.run_state import RunState
from phantom_dist.campaign.search_start import LawStart
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.planning.plan import Plan
from phantom_dist.records import probe_result_from_row
from phantom_dist.traces import RunDirectory


def restored(plan: Plan, directory: RunDirectory) -> RunState:
    """The state of the plan's run with everything that is stored so far."""
    state = RunState(plan, LawStart())
    problems = {problem.key: problem for problem in plan.problems}
    state.restore(
        results=(
            probe_result_from_row(row, problems[row["problem"]])
            for row in directory.probes().to_pylist()
            if row["problem"] in problems
        ),
        trials=map(TrialSummary.from_row, directory.trials().to_pylist()),
    )
    return state
