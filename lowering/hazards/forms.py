"""Scalars as linear forms, and larger forms that are never less.

In: expressions over loop counters, launch scalars and values read.  Out: ``Terms``, integer coefficients
by atom; whatever is not linear is an atom of its own.  Non-goals: what is equal in two accesses
(``lowering/hazards/regions.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf

from lowering.hazards.limits import INFINITE, Facts
from pto.ir import Bin, Const, Expr, Var, Within, binary, names_in

Terms = dict[Expr | None, int]
"""Integer coefficients by atom; ``None`` is the constant."""

Frozen = tuple[tuple[Expr | None, int], ...]
"""The same as a value, without zeros."""


def atom_names(terms: Iterable[tuple[Expr | None, int]]) -> Iterator[str]:
    """The names in a linear form."""
    for atom, _ in terms:
        if atom is not None:
            yield from names_in(atom)


def normalise(e: Expr) -> Expr:
    """``e`` with ``block_idx + w * block_num`` written as the work item ``item#...`` it numbers.

    Distinct pairs (block_idx, w) have distinct items, because 0 <= block_idx < block_num.
    """
    if not isinstance(e, Bin):
        return e
    a, b = normalise(e.a), normalise(e.b)
    if e.op == "+":
        for x, y in ((a, b), (b, a)):
            if x == Var("block_idx") and isinstance(y, Bin) and y.op == "*":
                for w, n in ((y.a, y.b), (y.b, y.a)):
                    if n == Var("block_num") and isinstance(w, Var):
                        return Var(f"item#{w.name}")
    return Bin(e.op, a, b)


def terms_of(e: Expr) -> Terms:
    """``e`` as a linear form; whatever is not linear becomes an atom of its own."""
    if isinstance(e, Const) and isinstance(e.value, int):
        return {None: e.value}
    if isinstance(e, Bin):
        a, b = terms_of(e.a), terms_of(e.b)
        if e.op in "+-":
            return plus(a, b, 1 if e.op == "+" else -1)
        if e.op == "*":
            for x, y in ((a, b), (b, a)):
                if set(x) <= {None}:
                    return {k: c * x.get(None, 0) for k, c in y.items()}
    return {e: 1}


def form_of(e: Expr) -> Terms:
    """``e``, its work item by number, as a linear form."""
    return terms_of(normalise(e))


def plus(a: Mapping[Expr | None, int], b: Mapping[Expr | None, int], factor: int = 1) -> Terms:
    """``a + factor * b``."""
    found = dict(a)
    for k, c in b.items():
        found[k] = found.get(k, 0) + factor * c
    return found


def frozen(t: Mapping[Expr | None, int]) -> Frozen:
    return tuple((k, c) for k, c in t.items() if c)


def at_most(t: Terms, facts: Facts) -> Iterator[Terms]:
    """``t``, and forms that are at least ``t`` whatever the scalars are: with less than its trip count
    for a counter, with either side for a minimum, ..."""
    found = {frozenset(frozen(t)): t}
    todo = [t]
    while todo:
        t = todo.pop()
        yield t
        for atom, c in t.items():
            for bound in _above(atom, c, facts) if atom is not None and c else ():
                larger = plus({k: n for k, n in t.items() if k != atom}, bound)
                if found.setdefault(frozenset(frozen(larger)), larger) is larger:
                    todo.append(larger)


def most(t: Mapping[Expr | None, int], facts: Facts) -> float:
    """The greatest value of a form by the limits of its atoms: an integer, or infinite."""
    return sum(max(_ends(atom, c, facts)) for atom, c in t.items() if c)


def least(t: Mapping[Expr | None, int], facts: Facts) -> float:
    """The least value of a form, also by what it is at least."""
    return max(-most(form, facts) for form in at_most(plus({}, t, -1), facts))


def _ends(atom: Expr | None, c: int, facts: Facts) -> list[float]:
    """The least and the greatest of ``c`` times an atom, in either order."""
    ends = (1, 1) if atom is None else facts.limits(atom)
    return [c * (end if abs(end) < INFINITE else inf if end > 0 else -inf) for end in ends]


def _above(atom: Expr, c: int, facts: Facts) -> Iterator[Terms]:
    """Forms that are at least ``c * atom``, each of simpler atoms."""
    if isinstance(atom, Var):
        for limit in _limits(atom.name, facts) if c > 0 else ():
            yield plus({None: -c}, form_of(limit), c)
    elif isinstance(atom, Bin) and atom.op in ABOVE:
        yield from ABOVE[atom.op](atom, c, facts)


def _limits(name: str, facts: Facts) -> Iterator[Expr]:
    """What a counter, or a value read, is less than."""
    match facts.trips.get(name):
        case Bin("max", e, Const(int(n))) | Bin("max", Const(int(n)), e) if n <= 0:
            yield e  # as large as that wherever the loop has an iteration
        case Const() | Var() | Bin() as trips:
            yield trips
    if name in facts.entries:
        for fact in facts.stated.get(facts.entries[name].table, ()):
            if isinstance(fact, Within):
                yield fact.high


def _side(atom: Bin, c: int, facts: Facts) -> Iterator[Terms]:
    """A minimum is at most either side, a maximum at least."""
    if (c > 0) == (atom.op == "min"):
        yield plus({}, form_of(atom.a), c)
        yield plus({}, form_of(atom.b), c)


def _remainder(atom: Bin, c: int, facts: Facts) -> Iterator[Terms]:
    """``x % m`` is from 0 to ``m - 1``; where ``m`` is 0 it has no value."""
    if _never_negative(atom.b, facts):
        yield plus({None: -c}, form_of(atom.b), c) if c > 0 else {}


def _quotient(atom: Bin, c: int, facts: Facts) -> Iterator[Terms]:
    """``k * (x // k)`` is from ``x - k + 1`` to ``x``, ``k * cdiv(x, k)`` from ``x`` to ``x + k - 1``."""
    k = atom.b.value if isinstance(atom.b, Const) else 0
    if isinstance(k, int) and k > 0 and c % k == 0:
        rest = {"//": min(c, 0), "cdiv": max(c, 0)}[atom.op] // k * (k - 1)
        yield plus({None: abs(rest)}, form_of(atom.a), c // k)
    elif atom.op == "//" and isinstance(atom.a, Var) and c > 0:
        for limit in _limits(atom.a.name, facts):
            yield from _share(limit, atom.b, c, facts)


def _share(limit: Expr, divisor: Expr, c: int, facts: Facts) -> Iterator[Terms]:
    """Forms that are at least ``c * (x // divisor)`` where ``x < limit`` and the factors of the divisor are
    some of those of the limit: of ``x < g * m``, ``k * (x // (k * m))`` is at most ``x // m < g``."""
    (whole, rest), (k, parts) = _factors(limit), _factors(divisor)
    for part in parts:
        if part not in rest:
            return
        rest.remove(part)
    if k > 0 and c % k == 0 and all(_never_negative(part, facts) for part in parts):
        left: Expr = Const(whole)
        for part in rest:
            left = binary("*", left, part)
        yield plus({None: -(c // k)}, form_of(left), c // k)


def _factors(e: Expr) -> tuple[int, list[Expr]]:
    """A product as a number and other factors."""
    if isinstance(e, Const) and isinstance(e.value, int):
        return e.value, []
    if isinstance(e, Bin) and e.op == "*":
        (x, some), (y, others) = _factors(e.a), _factors(e.b)
        return x * y, some + others
    return 1, [e]


def _never_negative(e: Expr, facts: Facts) -> bool:
    if isinstance(e, Bin) and e.op in ("min", "max"):
        sides = (_never_negative(x, facts) for x in (e.a, e.b))
        return all(sides) if e.op == "min" else any(sides)
    return least(form_of(e), facts) >= 0


ABOVE: Mapping[str, Callable[[Bin, int, Facts], Iterator[Terms]]] = {
    "min": _side,
    "max": _side,
    "%": _remainder,
    "//": _quotient,
    "cdiv": _quotient,
}
"""By operator: forms that are at least ``c`` times what it gives."""
