"""One driver at a time in an object store, against a real S3 server on loopback."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import time

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.traces import RunDirectory, Store, object_claim
from phantom_dist.traces.claim import claim
from phantom_dist.traces.leases import lease_name
from phantom_dist.traces.process import lives_here, this_process
from tests.servers.s3 import CREDENTIALS, s3_server


@pytest.fixture(scope="module")
def bucket():
    with pytest.MonkeyPatch.context() as patched, s3_server() as server:
        for name, value in CREDENTIALS.items():
            patched.setenv(name, value)
        yield server


@pytest.fixture
def directory(bucket, request, monkeypatch):
    monkeypatch.setattr(object_claim, "RENEW_S", 0.5)
    monkeypatch.setattr(object_claim, "SILENCE_S", 3.0)
    return RunDirectory(Store(bucket.uri(request.node.name)))


def hold(uri, held):
    """Run in another process: keep the claim until killed."""
    object_claim.RENEW_S = 0.5
    with claim(RunDirectory(Store(uri))) as leases:
        held.put(leases.driver)
        signal.pause()


@pytest.fixture
def holder(directory):
    """A process that has the claim."""
    context = multiprocessing.get_context("spawn")
    held = context.Queue()
    process = context.Process(target=hold, args=(directory.store.location, held), daemon=True)
    process.start()
    process.driver = held.get(timeout=120)
    yield process
    process.kill()


def claims(directory):
    return directory.store.names(object_claim.FOLDER)


def test_it_is_given_back_and_taken_again(directory):
    for _ in range(2):
        with claim(directory) as leases:
            directory.under(leases.own).write_sweep("name: x")
            assert len(claims(directory)) == 1
        # It is marked as given back, so that its number is not used again.
        assert len(claims(directory)) == 1


def test_the_second_of_two_living_drivers_is_refused(directory, holder):
    with (
        pytest.raises(InputError, match=f"another run is writing here .process {holder.pid} on "),
        claim(directory),
    ):
        pass


def test_a_driver_that_died_on_this_host_is_followed_at_once(directory, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with claim(directory) as leases:
        directory.under(leases.own).write_sweep("name: x")
        assert len(claims(directory)) == 1


def test_one_on_another_host_that_is_silent_is_followed_and_fenced(directory, holder, monkeypatch):
    """A stopped driver is succeeded, and can't store anything when it continues."""
    os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    with claim(directory) as leases:
        zombie = directory.under(lease_name(holder.driver, 0))
        with pytest.raises(StoreError, match="another process has taken over"):
            zombie.write_sweep("name: zombie")
        directory.under(leases.own).write_sweep("name: x")
    assert directory.store.get("sweep.yaml") == b"name: x"


def wake_up_and_end(holder):
    os.kill(holder.pid, signal.SIGCONT)
    time.sleep(1.5)  # it would renew its claim twice
    os.kill(holder.pid, signal.SIGINT)
    holder.join(60)
    assert holder.exitcode is not None


def test_one_that_was_followed_and_comes_back_ends_no_successor(directory, holder, monkeypatch):
    os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    with claim(directory) as leases:
        own = directory.under(leases.own)
        own.write_sweep("name: x")
        wake_up_and_end(holder)
        own.write_sweep("name: y")
        zombie = directory.under(lease_name(holder.driver, 0))
        with pytest.raises(StoreError, match="was not removed"):
            zombie.store.delete("sweep.yaml")
        with pytest.raises(InputError, match="another run is writing here"), claim(directory):
            pass
    assert directory.store.get("sweep.yaml") == b"name: y"


def test_one_that_comes_back_after_its_successor_has_ended_leaves_the_next_one_alone(
    directory, holder, monkeypatch
):
    """If numbers were reused, its renewals would overwrite the claim that now has its number."""
    os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    with claim(directory):
        pass
    with claim(directory) as leases:
        mine = claims(directory)
        wake_up_and_end(holder)
        assert claims(directory)[-1] == mine[-1]
        directory.under(leases.own).write_sweep("name: x")
        with pytest.raises(InputError, match="another run is writing here"), claim(directory):
            pass


def test_a_process_of_another_container_on_this_host_is_not_taken_for_dead():
    """Containers may share the host's name but have their own process ids."""
    mine = this_process()
    assert lives_here(mine) is True
    nobody = mine | {"pid": 2**22 + 1}
    assert lives_here(nobody) is False
    assert lives_here(nobody | {"pid_namespace": "another"}) is None
    del nobody["pid_namespace"]  # as earlier versions wrote it
    assert lives_here(nobody) is False


def test_a_file_system_without_locks_is_one_clear_message(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with (
        pytest.raises(InputError, match="can't be locked: No locks available"),
        claim(RunDirectory(Store(tmp_path))),
    ):
        pass


def test_of_several_that_follow_a_dead_one_exactly_one_gets_it(directory, bucket):
    context = multiprocessing.get_context("spawn")
    held = context.Queue()
    several = [
        context.Process(target=hold, args=(directory.store.location, held), daemon=True) for _ in range(3)
    ]
    try:
        for process in several:
            process.start()
        held.get(timeout=120)
        refused = 0
        while refused < 2:
            multiprocessing.connection.wait([p.sentinel for p in several if p.exitcode is None], timeout=60)
            refused = sum(process.exitcode is not None for process in several)
        time.sleep(1.0)
        assert sum(process.exitcode is None for process in several) == 1
    finally:
        for process in several:
            process.kill()


def test_a_store_that_cannot_be_reached_is_one_clear_message(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    uri = "s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1"
    with pytest.raises((StoreError, InputError), match="s3://bucket/run"), claim(RunDirectory(Store(uri))):
        pass
