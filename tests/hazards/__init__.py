"""Tests of ``lowering/hazards``: the proof, its judges, and its pictures."""
