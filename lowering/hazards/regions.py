"""When two regions of one GM tensor provably share no element.

In: the start, size and valid count of every dimension of two accesses, as scalar expressions over
loop counters, launch scalars and values read from input tensors.  Out: True only if no element is
common for any values of those scalars that satisfy what is said about them (which of them are
equal, which are known to differ, what the types of tables state).  False means "not proven", never
"they overlap".

The method assumes an overlap in every dimension at once and collects what follows, until it
contradicts what is known.  What follows is told by *cells*: ranges of numbers, of which each of the
two accesses lies in one, and which share nothing unless they are the same (``lowering/hazards/cells.py``).

An overlap is one of what is left without whole *turns*, too, wherever that lies in a window of one turn: of elements
that lie ``step`` apart what is left of their starts is equal, and of blocks of 16 rows the upper half meets no lower
one, whichever blocks these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import gcd

from lowering.hazards.cells import Cells, Extent, Region, cells_of, one, point
from lowering.hazards.forms import (
    Frozen,
    Terms,
    at_most,
    form_of,
    frozen,
    least,
    most,
    normalise,
    plus,
    terms_of,
)
from lowering.hazards.limits import INFINITE, Facts
from lowering.hazards.sums import around, cells_of_sums
from pto.ir import Bin, Const, Expr, Var, View, as_span, binary

__all__ = ["Region", "disjoint", "region_of"]


def region_of(view: View) -> Region:
    """The region of a view whose scalars are already inlined."""
    found = []
    for item in view.index:
        span = as_span(item)
        start = form_of(span.start)
        ends = [plus(start, {None: span.reach})]
        if span.valid is not None:
            last = plus(start, form_of(span.valid), span.step)
            ends.append(plus(last, {None: 1 - span.step}))
        found.append(
            Extent(frozen(start), tuple(map(frozen, ends)), span.step if span.size > 1 else 0)
        )
    return tuple(found)


def remainder(e: Extent, turn: int) -> Extent:
    """What is left of ``e`` without whole turns: every factor as near to zero as can be."""
    near = {atom: (c + (turn - 1) // 2) % turn - (turn - 1) // 2 for atom, c in e.start}
    if e.step % turn == 0:
        return one(near)
    return Extent(frozen(near), tuple(frozen(plus(near, size)) for size in e.sizes), e.step)


class Overlap:
    """The assumption that two accesses overlap in each of ``regions``, the further ``dimensions`` in which
    they do so then, and the scalars that this forces to be equal."""

    def __init__(
        self,
        regions: Iterable[tuple[Extent, Extent]],
        same: Iterable[str],
        differ: Iterable[str],
        opaque: Mapping[str, frozenset[str]],
        facts: Facts,
    ) -> None:
        self.regions = tuple(regions)
        self.dimensions = list(self.regions)
        self.same, self.differ, self.opaque = frozenset(same), frozenset(differ), opaque
        self.names = set(self.same)
        self.facts = facts
        self.atoms: set[Expr] = set()

    # what is equal

    def equal(self, atom: Expr) -> bool:
        """True if ``atom`` has one value in both accesses."""
        if atom in self.atoms or isinstance(atom, Const):
            return True
        low, high = self.facts.limits(atom)
        if low == high and abs(low) < INFINITE:
            return True
        if isinstance(atom, Var):
            return atom.name in self.names or self._follows(atom.name)
        return self.equal(atom.a) and self.equal(atom.b)

    def _follows(self, name: str) -> bool:
        """A value read from an input tensor is equal if what indexes it is, a fold if it goes as far over what is equal;
        so is a work item."""
        if name.startswith("item#"):
            return {"block_idx", name.removeprefix("item#")} <= self.names
        if name in self.facts.entries:
            return all(map(self.equal, self.facts.entries[name].place))
        fold = self.facts.folds.get(name)
        if fold is not None:
            return all(map(self.equal, (normalise(fold.trips), *around(fold))))
        needs = self.opaque.get(name)
        return needs is not None and all(n in self.names or self._follows(n) for n in needs)

    def learn(self, atom: Expr) -> None:
        """``atom`` is equal; with ``x // q`` and ``x % q`` so is ``x``, and what a sum says of its parts
        is one more dimension."""
        if atom in self.atoms or isinstance(atom, Const):
            return
        self.atoms.add(atom)
        if isinstance(atom, Var):
            self.names.add(atom.name)
            if atom.name.startswith("item#"):
                self.names |= {"block_idx", atom.name.removeprefix("item#")}
        elif atom.op in "+-*":
            self.meet(point(atom), point(atom))

    def meet(self, x: Extent, y: Extent) -> None:
        """The accesses overlap in one more dimension."""
        if (x, y) not in self.dimensions:
            self.dimensions.append((x, y))

    @property
    def contradicts(self) -> bool:
        return not self.differ.isdisjoint(self.names) or any(
            self._below(x, y) or self._below(y, x) for x, y in self.dimensions
        )

    # what follows

    def grows(self) -> bool:
        """Adds what follows at once; whether there was anything."""
        before = len(self.atoms), len(self.names), len(self.dimensions)
        for x, y in tuple(self.dimensions):
            self._turns(x, y)
            for cells in (*cells_of(x, y, self.facts), *cells_of_sums(x, y, self.facts)):
                if all(map(self.equal, cells.needs)) and self._forced(x, y, cells):
                    cells.tell(self)
        for low in [a for a in self.atoms if isinstance(a, Bin) and a.op == "%"]:
            if low.a not in self.atoms and self.equal(low.b) and self._whole(low):
                self.learn(low.a)
        return before != (len(self.atoms), len(self.names), len(self.dimensions))

    def _turns(self, x: Extent, y: Extent) -> None:
        """Without whole turns, of whatever number, both overlap as well, if what is left of each lies in one window
        of a turn: without the steps from element to element, or the steps of what is not equal."""
        steps = {abs(c) for e in (x, y) for a, c in e.start if a is not None and not self.equal(a)}
        for turn in sorted({gcd(x.step, y.step), *steps} - {0, 1}):
            a, b = (remainder(e, turn) for e in (x, y))
            if self._forced(a, b, Cells({}, {}, {None: turn}, {None: turn})):
                self.meet(a, b)

    def _whole(self, low: Bin) -> bool:
        """A remainder is equal, and so is what it is the remainder of: the quotient is equal, or it
        lies in a window that is no wider than the divisor."""
        x = point(low.a)
        width = form_of(low.b)
        window = Cells({}, {}, width, width)
        return any(map(self.equal, _quotients(low.a, low.b))) or self._forced(x, x, window)

    # regions and cells

    def _below(self, a: Extent, b: Extent) -> bool:
        """``a`` ends before ``b`` begins."""
        return any(
            self._end(a, by) <= least(plus(dict(b.start), by, -1), self.facts)
            for by in self._equal_parts([b.start, *a.ends])
        )

    def _forced(self, x: Extent, y: Extent, cells: Cells) -> bool:
        """Each of the two lies in its cell: all cells may be moved by one distance, equal in both."""
        start = plus(dict(x.start), cells.x, -1)
        ends = [plus(dict(end), cells.end_x, -1) for end in x.ends]
        for by in self._equal_parts(map(frozen, [start, *ends])):
            first = plus(dict(y.start), cells.y, -1)
            low = min(least(plus(e, by, -1), self.facts) for e in (start, first))
            if self._end(x, plus(cells.end_x, by)) <= low:
                if self._end(y, plus(cells.end_y, by)) <= low:
                    return True
        return False

    def _equal_parts(self, forms: Iterable[Frozen]) -> list[Terms]:
        """What of each form is equal in both accesses."""
        parts = (tuple((k, c) for k, c in t if k is not None and self.equal(k)) for t in forms)
        return [dict(part) for part in dict.fromkeys(parts)]

    def _end(self, e: Extent, less: Terms) -> float:
        """The greatest end of ``e``, less that."""
        forms = (form for end in e.ends for form in at_most(plus(dict(end), less, -1), self.facts))
        sizes = (most(size, self.facts) for size in e.sizes)
        by_size = most(plus(dict(e.start), less, -1), self.facts) + min(sizes)
        return min(by_size, *(most(form, self.facts) for form in forms))


def _quotients(whole: Expr, divisor: Expr) -> list[Expr]:
    """The ways to write ``whole // divisor``; ``(x // a) // b`` may stand as ``x // (a * b)``."""
    ways: list[Expr] = [Bin("//", whole, divisor)]
    if isinstance(whole, Bin) and whole.op == "//":
        ways += [
            Bin("//", whole.a, Bin("*", *pair)) for pair in ((whole.b, divisor), (divisor, whole.b))
        ]
        if isinstance(whole.b, Const) and isinstance(divisor, Const):
            ways.append(Bin("//", whole.a, Const(whole.b.value * divisor.value)))
    return ways


def disjoint(
    a: Region,
    b: Region,
    same: Iterable[str],
    differ: Iterable[str],
    opaque: Mapping[str, frozenset[str]],
    facts: Facts,
) -> bool:
    """True if ``a`` and ``b`` share no element, when the scalars ``same`` are equal in both
    accesses, every name of ``differ`` is known to differ, and ``facts`` bounds them."""
    return _contradictory(Overlap(zip(a, b, strict=True), same, differ, opaque, facts))


def _contradictory(known: Overlap) -> bool:
    """True if no two accesses overlap so."""
    while not known.contradicts:
        if not known.grows():
            return _in_each_case(known)
    return True


CASE_LIMIT = 8
"""A remainder of at most so many values is looked at for each of them."""


def _in_each_case(known: Overlap) -> bool:
    """``_contradictory``, whatever value a remainder ``x % n`` has that is equal in both accesses and a
    factor in one of them (every second row of blocks runs backwards, say)."""
    extents = [e for pair in known.regions for e in pair]
    factors = (found for extent in extents for found in _remainders(extent))
    for atom, count in ((e, n) for e, n in dict.fromkeys(factors) if known.equal(e)):
        if all(_contradictory(_in_case(known, atom, value)) for value in range(count)):
            return True
    return False


def _remainders(extent: Extent) -> Iterator[tuple[Bin, int]]:
    """The remainders of few values in the products of an extent, each with how many it has."""
    todo = [atom for terms in extent.terms for atom, _ in terms if isinstance(atom, Bin)]
    while todo:
        e = todo.pop()
        if e.op == "%" and isinstance(e.b, Const) and 0 < e.b.value <= CASE_LIMIT:
            yield e, int(e.b.value)
        elif e.op in ("+", "-", "*"):
            todo += [x for x in (e.a, e.b) if isinstance(x, Bin)]


def _in_case(known: Overlap, atom: Bin, value: int) -> Overlap:
    """The same assumption where ``atom`` has that value."""
    first, second = (in_case(side, atom, value) for side in zip(*known.regions, strict=True))
    return Overlap(
        zip(first, second, strict=True), known.same, known.differ, known.opaque, known.facts
    )


def in_case(region: Region, atom: Expr, value: int) -> Region:
    """``region`` where ``atom`` has that value."""

    def case(t: Frozen) -> Frozen:
        out: Terms = {}
        for e, c in t:
            out = plus(out, {None: 1} if e is None else terms_of(_replaced(e, atom, value)), c)
        return frozen(out)

    return tuple(replace(e, start=case(e.start), ends=tuple(map(case, e.ends))) for e in region)


def _replaced(e: Expr, atom: Expr, value: int) -> Expr:
    if e == atom:
        return Const(value)
    if isinstance(e, Bin):
        return binary(e.op, _replaced(e.a, atom, value), _replaced(e.b, atom, value))
    return e
