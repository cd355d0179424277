"""`doctor` sees a Ray that takes orders from strangers, and none where there is none."""

from __future__ import annotations

import pytest

from phantom_dist.machine import doctor
from phantom_dist.machine.check import Diagnosis
from tests.servers.ray_head import Head, ray_head

pytestmark = pytest.mark.ray


def warning(head: Head) -> str:
    """The lines about open ports that name a port of this head; there may be other clusters on the machine."""
    check = next(check for check in doctor().checks if check.name == "open Ray ports")
    port = head.dashboard.rpartition(":")[2]
    return str(Diagnosis((check,))) if f":{port}" in check.found else ""


@pytest.mark.slow
def test_an_open_dashboard_is_a_warning():
    with ray_head(host="0.0.0.0", mode="disabled") as head:
        said = warning(head)
        gcs = head.address.rpartition(":")[2]
        assert said.startswith("WARNING open Ray ports")
        assert f"dashboard 0.0.0.0:{head.dashboard.rpartition(':')[2]}" in said
        assert f"GCS [::]:{gcs}" in said, "Ray's GCS listens everywhere, whatever address the node has"
        assert "RAY_AUTH_MODE=token" in said
    assert warning(head) == ""


@pytest.mark.slow
def test_one_that_asks_for_its_token_is_none():
    with ray_head(host="0.0.0.0", mode="token") as head:
        assert warning(head) == ""
