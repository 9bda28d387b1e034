"""What L2 has of the loads and stores of a launch, and how many cores load the same bytes at once.

In: a scheduled kernel, the trip counts of the work items of each hardware block, sizes of its tensors.
Out: ``Traffic``: by row and work item the part of its bytes that L2 has, and the readers of each.

The accesses of all blocks are put into one order, iteration by iteration as if all went at one pace, and
L2 keeps what was used last (docs/machine.md 11.5).  A region is known by where it begins; an index that
is read from a tensor by its value, or without values by the place that it is read from.  Long launches
are looked at every few iterations.  Invariant: the same launch gives the same traffic.
Non-goals: time; regions that overlap and begin apart; FIFO rings, which never leave L2.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil, prod
from typing import Any

from lowering.simulate.costs import ALONE, Shared, moved_bytes, view_of
from lowering.unroll import Counters, Unrolled
from pto import ir
from pto.arithmetic import BINARY, Number
from pto.folds import fold_of
from pto.targets import target_of

Items = tuple[int, ...]
"""Trip counts of the work items of one hardware block, in order."""

Value = Hashable
"""A number, or what stands for one that only a call has."""

ALL, OUTSIDE = -2, -1
"""Instead of the number of a work item: all items of all blocks, none."""

MOST = 20_000
"""Accesses that are looked at; of longer launches every so many iterations."""


@dataclass(frozen=True)
class Traffic:
    """The accesses of a launch.  ``shared``: by the items of a block, the number of one of them (``ALL``: of
    all), and the identity of a row; ``bytes_of``: by that; ``loaded``, ``stored``: bytes, of all and those
    that L2 has."""

    shared: Mapping[tuple[Items, int, int], Shared] = field(default_factory=dict)
    bytes_of: Mapping[int, float] = field(default_factory=dict)
    loaded: tuple[float, float] = (0, 0)
    stored: tuple[float, float] = (0, 0)

    def of(self, items: Items, row: ir.Row, item: int) -> Shared:
        """Of a row in one work item of a block."""
        return self.shared.get((items, item, id(row)), ALONE)

    def on_average(self, row: ir.Row) -> Shared:
        """Of a row in all work items of all blocks."""
        return self.shared.get(((), ALL, id(row)), ALONE)

    @property
    def hits(self) -> float:
        """The part of all bytes that L2 has."""
        total = self.loaded[0] + self.stored[0]
        return (self.loaded[1] + self.stored[1]) / total if total else 0


@dataclass(frozen=True, slots=True)
class Launched:
    """What decides which element a region begins at.  ``order``: which item runs in place of each."""

    dealt: tuple[Items, ...]
    sizes: Mapping[str, Number] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[int] = ()

    def place(self, block: int, item: int) -> tuple[int, int]:
        """The block and the number in it of the item that runs here."""
        if not self.order:
            return block, item
        at = self.order[block + item * len(self.dealt)]
        return at % len(self.dealt), at // len(self.dealt)


@dataclass(frozen=True, slots=True)
class _Access:
    at: int
    """Iterations before it, of its block."""
    block: int
    item: int
    row: ir.Row
    region: Hashable
    size: int
    stores: bool


def traffic(kernel: ir.Kernel, launched: Launched, capacity: int) -> Traffic:
    """Of a launch whose L2 holds ``capacity`` bytes."""
    accesses = sorted(_accesses(kernel, launched), key=lambda a: (a.at, a.block))
    had = _had(accesses, capacity)
    readers: list[int] = []
    for _, together in groupby(accesses, key=lambda a: a.at):
        now = list(together)
        counts = Counter(a.region for a in now if not a.stores)
        readers += (1 if a.stores else counts[a.region] for a in now)
    found: defaultdict[tuple[Items, int, int], list[float]] = defaultdict(lambda: [0, 0, 0])
    for a, hit, n in zip(accesses, had, readers, strict=True):
        row = id(a.row)
        for key in ((launched.dealt[a.block], a.item, row), ((), ALL, row)):
            sums = found[key]
            sums[0] += a.size
            sums[1] += a.size * hit
            sums[2] += a.size * n
    shared = {key: Shared(hit / size, n / size) for key, (size, hit, n) in found.items()}
    whole = {row: sums[0] for (_, item, row), sums in found.items() if item == ALL}
    return Traffic(shared, whole, _sums(accesses, had, False), _sums(accesses, had, True))


def _sums(accesses: Sequence[_Access], had: Sequence[bool], stores: bool) -> tuple[float, float]:
    both = [(a.size, hit) for a, hit in zip(accesses, had, strict=True) if a.stores == stores]
    return sum(size for size, _ in both), sum(size for size, hit in both if hit)


def _had(accesses: Sequence[_Access], capacity: int) -> list[bool]:
    """Whether L2 has each region; of a stored one, whether it stays there until it is stored again or the
    launch ends, so that the memory has nothing to do with it."""
    held: OrderedDict[Hashable, int] = OrderedDict()
    stored: dict[Hashable, int] = {}  # by region, which access the memory has not seen
    had = []
    used = 0
    for k, a in enumerate(accesses):
        old = held.pop(a.region, 0)
        had.append(bool(old) or a.stores)
        held[a.region] = max(a.size, old)
        used += held[a.region] - old
        if a.stores:
            stored[a.region] = k
        while used > capacity:
            region, size = held.popitem(last=False)
            used -= size
            if region in stored:
                had[stored.pop(region)] = False
    return had


# ------------------------------------------------------------------------------------- the accesses


def _accesses(kernel: ir.Kernel, launched: Launched) -> Iterator[_Access]:
    rows = [r for r in ir.all_rows(kernel.body) if view_of(r)]
    total = len(rows) * sum(max(n, 1) for items in launched.dealt for n in items)
    every = ceil(total / MOST)
    cores = dict.fromkeys(r.core for r in rows)
    for core in cores:
        for lane in range(target_of(kernel).lanes if core == ir.CORES[1] else 1):
            for block, items in enumerate(launched.dealt):
                yield from _Walk(kernel, core, lane, block, items, launched, every).rows()


class _Walk:
    """One core of one block: its accesses, in the order of the program without overlap."""

    def __init__(
        self,
        kernel: ir.Kernel,
        core: str,
        lane: int,
        block: int,
        items: Items,
        launched: Launched,
        every: int,
    ) -> None:
        self.kernel, self.core, self.block, self.launched = kernel, core, block, launched
        self.every, self.at = every, 0
        self.trips: dict[ir.Path, Value] = {}  # of loops in an item that a call decides
        self.unrolled = Unrolled(kernel, core)
        self.unrolled.runs(items)
        self.known: dict[str, Value] = {
            "block_num": len(launched.dealt), "lane": lane, **launched.sizes
        }  # fmt: skip

    def rows(self) -> Iterator[_Access]:
        yield from self._block(self.kernel.body, {**self.known, "block_idx": self.block}, (), 1)

    def _block(
        self, block: ir.Block, env: dict[str, Value], at: ir.Path, times: int
    ) -> Iterator[_Access]:
        for node in block:
            if isinstance(node, ir.Loop):
                yield from self._loop(node, env, at, times)
            elif isinstance(node, ir.Branch):
                way = node.then if number(node.test, env) else node.orelse
                yield from self._block(way, env, at, times)
            elif node.core == self.core:
                yield from self._row(node, env, at, times)

    def _loop(
        self, loop: ir.Loop, env: dict[str, Value], at: ir.Path, times: int
    ) -> Iterator[_Access]:
        if at and not isinstance(loop.trips, ir.Const):
            self.trips.setdefault(at, number(loop.trips, env))
        innermost = at and not any(isinstance(n, ir.Loop) for n in loop.body)
        step = self.every if innermost else 1
        trips = self.unrolled.trips(loop, Counters(at=at))
        for i in range(0, trips, step):
            before, many = self.at, min(step, trips - i)
            inside = {**env, loop.index: i, loop.total: i}
            if not at:
                inside["block_idx"], inside[loop.index] = self.launched.place(self.block, i)
            yield from self._block(loop.body, inside, (*at, i), times * many)
            if innermost or self.at == before:
                self.at += many

    def _row(
        self, row: ir.Row, env: dict[str, Value], at: ir.Path, times: int
    ) -> Iterator[_Access]:
        if isinstance(row.out, ir.Scalar):
            env[row.out.name] = self._scalar(row, env)
        elif view := view_of(row):
            size, region = moved_bytes(row, self.kernel) * times, _region(view, env)
            stores, item = isinstance(row.out, ir.View), at[0] if at else OUTSIDE
            yield _Access(self.at, self.block, item, row, region, size, stores)

    def _scalar(self, row: ir.Row, env: dict[str, Value]) -> Value:
        """The number that a row gives, or what stands for it."""
        if row.op == "let":
            return number(row.scalar(), env)
        return self._read(row.operand(ir.View), env) if row.op == "read" else self._folded(row, env)

    def _folded(self, row: ir.Row, env: dict[str, Value]) -> Value:
        def known(name: str) -> Number:
            found = env[name]
            if not isinstance(found, int | float):
                raise KeyError(name)
            return found

        def entry(view: ir.View, known: Callable[[str], Number]) -> Number:
            at = (int(ir.evaluate(ir.as_span(item).start, known)) for item in view.index)
            return int(self.launched.arrays[view.tensor][tuple(at)])

        try:
            return fold_of(row).value(known, entry)
        except KeyError:  # only a call knows it
            return (
                "fold",
                *(_region(x, env) if isinstance(x, ir.View) else number(x, env) for x in row.args),
            )

    def _read(self, view: ir.View, env: dict[str, Value]) -> Value:
        region = _region(view, env)
        array = self.launched.arrays.get(view.tensor)
        if array is None or not all(isinstance(i, int) for i in region[1:]):
            return region
        return int(array[region[1:]])


def _region(view: ir.View, env: Mapping[str, Value]) -> tuple[Value, ...]:
    """The tensor, and where the region begins in each of its dimensions."""
    return view.tensor, *(number(ir.as_span(item).start, env) for item in view.index)


def number(e: object, env: Mapping[str, Value]) -> Value:
    """The number that an expression stands for, or the expression of what is not known."""
    if isinstance(e, ir.Const):
        return ir.constant(e)
    if isinstance(e, ir.Var):
        return env.get(e.name, e.name)
    assert isinstance(e, ir.Bin)
    a, b = number(e.a, env), number(e.b, env)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return BINARY[e.op](a, b)
    return e.op, a, b


def regions(kernel: ir.Kernel, items: Items) -> Iterator[tuple[ir.Row, Hashable]]:
    """Every load and store of one hardware block that works alone, lane 0 for both, and the region that it
    moves."""
    alone = Launched((items,))
    for core in ir.CORES:
        for access in _Walk(kernel, core, 0, 0, items, alone, 1).rows():
            yield access.row, access.region


# ------------------------------------------------------------------------------------- what a call knows


def lengths(
    kernel: ir.Kernel, items: int, sizes: Mapping[str, Number], arrays: Mapping[str, Any]
) -> list[int]:
    """``trips_of`` all work items of a call."""
    return trips_of(kernel, range(items), sizes, arrays)


def trips_of(
    kernel: ir.Kernel, items: Sequence[int], sizes: Mapping[str, Number], arrays: Mapping[str, Any]
) -> list[int]:
    """The trip counts of work items, by their numbers, of a call whose sizes and arrays are known; 1 of an
    item without a loop, or with loops of constant trip counts only."""
    alone = Launched(((0,) * len(items),), sizes, arrays, items)
    found = [1] * len(items)
    for core in ir.CORES:
        walk = _Walk(kernel, core, 0, 0, alone.dealt[0], alone, 1)
        deque(walk.rows(), maxlen=0)
        for at, trips in walk.trips.items():
            if isinstance(trips, int):  # else this core does not need to know
                found[at[0]] = trips
    return found


def assumed(kernel: ir.Kernel, items: int, given: Mapping[str, Number]) -> dict[str, Number]:
    """Sizes with which the grid has so many items: those that are ``given``, of the others as equal
    numbers of tiles along each dimension as there are; none for a dimension with several of them."""
    found = dict(given)
    for k in reversed(range(len(kernel.grid))):
        unknown = {n for n in ir.names_in(kernel.grid[k]) if n not in found}
        if len(unknown) != 1:
            continue
        sides = [number(g, found) for g in kernel.grid]
        left = sum(not isinstance(side, int) for side in sides[: k + 1])
        rest = items // prod(n for n in sides if isinstance(n, int)) or 1
        tiles = max(n for n in range(1, rest + 1) if rest % n == 0 and n**left <= rest)
        (name,) = unknown
        found[name] = _size_for(kernel.grid[k], name, found, tiles)
    return found


def _size_for(expr: ir.Expr, name: str, found: Mapping[str, Number], tiles: int) -> int:
    """The largest size that makes no more than so many tiles."""
    low, high = 1, 1 << 40
    while low < high:
        middle = (low + high + 1) // 2
        value = number(expr, {**found, name: middle})
        assert isinstance(value, int)
        low, high = (middle, high) if value <= tiles else (low, middle - 1)
    return low
