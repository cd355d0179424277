"""Texts of `--help` beside the options: groups of commands, examples, exit statuses, environment variables."""

from __future__ import annotations

RUNNING = "Run a sweep"
LAW = "Predict without a sweep"
SHOWING = "Show results"
PUBLISHING = "Publish results"
MACHINE = "This machine"

MANUAL = """\
From a question to its answer:
$ phantom-dist plan sweeps/quickstart.yaml
$ phantom-dist run sweeps/quickstart.yaml --out runs/quickstart
$ phantom-dist report runs/quickstart --out report.html
$ phantom-dist archive pack runs/quickstart --out quickstart-archive

Exit status:
  0  done, whatever the trials' outcomes, refusals included
  1  some trials ended in an error, or results can't be stored, or an archive is not sound
  2  the input is wrong: one message says where, and what is allowed
130  interrupted: one message says what is kept, and how to continue

With --json stdout is one JSON object; everything else goes to stderr.

Environment:
RAY_ADDRESS         Ray cluster to join if --address is not given
RAY_AUTH_TOKEN      token of that cluster
PHANTOM_DIST_CACHE  folder for converted models (~/.cache/phantom_dist)
HF_HOME, HF_TOKEN   as in huggingface_hub
AWS_…, GOOGLE_…     credentials of object stores, as in the AWS and Google SDKs\
"""


def examples(*calls: str) -> str:
    """The examples below a command's options; `tests/docs` checks them."""
    return "\n".join(
        ["Examples:" if len(calls) > 1 else "Example:", *(f"$ phantom-dist {call}" for call in calls)]
    )
