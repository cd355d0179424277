"""`phantom-dist archive pack` and `archive verify` as a user starts them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests import prepared


def phantom_dist(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return prepared.call("archive", *arguments)


def test_pack_and_verify(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "archive"
    said = phantom_dist("pack", *runs, "--out", out, "--author", "Group", "--title", "A | title", "--json")
    assert said.returncode == 0, said.stderr
    result: dict[str, Any] = json.loads(said.stdout)
    assert result["archive"] == str(out)
    assert result["notices"] == []
    sound = phantom_dist("verify", out, "--json")
    assert sound.returncode == 0
    found = json.loads(sound.stdout)
    same = {key: result[key] for key in ("archive", "files", "trials", "rows")}
    assert found == same | {"problems": []}
    assert ": sound (" in phantom_dist("verify", out).stdout
    (out / "LICENSE").write_text("mine")
    broken = phantom_dist("verify", out, "--json")
    assert broken.returncode == 1
    assert {problem["where"] for problem in json.loads(broken.stdout)["problems"]} == {
        "LICENSE",
        "ro-crate-metadata.json",
    }
    assert "LICENSE: was changed" in phantom_dist("verify", out).stdout


def test_wrong_input_is_one_message(tmp_path: Path) -> None:
    for arguments in (("pack", tmp_path, "--out", tmp_path / "a"), ("verify", tmp_path)):
        said = phantom_dist(*arguments)
        assert said.returncode == 2
        assert said.stderr.startswith("phantom-dist: ")
        assert "Traceback" not in said.stderr
