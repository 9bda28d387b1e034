"""Functions of tiles that are made of other ops, as there is no instruction for them.

Each says its formula, and how far its result may be from the exact one: u is 2**-24, and exp and log are off by
4 u of their result at most.  Those of f16 are computed in f32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Concatenate, ParamSpec

from pto import ir
from pto.errors import TraceError
from pto.ops import FLOATS, VECTOR
from pto.scalar import Number, Scalar, as_number, extreme
from pto.selection import where
from pto.tile import (
    Operand,
    Tile,
    astype,
    broadcast_to,
    full,
    maximum,
    minimum,
    of_tile,
    operand_of,
)
from pto.tracer import current, fail, noun

__all__ = [
    "ceil", "clip", "cos", "erf", "exp2", "floor", "gelu", "gelu_tanh", "leaky_relu", "log2", "max", "min", "power",
    "remainder", "round", "sigmoid", "sign", "silu", "sin", "softplus", "sum", "tanh", "trunc",
]  # fmt: skip

Given = ParamSpec("Given")


def named(function: Callable[Given, Tile]) -> Callable[Given, Tile]:
    """The last row has the name that a row of this function would have, all others are parts of it."""

    @wraps(function)
    def made(*args: Given.args, **options: Given.kwargs) -> Tile:
        trace = current()
        before = len(trace.scope.nodes)
        with trace.parts():
            found = function(*args, **options)
        last = trace.scope.nodes[-1]
        is_new = len(trace.scope.nodes) > before
        if (
            not is_new
            or not isinstance(last, ir.Row)
            or last.out != ir.Define(found.name, found.type)
        ):
            return found
        name = trace.name(function.__name__)
        trace.scope.nodes[-1] = replace(last, out=ir.Define(name, found.type))
        trace.taken.discard(found.name)
        return Tile(trace, name, found.type)

    return made


def composed(
    function: Callable[Concatenate[Tile, Given], Tile],
) -> Callable[Concatenate[Tile, Given], Tile]:
    """``function`` of an f32 tile, for one of f16 as well: computed in f32, and rounded once."""

    @wraps(function)
    def of_both(x: Tile, *args: Given.args, **options: Given.kwargs) -> Tile:
        tile = operand_of(function.__name__, x, FLOATS)
        made = function(astype(tile, "f32"), *args, **options)
        return astype(made, tile.dtype)

    return named(of_both)  # type: ignore[return-value]  # x has a name, which Concatenate cannot say


# ----------------------------------------------------------------------------------- reductions


def _of_all(x: Tile, of_columns: str, of_rows: str) -> Tile:
    """Columns first, which leaves one row; a column has its number eight times, as a row takes whole units."""
    if x.shape[1] > 1:
        return of_tile(of_rows, of_tile(of_columns, x))
    if x.shape[0] == 1:
        return x
    return of_tile("row_max", of_tile(of_columns, broadcast_to(x, (x.shape[0], 8))))


@composed
def sum(x: Tile) -> Tile:
    """The sum of all elements, as a ``[1, 1]`` tile; f32 or f16, which is added in f32."""
    return _of_all(x, "col_sum", "row_sum")


@composed
def max(x: Tile) -> Tile:
    """The largest of all elements, as a ``[1, 1]`` tile; f32 or f16, exact."""
    return _of_all(x, "col_max", "row_max")


@composed
def min(x: Tile) -> Tile:
    """The smallest of all elements, as a ``[1, 1]`` tile; f32 or f16, exact."""
    return _of_all(x, "col_min", "row_min")


# ------------------------------------------------------------------------------------- rounding

WHOLE = 2.0**23
"""From here on every number is an integer."""


def _rounded(x: Tile, rounding: str) -> Tile:
    """By way of i32, which every number that has a fraction fits in."""
    return where(of_tile("abs", x) < WHOLE, astype(astype(x, "i32", rounding), "f32"), x)


@composed
def floor(x: Tile) -> Tile:
    """The largest integer that is not above each element; f32 or f16, exact."""
    return _rounded(x, "floor")


@composed
def ceil(x: Tile) -> Tile:
    """The least integer that is not below each element; f32 or f16, exact."""
    return _rounded(x, "ceil")


@composed
def trunc(x: Tile) -> Tile:
    """Each element without its fraction; f32 or f16, exact."""
    return _rounded(x, "trunc")


@composed
def round(x: Tile) -> Tile:
    """The nearest integer of each element, ties to even; f32 or f16, exact."""
    return _rounded(x, "rint")


@named
def remainder(x: Tile, y: Tile | Scalar | Number) -> Tile:
    """``x - floor(x / y) * y``, of the sign of y as in Python; f32.

    The quotient is rounded, so that its floor may be one off near an integer: a result outside of [0, y) is moved by
    y.  Off by 2 u of x and u of y.
    """
    tile = operand_of("remainder", x, ("f32",))
    size = of_tile("abs", y) if isinstance(y, Tile) else extreme("max", y, -y)
    rest = tile - floor(tile / y) * y
    rest = where(rest * y < 0.0, rest + y, rest)
    return where(of_tile("abs", rest) >= size, rest - y, rest)


# ----------------------------------------------------------------------------- choice and signs


@named
def sign(x: Tile) -> Tile:
    """-1, 0 or 1 by the sign of each element, NaN of NaN; f32 or f16."""
    x = operand_of("sign", x, FLOATS)
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, x))


@named
def clip(x: Tile, low: Operand, high: Operand) -> Tile:
    """Each element, but at least ``low`` and at most ``high``; f32, f16 or i32."""
    x = operand_of("clip", x, VECTOR)
    return minimum(maximum(x, low), high)


@composed
def leaky_relu(x: Tile, slope: Number | Scalar = 0.01) -> Tile:
    """x where it is positive, ``slope * x`` elsewhere; f32 or f16, one rounding."""
    return where(x > 0.0, x, x * slope)


# -------------------------------------------------------------------------- powers and logarithms


@composed
def exp2(x: Tile) -> Tile:
    """2 to the power of each element, ``exp(x ln 2)``; f32 or f16, off by ``(4 + 2 |x|) u`` of it."""
    return of_tile("exp", x * math.log(2))


@composed
def log2(x: Tile) -> Tile:
    """The logarithm to base 2 of each element, ``log(x) / ln 2``; f32 or f16, off by 7 u of it."""
    return of_tile("log", x) * (1 / math.log(2))


@composed
def power(x: Tile, n: float) -> Tile:
    """x to the power of a Python number; f32 or f16.

    An integer by products of squares, off by ``2 |n| u`` of it; a half by the square root; others are
    ``exp(n log x)``, off by ``(4 + 9 |n log x|) u`` of it, and NaN of negative x.
    """
    number = as_number(n)
    if number is None:
        message = f"the exponent of power must be a Python number, found {noun(n)}"
        fail(TraceError, message, "of two tiles: pto.exp(y * pto.log(x))", 1)
    if number == 0.5:
        return of_tile("sqrt", x)
    if number != int(number):
        return of_tile("exp", of_tile("log", x) * number)
    if number == 0:
        return full(x.shape, 1.0, x.dtype)
    made = _product(x, abs(int(number)))
    return of_tile("reciprocal", made) if number < 0 else made


def _product(x: Tile, n: int) -> Tile:
    """x to the power of n, which is 1 or more."""
    if n == 1:
        return x
    half = _product(x, n // 2)
    return half * half * x if n % 2 else half * half


# ---------------------------------------------------------------------------------- activations


@composed
def sigmoid(x: Tile) -> Tile:
    """``1 / (1 + exp(-x))`` of each element; f32 or f16, off by 8 u of it."""
    return of_tile("reciprocal", of_tile("exp", -x) + 1.0)


@composed
def silu(x: Tile) -> Tile:
    """``x / (1 + exp(-x))`` of each element; f32 or f16, off by 8 u of it, NaN of -inf."""
    return x / (of_tile("exp", -x) + 1.0)


@composed
def softplus(x: Tile) -> Tile:
    """``log(1 + exp(x))`` of each element; f32 or f16.

    As ``max(x, 0) + log(1 + exp(-|x|))``, which does not overflow; off by 8 u, and by u of it.
    """
    small = of_tile("log", of_tile("exp", -of_tile("abs", x)) + 1.0)
    return maximum(x, 0.0) + small


@composed
def gelu(x: Tile) -> Tile:
    """``x (1 + erf(x / sqrt 2)) / 2`` of each element; f32 or f16, off by 6 u of x."""
    return x * (erf(x * math.sqrt(0.5)) * 0.5 + 0.5)


@composed
def gelu_tanh(x: Tile) -> Tile:
    """The approximation of ``gelu`` by a tanh; f32 or f16.

    ``x (1 + tanh z) / 2`` with ``z = sqrt(2 / pi) (x + 0.044715 x^3)`` is ``x / (1 + exp(-2 z))``; off by
    ``(8 + 8 |z|) u`` of it.
    """
    inner = x * (x * x * 0.044715 + 1.0)
    return x / (of_tile("exp", inner * (-2 * math.sqrt(2 / math.pi))) + 1.0)


ERFC = (0.335308172, 0.375220109, 0.103900368, 0.582730558, -0.536005489, 0.138901159)
"""Of t, t^2, ...: those with the least largest error of ``1 - erf x`` from 1/2 on."""


@composed
def erf(x: Tile) -> Tile:
    """The error function of each element; f32 or f16, off by 8 u, and by 6 u of it below 1/2.

    Below 1/2 the series ``2 / sqrt(pi) sum (-1)^n x^(2n + 1) / (n! (2n + 1))`` up to n = 6; from there on ``1 - p(t)
    exp(-x^2)`` with ``t = 1 / (1 + 0.6 |x|)``, the form of Abramowitz and Stegun's 7.1.26.  Its numbers err by 2.5 u
    themselves, which no rounding explains; with the ``ERFC`` of ours, and one term more, either part leaves out
    less than u / 60.
    """
    square, size = x * x, of_tile("abs", x)
    terms = [(-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(7)]
    near = x * _polynomial(square, [c * 2 / math.sqrt(math.pi) for c in terms])
    t = of_tile("reciprocal", size * 0.6 + 1.0)
    far = 1.0 - t * _polynomial(t, ERFC) * of_tile("exp", -square)
    return where(size < 0.5, near, where(x < 0.0, -far, far))


def _polynomial(x: Tile, coefficients: Sequence[float]) -> Tile:
    """The sum of ``coefficients[n] x^n``, by Horner's rule."""
    *rest, last = coefficients
    found = x * last + rest.pop()
    for c in reversed(rest):
        found = found * x + c
    return found


@composed
def tanh(x: Tile) -> Tile:
    """The hyperbolic tangent of each element; f32 or f16.

    There is no instruction for it.  With e = exp(-2|x|), which lies in (0, 1] and never overflows,

        tanh|x| = (exp|x| - exp(-|x|)) / (exp|x| + exp(-|x|)) = (1 - e) / (1 + e),

    and tanh(x) is x clipped to [-tanh|x|, tanh|x|], since tanh|x| <= |x|: that gives it its sign.
    For large |x| e vanishes and the result is 1 or -1, also of infinities.  With an exp that is off
    by 4 roundings u, e is off by 4eu, and that moves (1 - e) / (1 + e)
    by 2 / (1 + e)^2 as much, at most 2u; a sum, a difference and a quotient add 4u of the result:
    the *absolute* error stays below 6u, and the result never exceeds |x|.
    """
    e = of_tile("exp", of_tile("abs", x) * -2.0)
    low = (e - 1.0) / (e + 1.0)
    return maximum(minimum(x, -low), low)


# ---------------------------------------------------------------------------------- trigonometry

PART_BITS = 7
"""Of all but the last part of pi: half turns of 17 bits times these are floats of 32 bits."""


@composed
def sin(x: Tile) -> Tile:
    """The sine of each element, an angle below 205,887; f32 or f16, off by 4 u, and below 1 by 4 u of it.

    ``n = round(x / pi)``, ``r = x - n pi`` in [-pi/2, pi/2], and ``sin x = (-1)^n sin r`` by the series of r up
    to ``r^13``, which leaves out less than u / 80.
    """
    turns = astype(astype(x * (1 / math.pi), "i32"), "f32")
    return _sine(_left(x, turns), turns)


@composed
def cos(x: Tile) -> Tile:
    """The cosine of each element, an angle below 205,887; f32 or f16, off by 4 u.

    ``n = round(x / pi + 1/2)``, ``r = x - (n - 1/2) pi`` in [-pi/2, pi/2], and ``cos x = (-1)^n sin r``.
    """
    turns = astype(astype(x * (1 / math.pi) + 0.5, "i32"), "f32")
    return _sine(_left(x, turns - 0.5), turns)


def _left(x: Tile, turns: Tile) -> Tile:
    """``x - turns * pi`` in parts of pi, of which all but the last have few bits: their products are exact."""
    for part in _parts(math.pi):
        x = x - turns * part
    return x


def _parts(x: float) -> list[float]:
    found = []
    for _ in range(3):
        scale = 2.0 ** (PART_BITS - math.frexp(x)[1])
        found.append(math.floor(x * scale) / scale)
        x -= found[-1]
    return [*found, x]


def _sine(r: Tile, turns: Tile) -> Tile:
    """``sin r`` of -pi/2 to pi/2, with the other sign where ``turns`` is odd."""
    series = [(-1) ** n / math.factorial(2 * n + 1) for n in range(7)]
    odd = turns - astype(astype(turns * 0.5, "i32"), "f32") * 2.0
    return r * _polynomial(r * r, series) * (1.0 - odd * odd * 2.0)
