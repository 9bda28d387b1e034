"""What scalar operators mean: the one implementation for numbers (``docs/scalars.md``).

In: integers of 64 bits as ``int``, floats of 32 bits as ``float`` (always a value that f32 holds).
Out: such a number.  Invariant: the tracer's folding and every executor that runs row by row get
their numbers here; ``lowering/execute/scalars.py`` says the same for whole arrays, and
``lowering/ascend/text.py`` in C++.
Non-goals: names, expressions (``pto/ir.py``), elements of tiles.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pto.errors import PtoError

Number = int | float
Rule = Callable[[Number, Number], Number]

LEAST, GREATEST = -(1 << 63), (1 << 63) - 1
"""The integers that a scalar can be."""

EXACT_QUOTIENT = float(1 << 31)
"""Float quotients below this are rounded down exactly; from here on ``//`` is the f32 quotient."""

F32, BITS = struct.Struct("f"), struct.Struct("I")

DIVIDING = ("/", "//", "%", "cdiv")
"""Operators that have no value for 0 on the right."""

COMPARING = ("<", "<=", "==", "!=")
"""Operators that give 0 or 1, whatever they compare."""


class NumberError(PtoError):
    """A scalar expression without a value: a division by zero, an integer beyond 64 bits."""


def rounded(x: Number) -> float:
    """The f32 nearest to ``x``, ties to even; infinite beyond what f32 holds."""
    if isinstance(x, int) and abs(x) >> 53:  # a float of 64 bits must not round it first
        low = x.bit_length() - 40
        odd = (x >> low) << 1 | ((x & ((1 << low) - 1)) != 0)
        x = math.ldexp(odd, low - 1)
    try:
        (held,) = F32.unpack(F32.pack(x))
    except OverflowError:
        return math.copysign(math.inf, x)
    return float(held)


SHORT_BITS = 13
"""Of the fraction of an f32, which a scale on the way out of L0C has not (docs/machine.md 12)."""


def short(x: Number) -> float:
    """The f32 of ``x`` with the first ten bits of its fraction, the others cut off."""
    (bits,) = BITS.unpack(F32.pack(rounded(x)))
    (held,) = F32.unpack(BITS.pack(bits >> SHORT_BITS << SHORT_BITS))
    return float(held)


def shortest(x: Number) -> Number:
    """An integer as it is, a float as the shortest decimal that rounds to the same f32."""
    if isinstance(x, int) or not math.isfinite(x):
        return x
    digits = (float(f"{x:.{n}g}") for n in range(1, 10))
    return next(d for d in digits if rounded(d) == x)


def operator_type(op: str, a: bool, b: bool) -> bool:
    """Whether ``op`` gives a float, where ``a`` and ``b`` say so of its operands."""
    return op == "/" or ((a or b) and op not in COMPARING)


def _floor_quotient(a: float, b: float) -> float:
    quotient = rounded(a / b)
    if not abs(quotient) < EXACT_QUOTIENT:
        return quotient
    from fractions import Fraction  # costs 3 ms, and few kernels divide floats

    if math.isinf(b):
        return -1.0 if a and (a < 0) != (b < 0) else 0.0
    return rounded(math.floor(Fraction(a) / Fraction(b)))


def _no_floats(a: float, b: float) -> float:
    raise NumberError(f"cdiv({a!r}, {b!r}): cdiv takes integers")


def _operator(op: str, integers: Rule, floats: Callable[[float, float], Number]) -> Rule:
    """One operator: on integers, or on floats if one of the operands is one (or it is ``/``)."""
    divides, always = op in DIVIDING, op == "/"

    def apply(a: Number, b: Number) -> Number:
        if divides and not b:
            raise NumberError(f"{_written(op, a, b)} divides by zero")
        if always or type(a) is float or type(b) is float:
            return floats(rounded(a), rounded(b))
        x = integers(a, b)
        if LEAST <= x <= GREATEST:
            return x
        raise NumberError(f"{_written(op, a, b)} = {x} is beyond the integers of 64 bits")

    return apply


def _written(op: str, a: Number, b: Number) -> str:
    return f"{op}({a}, {b})" if op.isalpha() else f"{a} {op} {b}"


def _compared(op: str, rule: Callable[[Number, Number], bool]) -> Rule:
    return _operator(op, lambda a, b: int(rule(a, b)), lambda a, b: int(rule(a, b)))


def _smaller(a: Number, b: Number) -> Number:
    return b if b < a else a


def _larger(a: Number, b: Number) -> Number:
    return b if b > a else a


BINARY: Mapping[str, Rule] = MappingProxyType(
    {
        "+": _operator("+", operator.add, lambda a, b: rounded(a + b)),
        "-": _operator("-", operator.sub, lambda a, b: rounded(a - b)),
        "*": _operator("*", operator.mul, lambda a, b: rounded(a * b)),
        "/": _operator("/", operator.truediv, lambda a, b: rounded(a / b)),
        "//": _operator("//", operator.floordiv, _floor_quotient),
        "%": _operator("%", operator.mod, lambda a, b: rounded(a % b)),
        "min": _operator("min", _smaller, _smaller),
        "max": _operator("max", _larger, _larger),
        "cdiv": _operator("cdiv", lambda a, b: -(-a // b), _no_floats),
        "<": _compared("<", operator.lt),
        "<=": _compared("<=", operator.le),
        "==": _compared("==", operator.eq),
        "!=": _compared("!=", operator.ne),
    }
)
"""Every scalar operator by name."""
