"""Every so many columns of a tile: taken out, or written over.

In: tiles.  Out: rows ``take``, which gathers 4-byte elements within each row by a tile of their places; those of two
bytes are widened for it, exactly.  The places are made once, in front of the loops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pto.errors import DTypeError, ShapeError
from pto.ops import OPS
from pto.selection import where
from pto.tile import (
    Operand,
    Tile,
    as_tile,
    astype,
    broadcast_to,
    elementwise,
    full,
    numbers,
    record,
)
from pto.tracer import current, fail
from pto.types import TileType


def columns_of(x: Tile, first: int, step: int, count: int) -> Tile:
    """``count`` columns of a tile from ``first`` on, every ``step``-th."""

    def made() -> Tile:
        places = numbers((x.shape[0], count), 0, step, "i32")
        assert places is not None
        return elementwise("add", places, first, part=True) if first else places

    return _gathered(x, _in_front(("columns of", x.shape[0], first, step, count), made))


def with_columns(x: Tile, y: Tile, first: int, step: int) -> Tile:
    """``x`` with the columns of ``y`` from ``first`` on, in every ``step``-th: taken out of both side by side."""
    from pto.parts import concat

    (rows, cols), count = x.shape, y.shape[1]

    def made() -> Tile:
        j = numbers((1, cols), 0, 1, "i32")
        assert j is not None
        # of multiples the middle is divided, so that no rounding leads to the one below
        k = astype((astype(j, "f32") + (0.5 - first)) * (1 / step), "i32", "floor")
        inside = ((j - first) == k * step) & (k >= 0) & (k < count)
        return broadcast_to(where(inside, k + cols, j), (rows, cols))

    return _gathered(
        concat([x, y], axis=1), _in_front(("with columns", x.shape, first, step, count), made)
    )


def _gathered(x: Tile, places: Tile) -> Tile:
    wide = x if x.dtype in OPS["take"].dtypes else astype(x, "f32", part=True)
    kind = TileType(wide.dtype, *places.shape)
    made = record("take", kind, wide.ref(), places.ref(), part=wide is not x)
    return made if wide is x else astype(made, x.dtype)


def _in_front(key: object, make: Callable[[], Tile]) -> Tile:
    """A tile that is the same in all iterations, made once, in front of the loops."""
    trace = current()
    if key not in trace.places:
        inside, trace.scope = trace.scope, trace.root
        try:
            trace.places[key] = make()
        finally:
            trace.scope = inside
    found: Tile = trace.places[key]
    return found


@dataclass(frozen=True, slots=True)
class Every:
    """``x[:, a:b:s]``: ``count`` columns of a tile, every ``step``-th from ``first`` on."""

    tile: Tile
    first: int
    step: int
    count: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.tile.shape[0], self.count

    def get(self) -> Tile:
        """These columns, as ``x[:, a:b:s]``."""
        return columns_of(self.tile, self.first, self.step, self.count)

    def set(self, y: Tile | float) -> Tile:
        """The tile with ``y`` in their place, a tile of their shape or a number.

        Raises:
            ShapeError, DTypeError: for a tile of another shape or type.
        """
        x = self.tile
        tile = as_tile(
            full(self.shape, y, x.dtype) if isinstance(y, int | float) else y,
            f"what is put into '{x.name}'",
        )
        if tile.shape != self.shape:
            message = (
                f"set: '{tile.name}' is {tile.type}, the columns of '{x.name}' {list(self.shape)}"
            )
            fail(ShapeError, message, f"pto.broadcast_to({tile.name}, {self.shape}) repeats it")
        if tile.dtype != x.dtype:
            message = f"set: '{tile.name}' is {tile.dtype}, but '{x.name}' is {x.dtype}"
            fail(DTypeError, message, f"convert it with .astype('{x.dtype}')")
        return with_columns(x, tile, self.first, self.step)

    def add(self, y: Operand) -> Tile:
        """The tile with ``y`` added to them."""
        return self.set(self.get() + y)


def columns(x: Tile, index: object) -> Every | None:
    """What ``x[index]`` is of, None where no columns are left out."""
    if not isinstance(index, tuple) or len(index) != 2:
        return None
    rows, cols = index
    plain = isinstance(rows, slice) and isinstance(cols, slice) and rows == slice(None)
    if not plain or not isinstance(cols.step, int) or cols.step < 2:
        return None
    if not all(b is None or isinstance(b, int) for b in (cols.start, cols.stop)):
        return None
    found = range(*cols.indices(x.shape[1]))
    return Every(x, found.start, cols.step, len(found)) if found else None
