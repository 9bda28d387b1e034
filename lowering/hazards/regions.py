"""When two regions of one GM tensor provably share no element.

In: the start, size and valid count of every dimension of two accesses, as scalar expressions over
loop counters, launch scalars and values read from input tensors.  Out: True only if no element is
common for any values of those scalars that satisfy what is said about them (which of them are
equal, which are known to differ).  False means "not proven", never "they overlap".

The method assumes an overlap in every dimension at once and collects which scalars must then be
equal: a dimension ``c * x + rest`` with ``rest`` inside an interval no wider than ``c`` forces ``x``
to be equal in both accesses.  If that includes a scalar known to differ, there is no overlap.

Non-goals: values of tables (two pages read from a block table may be one page), strides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lowering.hazards.limits import Facts
from pto.ir import Bin, Const, Expr, Span, Var, View, binary, names_in

Terms = dict[Expr | None, int]
"""Integer coefficients by atom; ``None`` is the constant."""


@dataclass(frozen=True, slots=True)
class Extent:
    """One dimension of an access: its start and the ends that bound it, in normal form."""

    start: tuple[tuple[Expr | None, int], ...]
    ends: tuple[tuple[tuple[Expr | None, int], ...], ...]

    @property
    def terms(self) -> tuple[tuple[tuple[Expr | None, int], ...], ...]:
        return self.start, *self.ends

    @property
    def sizes(self) -> Iterator[Terms]:
        """The numbers of elements that bound it."""
        for end in self.ends:
            size = dict(end)
            for atom, c in self.start:
                size[atom] = size.get(atom, 0) - c
            yield size


Region = tuple[Extent, ...]


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
            sign = 1 if e.op == "+" else -1
            return {
                k: a.get(k, 0) + sign * b.get(k, 0) for k in (*a, *(k for k in b if k not in a))
            }
        if e.op == "*":
            for x, y in ((a, b), (b, a)):
                if set(x) <= {None}:
                    return {k: c * x.get(None, 0) for k, c in y.items()}
    return {e: 1}


def _frozen(t: Terms) -> tuple[tuple[Expr | None, int], ...]:
    return tuple((k, c) for k, c in t.items() if c)


def region_of(view: View) -> Region:
    """The region of a view whose scalars are already inlined."""
    found = []
    for item in view.index:
        span = item if isinstance(item, Span) else Span(item, 1)
        start = terms_of(normalise(span.start))
        ends = [Bin("+", span.start, Const(span.size))]
        if span.valid is not None:
            ends.append(Bin("+", span.start, span.valid))
        found.append(Extent(_frozen(start), tuple(_frozen(terms_of(normalise(e))) for e in ends)))
    return tuple(found)


class Overlap:
    """The assumption that two accesses overlap, and the scalars it forces to be equal."""

    def __init__(
        self,
        same: Iterable[str],
        differ: Iterable[str],
        opaque: Mapping[str, frozenset[str]],
        facts: Facts,
    ) -> None:
        self.same, self.differ, self.opaque = frozenset(same), frozenset(differ), opaque
        self.names = set(self.same)
        self.facts = facts
        self.atoms: set[Expr] = set()

    def equal(self, atom: Expr) -> bool:
        """True if ``atom`` has one value in both accesses."""
        if atom in self.atoms:
            return True
        if isinstance(atom, Bin):
            return self.equal(atom.a) and self.equal(atom.b)
        return all(n in self.names or self._read_equal(n) for n in names_in(atom))

    def _read_equal(self, name: str) -> bool:
        """A value read from an input tensor is equal if what indexes it is; so is a work item."""
        if name.startswith("item#"):
            return {"block_idx", name.removeprefix("item#")} <= self.names
        needs = self.opaque.get(name)
        return needs is not None and all(n in self.names or self._read_equal(n) for n in needs)

    def learn(self, atom: Expr) -> None:
        """``atom`` is equal; with ``x // q`` and ``x % q`` so is ``x``."""
        self.atoms.add(atom)
        if isinstance(atom, Var):
            self.names.add(atom.name)
            if atom.name.startswith("item#"):
                self.names |= {"block_idx", atom.name.removeprefix("item#")}
            for place in map(normalise, self.facts.places.get(atom.name, ())):
                if not isinstance(place, Const) and place not in self.atoms:
                    self.learn(place)
        for low in [a for a in self.atoms if isinstance(a, Bin) and a.op == "%"]:
            assert isinstance(low, Bin)
            whole = low.a
            quotients = _quotients(whole, low.b) if self.equal(low.b) else []
            if whole not in self.atoms and any(self.equal(q) for q in quotients):
                self.learn(whole)

    @property
    def contradicts(self) -> bool:
        return not self.differ.isdisjoint(self.names)


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


def _rest(
    t: tuple[tuple[Expr | None, int], ...], top: Expr, coefficient: int, known: Overlap
) -> tuple[dict[Expr, int], int, int] | None:
    """(equal terms, least, greatest) of ``t - coefficient * top``."""
    if dict(t).get(top, 0) != coefficient:
        return None
    shared: dict[Expr, int] = {}
    low = high = 0
    for atom, c in t:
        if atom is None:
            low, high = low + c, high + c
        elif atom == top:
            continue
        elif known.equal(atom):
            shared[atom] = c
        else:
            ends = [c * end for end in known.facts.limits(atom)]
            low, high = low + min(ends), high + max(ends)
    return shared, low, high


def _forces(a: Extent, b: Extent, top: Expr, known: Overlap) -> bool:
    """An overlap in this dimension forces ``top`` to be equal in both accesses."""
    c = dict(a.start).get(top, 0)
    starts = [_rest(e.start, top, c, known) for e in (a, b)]
    if not c or None in starts:
        return False
    (first, low_a, high_a), (second, low_b, high_b) = (s for s in starts if s is not None)
    if first != second:
        return False

    def greatest_end(e: Extent, high: int) -> int:
        ends = (_rest(end, top, c, known) for end in e.ends)
        direct = [end[2] for end in ends if end is not None and end[0] == first]
        return min([*direct, high + _greatest_size(e, known.facts)])

    return max(greatest_end(a, high_a), greatest_end(b, high_b)) - min(low_a, low_b) <= abs(c)


def _greatest_size(e: Extent, facts: Facts) -> int:
    """An upper bound of the number of elements, whatever the scalars are."""
    sizes = []
    for terms in e.sizes:
        size = terms.get(None, 0)
        for atom, c in terms.items():
            if atom is not None and c:
                size += max(c * end for end in facts.limits(atom))
        sizes.append(size)
    return min(sizes)


def _apart(a: Extent, b: Extent, known: Overlap) -> bool:
    """The two extents are a constant apart that separates them."""
    x, y = dict(a.start), dict(b.start)
    atoms = {k for k in (*x, *y) if k is not None and x.get(k, 0) != y.get(k, 0)}
    if atoms or not all(known.equal(k) for k in x if k is not None):
        return False
    gap = x.get(None, 0) - y.get(None, 0)

    def size(e: Extent) -> int:
        constant = (t for t in e.sizes if not any(c for k, c in t.items() if k is not None))
        return min(t.get(None, 0) for t in constant)

    return gap >= size(b) or -gap >= size(a)


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
    known = Overlap(same, differ, opaque, facts)
    dimensions = list(zip(a, b, strict=True))
    changed = True
    while changed:
        changed = False
        if any(_apart(x, y, known) for x, y in zip(a, b, strict=True)):
            return True
        for x, y in dimensions:
            for atom, _ in x.start:
                if atom is not None and not known.equal(atom) and _forces(x, y, atom, known):
                    known.learn(atom)
                    changed = True
        sums = [_point(e) for e in known.atoms if isinstance(e, Bin) and e.op in "+-*"]
        new = [(x, x) for x in sums if (x, x) not in dimensions]
        dimensions += new
        changed |= bool(new)
        if known.contradicts:
            return True
    return _apart_in_each_case(a, b, known)


def _point(e: Expr) -> Extent:
    """A sum that is equal in both accesses, as a dimension with one element: its parts may be equal."""
    end = binary("+", e, Const(1))
    return Extent(_frozen(terms_of(normalise(e))), (_frozen(terms_of(normalise(end))),))


CASE_LIMIT = 8
"""A remainder of at most so many values is looked at for each of them."""


def _apart_in_each_case(a: Region, b: Region, known: Overlap) -> bool:
    """True if a remainder ``x % n`` that is equal in both accesses, and a factor in one of them, keeps
    them apart whatever value it has (every second row of blocks runs backwards, say)."""
    factors = (e for region in (a, b) for extent in region for e in _remainders(extent))
    for atom, count in ((e, n) for e, n in dict.fromkeys(factors) if known.equal(e)):
        cases = ([in_case(x, atom, v) for x in (a, b)] for v in range(count))
        if all(
            disjoint(x, y, known.same, known.differ, known.opaque, known.facts) for x, y in cases
        ):
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


def in_case(region: Region, atom: Expr, value: int) -> Region:
    """``region`` where ``atom`` has that value."""

    def terms(found: tuple[tuple[Expr | None, int], ...]) -> tuple[tuple[Expr | None, int], ...]:
        out: Terms = {}
        for e, c in found:
            for k, x in ({None: 1} if e is None else terms_of(_replaced(e, atom, value))).items():
                out[k] = out.get(k, 0) + c * x
        return _frozen(out)

    return tuple(Extent(terms(x.start), tuple(map(terms, x.ends))) for x in region)


def _replaced(e: Expr, atom: Expr, value: int) -> Expr:
    if e == atom:
        return Const(value)
    if isinstance(e, Bin):
        return binary(e.op, _replaced(e.a, atom, value), _replaced(e.b, atom, value))
    return e
