"""The text of plans and submitted runs, for people."""

from __future__ import annotations

from typing import Any

from phantom_dist.core.result import duration

Json = dict[str, Any]


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
