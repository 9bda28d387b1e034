"""Tests of ``lowering/ascend``: emitted texts, compiled but not executed."""
