"""Between which numbers a scalar of a compiled program lies.

In: an expression over loop counters (``i#L``, ``u#L``, ``item#...``), sizes, values read and what the
launch provides.  Out: the least and the greatest value, ``INFINITE`` where there is none.
Counters, lanes, blocks and integer parameters (``docs/scalars.md``) are never negative, sizes and the
number of blocks at least 1; values read can be anything that the type of their table allows.  Shares nothing
with the bounds of the scheduler.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pto.arithmetic import DIVIDING
from pto.folds import INDEX, Fold
from pto.ir import BUILTINS, Const, Expr, Fact, Ranges, Sorted, Var, Within, distance

INFINITE = 1 << 62
Limits = tuple[int, int]
NONE: Limits = (-INFINITE, INFINITE)
COMPARISONS = ("<", "<=", "==", "!=")


def _cut(x: int) -> int:
    return min(max(x, -INFINITE), INFINITE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table, by its indices."""

    table: str
    place: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """``sizes``: names that are at least 1; ``counts``: at least 0; ``floats``: names that are no
    integers; ``greatest``: the largest values of counters; ``trips``: what a counter is less than,
    wherever it counts.  ``entries``: of values read, which entry of which table each is; ``stated``: what
    the types of tables state; ``within``: the limits of values that tables give; ``folds``: of the numbers of folds,
    which they are."""

    sizes: frozenset[str] = frozenset()
    floats: frozenset[str] = frozenset()
    greatest: dict[str, int] = field(default_factory=dict)
    counts: frozenset[str] = frozenset()
    trips: dict[str, Expr] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    stated: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    within: dict[str, Limits] = field(default_factory=dict)
    folds: dict[str, Fold] = field(default_factory=dict)

    def limits(self, e: Expr) -> Limits:
        """(least, greatest) value of ``e``."""
        if isinstance(e, Const):
            return (e.value, e.value) if isinstance(e.value, int) else NONE
        if isinstance(e, Var):
            return self._name(e.name)
        if not self.whole(e.a) or not self.whole(e.b):
            return (0, 1) if e.op in COMPARISONS else NONE
        low, high = _combined(e.op, self.limits(e.a), self.limits(e.b))
        return (max(low, 0), high) if e.op == "-" and self._rises(e.b, e.a) else (low, high)

    def _rises(self, a: Expr, b: Expr) -> bool:
        """``b`` is read from a sorted table, not before ``a``."""
        p, q = (self.entries.get(x.name) if isinstance(x, Var) else None for x in (a, b))
        if p is None or q is None or (p.table, p.place[:-1]) != (q.table, q.place[:-1]):
            return False
        steps = distance(q.place[-1], p.place[-1])
        is_sorted = any(isinstance(f, Sorted) for f in self.stated.get(p.table, ()))
        return is_sorted and steps is not None and steps >= 0

    def whole(self, e: Expr) -> bool:
        """Whether ``e`` is surely an integer."""
        if isinstance(e, Const):
            return isinstance(e.value, int)
        if isinstance(e, Var):
            return e.name not in self.floats
        return e.op in COMPARISONS or (e.op != "/" and self.whole(e.a) and self.whole(e.b))

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
        return self.within.get(name, NONE)

    def value_at(self, entry: Entry) -> Expr | None:
        """The value that is read there, if one is."""
        return next((Var(name) for name, e in self.entries.items() if e == entry), None)

    def entry(self, name: str, entry: Entry) -> None:
        """``name`` is the value read there."""
        self.entries[name] = entry
        self.within[name] = self.of_table(entry.table)

    def of_table(self, table: str) -> Limits:
        """What every entry of a table is."""
        low, high = NONE
        for fact in self.stated.get(table, ()):
            if isinstance(fact, Within):
                low, high = self.least(fact.low), _sum(self.most(fact.high), -1, INFINITE)
        if Ranges(table) in itertools.chain(*self.stated.values()):
            low = max(low, 0)
        return low, high

    def fold(self, name: str, fold: Fold) -> None:
        """``name`` is the number that it gives: an end of where that starts holds for it if no step from there on
        leaves it."""
        self.folds[name] = fold
        low, high = self.limits(fold.starts[0])
        state, step = fold.states[0].name, fold.steps[0]
        above = self.inside(fold, {state: (low, INFINITE)}).least(step)
        below = self.inside(fold, {state: (-INFINITE, high)}).most(step)
        self.within[name] = low if above >= low else -INFINITE, high if below <= high else INFINITE

    def fold_of(self, e: Expr | None) -> Fold | None:
        """The fold whose number ``e`` is."""
        return self.folds.get(e.name) if isinstance(e, Var) else None

    def inside(self, fold: Fold, states: Mapping[str, Limits] = MappingProxyType({})) -> Facts:
        """The same with what a step of a fold knows."""
        read = {x.name: self.of_table(view.tensor) for x, view in fold.read}
        return replace(self, within={**self.within, INDEX.name: (0, INFINITE), **read, **states})


def _combined(op: str, a: Limits, b: Limits) -> Limits:
    if op in COMPARISONS:
        return _compared(op, a, b)
    if op in DIVIDING and b[0] < 0 or op == "/":
        return NONE
    if op in DIVIDING:  # by 0 there is no value
        b = max(b[0], 1), max(b[1], 1)
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
