"""Tests of ``lowering/simulate``: time."""
