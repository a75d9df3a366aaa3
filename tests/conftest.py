"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every run, and no deadline: a machine under load is no fault.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
