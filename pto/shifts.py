"""Shifts of integers: by a number, by a scalar of the run, by a tile.

In: what stands on both sides of ``<<`` and ``>>``.  Out: rows.  A count that is negative, or as large as an element
has bits or larger, moves all of them out: 0 is left, of ``>>`` the sign, as in numpy and JAX.
The vector unit shifts i32 and i16, all elements by one number, which it is not asked for beyond their bits; by a tile
they are shifted by 1, 2, 4, 8 and 16, each where the count has that bit.  The library's own TSHL and TSHR leave the
scalar unit to go from element to element (docs/machine.md 12).
"""

from __future__ import annotations

from pto import ir
from pto.bounds import INTEGER, Range, bounds
from pto.errors import DTypeError, TraceError
from pto.ops import SHIFTED
from pto.scalar import Scalar, as_index, as_number
from pto.selection import where
from pto.tile import (
    SYMBOLS,
    Tile,
    as_tile,
    astype,
    broadcast_to,
    compared,
    element,
    full,
    record,
    shape_of_all,
)
from pto.tracer import current, fail, noun
from pto.types import DTYPE_BYTES, INTEGERS


def shifted(op: str, x: object, count: object) -> Tile:
    """``x << count`` or ``x >> count``: the bits of i32 or i16 moved; to the right the sign stays, so that it is
    ``x // 2**count``.  ``count`` is a Python integer, an integer scalar, or a tile of the type of x that
    broadcasts; beside a tile x may be either of the others.

    Raises:
        TraceError: for a Python integer that is not from 0 to the bits of an element, less one.
        DTypeError: for other types.
        ShapeError: for shapes that do not broadcast.
    """
    symbol = SYMBOLS[op]
    if isinstance(count, Tile):
        return _by_tile(op, x, count)
    tile, number = as_tile(x, f"the left operand of {symbol}"), as_number(count)
    _check_dtype(symbol, tile)
    if number is None:
        return _by_scalar(op, tile, count)
    if not isinstance(number, int):
        message = f"{symbol}: '{tile.name}' is shifted by integers, found {noun(count)}"
        fail(TraceError, message)
    bits = 8 * DTYPE_BYTES[tile.dtype]
    if not 0 <= number < bits:
        message = f"{symbol}: '{tile.name}' is {tile.dtype}, which is shifted by 0 to {bits - 1}"
        fail(TraceError, f"{message}, found {number}")
    return record(op, tile.type, tile.ref(), ir.Const(number))


def _check_dtype(symbol: str, x: Tile) -> None:
    if x.dtype not in SHIFTED:
        message = (
            f"{symbol}: '{x.name}' is {x.dtype}, and the vector unit shifts {' and '.join(SHIFTED)}"
        )
        wide = "i16" if x.dtype in INTEGERS else "i32"
        fail(DTypeError, message, f"convert it first: {x.name}.astype('{wide}')")


# ------------------------------------------------------------------------------------ by a scalar


def _by_scalar(op: str, x: Tile, given: object) -> Tile:
    """A count that may be any is brought to what there are bits for; what goes out to the left takes one more."""
    symbol, bits = SYMBOLS[op], 8 * DTYPE_BYTES[x.dtype]
    if not isinstance(given, Scalar):
        message = f"{symbol}: '{x.name}' is shifted by integers or a tile, found {noun(given)}"
        fail(TraceError, message)
    count = as_index(given, f"what '{x.name}' is shifted by").expr
    if _is_below(count, bits):
        return record(op, x.type, x.ref(), count)
    most, zero = ir.Const(bits - 1), ir.Const(0)
    below, above = ir.binary("<", count, zero), ir.binary("<", most, count)
    kept = ir.binary("max", ir.binary("min", count, most), ir.binary("*", below, most))
    if op == "right_shift":
        return record(op, x.type, x.ref(), kept)
    first = record(op, x.type, x.ref(), kept, part=True)
    return record(op, x.type, first.ref(), ir.binary("max", below, above))


def _is_below(count: ir.Expr, bits: int) -> bool:
    """Whether a count surely is one from 0 to below ``bits``."""
    trace = current()
    known = dict.fromkeys(ir.names_in(trace.resolved(count)), INTEGER)
    for name, trips in trace.counters.items():
        known[name] = Range(0, bounds(trips, {}).high - 1, True)
    found = bounds(trace.resolved(count), known)
    return found.low >= 0 and found.high < bits


# -------------------------------------------------------------------------------------- by a tile


def _filled(symbol: str, x: object, like: Tile) -> Tile:
    """A number in all elements of a tile like another."""
    number = as_number(x)
    if number is None:
        return as_tile(x, f"the left operand of {symbol}")
    return record("full", like.type, element(number, like.dtype, symbol), part=True)


def _by_tile(op: str, x: object, y: Tile) -> Tile:
    symbol = SYMBOLS[op]
    _check_dtype(symbol, y)
    tile = x if isinstance(x, Tile) else _filled(symbol, x, y)
    _check_dtype(symbol, tile)
    if tile.dtype != y.dtype:
        message = f"{symbol}: '{tile.name}' is {tile.dtype} but '{y.name}' is {y.dtype}"
        fail(DTypeError, message, f"convert one of them with .astype('{tile.dtype}')")
    shape = shape_of_all(symbol, [tile.shape, y.shape])
    bits = 8 * DTYPE_BYTES[y.dtype]
    with current().parts():
        wide = (astype(t, "i32") for t in (tile, y))
        first, count = (broadcast_to(t, shape) for t in wide)
        made = _moved(op, first, count, bits)
        if op == "left_shift" and bits < 32:  # what is beyond an element is lost
            for way in ("left_shift", "right_shift"):
                made = _moved_all(way, made, 32 - bits)
    return astype(made, y.dtype)


def _moved(op: str, x: Tile, count: Tile, bits: int) -> Tile:
    """Step by step; a count without higher bits than those of the steps is one that there are bits for."""
    zeros, made, steps = full(x.shape, 0, "i32"), x, bits.bit_length() - 1
    for step in (1 << k for k in range(steps)):
        has = record("bitwise_and", x.type, count.ref(), ir.Const(step))
        made = where(compared("eq", has, zeros), made, _moved_all(op, made, step))
    gone = zeros if op == "left_shift" else _moved_all(op, x, bits - 1)
    return where(compared("eq", _moved_all("right_shift", count, steps), zeros), made, gone)


def _moved_all(op: str, x: Tile, count: int) -> Tile:
    return record(op, x.type, x.ref(), ir.Const(count))
