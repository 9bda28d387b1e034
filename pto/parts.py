"""Parts of tiles: one cut out, several joined, one written over.

In: tiles.  Out: rows ``part``, ``concat`` and ``put``.  Each is a tile of its own, as all values are: in UB a part is
copied, 32 bytes at a time, so that whatever takes a tile takes a part; an operand of ``@`` leaves L1 as a part where it
begins and ends at whole boxes.  Rows may be cut anywhere, columns at multiples of 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from pto import ir
from pto.errors import DTypeError, ShapeError, TraceError
from pto.every import Every
from pto.ops import MOST_JOINED
from pto.row_rules import in_units
from pto.scalar import Scalar, as_number
from pto.tile import Place, Tile, as_tile, broadcast_to, full, record
from pto.tracer import ON_ONE_CORE, Traced, fail, noun
from pto.transposes import made as turned
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType

__all__ = ["concat"]

Extent = tuple[int, int]
"""(begin, end)"""


def place(x: Tile, index: object) -> Place:
    """``x.at[index]``.

    Raises:
        TraceError: for what is no slice of Python integers.
        ShapeError: for what is empty, leaves out rows, or cuts a unit of 32 bytes.
    """
    given = index if isinstance(index, tuple) else (index,)
    if len(given) > 2 or not all(isinstance(s, slice) for s in given):
        message = f"{x.described()} is indexed by slices of rows and columns, x[a:b, c:d]"
        fail(TraceError, message, _index_hint(given))
    rows, cols = (_static(x, s) for s in (*given, *[slice(None)] * (2 - len(given))))
    (top, bottom), (left, right) = _extent(x, rows, 0), _extent(x, cols, 1)
    if cols.step > 1:
        found = range(left, right, cols.step)
        return Every(Part(x, (top, bottom), (0, x.shape[1])), left, cols.step, len(found))
    part = TileType(x.dtype, bottom - top, right - left)
    if not _cut_first(x, ((top, bottom), (left, right))) and not in_units(
        x.type, part, (top, left)
    ):
        unit = UNIT_BYTES // DTYPE_BYTES[x.dtype]
        what = "column" if x.shape[1] == 1 else "row"
        cut = rows if what == "column" else cols
        message = f"'{x.name}' of {x.dtype} has no part {_told(cut)} of a {what}"
        fail(ShapeError, message, f"parts of a {what} begin and end at multiples of {unit}")
    return Part(x, (top, bottom), (left, right))


def _index_hint(given: tuple[object, ...]) -> str:
    """What is meant by an index that is no slice: a row, a column, or one element."""
    is_slice = [isinstance(s, slice) for s in given]
    if is_slice == [True, False]:
        return (
            "one column is pto.row_sum(pto.where(pto.iota(1) == j, x, 0)), and x with others in it "
            "pto.where(pto.iota(1) == j, y, x)"
        )
    if is_slice == [False, False]:
        return ON_ONE_CORE
    return "one row is x[i:i + 1, :]; what a scalar decides is loaded, pto.load(t[i, :])"


def _static(x: Tile, at: slice) -> slice:
    """A slice of Python integers, whatever kind they had, with a step."""
    bounds = [None if b is None else as_number(b) for b in (at.start, at.stop, at.step)]
    for given, bound in zip((at.start, at.stop, at.step), bounds, strict=True):
        if given is not None and not isinstance(bound, int):
            message = (
                f"a part of '{x.name}' begins and ends at Python integers, found {noun(given)}"
            )
            hint = "load what a scalar decides: pto.load(t[pto.ds(start, size), :])"
            fail(TraceError, message, hint if bound is None else "integers are divided with //")
    start, stop, step = bounds
    return slice(start, stop, 1 if step is None else step)


def _extent(x: Tile, at: slice, axis: int) -> Extent:
    """Where a slice begins and ends in a dimension; columns may be left out between."""
    whole = f"'{x.name}' of {x.shape[axis]} {('rows', 'columns')[axis]}"
    if at.step < 1:
        turned = ("", ".T")[axis]
        hint = f"what runs backwards is joined: pto.concat([x{turned}[k:k + 1, :] for k in (2, 1, 0)]){turned}"
        fail(ShapeError, f"{whole} has no part {_told(at)}", hint)
    if at.step > 1 and axis == 0:
        hint = "rows are left out by a load, pto.load(t[a:b:s, :]), or joined, pto.concat([x[0:8, :], x[16:24, :]])"
        fail(ShapeError, f"{whole} has no part {_told(at)}", hint)
    begin, end, _ = at.indices(x.shape[axis])
    if end <= begin:
        hint = "a part ends behind where it begins"
        fail(ShapeError, f"{whole} has no part {_told(at)}", hint)
    return begin, end


def _told(at: slice) -> str:
    """A slice as it is written."""
    first, last = ("" if bound is None else str(bound) for bound in (at.start, at.stop))
    return f"{first}:{last}" + ("" if at.step == 1 else f":{at.step}")


def _cut_first(x: Tile, extents: tuple[Extent, Extent]) -> bool:
    """Whether a part of a transpose can be cut out of the tile and turned then, by sixteen rows; else all of the tile
    is turned, and cut then."""
    if not x.transposed:
        return False
    (left, right), (top, bottom) = extents
    part = TileType(x.dtype, bottom - top, right - left)
    turns = part.rows % BOX_ROWS == 0 or 1 in (part.rows, part.cols)
    return turns and in_units(x.T.type, part, (top, left))


def part_of(x: Tile, rows: Extent, cols: Extent) -> Tile:
    """A part of a tile; all of it is the tile itself, and a part of a part one of the whole."""
    if (rows, cols) == ((0, x.shape[0]), (0, x.shape[1])):
        return x
    if _cut_first(x, (rows, cols)):
        return part_of(x.T, cols, rows).T
    if x.transposed:
        return part_of(turned(x), rows, cols)
    whole, first, second = x.whole or (x, 0, 0)
    begin = first + rows[0], second + cols[0]
    type = TileType(x.dtype, rows[1] - rows[0], cols[1] - cols[0])
    made = record("part", type, whole.ref(), *map(ir.Const, begin))
    made.whole = whole, *begin
    return made


class Part(Place):
    """``x.at[a:b, c:d]``."""

    def __init__(self, tile: Tile, rows: Extent, cols: Extent) -> None:
        super().__init__(tile, (rows[1] - rows[0], cols[1] - cols[0]))
        self.rows, self.cols = rows, cols

    def get(self) -> Tile:
        return part_of(self.tile, self.rows, self.cols)

    def put(self, y: Tile | Scalar) -> Tile:
        if isinstance(y, Scalar):
            tile = full(self.shape, y, self.tile.dtype)
        else:
            tile = broadcast_to(y, self.shape, part=True)
        if self.shape == self.tile.shape:
            return tile
        place = ir.Const(self.rows[0]), ir.Const(self.cols[0])
        return record("put", self.tile.type, self.tile.ref(), tile.ref(), *place)


class Parts(Traced):
    """``x.at``, which is indexed like ``x``."""

    _noun = "place"

    def __init__(self, x: Tile) -> None:
        self.tile = x

    def described(self) -> str:
        return f"'{self.tile.name}.at'"

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Place:
        return place(self.tile, index)

    def _operator_hint(self, symbol: str) -> str:
        return "x.at[a:b, c:d] is a place in x"

    def _method_hint(self, name: str) -> str:
        return f"index it first: x.at[a:b, c:d].{name}"


def concat(tiles: Sequence[Tile], axis: int = 0) -> Tile:
    """One tile of all ``tiles``: with ``axis`` 0 one below the other, with 1 side by side.

    Raises:
        ShapeError: for other sizes that differ, or for columns that are no multiple of 32 bytes.
        DTypeError: for several types.
    """
    if not isinstance(tiles, list | tuple) or not tiles:
        found = "none" if isinstance(tiles, list | tuple) else noun(tiles)
        message = f"concat takes a list of tiles, found {found}"
        fail(TraceError, message, "pto.concat([a, b], axis=1)", 0)
    if as_number(axis) not in (0, 1):
        told = noun(axis) if as_number(axis) is None else str(axis)
        message = f"concat: axis {told}; 0 is one below the other, 1 side by side"
        fail(ShapeError, message, "", 1)
    first, *others = found_tiles = [as_tile(t, "what concat joins", 0) for t in tiles]
    kept = 1 - axis
    for t in others:
        if t.dtype != first.dtype:
            message = f"concat: '{first.name}' is {first.dtype} but '{t.name}' is {t.dtype}"
            fail(DTypeError, message, "convert one of them with .astype('f32')", 0)
        if t.shape[kept] != first.shape[kept]:
            message = f"concat: '{first.name}' is {first.type} but '{t.name}' is {t.type}"
            way = ("one below the other have equal columns", "side by side have equal rows")[axis]
            fail(ShapeError, message, f"tiles {way}; axis={kept} joins them the other way", 0)
    refs = [t.ref() for t in found_tiles]
    if not others:
        return first
    _check_units(found_tiles, axis)
    return _joined(found_tiles, refs, axis)


def _check_units(tiles: Sequence[Tile], axis: int) -> None:
    unit = UNIT_BYTES // DTYPE_BYTES[tiles[0].dtype]
    what = "row" if axis == 0 else "column"
    if axis == 0 and tiles[0].shape[1] > 1:
        return
    for t in tiles:
        if t.shape[axis] % unit:
            message = f"concat: '{t.name}' is {t.type}"
            hint = f"{what}s that are joined so are multiples of {unit}: 32 bytes"
            fail(ShapeError, message, hint, 0)


def _joined(tiles: Sequence[Tile], refs: Sequence[ir.Ref], axis: int) -> Tile:
    """Of more than one row can join, the first ones first."""
    while len(tiles) > MOST_JOINED:
        first = _joined(tiles[:MOST_JOINED], refs[:MOST_JOINED], axis)
        tiles, refs = [first, *tiles[MOST_JOINED:]], [first.ref(), *refs[MOST_JOINED:]]
    sizes = [t.shape[axis] for t in tiles]
    rows, cols = tiles[0].shape
    shape = (sum(sizes), cols) if axis == 0 else (rows, sum(sizes))
    return record("concat", TileType(tiles[0].dtype, *shape), *refs)
