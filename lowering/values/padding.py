"""What is unknown of a value: the edges that a partial load left as they were, followed to the stores.

In: op by op, the edges of the operands.  Out: those of the result, or that the unknown has spread.
An edge is a dimension of the whole tile and a count: beyond its first ``count`` elements nothing is
known.  Invariant: literal, one op after the other, on the values of one run; shares nothing with the pass
that decides what is filled (``lowering/schedule/passes/fills.py``).
Non-goals: equality of values (``lowering/values/equivalence.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pto.ir import Expr
from pto.types import TileType

Side = frozenset[Expr]
"""How many elements are known, in one way to write it."""
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
        """Of the transpose."""
        return Unknown(self.cols, self.rows)

    def within(self, rows: Expr | None, cols: Expr | None) -> Unknown:
        """What is left of it in the first ``rows`` and ``cols`` (None: all)."""
        return Unknown(
            frozenset(c for c in self.rows if c != rows),
            frozenset(c for c in self.cols if c != cols),
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


def joined(
    out: TileType, operands: Sequence[tuple[TileType, Unknown]], along: str
) -> Unknown | None:
    """Of what makes an element of any along a dimension; None: some of them are not known."""
    if any(u.cols if along == "cols" else u.rows for _, u in operands):
        return None
    return element_wise(out, operands)
