"""Tests of ``lowering/native``: emitted texts, executed."""
