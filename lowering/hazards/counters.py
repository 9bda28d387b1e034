"""What can be told of loop counters and trip counts without knowing them.

Indices and tests of a schedule are decided by finitely many classes of counter values
(``decidable``), or by how a counter or a constant compares with a trip count (``Relation``,
``Threshold``): that is what makes the states of a program finite (``lowering/hazards/normal_form.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

from lowering.hazards.forms import Terms
from lowering.hazards.limits import INFINITE
from pto.ir import Bin, Const, Expr, Var

UNKNOWN = 1 << 60
"""The trip count of a loop as long as it is not decided."""

ABSENT = -1
"""The number of no loop, cursor, pipe, byte range, flag, FIFO, slot or offset; below all that there are."""

ITERATION, TOTAL, COUNT = range(3)
LETTERS = "iun"
"""The counters of a loop: its iteration, its running total, the trip count of its last entry."""

COMPARE: dict[str, Callable[[int], bool]] = {
    "<": lambda d: d < 0,
    "<=": lambda d: d <= 0,
    "==": lambda d: d == 0,
    "!=": lambda d: d != 0,
}
"""Comparisons, of a difference with 0."""


@dataclass(slots=True)
class Counter:
    """What indices can tell about a loop counter: exact below ``exact``, then modulo ``modulus``."""

    modulus: int = 1
    exact: int = 0

    @property
    def classes(self) -> int:
        """How many values ``norm`` has."""
        return self.exact + self.modulus

    def norm(self, value: int) -> int:
        """The smallest value that indices cannot tell from ``value``."""
        if value < self.exact:
            return value
        return self.exact + (value - self.exact) % self.modulus


Values = dict[str, int]
Counters = dict[str, Counter]
"""Counters by name: ``i#L`` the iteration of loop L, ``u#L`` its running total, ``n#L`` the trip
count of its last entry."""


@dataclass(frozen=True, slots=True)
class Relation:
    """``sign * (i - n) + shift  op  0``: iteration ``i`` of ``loop`` against its trip count ``n``."""

    loop: int
    sign: int
    shift: int
    op: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """``sign * n + shift  op  0``: the trip count ``n`` of the loops of ``group`` against a constant."""

    group: int
    sign: int
    shift: int
    op: str

    @property
    def decided_from(self) -> int:
        """The outcome is one for all trip counts from here on, at least 1."""
        return max(1 - self.sign * self.shift, 1)


def settled(op: str, near: int, sign: int) -> bool:
    """``d op 0`` has one outcome for d = near, near + sign, near + 2 sign, ..."""
    if op in ("==", "!="):
        return sign * near > 0
    return COMPARE[op](near) == COMPARE[op](near + sign * INFINITE)


def plain_test(e: Expr) -> tuple[Expr, bool]:
    """A test without what does not matter: ``x != 0`` is ``x``, and ``x == 0`` its opposite (False)."""
    sign = True
    while isinstance(e, Bin) and e.op in ("==", "!=") and Const(0) in (e.a, e.b):
        sign = sign == (e.op == "!=")
        e = e.b if e.a == Const(0) else e.a
    if isinstance(e, Bin) and e.op == "!=":
        return Bin("==", e.a, e.b), not sign
    return e, sign


def decidable(e: Expr, modulus: int, into: Counters) -> bool:
    """True if ``e`` (modulo ``modulus``; 0: exactly) depends on loop counters in a way that
    finitely many classes of their values decide; the classes go ``into`` their counters."""
    if isinstance(e, Const):
        return isinstance(e.value, int)
    if isinstance(e, Var):
        return modulus > 0 and _note(e.name, modulus, 0, into)
    if e.op in ("+", "-", "*") and modulus:
        return decidable(e.a, modulus, into) and decidable(e.b, modulus, into)
    if (
        e.op in ("//", "%")
        and isinstance(e.b, Const)
        and isinstance(e.b.value, int)
        and e.b.value > 0
    ):
        if e.op == "%":
            return decidable(e.a, lcm(e.b.value, modulus or 1), into)
        return modulus > 0 and decidable(e.a, modulus * e.b.value, into)
    if e.op in ("<", "<=", "==", "!="):
        return _threshold(e, into) or (decidable(e.a, 0, into) and decidable(e.b, 0, into))
    return False


def _threshold(e: Bin, into: Counters) -> bool:
    """Comparisons of a counter plus a constant with a constant: exact up to the threshold."""
    shift = 0
    for x, y in ((e.a, e.b), (e.b, e.a)):
        while isinstance(x, Bin) and x.op in "+-" and isinstance(x.b, Const):
            shift += int(x.b.value) if x.op == "+" else -int(x.b.value)
            x = x.a
        if isinstance(x, Var) and isinstance(y, Const):
            return _note(x.name, 1, max(int(y.value) - shift + 1, 0), into)
        shift = 0
    return False


def constant(a: Terms, b: Terms, factor: int) -> int | None:
    """``a - factor * b`` if it is a constant."""
    left = {k: a.get(k, 0) - factor * b.get(k, 0) for k in (*a, *b)}
    return left.get(None, 0) if not any(c for k, c in left.items() if k is not None) else None


def _note(name: str, modulus: int, exact: int, into: Counters) -> bool:
    """The counter ``name`` must be known modulo ``modulus``, and exactly below ``exact``."""
    if "#" not in name:
        return False
    counter = into.setdefault(name, Counter())
    counter.modulus = lcm(counter.modulus, modulus)
    counter.exact = max(counter.exact, exact)
    return True
