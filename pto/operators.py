"""Operators of tiles that are made of functions of tiles: bits, shifts, ``//``, ``%`` and ``**``.

In: what stands on both sides.  Out: rows.  Bits are those of integers, of any type; of shifts ``pto/shifts.py``.  ``//`` and ``%`` round down and have the sign of the
divisor, as in Python: of floats ``pto.floor(x / y)`` and ``pto.remainder(x, y)``, of integers by a power of two,
which a shift and an ``&`` are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pto import ir
from pto.errors import DTypeError, TraceError
from pto.masks import Mask, Places
from pto.mathematics import floor, power, remainder
from pto.ops import BITS, SHIFTED
from pto.scalar import as_number, as_scalar
from pto.shifts import shifted
from pto.tile import (
    SYMBOLS,
    Tile,
    broadcast_to,
    element,
    full,
    placed,
    record,
    shape_of_all,
)
from pto.tracer import fail, noun
from pto.types import TileType

# ------------------------------------------------------------------------------------------ bits


def combined(op: str, x: Tile, other: object) -> Tile:
    """``x op other``, bit by bit; ``other`` is a tile of the type of x, one that broadcasts if that is i32, or a
    number.

    Raises:
        DTypeError: for floats, and for two types.
        ShapeError: for shapes that do not broadcast.
    """
    symbol = SYMBOLS[op]
    _has_bits(symbol, x)
    if isinstance(other, Mask):
        message = f"{symbol} combines tiles with tiles, or masks with masks, found a mask"
        fail(TraceError, message, "each comparison in parentheses: (a < b) & (c < d)")
    if isinstance(other, Places):
        other = placed(other, x.shape, x.dtype)
    if isinstance(other, Tile):
        return _of_tiles(op, x, other)
    return record(op, x.type, x.ref(), _number(symbol, x, other))


def _of_tiles(op: str, x: Tile, y: Tile) -> Tile:
    symbol = SYMBOLS[op]
    _has_bits(symbol, y)
    if x.dtype != y.dtype:
        message = f"{symbol}: '{x.name}' is {x.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, f"convert one of them with .astype('{x.dtype}')")
    shape = shape_of_all(symbol, [x.shape, y.shape])
    a, b = (broadcast_to(t, shape, part=True) for t in (x, y))
    return record(op, TileType(x.dtype, *shape), a.ref(), b.ref())


def _number(symbol: str, x: Tile, other: object) -> ir.Expr:
    """A number beside a tile of integers."""
    scalar = as_scalar(other, "a tile, a number or a traced scalar")
    if isinstance(scalar.expr, ir.Const):
        return element(scalar.expr.value, x.dtype, symbol)
    if scalar.is_float or x.dtype != "i32":
        message = f"{symbol}: '{x.name}' is {x.dtype} and cannot be combined with {noun(other)}"
        fail(
            DTypeError,
            message,
            "an integer scalar of the run goes with i32, a Python number with all",
        )
    return scalar.expr


def _has_bits(symbol: str, x: Tile) -> None:
    x.ref()
    if x.dtype not in BITS:
        message = f"{symbol}: '{x.name}' is {x.dtype}, and bits are those of integers"
        hint = "masks are combined, each comparison in parentheses: (a < b) & (c < d)"
        fail(DTypeError, message, hint)


def inverted(x: Tile) -> Tile:
    """``~x``: every bit turned, which is ``-1 - x`` of a type with a sign.

    Raises:
        DTypeError: for floats.
    """
    _has_bits("~", x)
    return record("bitwise_not", x.type, x.ref())


# ------------------------------------------------------------------------- division and powers


def _bits_of_divisor(symbol: str, x: Tile, y: object) -> int:
    """n of a divisor ``2**n`` of integers.

    Raises:
        DTypeError: for another.
    """
    number = as_number(y)
    if not isinstance(number, int) or number < 1 or number & (number - 1):
        found = noun(y) if number is None else number
        message = f"{symbol}: '{x.name}' is {x.dtype}, which is divided by positive powers of two, found {found}"
        in_floats = OF_OTHERS[symbol].format(f"{x.name}.astype('f32')")
        fail(DTypeError, message, f"by others, below 2**24: {in_floats}.astype('{x.dtype}')")
    return number.bit_length() - 1


OF_OTHERS = {"//": "pto.floor({} / y)", "%": "pto.remainder({}, y)"}
"""Of integers and a divisor that is no power of two."""


def divided(x: object, y: object) -> Tile:
    """``x // y``, rounded down: ``floor(x / y)`` of floats, of i32 and i16 by a power of two.

    The quotient of floats is rounded first, so that next to an integer it may be that one.

    Raises:
        DTypeError: for integers and another divisor.
    """
    if isinstance(x, Tile) and x.dtype in SHIFTED:
        return shifted("right_shift", x, _bits_of_divisor("//", x, y))
    return floor(x / y)  # type: ignore[operator]  # one of them is a tile


def rest(x: object, y: object) -> Tile:
    """``x % y`` with the sign of y: ``remainder(x, y)`` of f32, of i32 and i16 by a power of two.

    Raises:
        DTypeError: for integers and another divisor.
    """
    if isinstance(x, Tile) and x.dtype in SHIFTED:
        divisor = 1 << _bits_of_divisor("%", x, y)
        return combined("bitwise_and", x, divisor - 1)
    if isinstance(y, Tile) and not isinstance(x, Tile):
        x = full(y.shape, 0.0, y.dtype) + x  # type: ignore[operator]
    return remainder(x, y)  # type: ignore[arg-type]


def raised(x: object, n: object) -> Tile:
    """``x ** n``, which is ``power(x, n)``.

    Raises:
        TraceError: for an exponent that is no Python number.
    """
    if not isinstance(x, Tile):
        message = (
            f"'**' takes a tile to the power of a Python number, found {noun(x)} to that of a tile"
        )
        fail(TraceError, message, "pto.exp2(x) is 2**x, pto.exp(x * math.log(c)) is c**x")
    return power(x, n)  # type: ignore[arg-type]


def _bitwise(op: str) -> Callable[..., Tile]:
    return lambda x, y: combined(op, x, y)


def _shift(op: str) -> Callable[..., Tile]:
    return lambda x, n: shifted(op, x, n)


OPERATORS: Mapping[str, Callable[..., Tile]] = MappingProxyType(
    {
        **{SYMBOLS[op]: _bitwise(op) for op in ("bitwise_and", "bitwise_or", "bitwise_xor")},
        **{SYMBOLS[op]: _shift(op) for op in ("left_shift", "right_shift")},
        "~": inverted,
        "//": divided,
        "%": rest,
        "**": raised,
    }
)
"""Operator -> its meaning, of what stands on the left and on the right."""
