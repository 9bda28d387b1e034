"""Parts of tiles: one cut out, several joined, one written over.

In: tiles.  Out: rows ``part``, ``concat`` and ``put``.  Each is a tile of its own, as all values are: in UB a part is
copied, 32 bytes at a time, so that whatever takes a tile takes a part; an operand of ``@`` leaves L1 as a part where it
begins and ends at whole boxes.  Rows may be cut anywhere, columns at multiples of 32 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pto import ir
from pto.errors import DTypeError, ShapeError, TraceError
from pto.every import Every, columns
from pto.ops import MOST_JOINED
from pto.row_rules import in_units
from pto.scalar import Number, as_number
from pto.tile import Operand, Tile, as_tile, full, record
from pto.tracer import fail, noun
from pto.transposes import made as turned
from pto.types import BOX_ROWS, DTYPE_BYTES, UNIT_BYTES, TileType

__all__ = ["concat"]

Extent = tuple[int, int]
"""(begin, end)"""


def extents(x: Tile, index: object) -> tuple[Extent, Extent]:
    """The rows and the columns that ``x[index]`` is of.

    Raises:
        TraceError: for what is no slice of Python numbers.
        ShapeError: for what is empty, has steps, or cuts a unit of 32 bytes.
    """
    given = index if isinstance(index, tuple) else (index,)
    found = [s for s in given if isinstance(s, slice)]
    if len(given) > 2 or len(found) < len(given):
        message = f"{x.described()} is indexed by slices of rows and columns, x[a:b, c:d]"
        hint = "one row is x[i:i + 1, :]; what a scalar decides is loaded, pto.load(t[i, :])"
        fail(TraceError, message, hint)
    rows, cols = [*found, *[slice(None)] * (2 - len(found))]
    made = _extent(x, rows, x.shape[0]), _extent(x, cols, x.shape[1])
    (top, bottom), (left, right) = made
    part = TileType(x.dtype, bottom - top, right - left)
    if not _cut_first(x, made) and not in_units(x.type, part, (top, left)):
        unit = UNIT_BYTES // DTYPE_BYTES[x.dtype]
        what = "column" if x.shape[1] == 1 else "row"
        cut = rows if what == "column" else cols
        message = f"'{x.name}' of {x.dtype} has no part {_told(cut)} of a {what}"
        fail(ShapeError, message, f"parts of a {what} begin and end at multiples of {unit}")
    return made


def _extent(x: Tile, at: slice, size: int) -> Extent:
    """Where a slice begins and ends in a dimension of ``size``."""
    for bound in (at.start, at.stop, at.step):
        if bound is not None and not isinstance(bound, int):
            message = f"a part of '{x.name}' begins and ends at Python numbers, found {noun(bound)}"
            hint = "load what a scalar decides: pto.load(t[pto.ds(start, size), :])"
            fail(TraceError, message, hint)
    begin, end, step = at.indices(size)
    if step != 1 or end <= begin:
        told = _told(at)
        why = "a part ends behind where it begins, and leaves nothing out but columns, x[:, a:b:s]; rows are left out "
        why += "by a load, t[a:b:s, :]"
        fail(ShapeError, f"'{x.name}' of {size} has no part {told}", why)
    return begin, end


def _told(at: slice) -> str:
    """A slice as it is written."""
    first, last = ("" if bound is None else str(bound) for bound in (at.start, at.stop))
    return f"{first}:{last}" + ("" if at.step is None else f":{at.step}")


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


@dataclass(frozen=True, slots=True)
class Part:
    """``x.at[a:b, c:d]``: a place in a tile, for what is like the tile but there.  As in JAX nothing changes ``x``."""

    tile: Tile
    rows: Extent
    cols: Extent

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def get(self) -> Tile:
        """The part itself, as ``x[a:b, c:d]``."""
        return part_of(self.tile, self.rows, self.cols)

    def set(self, y: Tile | Number) -> Tile:
        """``x`` with ``y`` in the place of the part, a tile of its shape or a number.

        Raises:
            ShapeError, DTypeError: for a tile of another shape or type.
        """
        x, number = self.tile, as_number(y)
        if number is not None:
            y = full(self.shape, number, x.dtype)
        tile = as_tile(y, f"what is put into '{x.name}'")
        if tile.shape != self.shape:
            (rows, cols), given = self.shape, tile.type
            message = f"set: '{tile.name}' is {given}, the part of '{x.name}' [{rows}, {cols}]"
            fail(ShapeError, message, f"pto.broadcast_to({tile.name}, ({rows}, {cols})) repeats it")
        if tile.dtype != x.dtype:
            message = f"set: '{tile.name}' is {tile.dtype}, but '{x.name}' is {x.dtype}"
            fail(DTypeError, message, f"convert it with .astype('{x.dtype}')")
        if self.shape == x.shape:
            return tile
        place = ir.Const(self.rows[0]), ir.Const(self.cols[0])
        return record("put", x.type, x.ref(), tile.ref(), *place)

    def add(self, y: Operand) -> Tile:
        """``x`` with ``y`` added to the part; ``y`` may be what a tile can be added to.

        Raises:
            ShapeError, DTypeError: for what does not broadcast, or is of another type.
        """
        return self.set(self.get() + y)


class Parts:
    """``x.at``, which is indexed like ``x``."""

    def __init__(self, x: Tile) -> None:
        self.tile = x

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Part | Every:
        return columns(self.tile, index) or Part(self.tile, *extents(self.tile, index))


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
