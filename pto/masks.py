"""Conditions on the elements of tiles: comparisons of tiles, and of their places (``iota``).

A mask is no tile and makes no row; ``pto/selection.py`` chooses by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from pto import ir
from pto.errors import ShapeError, TraceError
from pto.scalar import Index, Scalar, as_index, as_number
from pto.tracer import Traced, fail, innermost, noun


class Mask(Traced):
    """A condition on every element of a tile, for ``where``: ``&``, ``|`` and ``~`` combine them."""

    _noun = "mask"

    def __and__(self, other: Mask) -> Mask:
        return Both(self, _as_mask(other, "&"))

    def __or__(self, other: Mask) -> Mask:
        return ~(~self & ~_as_mask(other, "|"))

    def __invert__(self) -> Mask:
        return self.of if isinstance(self, Not) else Not(self)

    @property
    def tiles(self) -> tuple[Any, ...]:
        """The tiles that it compares."""
        return ()

    def _value_hint(self) -> str:
        return "pto.where(mask, 1.0, 0.0) is a tile of it"

    def _method_hint(self, name: str) -> str:
        return self._value_hint()

    def _operator_hint(self, symbol: str) -> str:
        return "a mask is the condition of pto.where; & | ~ combine masks"

    def _branch_hint(self, where: str) -> str:
        if where in ("and / or", "not", "chained comparison"):
            return "combine masks with & | ~, each comparison in parentheses"
        return "pto.where(mask, x, y) chooses element by element"


@dataclass(frozen=True, slots=True, eq=False)
class Before(Mask):
    """``rows * i + cols * j + plus < minus`` at row i and column j."""

    rows: int
    cols: int
    plus: Scalar
    minus: Scalar

    @property
    def bound(self) -> Scalar:
        """What ``rows * i + cols * j`` is below."""
        return _difference(self.minus, self.plus)

    @property
    def opposite(self) -> Scalar:
        """What ``-rows * i - cols * j`` is above."""
        return _difference(self.plus, self.minus)


@dataclass(frozen=True, slots=True, eq=False)
class Compared(Mask):
    """``x op y`` of a tile and a tile or a ``Scalar``."""

    op: str
    x: Any
    y: Any

    @property
    def tiles(self) -> tuple[Any, ...]:
        return (self.x,) if isinstance(self.y, Scalar) else (self.x, self.y)


@dataclass(frozen=True, slots=True, eq=False)
class Spread(Mask):
    """``x op y`` of a tile of one row or column and places that count what it has one of: ``where`` knows how many."""

    op: str
    x: Any
    y: Places

    @property
    def tiles(self) -> tuple[Any, ...]:
        return (self.x,)


@dataclass(frozen=True, slots=True, eq=False)
class Not(Mask):
    """Where ``of`` does not hold."""

    of: Mask

    @property
    def tiles(self) -> tuple[Any, ...]:
        return self.of.tiles


@dataclass(frozen=True, slots=True, eq=False)
class Both(Mask):
    """Where both hold."""

    a: Mask
    b: Mask

    @property
    def tiles(self) -> tuple[Any, ...]:
        return (*self.a.tiles, *self.b.tiles)


def _as_mask(value: object, symbol: str) -> Mask:
    if isinstance(value, Mask):
        return value
    message = f"{symbol} combines masks, found {noun(value)}"
    fail(TraceError, message, "put each comparison in parentheses: (a < b) & (c < d)")


Made = TypeVar("Made")


def _of_places(
    method: Callable[[Places, Places], Made],
) -> Callable[[Places, Index | Places], Made]:
    """An operator on places and places or a number; a tile does it itself, as it gives them their shape."""

    @wraps(method)
    def applied(self: Places, other: Index | Places) -> Made:
        if _is_tile(other):
            return NotImplemented  # type: ignore[no-any-return]  # as of every operator
        return method(self, other if isinstance(other, Places) else _constant(other))

    return applied


def _is_tile(value: object) -> bool:
    return isinstance(value, Traced) and not isinstance(value, Scalar | Places | Mask)


class Places(Traced):
    """Numbers ``rows * i + cols * j + plus - minus`` of the elements of a tile, made by ``iota``."""

    _noun = "iota"

    def __init__(self, rows: int, cols: int, plus: Scalar, minus: Scalar) -> None:
        self.rows, self.cols, self._plus, self._minus = rows, cols, plus, minus

    @property
    def first(self) -> Scalar:
        """The number in row 0 and column 0."""
        return _difference(self._plus, self._minus)

    def count_along(self, shape: tuple[int, int]) -> bool:
        """Whether they count rows or columns of which a tile of this shape has one."""
        return any(
            times and size == 1 for times, size in zip((self.rows, self.cols), shape, strict=True)
        )

    def __neg__(self) -> Places:
        return Places(-self.rows, -self.cols, self._minus, self._plus)

    @_of_places
    def __add__(self, x: Places) -> Places:
        plus, minus = _sum(self._plus, x._plus), _sum(self._minus, x._minus)
        return Places(self.rows + x.rows, self.cols + x.cols, plus, minus)

    __radd__ = __add__

    @_of_places
    def __sub__(self, x: Places) -> Places:
        return self + -x

    def __rsub__(self, other: Index) -> Places:
        return -self + other

    def __mul__(self, other: int) -> Places:
        if _is_tile(other):
            return NotImplemented
        times = as_number(other)
        if not isinstance(times, int):
            message = f"places are multiplied by Python integers, found {noun(other)}"
            fail(TraceError, message, "other tiles of numbers: load them")
        if times < 0:
            return -self * -times
        return Places(times * self.rows, times * self.cols, self._plus * times, self._minus * times)

    __rmul__ = __mul__

    @_of_places
    def __lt__(self, x: Places) -> Mask:
        """``self - x < 0``, with the counters on the left and the rest on the right."""
        apart = self - x
        return Before(apart.rows, apart.cols, apart._plus, apart._minus)

    @_of_places
    def __le__(self, x: Places) -> Mask:
        return self < x + 1

    @_of_places
    def __gt__(self, x: Places) -> Mask:
        return ~(self <= x)

    @_of_places
    def __ge__(self, x: Places) -> Mask:
        return ~(self < x)

    def __eq__(self, other: object) -> Any:
        if _is_tile(other):
            return NotImplemented
        x = other if isinstance(other, Places) else _constant(other)
        return (self <= x) & (self >= x)

    def __ne__(self, other: object) -> Any:
        return NotImplemented if _is_tile(other) else ~(self == other)

    __hash__ = Traced.__hash__

    def _value_hint(self) -> str:
        return "with a tile it is one: pto.zeros((rows, cols)) + pto.iota(1)"

    def _method_hint(self, name: str) -> str:
        return self._value_hint()

    def _operator_hint(self, symbol: str) -> str:
        if symbol in IN_TILES:
            return f"as a tile they have it: (pto.zeros((rows, cols), 'i32') + pto.iota(1)) {symbol} {IN_TILES[symbol]}"
        return (
            "places are added, subtracted, multiplied by integers and compared: pto.iota(1) < count"
        )


IN_TILES = {
    "//": "16, of powers of two", "%": "16, of powers of two", "&": "15", "|": "1", "^": "1", "<<": "1", ">>": "1",
}  # fmt: skip
"""Operators of tiles of integers, with an example, that places have not."""

ZERO = ir.Const(0)


def _constant(value: object) -> Places:
    """A number as places that are all the same."""
    return Places(0, 0, as_index(value, "a number of places"), Scalar(ZERO))


def _sum(a: Scalar, b: Scalar) -> Scalar:
    """No row of its own, whatever it is assigned to."""
    return Scalar(ir.binary("+", a.expr, b.expr), innermost(a._scope, b._scope))


def _difference(a: Scalar, b: Scalar) -> Scalar:
    """No row of its own, whatever it is assigned to."""
    return Scalar(ir.binary("-", a.expr, b.expr), innermost(a._scope, b._scope))


def iota(axis: int) -> Places:
    """The row numbers (``axis`` 0) or column numbers (1) of a tile, to be compared or computed with.

    ``pto.iota(1) < count``, ``first + pto.iota(0) >= pto.iota(1)``; with a tile of f32 or i32 they are numbers, one
    for each element: ``x * pto.iota(1)``.  Below 2**24.
    """
    if axis not in (0, 1) or isinstance(axis, bool):
        fail(ShapeError, f"iota({axis!r}): a tile has rows (axis 0) and columns (axis 1)")
    return Places(int(axis == 0), int(axis == 1), Scalar(ZERO), Scalar(ZERO))
