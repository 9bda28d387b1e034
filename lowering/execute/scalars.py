"""Scalar operators on whole arrays: the meaning of ``pto/arithmetic.py`` for numpy and JAX.

In: an array module ``xp`` and operands: numbers, int64 arrays, float32 arrays.  Out: such an array,
element by element what ``BINARY`` gives.  Non-goals: saying that an element has no value (a division
by zero, an overflow); ``lowering/execute/inputs.py`` looks for those before any run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pto.arithmetic import BINARY, COMPARING, EXACT_QUOTIENT, operator_type, rounded

Array = Any
Rule = Callable[[Any, Array, Array], Array]


def is_float(x: Any) -> bool:
    """Whether a number or an array is of floats."""
    return isinstance(x, float) or getattr(x, "dtype", None) == "float32"


def as_float(xp: Any, x: Any) -> Array:
    """As float32: what an integer becomes when it meets a float."""
    return xp.float32(rounded(x)) if isinstance(x, int | float) else x.astype(xp.float32)


def _remainder(xp: Any, a: Array, b: Array) -> Array:
    """The exact remainder, moved to the sign of ``b``."""
    rest = xp.fmod(a, b)
    moved = xp.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)
    return xp.where(rest == 0, xp.copysign(xp.float32(0), b), moved)


def _floor_quotient(xp: Any, a: Array, b: Array) -> Array:
    """Exact by way of 64-bit floats, as far as f32 quotients are small enough to have fractions."""
    quotient = a / b
    wide, by = a.astype(xp.float64), b.astype(xp.float64)
    rest = xp.fmod(wide, by)
    whole = xp.rint((wide - rest) / by)
    exact = xp.where((rest != 0) & ((rest < 0) != (by < 0)), whole - 1, whole)
    exact = xp.where(exact == 0, 0.0, exact)  # a zero has no sign here
    return xp.where(abs(quotient) < EXACT_QUOTIENT, exact.astype(xp.float32), quotient)


SUMS: Mapping[str, Rule] = {
    "+": lambda xp, a, b: a + b,
    "-": lambda xp, a, b: a - b,
    "*": lambda xp, a, b: a * b,
}
INTEGERS: Mapping[str, Rule] = MappingProxyType(
    {
        **SUMS,
        "//": lambda xp, a, b: xp.floor_divide(a, b),
        "%": lambda xp, a, b: xp.remainder(a, b),
        "min": lambda xp, a, b: xp.minimum(a, b),
        "max": lambda xp, a, b: xp.maximum(a, b),
        "cdiv": lambda xp, a, b: -xp.floor_divide(-a, b),
    }
)
FLOATS: Mapping[str, Rule] = MappingProxyType(
    {
        **SUMS,
        "/": lambda xp, a, b: a / b,
        "//": _floor_quotient,
        "%": _remainder,
        "min": lambda xp, a, b: xp.where(b < a, b, a),
        "max": lambda xp, a, b: xp.where(b > a, b, a),
    }
)
COMPARES = {"<": "less", "<=": "less_equal", "==": "equal", "!=": "not_equal"}
"""What a comparison is called in an array module."""


def apply(xp: Any, op: str, a: Any, b: Any) -> Any:
    """``a op b``: a number if both are numbers, else an array of the module ``xp``.

    Raises:
        NumberError: for two numbers without a result.
    """
    if isinstance(a, int | float) and isinstance(b, int | float):
        return BINARY[op](a, b)
    in_floats = operator_type(op, is_float(a), is_float(b)) or is_float(a) or is_float(b)
    if in_floats:
        a, b = as_float(xp, a), as_float(xp, b)
    if op in COMPARING:
        return getattr(xp, COMPARES[op])(a, b).astype(xp.int64)
    return (FLOATS if in_floats else INTEGERS)[op](xp, a, b)
