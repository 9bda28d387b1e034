"""Between which numbers a scalar of a compiled program lies.

In: an expression over loop counters (``i#L``, ``u#L``, ``item#...``), sizes, values read and what the
launch provides.  Out: the least and the greatest value, ``INFINITE`` where there is none.
Counters, lanes, blocks and integer parameters (``docs/scalars.md``) are never negative, sizes and the
number of blocks at least 1; values read can be anything.  Shares nothing with the bounds of the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pto.arithmetic import DIVIDING
from pto.ir import BUILTINS, Const, Expr, Var

INFINITE = 1 << 62
Limits = tuple[int, int]
NONE: Limits = (-INFINITE, INFINITE)
COMPARISONS = ("<", "<=", "==", "!=")


def _cut(x: int) -> int:
    return min(max(x, -INFINITE), INFINITE)


@dataclass(frozen=True, slots=True)
class Facts:
    """``sizes``: names that are at least 1; ``counts``: at least 0; ``floats``: names that are no
    integers; ``greatest``: the largest values of counters.  ``places``: of values read from a tensor whose entries
    are distinct, where: equal ones are one entry."""

    sizes: frozenset[str] = frozenset()
    floats: frozenset[str] = frozenset()
    greatest: dict[str, int] = field(default_factory=dict)
    counts: frozenset[str] = frozenset()
    places: dict[str, tuple[Expr, ...]] = field(default_factory=dict)

    def limits(self, e: Expr) -> Limits:
        """(least, greatest) value of ``e``."""
        if isinstance(e, Const):
            return (e.value, e.value) if isinstance(e.value, int) else NONE
        if isinstance(e, Var):
            return self._name(e.name)
        if not self._whole(e.a) or not self._whole(e.b):
            return (0, 1) if e.op in COMPARISONS else NONE
        return _combined(e.op, self.limits(e.a), self.limits(e.b))

    def _whole(self, e: Expr) -> bool:
        """Whether ``e`` is surely an integer."""
        if isinstance(e, Const):
            return isinstance(e.value, int)
        if isinstance(e, Var):
            return e.name not in self.floats
        return e.op in COMPARISONS or (e.op != "/" and self._whole(e.a) and self._whole(e.b))

    def least(self, e: Expr) -> int:
        return self.limits(e)[0]

    def most(self, e: Expr) -> int:
        return self.limits(e)[1]

    def never_negative(self, e: Expr) -> bool:
        return self.least(e) >= 0

    def holds(self, test: Expr) -> bool | None:
        """Whether a test is always true, or always false; None if neither is known."""
        low, high = self.limits(test)
        return True if low > 0 or high < 0 else False if low == high == 0 else None

    def _name(self, name: str) -> Limits:
        if name in self.sizes or name == "block_num":
            return 1, INFINITE
        if "#" in name or name in BUILTINS or name in self.counts:
            return 0, 1 if name == "lane" else self.greatest.get(name, INFINITE)
        return NONE


def _combined(op: str, a: Limits, b: Limits) -> Limits:
    if op in COMPARISONS:
        return _compared(op, a, b)
    if op in DIVIDING and b[0] <= 0 or op == "/":
        return NONE
    if op == "%":
        below = b[1] if b[1] == INFINITE else b[1] - 1
        return 0, min(a[1], below) if a[0] >= 0 else below
    if op == "-":
        b = (-b[1], -b[0])
    if op in ("+", "-"):  # the ends do not mix: one infinity does not cancel another
        return _sum(a[0], b[0], -INFINITE), _sum(a[1], b[1], INFINITE)
    ends = [CORNERS[op](x, y) for x in a for y in b]
    return _cut(min(ends)), _cut(max(ends))


def _sum(x: int, y: int, infinite: int) -> int:
    return infinite if infinite in (x, y) else _cut(x + y)


def _quotient(x: int, y: int) -> int:
    """``x // y``, for y > 0, where either may be infinite."""
    if abs(x) == INFINITE and y < INFINITE:
        return x
    return x // y


CORNERS: Mapping[str, Callable[[int, int], int]] = {
    "*": lambda x, y: x * y,
    "min": min,
    "max": max,
    "//": _quotient,
    "cdiv": lambda x, y: -_quotient(-x, y),
}
"""What is least and greatest at least and greatest operands."""


def _compared(op: str, a: Limits, b: Limits) -> Limits:
    """Of a comparison: (1, 1) if it is always true, (0, 0) if never, else (0, 1)."""
    if op in ("==", "!="):
        apart = a[1] < b[0] or b[1] < a[0]
        one = a == b and a[0] == a[1]
        yes, no = (one, apart) if op == "==" else (apart, one)
    else:
        strict = op == "<"
        yes = a[1] < b[0] if strict else a[1] <= b[0]
        no = b[1] <= a[0] if strict else b[1] < a[0]
    return int(yes), int(not no)
