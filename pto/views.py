"""How the elements of a view make a tile.

In: a view, the shape of its tensor, the size of a tile.  Out: which dimensions make the rows of the tile and which its
columns, how many of them exist, and where their elements lie.  A tile has the elements of a view in their order, the last
dimension the fastest: the first dimensions make its rows, the others its columns, ``x[a, 0:4, 0:16, :]`` with rows of 64
elements a tile [64, 64] or [4, 1024].
Invariant: what exists of a tile is a number of rows, and of columns, from the first on.
Non-goals: where a view may begin (``pto/checker.py``), what else touches its elements (``pto/overlap.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

from pto import ir
from pto.ir import Expr, Span

Shape = Sequence[int | str]
ONE = ir.Const(1)

# ------------------------------------------------------------------------------- rows and columns


def rows_end(sizes: Sequence[int], rows: int, cols: int) -> int | None:
    """How many of the kept dimensions make the rows of a tile; None: these make no such tile."""
    ways = [k for k in range(len(sizes) + 1) if (prod(sizes[:k]), prod(sizes[k:])) == (rows, cols)]
    both = [k for k in ways if 0 < k < len(sizes)]
    return next(iter(both or ways), None)


def tiles_of(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, columns) of each tile that kept dimensions can make, rows and columns of at least one each."""
    ends = range(1, len(sizes)) if len(sizes) > 1 else range(1)
    return [(prod(sizes[:k]), prod(sizes[k:])) for k in ends]


def rows_of(view: ir.View, cols: int) -> int:
    """The rows of a region in a tile of so many columns, which may have the rows of others, too."""
    return prod(s.size for s in view.spans) // cols


def sides(view: ir.View, rows: int, cols: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions of the tensor that make the rows, and those that make the columns of a tile."""
    kept = [axis for axis, item in enumerate(view.index) if isinstance(item, Span)]
    end = rows_end([s.size for s in view.spans], rows, cols)
    assert end is not None, (view, rows, cols)
    return tuple(kept[:end]), tuple(kept[end:])


def edge(spans: Sequence[Span]) -> int:
    """Of dimensions that make the rows, or the columns, of a tile the one along which it ends early, or is shared: the
    first one of more than one element."""
    partial = (k for k, s in enumerate(spans) if s.valid is not None)
    longer = (k for k, s in enumerate(spans) if s.size > 1)
    return next(partial, next(longer, 0))


def ends_inside(spans: Sequence[Span]) -> bool:
    """Whether what exists of such dimensions is not the first rows, or columns, of the tile."""
    at = edge(spans)
    return any(s.size > 1 for s in spans[:at]) or any(s.valid for s in spans[at + 1 :])


def count(spans: Sequence[Span]) -> Expr | None:
    """How many of the rows, or columns, exist; None: all."""
    at = edge(spans)
    valid = spans[at].valid if spans else None
    behind = prod(s.size for s in spans[at + 1 :])
    return None if valid is None else ir.binary("*", valid, ir.Const(behind))


def counts(view: ir.View, rows: int, cols: int) -> tuple[Expr | None, Expr | None]:
    """How many rows and columns of a view exist; None: all."""
    first, second = (
        count([ir.as_span(view.index[k]) for k in side]) for side in sides(view, rows, cols)
    )
    return first, second


# -------------------------------------------------------------------------------------- in memory


@dataclass(frozen=True, slots=True)
class Axis:
    """``size`` elements ``step`` apart in the tensor, of which the first ``valid`` exist (None: all)."""

    size: int
    step: Expr
    valid: Expr | None = None


def strides(shape: Shape) -> list[Expr]:
    """Elements from one index to the next in each dimension; those of symbolic sizes stay symbolic."""
    dims: list[Expr] = [ir.Const(d) if isinstance(d, int) else ir.Var(d) for d in shape]
    steps: list[Expr] = [ONE]
    for d in reversed(dims[1:]):
        steps.insert(0, ir.binary("*", d, steps[0]))
    return steps[: len(dims)]


def axes(view: ir.View, shape: Shape, rows: int, cols: int) -> tuple[list[Axis], list[Axis]]:
    """Where the rows, and the columns, of a tile lie: dimensions that go on in those behind them are one."""
    steps = strides(shape)

    def lie(dims: Iterable[int]) -> list[Axis]:
        spans = ((ir.as_span(view.index[k]), steps[k]) for k in dims)
        found = [Axis(s.size, ir.binary("*", step, ir.Const(s.step)), s.valid) for s, step in spans]
        return reduce(_joined, reversed(found), [])

    first, second = sides(view, rows, cols)
    return lie(first), lie(second)


def _joined(behind: list[Axis], axis: Axis) -> list[Axis]:
    """``axis`` in front of others, as one with the first of them where it goes on in it."""
    if not behind:
        return [axis]
    first, *others = behind
    whole = ir.binary("*", first.step, ir.Const(first.size))
    if axis.size > 1 and first.size > 1 and axis.step != whole:
        return [axis, *behind]
    step = first.step if first.size > 1 else axis.step
    valid = first.valid
    if axis.valid is not None:
        valid = ir.binary("*", axis.valid, ir.Const(first.size))
    return [Axis(axis.size * first.size, step, valid), *others]


def is_strided(view: ir.View, shape: Shape, rows: int, cols: int) -> bool:
    """Whether the elements of a row of a tile (of a column, if it has one column) lie apart in the
    tensor: what a transfer moves is runs of neighbours."""
    first, second = axes(view, shape, rows, cols)
    run = first if cols == 1 else second
    return len(run) > 1 or any(a.size > 1 and a.step != ONE for a in run)


def rows_together(view: ir.View, shape: Shape, rows: int, cols: int) -> int:
    """Rows that lie equally far apart: those of the whole tile, or of each of its parts."""
    first, _ = axes(view, shape, rows, cols)
    return first[-1].size if len(first) > 1 else rows


MOST_AXES = 2
"""What rows that a transfer moves lie in: parts equally far apart, of rows equally far apart."""


def misfold(view: ir.View, shape: Shape, rows: int, cols: int) -> str:
    """What is wrong with a view of runs of neighbours as a tile of so many rows and columns, '' if nothing is."""
    for side, what in zip(sides(view, rows, cols), ("rows", "columns"), strict=True):
        if ends_inside([ir.as_span(view.index[k]) for k in side]):
            return f"of the dimensions of '{view.tensor}' that make the {what} of a tile only the first may end early"
    first, _ = axes(view, shape, rows, cols)
    if len(first) > MOST_AXES:
        return f"the rows of a tile of '{view.tensor}' lie in {len(first)} dimensions that do not go on in each other"
    return ""


def as_rows(view: ir.View, size: int) -> ir.View:
    """A column of elements that lie apart, each as the first of a row of ``size`` neighbours of which
    no other exists."""
    *kept, axis = (k for k, item in enumerate(view.index) if isinstance(item, Span))
    column = view.index[axis]
    assert isinstance(column, Span)
    assert len(kept) == 1, view
    items = [*view.index[:axis], column.start, *view.index[axis + 1 :]]
    last = items[-1]
    assert not isinstance(last, Span)
    exists = ONE if column.valid is None else ir.binary("min", column.valid, ONE)
    return ir.View(view.tensor, (*items[:-1], Span(last, size, exists)))
