"""Every so many columns of a tile: taken out, or written over.

In: tiles.  Out: rows ``take``, which gathers 4-byte elements within each row by a tile of their places; those of two
bytes are widened for it, exactly.  What is the same in all of the columns is a choice.  The places are made once, in front
of the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from pto.errors import ShapeError
from pto.masks import Mask
from pto.ops import OPS, VECTOR
from pto.scalar import Scalar
from pto.selection import where
from pto.tile import Place, Tile, astype, broadcast_to, elementwise, numbers, record
from pto.tracer import current, fail
from pto.types import DTYPE_BYTES, UNIT_BYTES, TileType


def columns_of(x: Tile, first: int, step: int, count: int) -> Tile:
    """``count`` columns of a tile from ``first`` on, every ``step``-th.

    Raises:
        ShapeError: for columns that are no whole units.
    """
    unit = UNIT_BYTES // DTYPE_BYTES[x.dtype]
    if count % unit:
        many, are = ("1 column", "is") if count == 1 else (f"{count} columns", "are")
        message = f"{many} of {x.dtype} of '{x.name}' {are} no tile: every {ordinal(step)} from {first} on"
        hint = f"columns that are taken out are a multiple of {unit} in {x.dtype}, 32 bytes; one of f32 or f16 is "
        hint += f"pto.row_sum(pto.where(pto.iota(1) == {first}, x, 0.0))"
        fail(ShapeError, message, hint)

    def made() -> Tile:
        places = numbers((x.shape[0], count), 0, step, "i32")
        assert places is not None
        return elementwise("add", places, first, part=True) if first else places

    return _gathered(x, _in_front(("columns of", x.shape[0], first, step, count), made))


def ordinal(n: int) -> str:
    """``2nd``, ``3rd``, ``16th``"""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def with_columns(x: Tile, y: Tile, first: int, step: int) -> Tile:
    """``x`` with the columns of ``y`` from ``first`` on, in every ``step``-th: taken out of both side by side."""
    from pto.parts import concat

    (rows, cols), count = x.shape, y.shape[1]

    def made() -> Tile:
        j, k, inside = _counted(cols, first, step, count)
        return broadcast_to(where(inside, k + cols, j), (rows, cols))

    return _gathered(
        concat([x, y], axis=1), _in_front(("with columns", x.shape, first, step, count), made)
    )


def with_one(x: Tile, y: Tile | Scalar, first: int, step: int, count: int) -> Tile:
    """``x`` with one column, or a number, in all those columns: a choice."""

    def made() -> Tile:
        _, k, inside = _counted(x.shape[1], first, step, count)
        return broadcast_to(where(inside, k * 0 + 1, 0), x.shape)

    chosen = _in_front(("every", x.shape, first, step, count), made) == 1
    x_wide, y_wide = (_wide(t, VECTOR) if isinstance(t, Tile) else t for t in (x, y))
    assert isinstance(x_wide, Tile)
    return astype(where(chosen, y_wide, x_wide), x.dtype)


def _counted(cols: int, first: int, step: int, count: int) -> tuple[Tile, Tile, Mask]:
    """Of a row of columns their numbers, which of those from ``first`` on each is, and whether it is one."""
    j = numbers((1, cols), 0, 1, "i32")
    assert j is not None
    # of multiples the middle is divided, so that no rounding leads to the one below
    k = astype((astype(j, "f32") + (0.5 - first)) * (1 / step), "i32", "floor")
    return j, k, ((j - first) == k * step) & (k >= 0) & (k < count)


def _wide(x: Tile, dtypes: Container[str]) -> Tile:
    """``x`` in a type that can be computed with so."""
    return x if x.dtype in dtypes else astype(x, "f32", part=True)


def _gathered(x: Tile, places: Tile) -> Tile:
    wide = _wide(x, OPS["take"].dtypes)
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


class Every(Place):
    """``x.at[a:b, c:d:s]``: of a place of whole rows ``count`` columns, every ``step``-th from ``first`` on."""

    def __init__(self, rows: Place, first: int, step: int, count: int) -> None:
        super().__init__(rows.tile, (rows.shape[0], count))
        self.rows, self.first, self.step = rows, first, step

    def get(self) -> Tile:
        return columns_of(self.rows.get(), self.first, self.step, self.shape[1])

    def put(self, y: Tile | Scalar) -> Tile:
        x, (_, count) = self.rows.get(), self.shape
        if isinstance(y, Scalar) or y.shape[1] == 1:
            return self.rows.put(with_one(x, y, self.first, self.step, count))
        whole = broadcast_to(y, self.shape, part=True)
        return self.rows.put(with_columns(x, whole, self.first, self.step))
