"""The order of the rows of one core, row by row, on the smallest domain: trip counts from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lowering.walk import Entry, Walk
from pto.ir import Branch, Const, Loop, evaluate
from pto.text import parse

HEAD = """kernel walked on a2a3
param length in i32[m]
grid m
buffer vector ub a[1] f32[8, 16] nd at 0 by 512

"""
FLAT = """for w, turn in 0 .. m flat:
  vector 0 S n = read length[w]
  vector +1 V a = full 1.0
  for i, u in 0 .. n:
    vector +1 V a = full 2.0
    vector 0 V a = full 3.0
  vector 0 V a = full 4.0
"""


class Numbers:
    """Scalars are numbers; ``lengths`` says what ``length[w]`` is."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = lengths

    def trips(self, loop: Loop, scope: dict[str, int], ahead: Sequence[Entry] = ()) -> int:
        for entry in ahead:
            self.run(entry, scope)
        return int(evaluate(loop.trips, scope.__getitem__))

    def run(self, entry: Entry, scope: dict[str, int]) -> None:
        if entry.row.op == "read":
            scope["n"] = self.lengths[scope["w"]]

    def holds(self, branch: Branch, scope: dict[str, int]) -> bool:
        return bool(evaluate(branch.test, scope.__getitem__))

    def inside(self, loop: Loop, scope: dict[str, int], i: int, total: int) -> dict[str, int]:
        return {**scope, loop.index: i, loop.total: total}

    def count(self, scope: dict[str, int], counters: Mapping[str, int]) -> None:
        scope.update(counters)


def rows(text: str, lengths: Sequence[int], names: str) -> list[str]:
    """Every row as the number that it is full of, or ``read``, with the counters ``names``."""
    domain = Numbers(lengths)
    found = []
    for entry, scope in Walk(parse(HEAD + text, "walk.ptoir").body, "vector", domain).rows(
        {"m": len(lengths)}
    ):
        domain.run(entry, scope)
        (first, *_) = entry.row.args
        what = f"{first.value:g}" if isinstance(first, Const) else entry.row.op
        found.append(" ".join([what, *(str(scope.get(n, "-")) for n in names.split())]))
    return found


def test_a_flat_loop() -> None:
    """Items of 2, 0 and 1 iterations: the empty one first, then positions 0 .. 2 one behind the
    other; the first stage is a step ahead of the second, over the end of an item."""
    assert rows(FLAT, [2, 0, 1], "w turn u") == [
        *("read 1 0 0", "1 1 0 0", "4 1 0 0"),
        *("read 0 1 0", "1 0 1 0", "2 0 1 0"),
        *("2 0 1 1", "3 0 1 0"),
        *("read 2 2 2", "1 2 2 2", "2 2 2 2", "3 0 1 1", "4 0 1 1"),
        *("3 2 2 2", "4 2 2 2"),
    ]


def test_a_core_without_rows_inside() -> None:
    """One position per item, in the order of the items."""
    beside = "".join(line for line in FLAT.splitlines(True) if "V a = full 2" not in line)
    beside = beside.replace("vector 0 V a = full 3", "cube 0 M a = full 3")
    assert rows(beside, [2, 0], "w turn") == [
        *("read 0 0", "1 0 0"),
        *("read 1 1", "1 1 1", "4 0 0"),
        "4 1 1",
    ]


def test_a_branch_is_that_of_the_iteration_of_each_row() -> None:
    text = """for w in 0 .. m:
  if w == 1:
    vector +1 V a = full 1.0
    vector 0 V a = full 2.0
  else:
    vector 0 V a = full 3.0
"""
    assert rows(text, [0, 0], "w") == ["1 1", "3 0", "2 1"]


def test_a_total_counts_on_over_entries() -> None:
    text = "for w in 0 .. m:\n  for i, u in 0 .. w + 1:\n    vector 0 V a = full 1.0\n"
    assert rows(text, [0, 0], "w i u") == ["1 0 0 0", "1 1 0 1", "1 1 1 2"]
