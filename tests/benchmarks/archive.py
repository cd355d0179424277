"""How long and in how much memory a large archive is packed and verified: `python -m tests.benchmarks.archive [ROWS]`.

A seeded generator writes a run directory of so many trace rows (default 10 million), in the shape of real runs; then
`phantom-dist archive pack` and `archive verify` do their work in processes of their own, whose peak resident memory the
kernel tells. All files lie below the temporary folder (TMPDIR) and are removed; 100 million rows need about 35 GB.
The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.archive.synthetic import write_run

CONTEXTS_PER_MILLION = 2


def command(*arguments: str) -> dict[str, Any]:
    """Run `phantom-dist archive …`: its JSON object, wall time (s) and peak resident memory (MB)."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "phantom_dist", "archive", *arguments, "--json"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(
            f"{' '.join(arguments)} ended with status {os.waitstatus_to_exitcode(status)}: {said!r}"
        )
    return json.loads(said) | {
        "seconds": time.perf_counter() - start,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print a table and the JSON object."""
    asked = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(prefix="phantom_dist-archive-") as folder:
        run, archive = Path(folder) / "run", Path(folder) / "archive"
        start = time.perf_counter()
        contexts = max(3, min(200, CONTEXTS_PER_MILLION * asked // 1_000_000))
        rows = write_run(run, rows=asked, contexts=contexts)
        made = time.perf_counter() - start
        print(
            f"{rows:,} trace rows in {len(list(run.rglob('*.parquet'))):,} files, made in {made:.0f} s",
            flush=True,
        )
        packed = command("pack", str(run), "--out", str(archive))
        verified = command("verify", str(archive))
        traces = size(archive / "traces")
        result = {
            "trace_rows": rows,
            "trials": packed.trials,
            "run_bytes": size(run),
            "archive_bytes": packed.bytes,
            "trace_bytes_per_row": traces / rows,
            "archive_bytes_per_row": packed.bytes / rows,
            **{
                f"{name}_{key}": done[key]
                for name, done in (("pack", packed), ("verify", verified))
                for key in ("seconds", "peak_mb")
            },
            "problems": len(verified.problems),
        }
    for name in ("pack", "verify"):
        print(f"{name:<7} {result[f'{name}_seconds']:>8.0f} s   peak {result[f'{name}_peak_mb']:>6.0f} MB")
    print(
        f"archive {result['archive_bytes'] / 1e6:.0f} MB of {result['run_bytes'] / 1e6:.0f} MB, "
        f"{result['archive_bytes_per_row']:.1f} bytes per trace row"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
