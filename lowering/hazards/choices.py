"""Which trip counts exclude each other: those of loops that are the two ways of one choice.

In: trip counts over the scalars of one iteration.  Out: whether no values make both of them positive.
Non-goals: what follows from the values of names; ``a < b`` and ``b < a`` of the same ``a`` and ``b`` is all.
"""

from __future__ import annotations

from collections.abc import Mapping

from pto.ir import Bin, Const, Expr

LESS, EQUAL, MORE, UNORDERED = "less", "equal", "more", "unordered"

HOLDS: Mapping[str, frozenset[str]] = {
    "<": frozenset({LESS}),
    "<=": frozenset({LESS, EQUAL}),
    "==": frozenset({EQUAL}),
    "!=": frozenset({LESS, MORE, UNORDERED}),
}
"""What ``a`` can be to ``b`` where the comparison holds; NaN is unordered to all."""

TURNED = {LESS: MORE, MORE: LESS}


def exclude(x: Expr, y: Expr) -> bool:
    """At most one of two trip counts is positive."""
    if not isinstance(x, Bin) or not isinstance(y, Bin):
        return False
    if _denies(x, y) or _denies(y, x):
        return True
    if not {x.op, y.op} <= HOLDS.keys():
        return False
    if (x.a, x.b) == (y.a, y.b):
        return HOLDS[x.op].isdisjoint(HOLDS[y.op])
    turned = frozenset(TURNED.get(case, case) for case in HOLDS[y.op])
    return (x.a, x.b) == (y.b, y.a) and HOLDS[x.op].isdisjoint(turned)


def _denies(x: Bin, y: Bin) -> bool:
    """``x`` is ``y == 0``."""
    return x == Bin("==", y, Const(0))
