"""Whether what a type states of a table can be meant: the tensor of counts, the bounds.

In: a parameter among all of a kernel.  Out: what is wrong with it, in the words of its type.
Non-goals: whether a call keeps to it (``lowering/execute/facts.py``), what follows from it
(``lowering/hazards/regions.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pto import ir
from pto.errors import did_you_mean
from pto.limits import LIMITS
from pto.printer import expr, fact
from pto.reach import depth_of

Wrong = tuple[str, str]
"""What is wrong, and a hint; ('', '') if nothing is."""


def misfit(p: ir.Param, params: Sequence[ir.Param]) -> Wrong:
    """What is wrong with the facts of ``p``."""
    found = (CHECKS[type(f)](f, p, params) for f in p.facts)
    return next((wrong for wrong in found if wrong[0]), ("", ""))


def _nothing(f: ir.Fact, p: ir.Param, params: Sequence[ir.Param]) -> Wrong:
    return "", ""


def _counts(f: ir.Ranges, p: ir.Param, params: Sequence[ir.Param]) -> Wrong:
    """The counts are a table of the same shape that nothing writes."""
    fits = [
        q.name
        for q in params
        if q is not p and (q.dtype, q.shape, q.direction) == (p.dtype, p.shape, "in")
    ]
    if f.count in fits:
        return "", ""
    shape = ", ".join(map(str, p.shape or ()))
    message = f"'{fact(f)}': '{f.count}' is no other i32[{shape}] that is only read"
    return message, did_you_mean(f.count, fits) if fits else f'{f.count}="i32[{shape}]"'


def _bounds(f: ir.Within, p: ir.Param, params: Sequence[ir.Param]) -> Wrong:
    """The bounds are integers over the dimensions of the kernel."""
    dims = dict.fromkeys(d for q in params for d in q.shape or () if isinstance(d, str))
    for e in (f.low, f.high):
        if depth_of(e) > LIMITS["depth"].high or ir.is_float(e):
            return f"'{fact(f)}': a bound is an integer", ""
        unknown = [n for n in ir.names_in(e) if n not in dims]
        if unknown:
            return f"'{fact(f)}': '{unknown[0]}' is no dimension", did_you_mean(unknown[0], dims)
    low, high = f.low, f.high
    if isinstance(low, ir.Const) and isinstance(high, ir.Const) and high.value <= low.value:
        message = f"'{fact(f)}': no number lies from {expr(low)} to below {expr(high)}"
        return message, "the second bound is not among the numbers, as in range()"
    return "", ""


CHECKS: Mapping[type[ir.Fact], Callable[[Any, ir.Param, Sequence[ir.Param]], Wrong]] = {
    ir.Distinct: _nothing,
    ir.Sorted: _nothing,
    ir.Ranges: _counts,
    ir.Within: _bounds,
}
"""By the kind of a fact: what is wrong with it."""
