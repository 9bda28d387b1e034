"""Tests of ``lowering/bench``."""
