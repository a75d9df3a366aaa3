"""Fuzzers: inputs from outside, changed at random, and what may come of them; see ``docs/fuzzing.md``."""
