"""Combinations of values: each value has its turn in every run, all combinations in the sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest


def some(few: Sequence[tuple[Any, ...]], *axes: Iterable[Any]) -> list[Any]:
    """All combinations; those that are not among ``few``, where each value has its turn, in the sweep."""
    every = list(product(*axes))
    assert set(few) <= set(every)
    assert all(
        set(mine) == set(axis) for mine, axis in zip(zip(*few, strict=True), axes, strict=True)
    )
    sweep = pytest.mark.sweep
    return [x if x in few else pytest.param(*x, marks=sweep) for x in every]
