"""What the conditions of a row say of its scalars: numbers that are equal in all its accesses.

In: conditions, which are not 0 where a row works.  Out: regions with one more dimension for every two conditions that
leave one number each, ``a == b``, or ``x % 2 != 0``: there the accesses meet, as both have that number.
So ``b == n - 1`` holds for one work item, and ``b // 2`` of those where ``b % 2`` is 0 is of no other.
Non-goals: conditions that leave several numbers (``a < b``), which of two ways is taken (``choices``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from math import inf

from lowering.hazards.cells import Extent, Region, point
from lowering.hazards.forms import form_of, least, plus
from lowering.hazards.limits import Facts
from lowering.hazards.scalars import factors
from pto.ir import Bin, Const, Expr

NEGATIVE = {"<": -1, "<=": 0}
"""The greatest ``a - b`` where a comparison of integers holds."""


def where_they_hold(
    a: Region, b: Region, of_a: Iterable[Expr], of_b: Iterable[Expr], facts: Facts
) -> tuple[Region, Region]:
    """The regions of two accesses under conditions, with the dimensions in which these say where they are."""
    pairs = list(product(_numbers(of_a, facts), _numbers(of_b, facts)))
    return (*a, *(x for x, _ in pairs)), (*b, *(y for _, y in pairs))


def _numbers(conditions: Iterable[Expr], facts: Facts) -> Iterator[Extent]:
    """What is 0 by each of the conditions."""
    for condition in (x for e in conditions for x in _all_of(e)):
        apart, op = condition, "!="
        if isinstance(condition, Bin) and condition.op in ("==", "!=", *NEGATIVE):
            apart, op = Bin("-", condition.a, condition.b), condition.op
        value = _only(apart, op, facts) if facts.whole(apart) else None
        if value is not None:
            yield point(Bin("-", apart, Const(value)))


def _all_of(condition: Expr) -> Iterator[Expr]:
    """What is not 0 where a product is not."""
    match condition:
        case Bin("!=", e, Const(0)):
            several = list(factors(e))
            yield from several if len(several) > 1 else (condition,)
        case _:
            yield from factors(condition)


def _only(apart: Expr, op: str, facts: Facts) -> int | None:
    """The number that ``apart`` is where it compares so with 0, if it can be one only."""
    form = form_of(apart)
    low, high = least(form, facts), -least(plus({}, form, -1), facts)
    if op == "==":
        low = high = 0
    elif op == "!=":
        low, high = low + (low == 0), high - (high == 0)
    else:
        high = min(high, NEGATIVE[op])
    return int(low) if low == high and abs(low) < inf else None
