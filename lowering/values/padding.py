"""What is unknown of a value: the edges that a partial load left as they were, followed to the stores.

In: op by op, the edges of the operands.  Out: those of the result, or that the unknown has spread.
An edge is a dimension and what every lane has of it; beyond the first ``count`` elements nothing is
known.  Only what the cube has loaded is turned; the rows of a turned tile, which are summed over, are not
split.  Invariant: literal, one op after the other, on the values of one run; shares nothing with the pass
that decides what is filled (``lowering/schedule/passes/fills.py``).
Non-goals: equality of values (``lowering/values/equivalence.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pto.ir import Expr
from pto.types import TileType

Counts = tuple[Expr | None, ...]
"""How many elements are known: of the whole tile (None: not said), then on every lane."""
Side = frozenset[Counts]
KNOWN: Side = frozenset()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Where a tile is not known: behind some of its rows, of its columns."""

    rows: Side = KNOWN
    cols: Side = KNOWN

    def __or__(self, other: Unknown) -> Unknown:
        return Unknown(self.rows | other.rows, self.cols | other.cols)

    @property
    def turned(self) -> Unknown:
        """Of the transpose.  Its columns are the same on every lane, which has all of them."""
        return Unknown(self.cols, frozenset((c[0],) * len(c) for c in self.rows))

    def within(self, rows: Sequence[Expr | None], cols: Sequence[Expr | None]) -> Unknown:
        """What is left of it in the first ``rows`` and ``cols`` (of every lane; None: all)."""
        return Unknown(
            frozenset(c for c in self.rows if c[1:] != tuple(rows)),
            frozenset(c for c in self.cols if c[1:] != tuple(cols)),
        )


NOWHERE = Unknown()


def product(a: Unknown, b: Unknown, *acc: Unknown) -> Unknown | None:
    """None: it is summed over."""
    if a.cols or b.rows:
        return None
    made = Unknown(a.rows, b.cols)
    for more in acc:
        made |= more
    return made


def element_wise(out: TileType, operands: Sequence[tuple[TileType, Unknown]]) -> Unknown | None:
    """None: it is repeated along its dimension."""
    made = NOWHERE
    for t, unknown in operands:
        if (unknown.rows and t.rows != out.rows) or (unknown.cols and t.cols != out.cols):
            return None
        made |= unknown
    return made


def along_rows(out: TileType, operands: Sequence[tuple[TileType, Unknown]]) -> Unknown | None:
    """Of what makes an element of any of its row; None: some of them are not known."""
    return None if any(u.cols for _, u in operands) else element_wise(out, operands)
