"""Which rows one core issues, in which order, each with the scalars of its own iteration.

In: the block of a scheduled kernel, a core, and what a scalar is there (``Domain``): a counter in
``unroll``, a number in ``execute/core``, a symbol in ``values/tokens``.  Out: the rows one after the
other; steps and shifts, flat loops and branches are those of ``docs/language.md``.
Invariant: which rows come, and in which order, follows from trip counts and tests alone.  The proof,
the emitted source and the traced programs have walks of their own, which judge this one.
Non-goals: what a row does; what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from pto.ir import Block, Branch, Loop, Path, Row, all_rows
from pto.ops import OPS

Guards = tuple[tuple[Branch, bool], ...]
"""Branches, and the way that each must go.

A branch is a guard of every row in it, so each row is tested for its own iteration.
"""

S = TypeVar("S")
"""A scope: the scalars of one iteration, on top of those around it."""

FRONT, INSIDE, BEHIND = range(3)
"""Sides of the loop in a flat one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a core; ``depth``: how many loops are around it."""

    row: Row
    path: Path
    depth: int


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of one shift that an iteration issues one behind the other; a row in a branch by itself.
    ``side``: where in a flat loop they stand."""

    entries: tuple[Entry, ...]
    guards: Guards
    shift: int
    side: int = INSIDE

    def joins(self, other: Run) -> bool:
        alike = self.side == other.side and self.shift == other.shift
        return alike and not (self.guards or other.guards)


@dataclass(frozen=True, slots=True)
class PlainLoop:
    """A loop with rows of a core, ``nodes`` in the order of a step, from the ``first`` step on to
    the ``last``, counted from its trip count.  It is entered in the step of its own iteration."""

    loop: Loop
    guards: Guards
    path: Path
    nodes: tuple[Node, ...]
    first: int
    last: int
    shift: int = 0


@dataclass(frozen=True, slots=True)
class FlatLoop:
    """A flat loop with rows of a core, and the loop in it; ``runs_on``: whether it has some there.

    ``stages``: the runs in the order of a step.
    ``scalars``: those that say how often it runs.
    """

    loop: Loop
    guards: Guards
    path: Path
    inner: Loop
    inside: Path
    runs_on: bool
    stages: tuple[Run, ...]
    scalars: tuple[Entry, ...]
    shifts: tuple[int, int]
    shift: int = 0


Node = Run | PlainLoop | FlatLoop
N = TypeVar("N", Run, Node)
Issue = tuple[Entry, S]
Issues = tuple[tuple[Entry, ...], S]
Position = tuple[S, int, int, tuple[bool, bool, bool]]
"""Of a flat loop: the item, the iteration in it and of all so far, and which sides run there."""


class Domain(Protocol[S]):
    """What scalars are."""

    def trips(self, loop: Loop, scope: S, ahead: Sequence[Entry] = ()) -> int:
        """How often a loop runs, once the rows ``ahead`` have defined their scalars in ``scope``."""

    def holds(self, branch: Branch, scope: S) -> bool:
        """Which way a branch goes."""

    def inside(self, loop: Loop, scope: S, i: int, total: int) -> S:
        """The scope of iteration ``i``, which is number ``total`` of all entries."""

    def count(self, scope: S, counters: Mapping[str, int]) -> None:
        """Sets counters of a scope."""


class Walk(Generic[S]):
    """The rows of one core: those that are ``wanted``, where the others are of no interest."""

    def __init__(
        self,
        block: Block,
        core: str,
        domain: Domain[S],
        wanted: Callable[[Row], bool] | None = None,
    ) -> None:
        self.domain = domain
        nodes = _together(_nodes(block, core, (), (), 0))
        self.nodes = nodes if wanted is None else _only(nodes, wanted)
        self.finished: dict[Path, int] = {}
        """Of each loop the iterations of its earlier entries."""

    def rows(self, scope: S) -> Iterator[Issue[S]]:
        """All rows from the start; what a row defines must be in its scope before the next one."""
        return ((entry, each) for run, each in self.runs(scope) for entry in run)

    def runs(self, scope: S) -> Iterator[Issues[S]]:
        """The same, with rows that an iteration issues together as one."""
        self.finished.clear()
        for node in self.nodes:
            yield from self._node(node, scope)

    def _node(self, node: Node, scope: S) -> Iterable[Issues[S]]:
        if not all(self.domain.holds(branch, scope) == way for branch, way in node.guards):
            return ()
        if isinstance(node, Run):
            return ((node.entries, scope),)
        return self._plain(node, scope) if isinstance(node, PlainLoop) else self._flat(node, scope)

    def _plain(self, each: PlainLoop, outer: S) -> Iterator[Issues[S]]:
        """Steps; in each, every row runs for its own iteration."""
        trips, before = self.domain.trips(each.loop, outer), self.finished.get(each.path, 0)
        scopes: dict[int, S] = {}
        for step in range(each.first, trips + each.last):
            for node in each.nodes:
                i = step + node.shift
                if not 0 <= i < trips:
                    continue
                if i not in scopes:
                    scopes[i] = self.domain.inside(each.loop, outer, i, before + i)
                yield from self._node(node, scopes[i])
            scopes.pop(step - each.last, None)
        self.finished[each.path] = before + trips

    def _flat(self, flat: FlatLoop, outer: S) -> Iterator[Issues[S]]:
        """First each item without iterations, one position by itself; then the others together."""
        turns, u = (self.finished.get(x, 0) for x in (flat.path, flat.inside))
        together: list[Position[S]] = []
        for turn, (item, trips) in enumerate(self._items(flat, outer), turns):
            self.domain.count(item, {flat.loop.total: turn, flat.inner.total: u})
            for i in range(trips):
                together.append((item, i, u + i, (i == 0, True, i + 1 == trips)))
            u += trips
            if not trips:
                yield from self._steps(flat, [(item, 0, u, (True, False, True))])
            self.finished[flat.path] = turn + 1
        yield from self._steps(flat, together)
        self.finished[flat.inside] = u

    def _steps(self, flat: FlatLoop, positions: Sequence[Position[S]]) -> Iterator[Issues[S]]:
        """Steps; in each, every row runs for its own position."""
        low, high = flat.shifts
        scopes: dict[int, S] = {}
        for step in range(-high, len(positions) - low):
            for run in flat.stages:
                p = step + run.shift
                if not 0 <= p < len(positions):
                    continue
                item, i, u, runs = positions[p]
                if not runs[run.side]:
                    continue
                if run.side != FRONT and p not in scopes:
                    scopes[p] = self.domain.inside(flat.inner, item, i, u)
                yield run.entries, item if run.side == FRONT else scopes[p]
            scopes.pop(step + low, None)

    def _items(self, flat: FlatLoop, outer: S) -> list[tuple[S, int]]:
        """The items in the order in which they run, each with its iterations, or one on a core that
        does nothing in them."""
        found: list[tuple[S, int]] = []
        for w in range(self.domain.trips(flat.loop, outer)):
            item = self.domain.inside(flat.loop, outer, w, 0)
            self.domain.count(item, {flat.inner.total: 0})
            trips = self.domain.trips(flat.inner, item, flat.scalars) if flat.runs_on else 1
            found.append((item, trips))
        return sorted(found, key=lambda x: x[1] > 0)


def _nodes(block: Block, core: str, path: Path, guards: Guards, depth: int) -> Iterator[Node]:
    """The rows of a core, and the loops that have some."""
    for k, node in enumerate(block):
        here = (*path, k)
        if isinstance(node, Branch):
            for way, side in ((True, node.then), (False, node.orelse)):
                yield from _nodes(side, core, (*here, int(way)), (*guards, (node, way)), depth)
        elif isinstance(node, Row):
            if node.core == core:
                yield Run((Entry(node, here, depth),), guards, node.shift)
        elif any(r.core == core for r in all_rows(node.body)):
            nodes = tuple(_nodes(node.body, core, here, (), depth + 1))
            yield (_flat_loop if node.flat else _plain_loop)(node, nodes, guards, here)


def _only(nodes: Iterable[N], wanted: Callable[[Row], bool]) -> tuple[N, ...]:
    """The nodes with the ``wanted`` rows alone; loops run as they do with all of them."""
    found: list[N] = []
    for node in nodes:
        if isinstance(node, PlainLoop):
            found.append(replace(node, nodes=_only(node.nodes, wanted)))
        elif isinstance(node, FlatLoop):
            found.append(replace(node, stages=_only(node.stages, wanted)))
        elif entries := tuple([e for e in node.entries if wanted(e.row)]):
            found.append(replace(node, entries=entries))
    return tuple(found)


def _together(nodes: Iterable[N]) -> tuple[N, ...]:
    """The nodes, neighbours of one shift as one run."""
    found: list[N] = []
    for node in nodes:
        last = found[-1] if found else None
        if isinstance(node, Run) and isinstance(last, Run) and node.joins(last):
            found[-1] = replace(last, entries=last.entries + node.entries)
        else:
            found.append(node)
    return tuple(found)


def _plain_loop(loop: Loop, nodes: tuple[Node, ...], guards: Guards, path: Path) -> PlainLoop:
    shifts = (*loop.shifts, *(n.shift for n in nodes))
    return PlainLoop(loop, guards, path, _together(nodes), -max(shifts), -min(shifts))


def _flat_loop(loop: Loop, nodes: tuple[Node, ...], guards: Guards, path: Path) -> FlatLoop:
    stages: list[Run] = []
    scalars: list[Entry] = []
    for node in nodes:
        if isinstance(node, PlainLoop):
            stages += (run for run in node.nodes if isinstance(run, Run))
        elif isinstance(node, Run):
            (entry,) = node.entries
            if OPS[entry.row.op].kind == "scalar":  # defined when their item is first met
                scalars.append(entry)
                node = replace(node, shift=loop.shifts[1])
            side = FRONT if entry.path[-1] < loop.inner else BEHIND
            stages.append(replace(node, side=side))
    runs_on = any(run.side == INSIDE for run in stages)
    return FlatLoop(
        loop, guards, path, loop.inside, (*path, loop.inner), runs_on,
        _together(stages), tuple(scalars), loop.shifts,
    )  # fmt: skip
