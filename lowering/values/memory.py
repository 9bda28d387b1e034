"""What stores left in the elements of tensors, in a made-up world.

In: places of stores, each with the number of what it stores.  Out: for a place that is loaded, the numbers of
what may have been stored there.  Places lie apart by a distance that is a constant, or by their numbers: a size is what that
world takes it to be.  An entry of a table is no size: entries lie far from each other where its type states how they
differ, and else all are the same, so that an order is asked for wherever two places may be one.  Of places at sums it is
asked for where they are one in any of several worlds (``pto/made_up.py``).
Non-goals: values; whether an order is kept (``lowering/hazards/``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple, cast

from pto.arithmetic import Number, NumberError
from pto.bounds import INTEGER, Known, entry_of
from pto.folds import Env, Fold
from pto.in_place import told_apart
from pto.ir import Expr, Param, View, as_span, distance, evaluate, names_in
from pto.made_up import WORLDS, entry, sum_of
from pto.overlap import FAR, share

Item = tuple[Expr, int, Expr | None, int]
"""Of one dimension: start, size (0 and 1: it is left out), how many exist (None: all), from one to the next."""


class Stored(NamedTuple):
    """A store; ``adds``: to what is there."""

    place: object
    number: int
    adds: bool


@dataclass
class Memory:
    """The stores so far.  ``values``: the numbers that are known; ``entries``: by the name of an entry of a table, which;
    ``folds``: by the name of its number; ``ranges``: what the types of tables state of all entries."""

    values: Mapping[str, Number]
    entries: Mapping[str, View]
    folds: Mapping[str, Fold]
    ranges: Known
    params: Iterable[Param]
    stored: dict[str, list[Stored]] = field(default_factory=dict)

    def store(self, place: object, number: int, adds: bool) -> None:
        self.stored.setdefault(_tensor(place), []).append(Stored(place, number, adds))

    def held(self, place: object) -> list[tuple[str, int]]:
        """What the stores so far may have left at a place, whatever their order."""
        found = self.stored.get(_tensor(place), ())
        return sorted(("held", x.number) for x in found if self._meet(place, x.place))

    def agrees(self, other: Memory) -> bool:
        """Whether the same stores in the order of ``other`` leave the same: those that share an element are in one
        order there, too, but for two that add."""
        tensors = {*self.stored, *other.stored}
        return all(self._agrees(*(m.stored.get(t, []) for m in (self, other))) for t in tensors)

    def _agrees(self, mine: list[Stored], others: list[Stored]) -> bool:
        names, at = [*_told_apart(mine)], {x: k for k, x in enumerate(_told_apart(others))}
        if {*names} != {*at}:
            return False
        return all(
            at[names[k]] < at[names[n]]
            for k, n in combinations(range(len(mine)), 2)
            if not (mine[k].adds and mine[n].adds) and self._meet(mine[k].place, mine[n].place)
        )

    def _meet(self, a: object, b: object) -> bool:
        """Whether two places of one tensor share an element; one that is no region may be anywhere."""
        first, second = _items(a), _items(b)
        if not (first and second):
            return True
        sums = any(n in self.folds for start, *_ in (*first, *second) for n in names_in(start))
        worlds = (_Made(self, world) for world in (0, *WORLDS) if world == 0 or sums)
        return any(all(map(made.overlap, first, second)) for made in worlds)


@dataclass(frozen=True, slots=True)
class _Made:
    """Numbers for all names in one world."""

    memory: Memory
    world: int

    def overlap(self, a: Item, b: Item) -> bool:
        """In one dimension."""
        d = distance(a[0], b[0])
        if d is not None and not share(elements(d, *a[1::2]), elements(0, *b[1::2])):
            return False
        return share(self.existing(*a), self.existing(*b))

    def existing(self, start: Expr, size: int, valid: Expr | None, step: int) -> range:
        every = elements(self.number(start), size, step)
        return every if valid is None else every[: max(self.number(valid), 0)]

    def number(self, e: Expr) -> int:
        try:
            return int(evaluate(e, self.value))
        except NumberError:
            return 0

    def value(self, name: str) -> Number:
        """A size that the world has not needed yet is large; so is a fold that may come back to a number."""
        memory, fold = self.memory, self.memory.folds.get(name)
        if fold is not None:
            found = sum_of(fold, memory.ranges, self.value, self.entry)
            return FAR if found is None else found
        view = memory.entries.get(name)
        if view is None:
            return memory.values.get(name, FAR)
        stated = ((p.name, p.facts) for p in memory.params)
        if told_apart(view.tensor, stated):
            return FAR * int(name[1:])
        return self.entry(view, self.value)

    def entry(self, view: View, env: Env) -> int:
        """What a table holds of which nothing is stated that tells its entries apart."""
        if not self.world:
            return FAR
        place = tuple(int(evaluate(as_span(x).start, env)) for x in view.index)
        within = self.memory.ranges.get(entry_of(view.tensor), INTEGER)
        return entry(self.world, view.tensor, place, within)


def _told_apart(stores: list[Stored]) -> Iterator[tuple[int, int]]:
    """The number of each, and how often it was stored before."""
    before = Counter[int]()
    for x in stores:
        yield x.number, before[x.number]
        before[x.number] += 1


def elements(first: int, size: int, step: int) -> range:
    """Of one dimension."""
    return range(first, first + max(size, 1) * max(step, 1), max(step, 1))


def _tensor(place: object) -> str:
    assert isinstance(place, tuple)
    return place[1].tensor if isinstance(place[1], View) else place[0]


def _items(place: object) -> list[Item]:
    """The dimensions of a region; of a place that is none, nothing."""
    assert isinstance(place, tuple)
    return [cast("Item", x) for x in place[1:] if isinstance(x, tuple)]
