"""`submit`: a run as a job of a real Ray head, with results on a shared path and in an object store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import phantom_dist
from phantom_dist.core.errors import ClusterError, InputError
from phantom_dist.scheduling import ray_job
from phantom_dist.scheduling.ray_job import RayJobs
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest
from tests.servers.ports import free_ports
from tests.servers.ray_head import Head, ray_head
from tests.servers.s3 import CREDENTIALS, failing, s3_server

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SWEEP = """
name: sent
models: zoo:gpt2-a
contexts: near.yaml
learning_rates: [1.0e-3, 2.0e-3]
steps: 2
"""
CONTEXTS = """
- {id: shame, text: "After abandoning his oldest friend, he spoke openly of his",
   target: " shame", competitor: " guilt"}
"""


@pytest.fixture(scope="module")
def head():
    with ray_head(CREDENTIALS) as started:
        yield started


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as started:
        yield started


@pytest.fixture
def sweep(tmp_path) -> Path:
    (tmp_path / "near.yaml").write_text(CONTEXTS)
    (tmp_path / "sent.yaml").write_text(SWEEP)
    return tmp_path / "sent.yaml"


@pytest.fixture
def token(head, monkeypatch):
    """The token with which this process may use the head."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)


def submit(head: Head, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phantom_dist", "submit", *arguments, "--address", head.dashboard]
    return subprocess.run(
        command, env=head.environment | CREDENTIALS | more, capture_output=True, text=True, timeout=300
    )


def digest(location: str | Path) -> str:
    return results_digest(RunDirectory(Store(location)))


@pytest.mark.slow
def test_a_run_on_a_shared_path_ends_with_the_object_of_run(head, sweep, tmp_path):
    done = submit(head, str(sweep), "--out", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["run"], result["state"], result["trials"]["done"]) == ("sent", "complete", 2)
    assert result["job"].startswith("phantom-dist-sent-")
    assert "sent: " in done.stderr, "the job's log was followed"
    alone = [sys.executable, "-m", "phantom_dist", "run", str(sweep), "--out", str(tmp_path / "alone")]
    subprocess.run([*alone, "--executor", "inprocess"], check=True, capture_output=True, env=head.environment)
    assert digest(tmp_path / "out") == digest(tmp_path / "alone")


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_ends_with_every_trial_once(head, bucket, sweep, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with failing(bucket, seed=7, share=0.2) as (proxied, account):
        done = submit(head, str(sweep), "--out", proxied.uri("run"), "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        said = account()
    result = json.loads(done.stdout)
    assert (result["state"], result["trials"]["done"], result["errors"]) == ("complete", 2, [])
    rows = RunDirectory(Store(bucket.uri("run"))).trials().to_pylist()
    assert len(rows) == len({row["trial_id"] for row in rows}) == 2
    assert len(said["faults"]) >= 3, said
    assert sum(said["faults"].values()) >= 0.1 * said["requests"], said


@pytest.mark.slow
def test_the_same_run_sent_twice_is_one_job_and_a_lost_connection_is_taken_up(
    head, token, tmp_path, monkeypatch
):
    jobs = RayJobs(head.dashboard)
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"echo first; while [ ! -e {mark} ]; do sleep 0.2; done; echo last; exit 3"]
    job, new = jobs.start("waits", command, {"sweep.yaml": ""})
    same, again = jobs.start("waits", command, {"sweep.yaml": ""})
    assert (job, new) == (same, not again)
    stream, breaks = jobs.client.tail_job_logs, iter([True, True, False])

    async def breaking(name):
        async for text in stream(name):
            yield text
            if next(breaks, False):
                raise ConnectionResetError("the tunnel has collapsed")
            mark.touch()

    monkeypatch.setattr(jobs.client, "tail_job_logs", breaking)
    shown: list[str] = []
    ended = jobs.follow(job, shown.append)
    lines = [line for line in "".join(shown).splitlines() if line in ("first", "last")]
    assert lines == ["first", "last"], "no line is lost, none comes twice"
    assert (ended.status, ended.exit_status) == ("FAILED", 3)
    assert jobs.start("waits", ["true"], {})[0] == "waits.2", "the id of a job that has ended is used up"


@pytest.mark.slow
def test_a_job_is_followed_inside_a_running_loop_as_outside(head, token, sweep, tmp_path):
    """As in a notebook or a web server."""

    async def cell() -> dict[str, Any]:
        shown: list[str] = []
        done = phantom_dist.submit(sweep, tmp_path / "out", address=head.dashboard, show=shown.append)
        assert "sent: " in "".join(shown), "the job's log was followed"
        await asyncio.sleep(0)  # the caller's own loop goes on
        return done

    threads = threading.active_count()
    result = asyncio.run(cell())
    assert (result.status.state, result.status.trials.done) == ("complete", 2)
    assert threading.active_count() <= threads


@pytest.mark.slow
def test_ctrl_c_ends_the_following_and_not_the_job(head, token, tmp_path):
    jobs, mark = RayJobs(head.dashboard), tmp_path / "mark"
    job, _ = jobs.start("goes-on", ["sh", "-c", f"echo on; while [ ! -e {mark} ]; do sleep 0.2; done"], {})
    threads = threading.active_count()

    def interrupt(text: str) -> None:
        if "on" in text.splitlines():
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist's workers ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            jobs.follow(job, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert threading.active_count() <= threads
    mark.touch()
    assert jobs.follow(job, print).status == "SUCCEEDED"


ERRORS = [
    ValueError("a number of ours"),
    TypeError("an argument of ours"),
    RuntimeError("asyncio.run() cannot be called from a running event loop"),
    OSError(28, "No space left on device"),
    BrokenPipeError("nobody reads what is shown"),
]


@pytest.mark.slow
def test_an_error_of_ours_is_no_broken_connection(head, token, monkeypatch):
    """A retry would not help, so the error is raised at once and unchanged, whether from the log or from `show`."""
    jobs = RayJobs(head.dashboard)
    job, _ = jobs.start("speaks", ["sh", "-c", "echo something"], {})
    jobs.follow(job, print)

    def raised(show) -> BaseException:
        with pytest.raises(Exception) as found:  # noqa: PT011
            jobs.follow(job, show)
        return found.value

    for error in ERRORS:

        def fails(text: str, error: Exception = error) -> None:
            raise error

        async def breaks(name: str, error: Exception = error) -> AsyncIterator[str]:
            yield "something"
            raise error

        assert raised(fails) is error
        if not isinstance(error, ConnectionError):  # of the stream it would be one
            with monkeypatch.context() as patched:
                patched.setattr(jobs.client, "tail_job_logs", breaks)
                assert raised(lambda text: None) is error


@pytest.mark.slow
def test_a_job_that_the_head_has_forgotten_is_not_waited_for(head, token):
    with pytest.raises(
        ClusterError, match=r"knows no job no-such-job: .* the same `submit` continues from there"
    ):
        RayJobs(head.dashboard).follow("no-such-job", print)


@pytest.mark.slow
def test_a_token_that_no_longer_opens_is_said(head, token, monkeypatch):
    jobs = RayJobs(head.dashboard)
    job, _ = jobs.start("speaks-again", ["true"], {})
    monkeypatch.setattr(jobs.client, "_headers", {"Authorization": "Bearer " + "wrong" * 8})
    with pytest.raises(InputError, match="the cluster requires its token"):
        jobs.follow(job, print)


class _Other(BaseHTTPRequestHandler):
    """Some other server, which answers everything with JSON."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'["hello"]')

    def log_message(self, *words):
        pass


def test_another_server_is_no_job_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(
                InputError, match=r"no job server .* \(the server there is not a Ray job server\)"
            ):
                RayJobs(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_a_head_that_is_gone_leaves_word_how_to_go_on(head, token, monkeypatch):
    jobs = RayJobs(head.dashboard)
    monkeypatch.setattr(jobs.client, "_address", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setattr(ray_job, "PATIENCE_S", 2.0)
    with pytest.raises(ClusterError, match=r"no longer answers .* the same `submit` follows it again"):
        jobs.follow("some-job", print)


@pytest.mark.slow
def test_the_clusters_refusal_of_the_sweep_is_the_users_mistake(head, sweep, tmp_path):
    """Only the cluster notices that the directory belongs to another sweep."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").touch()
    done = submit(head, str(sweep), "--out", str(tmp_path / "theirs"))
    assert done.returncode == 2, done.stderr
    assert "phantom-dist: --out" in done.stderr.splitlines()[-1]
    assert "holds no run" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_without_waiting_the_job_is_named_and_then_found_running(head, sweep, tmp_path):
    out = str(tmp_path / "out")
    sent = json.loads(submit(head, str(sweep), "--out", out, "--no-wait", "--json").stdout)
    assert set(sent) == {"run", "job"}
    followed = submit(head, str(sweep), "--out", out, "--json")
    assert json.loads(followed.stdout)["job"] == sent["job"]
    assert f"job {sent['job']} runs already" in followed.stderr


@pytest.mark.slow
def test_without_the_token_nobody_gets_in(head, sweep, tmp_path):
    for more in ({"RAY_AUTH_TOKEN": "wrong" * 8}, {"RAY_AUTH_MODE": "disabled"}):
        done = submit(head, str(sweep), "--out", str(tmp_path / "out"), **more)
        assert done.returncode == 2, done.stderr
        assert "the cluster requires its token" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("head:8265", r"Allowed: http://HOST:8265"),
        ("ray://head:10001", r"Allowed: http://HOST:8265"),
        ("http://", r"Allowed: http://HOST:8265"),
        ("os://head", r"Allowed: http://HOST:8265"),  # Ray would import the module `os`
        ("http://127.0.0.1:1", r"no job server of a Ray cluster answers there"),
    ],
)
def test_a_wrong_address_is_one_message(address, says):
    with pytest.raises(InputError, match=says):
        RayJobs(address)


def test_the_address_that_is_given_is_the_one_that_is_asked(monkeypatch):
    """Ray itself would prefer the environment variables, which are unchanged afterwards."""
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(InputError, match=nobody):
        RayJobs(nobody)
    assert os.environ["RAY_ADDRESS"] == os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:1"
