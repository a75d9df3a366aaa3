"""Suites that every implementation of a protocol is run through: this project's own, and yours.

Each suite is a function that takes what makes the implementation, runs every check, and raises an `AssertionError`
that says what is not done. There is one module a protocol: `mixllm.conformance.encoder` has `check_encoder`, and so
on. Import a suite from its module; the package itself loads none, so that a suite needs no more than its protocol.
"""

from __future__ import annotations

__all__: list[str] = []
