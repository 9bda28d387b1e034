"""``where``: the choice between tiles by a mask.

In: a mask (``pto/masks.py``) and what to choose from.  Out: rows.  Every choice makes its own comparison, which
costs less than to keep its bits; ``a & b``, ``a | b`` and ``~a`` are choices of choices.  The first columns
have an instruction of their own; of other places the numbers ``rows * i + cols * j`` are one tile of the work
item, made in front of its loops and compared with a scalar.
"""

from __future__ import annotations

from pto import ir
from pto.errors import DTypeError, ShapeError, TraceError
from pto.masks import Before, Both, Compared, Mask, Not, Places, Spread
from pto.scalar import Number, Scalar, as_number, as_scalar
from pto.tile import (
    Tile,
    as_tile,
    broadcast_to,
    compared,
    element,
    integer_operand,
    numbers,
    placed,
    record,
    shape_of_all,
    vector_dtype,
)
from pto.tracer import fail, noun
from pto.types import INTEGERS, TileType

Side = Tile | Places | Scalar | Number
Shape = tuple[int, int]


def where(mask: Mask, x: Side, other: Side) -> Tile:
    """``x`` where ``mask`` holds, ``other`` elsewhere: tiles, of ``[rows, 1]`` or ``[1, cols]`` too, or numbers. Of
    numbers alone the choice has the type that is compared, but f32 where several are, or integers and one of the
    numbers is a float.

    A mask compares tiles with tiles or scalars (``x < y``), or places: ``pto.iota(1) < count`` keeps the first
    ``count`` columns, ``first + pto.iota(0) >= pto.iota(1)`` a triangle.

    Raises:
        ShapeError: for shapes that do not broadcast.
        DTypeError: for two types of tiles, and for bf16.
    """
    if not isinstance(mask, Mask):
        message = f"the condition of where must be a mask, found {noun(mask)}"
        hint = "a comparison of tiles, x < y, or of places, pto.iota(1) < count"
        if isinstance(mask, Scalar):
            hint = (
                "pto.when(condition, lambda y: x, y) is tile x where a scalar says so, else tile y"
            )
        fail(TraceError, message, hint, 0)
    return _Choice(mask, x, other).made()


def is_float(side: Side) -> bool:
    return side.is_float if isinstance(side, Scalar) else isinstance(as_number(side), float)


class _Choice:
    """One ``where``: the type of its result, and the rows that make it."""

    def __init__(self, mask: Mask, x: Side, other: Side) -> None:
        self.mask, self.sides = mask, (x, other)
        self.full: dict[tuple[Number, str], Tile] = {}
        for k, value in enumerate(self.sides):
            if as_number(value) is None and not isinstance(value, Tile | Places | Scalar):
                as_tile(value, f"the {('second', 'third')[k]} operand of where", k + 1)
        tiles = [v for v in self.sides if isinstance(v, Tile)]
        of_mask = list(mask.tiles)
        for t in tiles:
            vector_dtype("where", t)
        if not tiles and not of_mask:
            message = "where needs a tile: of numbers and places it does not know the shape"
            fail(ShapeError, message, "pto.where(mask, pto.full((rows, cols), x), y)", 1)
        if len({t.dtype for t in tiles}) > 1:
            names = " and ".join(f"'{t.name}' is {t.dtype}" for t in tiles)
            fail(DTypeError, f"where: {names}", "convert one of them with .astype('f32')", 1)
        shape = shape_of_all("where", [t.shape for t in (*tiles, *of_mask)])
        dtype = tiles[0].dtype if tiles else self.of_numbers({t.dtype for t in of_mask})
        self.type = TileType(dtype, *shape)

    def of_numbers(self, compared: set[str]) -> str:
        """The type of a choice of numbers alone, by the types of what is compared."""
        holds_floats = compared - {*INTEGERS} or not any(map(is_float, self.sides))
        return next(iter(compared)) if len(compared) == 1 and holds_floats else "f32"

    def made(self) -> Tile:
        return self.choose(self.mask, *self.sides)

    def choose(self, mask: Mask, x: Side, other: Side, part: bool = False) -> Tile:
        mask.check_usable()
        if isinstance(mask, Not):
            return self.choose(mask.of, other, x, part)
        if isinstance(mask, Both):
            return self.choose(mask.a, self.choose(mask.b, x, other, True), other, part)
        if isinstance(mask, Before):
            return self.by_place(mask, x, other, part)
        if isinstance(mask, Spread):
            spread = broadcast_to(mask.x, self.shape, part=True)
            places = placed(mask.y, self.shape, mask.x.dtype)
            return self.choose(compared(mask.op, spread, places), x, other, part)
        assert isinstance(mask, Compared)
        a, b = broadcast_to(mask.x, self.shape, part=True), mask.y
        if isinstance(b, Tile):
            b = broadcast_to(b, self.shape, part=True)
        elif mask.op == "eq":
            b = self.filled(b, mask.x.dtype)
        return self.select(mask.op, a, b, x, other, part)

    @property
    def shape(self) -> Shape:
        return self.type.rows, self.type.cols

    def by_place(self, mask: Before, x: Side, other: Side, part: bool) -> Tile:
        mask.bound.check_usable()
        number = as_number(other)
        if (mask.rows, mask.cols) == (0, 1) and number is not None:
            fill = element(number, self.type.dtype, "where", 2)
            return record("where", self.type, self.tile(x).ref(), mask.bound.expr, fill, part=part)
        falls = (mask.cols or mask.rows) < 0  # so that a mask and its opposite share their numbers
        sign = -1 if falls else 1
        places = numbers(self.shape, sign * mask.rows, sign * mask.cols)
        if places is None:
            places = self.filled(0, "f32")
        if falls:
            return self.select("gt", places, mask.opposite, x, other, part)
        return self.select("lt", places, mask.bound, x, other, part)

    def select(self, op: str, a: Tile, b: Tile | Scalar, x: Side, other: Side, part: bool) -> Tile:
        second = b.ref() if isinstance(b, Tile) else as_scalar(b).expr
        chosen = [self.tile(v).ref() for v in (x, other)]
        return record(f"select_{op}", self.type, a.ref(), second, *chosen, part=part)

    def tile(self, value: Side) -> Tile:
        """A side as a tile of the shape of the result."""
        if isinstance(value, Places):
            value = placed(value, self.shape, self.type.dtype)
        if isinstance(value, Tile):
            return broadcast_to(value, self.shape, part=True)
        return self.filled(value, self.type.dtype)

    def filled(self, value: Number | Scalar, dtype: str) -> Tile:
        number, type = as_number(value), TileType(dtype, *self.shape)
        if isinstance(value, Scalar) and isinstance(value.expr, ir.Const):
            number = value.expr.value
        if number is None:
            scalar = as_scalar(value)
            made = record("full", type, scalar.expr, part=True)
            integer_operand("where", made, scalar)
            return made
        if (number, dtype) not in self.full:
            fill = element(number, dtype, "where")
            self.full[number, dtype] = record("full", type, fill, part=True)
        return self.full[number, dtype]
