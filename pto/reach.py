"""Which values an index really takes, where that is known when the program is read.

In: expressions over loop counters, lanes and named scalars.  Out: linear forms, and the least and the
greatest value that some step has.  Non-goals: bounds of what is not linear (``pto/bounds.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from math import prod

from pto.arithmetic import NumberError
from pto.ir import Bin, Const, Expr, Var, evaluate, names_in

MOST_TRIED = 4096
"""Steps of which the values of an index are simply computed."""

Terms = Mapping[str, int]
"""A linear expression: integer coefficients by name, '' for the constant."""


def added(a: Terms, b: Terms, sign: int) -> Terms:
    """``a + sign * b``."""
    return {n: a.get(n, 0) + sign * b.get(n, 0) for n in dict.fromkeys((*a, *b))}


def _scaled(a: Terms, b: Terms) -> Terms | None:
    for x, y in ((a, b), (b, a)):
        if set(x) <= {""}:
            return {n: c * x.get("", 0) for n, c in y.items()}
    return None


def terms_of(e: Expr, known: Callable[[str], Terms | None]) -> Terms | None:
    """``e`` over what counts steps, None if it is not linear in that; ``known``: names as such."""
    if isinstance(e, Const):
        return {"": e.value} if isinstance(e.value, int) else None
    if isinstance(e, Var):
        return known(e.name)
    a, b = terms_of(e.a, known), terms_of(e.b, known)
    if a is None or b is None:
        return None
    if e.op in ("+", "-"):
        return added(a, b, 1 if e.op == "+" else -1)
    return _scaled(a, b) if e.op == "*" else None


def reach_of(terms: Terms | None, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """(least, greatest) value that some step has, if ``ranges`` tells values of all that counts: each
    of them surely takes every one on its own."""
    if terms is None:
        return None
    low = high = terms.get("", 0)
    for name, factor in terms.items():
        if name and factor:
            if name not in ranges:
                return None
            ends = [factor * x for x in ranges[name]]
            low, high = low + min(ends), high + max(ends)
    return low, high


def spread_of(e: Expr, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """``reach_of`` of what is not linear, by trying: None if that is too much."""
    names = list(dict.fromkeys(names_in(e)))
    if not all(n in ranges for n in names):
        return None
    each = [range(ranges[n][0], ranges[n][1] + 1) for n in names]
    if prod(map(len, each)) > MOST_TRIED:
        return None
    try:
        found = [evaluate(e, dict(zip(names, x, strict=True)).__getitem__) for x in product(*each)]
    except NumberError:
        return None
    return int(min(found)), int(max(found))


def constant_of(terms: Terms | None) -> int | None:
    """The value of what counts nothing."""
    return terms.get("", 0) if terms is not None and set(terms) <= {""} else None


def depth_of(e: Expr) -> int:
    """How deep an expression nests; without recursion, it may be deeper than Python can go."""
    deepest, todo = 0, [(e, 0)]
    while todo:
        x, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(x, Bin):
            todo += [(x.a, depth + 1), (x.b, depth + 1)]
    return deepest
