"""Random scalar expressions, and their meaning as ``docs/scalars.md`` says it, written down again.

``drawn`` draws expressions that have a value for every set of ``DATA``; ``meaning`` shares nothing
with the package but the classes of expressions and the type that a name carries.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from pto.ir import Bin, Const, Expr, Var

Value = int | np.float32

INTS = ("x", "y", "p", "m", "n")
FLOATS = ("s", "q")
f32 = np.float32


def data(x: int, y: int, p: int, m: int, n: int, s: float, q: float) -> dict[str, Value]:
    return {"x": x, "y": y, "p": p, "m": m, "n": n, "s": f32(s), "q": f32(q)}


DATA = (
    data(3, -5, 7, 4, 6, 0.1, -2.5),
    data(-(2**31), 2**31 - 1, 2**31 - 1, 4, 6, -0.03, 3e38),
    data(-1, 300000, 1, 1, 1000003, 16777216.0, 1.0),
    data(2**29, -128, 5, 1, 1000003, -7.75, 0.3),
    data(65536, -65537, 2, 4, 6, 1e-3, -1e9),
)
"""Values read from an i32 tensor, an i32 parameter, two sizes, two f32 parameters."""

WHOLE = (-9, -3, -1, 0, 1, 2, 3, 7, 64, 128, 16777217, 2**31, -(2**31), 3 * 10**9, 2**40 + 3, 2**62)
BROKEN = (0.0, -0.0, 0.5, -1.5, 0.1, 3.0, 1e-3, 16777216.0, 1e9, -3e38, math.inf, math.nan)
ARITHMETIC = ("+", "-", "*", "//", "%", "min", "max")
COMPARISONS = ("<", "<=", "==", "!=")


class Undefined(Exception):
    """No value, or one that some hardware flushes to zero."""


def meaning(e: Expr, env: Mapping[str, Value]) -> Value:
    """The value of ``e``."""
    if isinstance(e, Const):
        return f32(e.value) if isinstance(e.value, float) else e.value
    if isinstance(e, Var):
        return env[e.name]
    a, b = meaning(e.a, env), meaning(e.b, env)
    if isinstance(a, int) and isinstance(b, int) and e.op != "/":
        found = of_integers(e.op, a, b)
        if not -(2**63) <= found < 2**63:
            raise Undefined
        return found
    with np.errstate(all="ignore"):
        return of_floats(e.op, nearest(a), nearest(b))


def nearest(x: Value) -> np.float32:
    """One rounding, also of an integer that a float of 64 bits does not hold."""
    return f32(np.int64(x)) if isinstance(x, int) else x


def of_integers(op: str, a: int, b: int) -> int:
    if op in ("//", "%", "cdiv") and b == 0:
        raise Undefined
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "//":
            return math.floor(Fraction(a, b))
        case "%":
            return a - b * math.floor(Fraction(a, b))
        case "cdiv":
            return math.ceil(Fraction(a, b))
        case "min":
            return min(a, b)
        case "max":
            return max(a, b)
    return int({"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[op])


def of_floats(op: str, a: np.float32, b: np.float32) -> Value:
    if op in ("/", "//", "%") and b == 0:
        raise Undefined
    match op:
        case "<":
            return int(a < b)
        case "<=":
            return int(a <= b)
        case "==":
            return int(a == b)
        case "!=":
            return int(a != b)
        case "min":
            return b if b < a else a
        case "max":
            return b if b > a else a
    found = f32({"+": f32.__add__, "-": f32.__sub__, "*": f32.__mul__, "/": f32.__truediv__}[op](a, b)) \
        if op in "+-*/" else floored(a, b) if op == "//" else remainder(a, b)  # fmt: skip
    vanished = found == 0 and op in "*/" and a != 0 and b != 0 and np.isfinite(b)
    if vanished or 0 < abs(found) < 2.0**-126:
        raise Undefined
    return found


def floored(a: np.float32, b: np.float32) -> np.float32:
    quotient = f32(a / b)
    if not abs(quotient) < 2.0**31:
        return quotient
    if np.isinf(b):
        return f32(-1 if a != 0 and (a < 0) != (b < 0) else 0)
    return nearest(math.floor(Fraction(float(a)) / Fraction(float(b))))


def remainder(a: np.float32, b: np.float32) -> np.float32:
    rest = np.fmod(a, b)
    if rest == 0:
        return f32(math.copysign(0, b))
    return rest if np.isnan(rest) or (rest < 0) == (b < 0) else f32(rest + b)


def drawn(rng: random.Random, depth: int = 4, floats: bool | None = None) -> Expr:
    """Any expression, a float or not (None: either)."""
    if floats is None:
        floats = rng.random() < 0.5
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.3:
            return Const(rng.choice(BROKEN if floats else WHOLE))
        return Var(rng.choice(FLOATS if floats else INTS), floats)
    kinds = (
        [(ARITHMETIC, 6), (("/",), 1)] if floats else [((*ARITHMETIC, "cdiv"), 6), (COMPARISONS, 1)]
    )
    ops = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
    op = rng.choice(ops)
    if op in COMPARISONS:
        sides = [None, None]
    elif op == "/":
        sides = [rng.random() < 0.5, rng.random() < 0.5]
    else:
        sides = [floats, floats and rng.random() < 0.6]
        rng.shuffle(sides)
    a, b = (drawn(rng, depth - 1, side) for side in sides)
    return Bin(op, a, b)


def defined(rng: random.Random, count: int) -> Iterator[Expr]:
    """``count`` operators on something, each with a value for every set of ``DATA``."""
    while count:
        e = drawn(rng, rng.randint(1, 4))
        try:
            if isinstance(e, Bin):
                for env in DATA:
                    meaning(e, env)
                count -= 1
                yield e
        except Undefined:
            continue


def same(got: Any, want: Value) -> bool:
    """One number, down to the sign of a zero; any NaN is NaN."""
    if isinstance(want, int):
        return isinstance(got, int | np.integer) and int(got) == want
    if isinstance(got, int | np.integer):
        return False
    return (
        np.isnan(want) and np.isnan(got) or f32(got).tobytes() == want.tobytes() and f32(got) == got
    )
