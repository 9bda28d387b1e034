"""Which values an index really takes, where that is known when the program is read.

In: expressions over loop counters, lanes and named scalars.  Out: the least and the greatest value
that some step has.  Non-goals: bounds of what is not linear (``pto/bounds.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod

from pto.arithmetic import NumberError
from pto.ir import Bin, Expr, Linear, Var, evaluate, names_in

MOST_TRIED = 4096
"""Steps of which the values of an index are simply computed."""


def reach_of(form: Linear, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """(least, greatest) value that some step has, if ``ranges`` tells values of all that counts: each
    of them surely takes every one on its own."""
    low = high = form[0]
    for atom, factor in form[1].items():
        if not isinstance(atom, Var) or atom.name not in ranges:
            return None
        ends = [factor * x for x in ranges[atom.name]]
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


def depth_of(e: Expr) -> int:
    """How deep an expression nests; without recursion, it may be deeper than Python can go."""
    deepest, todo = 0, [(e, 0)]
    while todo:
        x, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(x, Bin):
            todo += [(x.a, depth + 1), (x.b, depth + 1)]
    return deepest
