"""Judges, oracles, generators of programs and of wrong ones: no tests."""
