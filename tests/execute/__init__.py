"""Tests of ``lowering/execute`` and of the walk: numpy in every order, and the judge of results."""
