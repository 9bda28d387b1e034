"""Rows of a tensor by a list of their numbers.

In: a tensor and a table, or numbers.  Out: one ``gather`` of a region for each row, of numbers that the scalar unit reads,
and a ``pad`` where the list may end before the tile does.  A row that the list does not name is loaded as the last one that
it names, row 0 where it names none, so that every load is of what exists, and is zero behind the ``pad``.
"""

from __future__ import annotations

from collections.abc import Sequence

from pto import ir, source
from pto.errors import DTypeError, ShapeError, TraceError
from pto.ops import MOST_REGIONS
from pto.scalar import Index, Scalar
from pto.tensor import Tensor, TensorView
from pto.tile import Tile, record
from pto.tracer import current, fail, noun
from pto.transfer import of_regions

__all__ = ["load_rows"]

EXAMPLE = "pto.load_rows(t, ids[pto.ds(first, 16, valid=n - first)])"


def load_rows(tensor: Tensor, indices: TensorView | Sequence[Index]) -> Tile:
    """The rows of a two-dimensional ``tensor`` that ``indices`` name, one below the other: a part of an i32 table, or a
    list of numbers. Of a part that may end early, ``ids[pto.ds(start, size, valid=n)]``, the rows behind its end are zero.

    Each number is read by the scalar unit, and each row is a load of its own: 2 to 64 rows.

    Raises:
        ShapeError: for a tensor of other dimensions, rows that are no multiple of 32 bytes, or another number of rows.
        DTypeError: for numbers that are no integers.
        MemoryAccessError: when the kernel has stored to the tensor before.
    """
    if not isinstance(tensor, Tensor):
        message = f"load_rows takes rows of a tensor, found {noun(tensor)}"
        fail(TraceError, message, EXAMPLE, 0)
    if len(tensor.dims) != 2:
        message = f"load_rows: '{tensor.name}' has {len(tensor.dims)} dimensions, its rows two"
        fail(ShapeError, message, f"pto.load([{tensor.name}[i, j, :], ...]) is of any regions", 0)
    numbers, count = _listed(indices)
    if not 2 <= len(numbers) <= MOST_REGIONS:
        message = f"load_rows takes 2 to {MOST_REGIONS} rows, found {len(numbers)}"
        fail(ShapeError, message, "pto.concat joins tiles of more; one is pto.load(t[i, :])", 1)
    tile = of_regions([tensor[number, :] for number in numbers])
    if count is None:
        return tile
    return record("pad", tile.type, tile.ref(), count, ir.Const(tile.type.cols))


def _listed(indices: object) -> tuple[Sequence[Index], ir.Expr | None]:
    """The numbers of rows, and how many of them count (None: all)."""
    if isinstance(indices, list | tuple):
        return indices, None
    if not isinstance(indices, TensorView):
        message = f"load_rows takes a part of a table, or a list of numbers, found {noun(indices)}"
        fail(TraceError, message, EXAMPLE, 1)
    if indices.dtype != "i32":
        message = f"load_rows: '{indices.tensor.name}' is {indices.dtype}, rows are numbered in i32"
        fail(DTypeError, message, "", 1)
    if len(indices.view.spans) != 1:
        message = f"load_rows: the part of '{indices.tensor.name}' has two dimensions, a list one"
        fail(ShapeError, message, EXAMPLE, 1)
    return _read(indices)


def _read(indices: TensorView) -> tuple[Sequence[Index], ir.Expr | None]:
    """The numbers in a part of a table, of what does not exist the last one that does."""
    (span,) = indices.view.spans
    if span.valid is not None:
        return _read_existing(indices, span, span.valid), span.valid
    places = (span.at(ir.Const(k)) for k in range(span.size))
    return [_entry(indices, place) for place in places], None


def _read_existing(indices: TensorView, span: ir.Span, valid: ir.Expr) -> Sequence[Index]:
    """Each place is at most that of the last entry that exists.  Of a part that is empty no entry exists, wherever it
    would be: what is read for it is the first entry of the table, which is there, and times 0."""
    trace, frame, step = current(), source.user_frame(), ir.Const(span.step)
    some = ir.Var(trace.let("some", ir.binary("<", ir.ZERO, valid), frame))
    behind = ir.binary("max", span.at(valid), step)
    last = ir.Var(trace.let("last", ir.binary("-", behind, step), frame))
    places = (ir.binary("min", span.at(ir.Const(k)), last) for k in range(span.size))
    read = [_entry(indices, place, some) for place in places]
    return [Scalar(ir.binary("*", x.expr, some), x._scope) for x in read]


def _entry(indices: TensorView, place: ir.Expr, where: ir.Expr = ir.ONE) -> Scalar:
    """An entry of the table that a part is of, its very first one unless ``where`` is 1."""
    items = (place if isinstance(x, ir.Span) else x for x in indices.view.index)
    at = (Scalar(ir.binary("*", x, where), indices._scope) for x in items)
    found: Scalar = indices.tensor[tuple(at)]
    return found
