"""Do two stores of a kernel ever write one element?

Work items run in any order on many cores, and iterations overlap, so every store must have a region
of its own for every work item and iteration; only what is added may meet what is added, as a sum has no
order.  Two steps: a proof that the regions lie apart (mixed
radix, per dimension), and where that fails a search for two steps that clash.  A table of indices is
taken to hold what its type states, and entries that lie far from each other: no clash is found there
that depends on data, and none is reported (the proof asks for what keeps them apart).  Under conditions (``pto.when``) only
the steps that take them are steps of the store; where data decides which these are, none is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import gcd

from pto import ir
from pto.arithmetic import Number
from pto.bounds import bounds
from pto.loc import Loc
from pto.tracer import Trace

STEPS = 64
"""How many steps of a store the search looks at."""

FAR = 2**31 - 1
"""By how much the entries of tables differ: more than a store reaches in that many steps; a prime."""

Region = tuple[range, ...]
Values = tuple[int, ...]
"""Of the counters of an access, one of its steps."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What makes a store happen again: an ``axis`` of the grid, or a loop ('')."""

    name: str
    trips: ir.Expr
    axis: str

    @property
    def what(self) -> str:
        return f"axis {self.axis} of the grid" if self.axis else f"loop '{self.name}'"


class Access:
    """A load or a store: its region with every ``let`` replaced, what counts its repetitions, the ``ways`` that
    lead to it, the ``tests`` that hold there, and whether it ``adds``."""

    what: str

    def __init__(self, view: ir.View, trace: Trace, loc: Loc | None, adds: bool = False) -> None:
        self.trace, self.loc, self.tensor, self.adds = trace, loc, view.tensor, adds
        self.index, self.ways = ir.map_exprs(view, trace.resolved).index, trace.ways
        counted = [
            Counter(name, trips, str(k) if k < len(trace.grid) else "")
            for k, (name, trips) in enumerate(trace.counters.items())
        ]
        self.counters = [c for c in counted if bounds(c.trips, {}).high > 1]
        self.tests = [c.trips for c in counted if bounds(c.trips, {}).high <= 1]

    def depends(self, e: ir.Expr) -> set[str]:
        """Counters that ``e`` depends on, through tables and folds too."""
        found: set[str] = set()
        names = list(ir.names_in(e))
        while names:
            name = names.pop()
            behind = self.trace.behind(name)
            names += behind
            if not behind:
                found.add(name)
        return found & {c.name for c in self.counters}


class Load(Access):
    """It never adds."""

    what = "load"


class Store(Access):
    """It may add."""

    what = "store"

    @property
    def verb(self) -> str:
        return "adds" if self.adds else "stores"


def clash(new: Store, earlier: list[Store]) -> tuple[str, str] | None:
    """(message, hint) if ``new`` writes an element twice or one that ``earlier`` stores write, and not both
    add to it."""
    alone = None if new.adds else _clash_of_steps(new)
    return alone or _clash_with(new, [x for x in earlier if not (x.adds and new.adds)])


def _clash_of_steps(new: Store) -> tuple[str, str] | None:
    starts = (ir.as_span(item).start for item in new.index)
    used: set[str] = set().union(*map(new.depends, (*starts, *new.tests)))
    for counter in new.counters:
        if counter.name not in used:
            where = "work items along" if counter.axis else "iterations of"
            hint = "store after the loop, or let the region depend on its index"
            hint = "let the region depend on pto.program_id" if counter.axis else hint
            return (
                f"store: all {where} {counter.what} write the same elements of '{new.tensor}'",
                f"{hint}; pto.store(..., add=True) sums them up",
            )
    if not _is_apart(new):
        found = _witness(new, new)
        if found:
            return _overlap(new, *found)
    return None


def _clash_with(new: Store, earlier: list[Store]) -> tuple[str, str] | None:
    for other in earlier:
        apart = _goes_elsewhere(new, other) or _lies_beside(new, other)
        found = None if apart else _witness(other, new)
        if found:
            return _met(new, other, both(other, new, *found))
    return None


def _goes_elsewhere(new: Store, other: Store) -> bool:
    """Two ways of one choice write one region: either does, and to what another step writes comes neither, since
    each by itself has a region of its own."""
    chosen = (name for name, way in new.ways.items() if other.ways.get(name, way) != way)
    return new.index == other.index and next(chosen, "") != ""


def _met(new: Store, other: Store, when: str) -> tuple[str, str]:
    what = "gets elements here that it already gets"
    hint = "two stores of one kernel must write different elements"
    if new.adds != other.adds:
        here, there = ("added to", "stored") if new.adds else ("stored", "added to")
        what = f"has elements that are {here} here and {there}"
        hint = "nothing orders the two: a sum starts from what the array of the call holds"
    return f"store: '{new.tensor}' {what} at {other.loc}{when}", hint


def _overlap(store: Store, a: Values, b: Values) -> tuple[str, str]:
    differing = [c for c, x, y in zip(store.counters, a, b, strict=True) if x != y]
    if len(differing) == 1:
        for item in store.index:
            step = ir.coefficient(ir.as_span(item).start, differing[0].name)
            size = ir.as_span(item).size
            if step is not None and 0 < abs(step) < size and ir.as_span(item).step == 1:
                return (
                    f"store: neighbouring regions of '{store.tensor}' overlap: each takes {size} "
                    f"elements, but {differing[0].what} moves them by {step} only",
                    f"move by {size}, or store fewer elements: pto.ds(start, size, valid=count)",
                )
    return (
        f"store: two steps write the same elements of '{store.tensor}'"
        f": at {_when(store, a)} and at {_when(store, b)}",
        "every work item and iteration needs a region of its own; pto.store(..., add=True) sums them up",
    )


def both(a: Access, b: Access, at: Values, then: Values) -> str:
    """At which steps two accesses meet, '' where it is one."""
    same = at == then and [c.name for c in a.counters] == [c.name for c in b.counters]
    if same or not at or not then:
        return ""
    return f": there at {_when(a, at)}, here at {_when(b, then)}"


def _when(access: Access, values: Values) -> str:
    """``program_id(0) = 0, i = 1``"""
    names = [f"program_id({c.axis})" if c.axis else c.name for c in access.counters]
    return ", ".join(f"{n} = {v}" for n, v in zip(names, values, strict=True))


# ------------------------------------------------------------------------------------------ proof


def _is_apart(store: Store) -> bool:
    """True if every counter alone moves the store to other elements, whatever the others do."""
    apart: set[str] = set()
    for item in store.index:
        apart |= _separated(item, store)
    return apart >= {c.name for c in store.counters}


def _separated(item: ir.Expr | ir.Span, store: Store) -> set[str]:
    """Counters that this dimension keeps apart: steps grow faster than what lies below them."""
    terms = ir.coefficients(ir.as_span(item).start)
    if terms is None or any(store.trace.is_data(n) for n in terms):
        return set()
    counters = sorted(
        (c for c in store.counters if terms.get(c.name)), key=lambda c: abs(terms[c.name])
    )
    extent: Number | None = ir.as_span(item).reach
    done: set[str] = set()
    for counter in counters:
        bound = _valid_extent(item, terms, done, store)
        if bound is not None:
            extent = bound if extent is None else min(extent, bound)
        step = abs(terms[counter.name])
        if extent is None or step < extent:
            return set()
        done.add(counter.name)
        trips = counter.trips
        extent = extent + step * (trips.value - 1) if isinstance(trips, ir.Const) else None
    return done


def _valid_extent(
    item: ir.Expr | ir.Span, start: dict[str, int], done: set[str], store: Store
) -> Number | None:
    """How far the existing elements reach over all values of ``done``, if that is a number."""
    if not isinstance(item, ir.Span) or item.valid is None:
        return None
    valid = ir.coefficients(item.valid)
    if valid is None:
        return None
    counters = {c.name for c in store.counters}
    for name in {*start, *valid} - {""}:
        grows = valid.get(name, 0) + (start.get(name, 0) if name in done else 0)
        if start.get(name, 0) < 0 or (grows > 0 if name in counters else grows != 0):
            return None
    return replace(item, size=max(valid.get("", 0), 1)).reach


def _lies_beside(a: Store, b: Store) -> bool:
    """True if one dimension, the same for all steps, keeps two stores apart."""
    for x, y in zip(a.index, b.index, strict=True):
        if a.depends(ir.as_span(x).start) or b.depends(ir.as_span(y).start):
            continue
        first, second = ir.as_span(x), ir.as_span(y)
        d = ir.distance(first.start, second.start)
        if d is not None and (d >= second.reach or -d >= first.reach):
            return True
    return False


# ----------------------------------------------------------------------------------------- search


def _witness(a: Store, b: Store) -> tuple[Values, Values] | None:
    """Values of the counters at which the two stores (or two steps of one) share an element."""
    sample = Sample(a.trace)
    first = list(sample.regions(a))
    if a is b:
        pairs = itertools.combinations(first, 2)
    else:
        pairs = itertools.product(first, sample.regions(b))  # type: ignore[assignment]
    for (at, x), (then, y) in pairs:
        if meet(x, y):
            return at, then
    return None


def meet(x: Region, y: Region) -> bool:
    """Whether two regions share an element."""
    return all(map(share, x, y))


def share(a: range, b: range) -> bool:
    """Whether two regions of one dimension share an element."""
    if a.stop <= b.start or b.stop <= a.start or (a.start - b.start) % gcd(a.step, b.step):
        return False
    return a.step == b.step or any(k in b for k in a)


class Sample:
    """Numbers for everything symbolic: large sizes, and tables that hold what their types state."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.known: dict[object, int] = {}

    def number(self, key: object, base: int) -> int:
        return self.known.setdefault(key, base + 1009 * len(self.known))

    def regions(self, access: Access) -> Iterator[tuple[Values, Region]]:
        """(values of the counters, region) for the first steps of an access."""
        if any(self.trace.is_data(n) for test in access.tests for n in ir.names_in(test)):
            return
        limit = int(STEPS ** (1 / max(len(access.counters), 1)) + 1e-9)
        yield from self._steps(access, limit, {}, access.counters)

    def _steps(
        self, access: Access, limit: int, env: dict[str, int], left: list[Counter]
    ) -> Iterator[tuple[Values, Region]]:
        if not left:
            if not all(self._value(test, env) > 0 for test in access.tests):
                return
            region = tuple(self._interval(item, env) for item in access.index)
            if all(region):
                yield tuple(env.values()), region
            return
        for value in range(min(limit, self._value(left[0].trips, env))):
            yield from self._steps(access, limit, {**env, left[0].name: value}, left[1:])

    def _value(self, e: ir.Expr, env: dict[str, int]) -> int:
        def lookup(name: str) -> int:
            if name in env:
                return env[name]
            view = self.trace.reads.get(name)
            if view is None and name in self.trace.folds:
                return self._folded(name, lookup)
            if view is None:
                return self.number(name, 4099)
            at = tuple(
                self._value(self.trace.resolved(ir.as_span(i).start), env) for i in view.index
            )
            return self._entry(view.tensor, at)

        return int(ir.evaluate(e, lookup))

    def _entry(self, table: str, at: tuple[int, ...]) -> int:
        """What a table holds there: counts are short, a sorted table rises, others repeat nothing."""
        stated = self.trace.stated
        if ir.Ranges(table) in itertools.chain(*stated.values()):
            return self.number((table, at), 4099)
        if ir.Sorted() in stated.get(table, ()):
            return self.number((table, at[:-1]), 65537) + at[-1] * FAR
        return 65537 + FAR * self.number((table, at), 0)

    def _folded(self, name: str, lookup: Callable[[str], int]) -> int:
        """What a fold gives by what it goes by: as entries of tables of which nothing is stated."""
        at = tuple(map(lookup, self.trace.behind(name)))
        return 65537 + FAR * self.number((name, at), 0)

    def _interval(self, item: ir.Expr | ir.Span, env: dict[str, int]) -> range:
        span = ir.as_span(item)
        start, size = self._value(span.start, env), span.size
        if span.valid is not None:
            size = min(size, max(self._value(span.valid, env), 0))
        return range(start, start + size * span.step, span.step)
