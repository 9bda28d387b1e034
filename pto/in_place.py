"""Does a step of a kernel ever load what another step stores?

A tensor that is updated in place is loaded and stored by one kernel.  Work items run in any order and iterations
overlap, so what one of them stores no other may load; what it loads or stores itself, in front or behind, has an
order, which the scheduler keeps.  As for two stores (``pto/overlap.py``) a clash is searched for among
the first steps.  Entries of a table are taken to be equal here, unless its type states how they differ: what
depends on data is refused, or stated.  At sums of terms that are never negative a clash is searched for in several made-up
tables (``pto/made_up.py``).
Non-goals: a proof; that of every schedule demands the order on its own (``lowering/hazards/``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, product

from pto import ir
from pto.arithmetic import Number
from pto.bounds import INTEGER, entry_of, of_tables
from pto.made_up import WORLDS, entry, sum_of
from pto.overlap import Access, Sample, Values, both, meet
from pto.running import resolved
from pto.tracer import Trace


class _Stated(Sample):
    """A table of which nothing is stated holds the same number everywhere, or in a made-up world what that says."""

    def __init__(self, trace: Trace, world: int) -> None:
        super().__init__(trace)
        self.world, self.ranges = world, of_tables(trace.stated.items(), {})

    def _entry(self, table: str, at: tuple[int, ...]) -> int:
        if told_apart(table, self.trace.stated.items()):
            return super()._entry(table, at)
        if self.world:
            return entry(self.world, table, at, self.ranges.get(entry_of(table), INTEGER))
        return self.number(table, 4099)

    def _folded(self, name: str, lookup: Callable[[str], int]) -> int:
        def read(view: ir.View, env: Callable[[str], Number]) -> int:
            at = (ir.evaluate(ir.as_span(item).start, env) for item in view.index)
            return self._entry(view.tensor, tuple(map(int, at)))

        fold = resolved(self.trace.folds[name], self.trace.lets)
        found = sum_of(fold, self.ranges, lookup, read)
        return self.number("fold", 4099) if found is None else found


def told_apart(table: str, stated: Iterable[tuple[str, tuple[ir.Fact, ...]]]) -> bool:
    """Whether a type states how the entries of ``table`` differ, or that they are counts of such a table."""
    facts = dict(stated)
    ways = (ir.Distinct, ir.Sorted, ir.Ranges)
    is_count = any(isinstance(f, ir.Ranges) and f.count == table for f in chain(*facts.values()))
    return is_count or any(isinstance(f, ways) for f in facts.get(table, ()))


def taken(new: Access, others: Iterable[Access]) -> tuple[str, str] | None:
    """(message, hint) if ``new`` meets one of ``others`` in another work item or iteration, or where either adds; one
    of the two is a load, the other a store."""
    for other in others:
        may = "may have" if _by_data(new) | _by_data(other) else "has"
        message = f"{new.what}: '{new.tensor}' {may} elements here that the {other.what} at {other.loc} has, too"
        if new.adds or other.adds:
            return (
                message,
                "the terms of a sum have no order: make it two parameters, one to read and one to write",
            )
        found = _witness(other, new)
        if found:
            return message + both(other, new, *found), _hint(other, new, *found)
    return None


def _witness(a: Access, b: Access) -> tuple[Values, Values] | None:
    """Two steps that share elements, and differ in an axis or a loop that both have."""
    sums = any(n in a.trace.folds for x in (a, b) for n in _by_data(x))
    for sample in (_Stated(a.trace, world) for world in (0, *WORLDS) if world == 0 or sums):
        for (at, x), (then, y) in product(list(sample.regions(a)), list(sample.regions(b))):
            if _other_step(a, b, at, then) and meet(x, y):
                return at, then
    return None


def _other_step(a: Access, b: Access, at: Values, then: Values) -> bool:
    first, second = _by_name(a, at), _by_name(b, then)
    return any(second.get(name, value) != value for name, value in first.items())


def _by_name(access: Access, values: Values) -> dict[str, int]:
    return {c.name: v for c, v in zip(access.counters, values, strict=True)}


def _hint(a: Access, b: Access, at: Values, then: Values) -> str:
    first, second = _by_name(a, at), _by_name(b, then)
    tables = (
        v.tensor for name, v in a.trace.reads.items() if any(name in _names(x) for x in (a, b))
    )
    if any(n in a.trace.folds for x in (a, b) for n in _names(x)):
        return SUMS
    unknown = [t for t in tables if not told_apart(t, a.trace.stated.items())]
    if unknown:
        return f"{unknown[0]} may name the same twice: 'distinct' behind its type states that no two entries are equal"
    axes = (c.name for c in a.counters if c.axis)
    if any(first[name] != second.get(name, first[name]) for name in axes):
        return "work items run in any order: make it two parameters, one to read and one to write"
    return (
        "iterations overlap: hand the tile on as the carry of the loop, or make it two parameters"
    )


SUMS = (
    "sums of terms that are never negative keep places apart, as pto.maximum(x, 0) or entries 'in 0 .. n' are: both end "
    "within the term of the next step, pto.ds(sum of counts[i], size, valid=counts[b])"
)


def _by_data(access: Access) -> set[str]:
    """The names of what tables and folds give that its region goes by."""
    names = (n for item in access.index for e in ir.exprs_of(item) for n in ir.names_in(e))
    return {n for n in names if access.trace.is_data(n)}


def _names(access: Access) -> set[str]:
    """Of the scalars that say where it lies."""
    return {n for item in access.index for n in ir.names_in(ir.as_span(item).start)}
