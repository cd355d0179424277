"""A run's timeline as text: where its time went, what each worker did, which tasks took several attempts, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.table import Table

from phantom_dist.core.events import shortened, task_name
from phantom_dist.core.result import duration, plain, short_duration
from phantom_dist.scheduling.timeline import ENDINGS, SHARES, End

Json = dict[str, Any]

SHOWN = 20
"""Each table has at most this many lines."""


def timeline_text(timeline: Json | None) -> str:
    """Where a run's time went."""
    if timeline is None:
        return "timeline: this run recorded no events"
    parts = [
        _starts(timeline["starts"]),
        _shares(timeline),
        _workers(timeline["workers"]),
        _stories(timeline),
    ]
    return "\n\n".join(part for part in parts if part)


def why_text(why: Json) -> str:
    """What happened to a trial or a task."""
    lines = [f"trial {why['trial_id']} is in batch {why['task']}"] if why["trial_id"] else []
    for story in why["tasks"]:
        lines.append(f"{_name(story)}:")
        lines += [f"  {_attempt(number, a)}" for number, a in enumerate(story["attempts"], start=1)]
        if not story["attempts"]:
            lines.append("  no attempt is recorded")
        if story["split_into"]:
            lines.append(f"  split into {' and '.join(story['split_into'])}")
        if story["given_up"]:
            lines.append(f"  given up: {shortened(story['given_up'])}")
    ends = [End(attempt["end"]) for story in why["tasks"][-1:] for attempt in story["attempts"]]
    if why["stored"] and ends and End.DONE not in ends and End.RUNNING not in ends:
        lines.append(
            f"  its {why['stored']} trial(s) are stored: they had been written before the worker or the driver ended, "
            "and the next start found them"
        )
    return "\n".join(lines)


def _starts(starts: list[Json]) -> str:
    lines = [f"starts of the driver: {len(starts)}"]
    before = None
    for start in starts[-SHOWN:]:
        gap = (
            "" if before is None else f", {duration(max(0.0, start['began'] - before))} after the one before"
        )
        spent = ", ".join(
            f"{name} {short_duration(s)}" for name, s in start["activities"].items() if s >= 0.5
        )
        lines.append(
            f"  {_moment(start['began'])} on {start['host']}, process {start['process']}{gap}: {start['end']} "
            f"after {duration(start['seconds'])}; first worker after {duration(start['start_seconds'])}"
            + (f" ({spent})" if spent else "")
        )
        before = start["began"] + start["seconds"]
    return "\n".join(lines)


def _shares(timeline: Json) -> str:
    total = timeline["worker_seconds"]
    if not total:
        return "no worker was ever ready"
    parts = (
        f"{name} {_percent(seconds / total)}" for name, seconds in timeline["shares"].items() if seconds > 0
    )
    return (
        f"time of all workers, {duration(total)}: {', '.join(parts)}; "
        f"utilisation {_percent(timeline['utilisation'])}"
    )


def _workers(workers: list[Json]) -> str:
    several = len({worker["start"] for worker in workers}) > 1
    table = Table(box=None, pad_edge=False)
    for name in (*(("start",) if several else ()), "worker", "host"):
        table.add_column(name)
    for name in ("tasks", "deaths", "time", "utilisation", *SHARES):
        table.add_column(name, justify="right")
    for worker in workers[:SHOWN]:
        table.add_row(
            *((str(worker["start"]),) if several else ()),
            worker["worker"],
            worker["host"] or "",
            str(worker["tasks"]),
            str(worker["deaths"]),
            duration(worker["seconds"]),
            "" if worker["utilisation"] is None else _percent(worker["utilisation"]),
            *(short_duration(worker["shares"][share]) for share in SHARES),
        )
    if not workers:
        return ""
    return plain(table) + _more(len(workers), "workers")


def _stories(timeline: Json) -> str:
    stories = timeline["tasks"]
    if not stories:
        return "every task was done at its first attempt"
    lines = [f"tasks that took more than one attempt, or failed: {len(stories)}"]
    for story in stories[:SHOWN]:
        ends = "; ".join(_brief(attempt) for attempt in story["attempts"])
        split = f"; split into {' and '.join(story['split_into'])}" if story["split_into"] else ""
        lines.append(f"  {_name(story)}: {ends}{split}")
    return "\n".join(lines) + _more(len(stories), "tasks: `--why TASK` shows each")


def _name(story: Json) -> str:
    return task_name(story["task"], story["kind"], story["size"], story["model"])


def _brief(attempt: Json) -> str:
    return f"{attempt['worker']}: {ENDINGS[End(attempt['end'])]} after {short_duration(attempt['seconds'])}"


def _attempt(number: int, attempt: Json) -> str:
    copy = ", a copy of the one before" if attempt["copy"] else ""
    host = f" on {attempt['host']}" if attempt["host"] else ""
    expected = attempt["predicted_seconds"]
    spent = ", ".join(f"{name} {short_duration(s)}" for name, s in attempt["activities"].items() if s >= 0.05)
    return (
        f"{_moment(attempt['began'])} attempt {number}{copy}, {attempt['worker']}{host}: {_end(attempt)} after "
        f"{short_duration(attempt['seconds'])}"
        + (f" (predicted {short_duration(expected)})" if expected else "")
        + (f": {spent}" if spent else "")
    )


def _end(attempt: Json) -> str:
    words = ENDINGS[End(attempt["end"])]
    reason = shortened(attempt["reason"])
    return f"{words} ({reason})" if reason else words


def _more(count: int, what: str) -> str:
    return f"\n  … and {count - SHOWN} more {what}" if count > SHOWN else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _moment(time: float) -> str:
    """Date and time in the local time zone."""
    return datetime.fromtimestamp(time).isoformat(sep=" ", timespec="seconds")
