"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: on a shared machine the time of one example says nothing about the code.
settings.register_profile("phantom_dist", deadline=None, print_blob=True)
settings.load_profile("phantom_dist")
