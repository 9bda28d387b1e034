"""How the elements of a view make a tile.

In: a view, the shape of its tensor, the size of a tile.  Out: which dimensions make the rows of the tile and which its
columns, how many of them exist, and where their elements lie.  A tile has the elements of a view in their order, the last
dimension the fastest: the first dimensions make its rows, the others its columns.
Invariant: what exists of a tile is a number of rows, and of columns, from the first on.
Non-goals: where a view may begin (``pto/checker.py``), what else touches its elements (``pto/overlap.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pto import ir

Shape = Sequence[int | str]


def strides(shape: Shape) -> list[ir.Expr]:
    """Elements from one index to the next in each dimension; those of symbolic sizes stay symbolic."""
    dims: list[ir.Expr] = [ir.Const(d) if isinstance(d, int) else ir.Var(d) for d in shape]
    steps: list[ir.Expr] = [ir.Const(1)]
    for d in reversed(dims[1:]):
        steps.insert(0, ir.binary("*", d, steps[0]))
    return steps[: len(dims)]


@dataclass(frozen=True, slots=True)
class Axis:
    """``size`` elements ``step`` apart in the tensor, of which the first ``valid`` exist (None: all)."""

    size: int
    step: ir.Expr
    valid: ir.Expr | None = None


def is_strided(view: ir.View, shape: Shape, rows: int, cols: int) -> bool:
    """Whether the elements of a row of a tile (of a column, if it has one column) lie apart in the
    tensor: what a transfer moves is runs of neighbours."""
    kept = [axis for axis, item in enumerate(view.index) if isinstance(item, ir.Span)]
    run = kept[0] if cols == 1 else kept[-1]
    apart = ir.as_span(view.index[run]).step > 1 or any(d != 1 for d in shape[run + 1 :])
    return max(rows, cols) > 1 and apart


def as_rows(view: ir.View, size: int) -> ir.View:
    """A column of elements that lie apart, each as the first of a row of ``size`` neighbours of which
    no other exists."""
    *kept, axis = (k for k, item in enumerate(view.index) if isinstance(item, ir.Span))
    column = view.index[axis]
    assert isinstance(column, ir.Span)
    assert len(kept) == 1, view
    items = [*view.index[:axis], column.start, *view.index[axis + 1 :]]
    last = items[-1]
    assert not isinstance(last, ir.Span)
    one = ir.Const(1)
    exists = one if column.valid is None else ir.binary("min", column.valid, one)
    return ir.View(view.tensor, (*items[:-1], ir.Span(last, size, exists)))
