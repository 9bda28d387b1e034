"""Functions along the rows of a tile: their order, where the largest is, sums up to each column.

In: tiles.  Out: rows of other ops.  An order is found once, as numbers of columns (``largest``); the values are
taken by them (``take``), so that each is the element that it was, to the bit.  Equal elements, 0 and -0 too, keep
their order.  Where a row has NaN, the device's order of it is not known (docs/machine.md 12); here NaN comes last.
Orders and places of f16 are found in f32, which has all of its numbers.
"""

from __future__ import annotations

from pto import ir, source
from pto.errors import ShapeError, TraceError
from pto.masks import iota
from pto.mathematics import named
from pto.ops import FLOATS, LARGEST_AT_ONCE, VECTOR
from pto.scalar import as_number
from pto.selection import where
from pto.tile import Tile, astype, full, numbers, of_tile, operand_of, record
from pto.tracer import current, fail, noun
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType

__all__ = ["cumsum", "row_argmax", "row_argmin", "sort", "top_k"]


def sort(x: Tile) -> tuple[Tile, Tile]:
    """(values, indices): every row in descending order, and the i32 columns that its elements were in; f32 or f16.

    Of equal elements the first comes first. A row with NaN has no order that is known.
    ``values, indices = pto.sort(-x)`` and ``-values`` is ascending.

    Raises:
        ShapeError: when the columns are no multiple of 32.
        DTypeError: for i32 and bf16.
    """
    return _ordered("sort", operand_of("sort", x, FLOATS), 0)


def top_k(x: Tile, k: int) -> tuple[Tile, Tile]:
    """(values, indices): the ``k`` largest elements of every row, the largest first, and their i32 columns; f32 or f16.

    The first columns of ``sort``, for less. ``k`` is a multiple of 8, for f16 of 16; for the one largest there
    are ``row_max`` and ``row_argmax``.

    Raises:
        ShapeError: when the columns are no multiple of 32, or ``k`` does not fit.
        DTypeError: for i32 and bf16.
    """
    tile = operand_of("top_k", x, FLOATS)
    count, cols = as_number(k), tile.shape[1]
    if not isinstance(count, int):
        message = f"top_k: k is a Python number, found {noun(k)}"
        fail(TraceError, message, "take the most there are, and mask what is too much", 1)
    unit = UNIT_BYTES // DTYPE_BYTES[tile.dtype]
    if not 0 < count <= cols or count % unit:
        message = f"top_k: k = {count} of the {cols} columns of '{tile.name}' ({tile.dtype})"
        fail(ShapeError, message, _other_count(count, cols, unit), 1)
    return _ordered("top_k", tile, count)


def _other_count(count: int, cols: int, unit: int) -> str:
    if count == 1:
        return "pto.row_max(x) and pto.row_argmax(x)"
    more = -(-count // unit) * unit
    if not 0 < more <= cols:
        return f"a multiple of {unit} up to {cols}"
    return f"take {more}, a multiple of {unit}; pto.where(pto.iota(1) < {count}, values, 0.0) masks the others"


def _ordered(name: str, tile: Tile, count: int) -> tuple[Tile, Tile]:
    """``count`` of each row, 0: all."""
    rows, cols = tile.shape
    if cols % LARGEST_AT_ONCE:
        more = -(-cols // LARGEST_AT_ONCE) * LARGEST_AT_ONCE
        message = f"{name}: '{tile.name}' is {tile.type}; rows are sorted {LARGEST_AT_ONCE} elements at once"
        hint = f"load {more} columns, pto.ds(first, {more}, valid={cols}), and make those behind -inf by pto.where"
        fail(ShapeError, message, hint, 0)
    columns = numbers((1, cols), 0, 1, "i32")
    assert columns is not None
    kind = TileType("i32", rows, count or cols)
    of_values, of_indices = _names()
    with current().parts():
        wide = astype(tile, "f32")
        indices = record("largest", kind, wide.ref(), columns.ref(), hint=of_indices)
        taken = TileType("f32", rows, kind.cols)
        if tile.dtype == "f32":
            return record("take", taken, wide.ref(), indices.ref(), hint=of_values), indices
        values = record("take", taken, wide.ref(), indices.ref(), hint=f"{of_values}_take")
        held = TileType(tile.dtype, rows, kind.cols)
        return record("astype", held, values.ref(), ir.Word(tile.dtype), hint=of_values), indices


def _names() -> tuple[str, str]:
    """Of both results: the variables that they are assigned to."""
    frame = source.user_frame()
    given = source.assigned_names(frame) if frame is not None else ()
    first, second = given if len(given) == 2 else ("", "")
    return first.strip("_") or "values", second.strip("_") or "indices"


@named
def row_argmax(x: Tile) -> Tile:
    """The i32 column of the largest element of every row, as a [rows, 1] tile, of equal ones the first; f32, f16 or i32.

    Of a row with NaN it is some column.
    """
    return _place_of("row_argmax", x, "row_max")


@named
def row_argmin(x: Tile) -> Tile:
    """The i32 column of the least element of every row, as a [rows, 1] tile, of equal ones the first; f32, f16 or i32.

    Of a row with NaN it is some column.
    """
    return _place_of("row_argmin", x, "row_min")


def _place_of(name: str, x: Tile, best: str) -> Tile:
    """The least of the columns that hold the best; where none is equal to it, the last."""
    tile = operand_of(name, x, VECTOR)
    rows, cols = tile.shape
    if cols == 1:
        return full((rows, 1), 0, "i32")
    wide = tile if tile.dtype == "i32" else astype(tile, "f32")
    places = where(wide == of_tile(best, wide), iota(1), cols - 1)
    return astype(of_tile("row_min", places), "i32")


@named
def cumsum(x: Tile) -> Tile:
    """The sum of every row up to each column, that included; f32, f16 or i32.

    Added in log2(columns) rounds: an element is off by u times as many of the sum of magnitudes. Those of f16
    are added in f32 and rounded once.

    Raises:
        ShapeError: when the columns are no multiple of 16.
        DTypeError: for bf16.
    """
    tile = operand_of("cumsum", x, VECTOR)
    if tile.shape[1] % BOX_ROWS:
        message = (
            f"cumsum: '{tile.name}' is {tile.type}; columns are added in multiples of {BOX_ROWS}"
        )
        fail(ShapeError, message, "load a wider region: pto.ds(first, size, valid=count)", 0)
    wide = tile if tile.dtype == "i32" else astype(tile, "f32")
    return astype(record("cumsum", wide.type, wide.ref()), tile.dtype)
