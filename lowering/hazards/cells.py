"""Ranges of numbers that share nothing unless they are the same one: *cells*.

In: one dimension of two accesses, and what the types of tables state.  Out: ``Cells``: a cell for each
of the two, and what follows if one element lies in both.  Where they come from:

* an integer: ``v .. v + 1``; in both cells only if it is equal in both accesses;
* a product with a factor that is the same: ``u * m .. u * m + m``; only if ``u`` is equal;
* a table of distinct entries: ``t[p] .. t[p] + 1``; only if the entry is the same one: ``p`` is equal;
* disjoint ranges: ``t[p] .. t[p] + count[p]``; only if ``p`` is equal;
* a sorted table: ``t[p] .. t[q]``; only if the numbers ``p .. q`` of its entries overlap as well.

Each holds for any factor in front, and however far all cells are moved together.  So a table hands
an overlap of the elements that it points to back to an overlap of its own indices.
Non-goals: whether the accesses lie in these cells (``lowering/hazards/regions.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lowering.hazards.forms import Frozen, Terms, at_most, form_of, frozen, plus
from lowering.hazards.limits import Entry, Facts
from pto import ir
from pto.ir import Bin, Expr, Var


@dataclass(frozen=True, slots=True)
class Extent:
    """One dimension of an access: its start and the ends that bound it, in normal form.  From one element to
    another are multiples of ``step``; 0: there is one element at most."""

    start: Frozen
    ends: tuple[Frozen, ...]
    step: int = 0

    @property
    def terms(self) -> tuple[Frozen, ...]:
        return self.start, *self.ends

    @property
    def sizes(self) -> Iterator[Terms]:
        """The numbers of elements that bound it."""
        return (plus(dict(end), dict(self.start), -1) for end in self.ends)


Region = tuple[Extent, ...]


def interval(low: Expr, high: Expr) -> Extent:
    """From ``low`` to below ``high``."""
    return Extent(frozen(form_of(low)), (frozen(form_of(high)),), 1)


def point(e: Expr) -> Extent:
    """A scalar as a dimension of one element."""
    return one(form_of(e))


def one(start: Terms) -> Extent:
    """One element."""
    return Extent(frozen(start), (frozen(plus(start, {None: 1})),))


class Overlapping(Protocol):
    """Two accesses that are assumed to overlap."""

    def learn(self, atom: Expr) -> None: ...

    def meet(self, x: Extent, y: Extent) -> None: ...


@dataclass(frozen=True, slots=True)
class Cells:
    """``x`` to below ``end_x`` of one access, ``y`` to below ``end_y`` of the other, provided that what
    it ``needs`` is equal in both.  If they share an element, ``equal`` is equal in both accesses, and these
    overlap in each pair of ``meets``."""

    x: Terms
    y: Terms
    end_x: Terms
    end_y: Terms
    equal: Expr | None = None
    meets: tuple[tuple[Extent, Extent], ...] = ()
    needs: tuple[Expr, ...] = ()

    def tell(self, overlap: Overlapping) -> None:
        """What follows, to the assumption of an overlap."""
        if self.equal is not None:
            overlap.learn(self.equal)
        for x, y in self.meets:
            overlap.meet(x, y)


def cells_of(x: Extent, y: Extent, facts: Facts) -> Iterator[Cells]:
    """What there are in one dimension of two accesses."""
    for v, c in x.start:
        for w, d in y.start:
            if v is None or w is None or c != d:
                continue
            if v == w:
                yield from _of_numbers(v, c)
            pair = _entries(v, w, facts)
            if pair is not None:
                for fact in facts.stated.get(pair[0].table, ()):
                    yield from OF_FACT[type(fact)](fact, Tops(x, y, v, w, c, *pair), facts)


def _of_numbers(v: Expr, c: int) -> Iterator[Cells]:
    """Of an atom, and of the factors of a product."""
    start: Terms = {v: c}
    end = plus(start, {None: abs(c)})
    yield Cells(start, start, end, end, v)
    if isinstance(v, Bin) and v.op == "*":
        for u, m in ((v.a, v.b), (v.b, v.a)):
            end = plus(start, form_of(m), abs(c))
            yield Cells(start, start, end, end, u, needs=(m,))


# --------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class Tops:
    """Two values read from one table, ``c`` times in the starts of ``x`` and ``y``, and where they were
    read: ``p`` and ``q``."""

    x: Extent
    y: Extent
    v: Expr
    w: Expr
    c: int
    p: Entry
    q: Entry

    @property
    def starts(self) -> tuple[Terms, Terms]:
        """Where the cells of both begin."""
        return {self.v: self.c}, {self.w: self.c}

    @property
    def same_place(self) -> tuple[tuple[Extent, Extent], ...]:
        """Both are one entry."""
        pairs = zip(self.p.place, self.q.place, strict=True)
        return tuple((point(a), point(b)) for a, b in pairs)


def _entries(v: Expr, w: Expr, facts: Facts) -> tuple[Entry, Entry] | None:
    """Where two values were read, if that is one table."""
    if not (isinstance(v, Var) and isinstance(w, Var)):
        return None
    p, q = facts.entries.get(v.name), facts.entries.get(w.name)
    return (p, q) if p is not None and q is not None and p.table == q.table else None


def _of_distinct(fact: ir.Distinct, t: Tops, facts: Facts) -> Iterator[Cells]:
    one: Terms = {None: abs(t.c)}
    x, y = t.starts
    yield Cells(x, y, plus(x, one), plus(y, one), meets=t.same_place)


def _of_ranges(fact: ir.Ranges, t: Tops, facts: Facts) -> Iterator[Cells]:
    counts = [facts.value_at(Entry(fact.count, e.place)) for e in (t.p, t.q)]
    if t.c > 0 and None not in counts:
        m, n = counts
        x, y = t.starts
        yield Cells(x, y, plus(x, {m: t.c}), plus(y, {n: t.c}), meets=t.same_place)


def _of_sorted(fact: ir.Sorted, t: Tops, facts: Facts) -> Iterator[Cells]:
    """Of one row of the table: all indices but the last are the same."""
    (*row, low_x), (*other, low_y) = t.p.place, t.q.place
    if t.c <= 0 or row != other:
        return
    for m, high_x in _last_entries(t.x, t.p, t.c, facts):
        for n, high_y in _last_entries(t.y, t.q, t.c, facts):
            meets = ((interval(low_x, high_x), interval(low_y, high_y)),)
            yield Cells(*t.starts, {m: t.c}, {n: t.c}, None, meets, tuple(row))


def _last_entries(e: Extent, first: Entry, c: int, facts: Facts) -> Iterator[tuple[Expr, Expr]]:
    """Values of the row of ``first`` at which ``e`` may end, and where in the row they are."""
    found: dict[Expr, Expr] = {}
    for end in e.ends:
        for form in at_most(dict(end), facts):
            for atom, n in form.items():
                entry = facts.entries.get(atom.name) if isinstance(atom, Var) else None
                if n == c and entry is not None and atom is not None:
                    if entry.table == first.table and entry.place[:-1] == first.place[:-1]:
                        found[atom] = entry.place[-1]
    yield from found.items()


OF_FACT: Mapping[type[ir.Fact], Callable[[Any, Tops, Facts], Iterator[Cells]]] = {
    ir.Distinct: _of_distinct,
    ir.Ranges: _of_ranges,
    ir.Sorted: _of_sorted,
    ir.Within: lambda fact, t, facts: iter(()),
}
"""By what is stated of a table, its cells."""
