"""When the order of stores does not matter."""

from __future__ import annotations

import itertools

import pytest

from lowering.values.memory import Memory
from pto.bounds import Range
from pto.folds import ENTRIES, INDEX, STATES, Fold
from pto.ir import ONE, ZERO, Const, Var, View, binary

ROWS = 4


def left(stores: list[tuple[int, int, bool]]) -> Memory:
    """What (first row, number, whether it adds) leave, each on ``ROWS`` rows."""
    memory = Memory({}, {}, {}, {}, ())
    for first, number, adds in stores:
        memory.store(("out", (Const(first), ROWS, None, 1)), number, adds)
    return memory


def bits(stores: list[tuple[int, int, bool]]) -> list[object]:
    """The same row by row: the number that is there, or all that were added to what was."""
    rows: list[tuple[int, list[int]]] = [(0, []) for _ in range(16)]
    for first, number, adds in stores:
        for k in range(first, first + ROWS):
            rows[k] = (rows[k][0], sorted([*rows[k][1], number])) if adds else (number, [])
    return list(rows)


def test_orders_agree_where_they_leave_the_same() -> None:
    """Every order of four stores; those that agree leave the same, and those that leave the same agree."""
    given = [(0, 1, False), (4, 2, False), (2, 3, True), (6, 4, True)]
    agree = alike = 0
    for mine, others in itertools.product(itertools.permutations(given), repeat=2):
        found, same = left([*mine]).agrees(left([*others])), bits([*mine]) == bits([*others])
        assert same or not found, (mine, others)
        agree, alike = agree + found, alike + same
    assert 50 < agree == alike


def test_other_stores_do_not_agree() -> None:
    assert not left([(0, 1, False)]).agrees(left([(0, 2, False)]))
    assert not left([(0, 1, False)]).agrees(left([]))
    assert not left([(0, 1, False), (0, 2, False), (0, 1, False)]).agrees(
        left([(0, 1, False), (0, 1, False), (0, 2, False)])
    )


@pytest.mark.parametrize(
    ("rows", "apart"), [("n", True), ("n + 1", False), ("m", False), ("9", False)]
)
def test_places_at_sums(rows: str, apart: bool) -> None:
    """Two chunks, one behind the other: what the first holds of the second goes by whether it ends with its term."""
    names = {n: View("counts", (Const(k),)) for k, n in enumerate(("%1", "%2"))}
    step = binary("+", STATES[0], ENTRIES[0])
    folds = {
        f"%{k + 3}": Fold(Const(k), ZERO, (ZERO,), (step,), (View("counts", (INDEX,)),))
        for k in range(2)
    }
    ranges = {"counts[]": Range(0, 16, True)}
    memory = Memory({}, names, folds, ranges, ())
    valid = {"n": Var("%1"), "n + 1": binary("+", Var("%1"), ONE), "m": Var("%2"), "9": Const(9)}
    memory.store(("out", (Var("%3"), 16, valid[rows], 1)), 1, adds=False)
    assert memory.held(("out", (Var("%4"), 16, Var("%2"), 1))) == ([] if apart else [("held", 1)])
