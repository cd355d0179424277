"""On the path of every process of a cluster under chaos: some workers die inside a write (`tests.chaos.armed`)."""

import os

if "PHANTOM_DIST_CHAOS" in os.environ:
    from tests.chaos.armed import arm

    arm()
