"""One core of the scheduled program in numpy: its rows in the order in which it issues them.

In: a scheduled kernel and the table of what each op becomes.  Out: the rows of the core, each with
the scalars of its iteration; a core yields where it has to wait for another one.
Invariant: a row runs for the iteration that its shift says, in a flat loop at the position of its
stage (``pto/ir.py``); a branch is tested for that iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lowering.execute.access import (
    Array,
    Env,
    Locate,
    Scope,
    compiled,
    locator,
    outside,
    scalars_in,
)
from lowering.execute.memory import Memory, Ring, Slot
from lowering.target import Target
from pto.errors import MemoryAccessError, ScheduleError
from pto.ir import (
    Block,
    Branch,
    Expr,
    Kernel,
    Loop,
    Operand,
    Queue,
    Ref,
    Row,
    View,
    Word,
    all_rows,
)
from pto.ops import OPS
from pto.text import statement

Guard = tuple[Callable[[Env], Any], bool]


class Action(NamedTuple):
    """One row of one iteration, its slots and FIFO places fixed: reads first, writes last."""

    fetch: Callable[[], Any]
    commit: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What a row becomes when it is issued (None: it only orders pipes), and whether a row that
    may block can be issued now."""

    issue: Callable[[Scope], Action] | None = None
    ready: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row or a loop of a block, with the tests of the branches around it."""

    shift: int
    guards: tuple[Guard, ...]
    step: Step
    inner: Round | None = None
    row: Row | None = None


@dataclass(slots=True)
class Round:
    """A loop on one core; ``finished`` counts the iterations of its earlier entries."""

    loop: Loop
    core: str
    trips: Callable[[Env], Any]
    first: int
    last: int
    own: frozenset[str]
    entries: tuple[Entry, ...]
    finished: int = 0
    inner: Round | None = None
    scalars: tuple[Entry, ...] = ()
    parts: tuple[tuple[Entry, ...], ...] = ()
    """Of a flat loop: the loop in it, the scalars in front, the rows in front, inside and behind."""


INSIDE = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A position of a flat loop: its scalars outside and inside, and which of the ``parts`` run."""

    item: Scope
    inside: Scope
    runs: tuple[bool, bool, bool]


NOTHING = Step()


@dataclass
class Machine:
    """What the cores of one hardware block share.  ``rules``: what each op becomes on a core."""

    kernel: Kernel
    target: Target
    tensors: Mapping[str, Array]
    rings: Mapping[str, Ring]
    rules: Mapping[str, Callable[[Core, Row], Step]]
    progress: int = 0


@dataclass
class Core:
    """One core of one hardware block: its memories and its rows as steps."""

    machine: Machine
    name: str
    lane: int
    memories: dict[str, Memory] = field(default_factory=dict)
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    body: tuple[Entry, ...] = ()
    blocked: Row | None = None

    def __post_init__(self) -> None:
        capacity = self.machine.target.capacity_bytes
        for b in self.machine.kernel.buffers:
            if b.core == self.name:
                if b.space not in self.memories:
                    self.memories[b.space] = Memory(capacity[b.space])
                self.slots[b.name] = self.memories[b.space].slots(b)
        self.body = tuple(self.entries(self.machine.kernel.body, ()))

    def __str__(self) -> str:
        return f"{self.name} lane {self.lane}" if self.name == "vector" else self.name

    # compilation

    def entries(self, block: Block, guards: tuple[Guard, ...]) -> Iterator[Entry]:
        """The rows and loops of this core; a branch becomes tests of the rows below it.

        So each row of a branch is tested for its own iteration, whatever its shift.
        """
        for node in block:
            if isinstance(node, Loop):
                if any(r.core == self.name for r in all_rows(node.body)):
                    yield Entry(0, guards, NOTHING, self.round(node))
            elif isinstance(node, Branch):
                test = compiled(node.test)
                yield from self.entries(node.then, (*guards, (test, True)))
                yield from self.entries(node.orelse, (*guards, (test, False)))
            elif node.core == self.name:
                yield Entry(node.shift, guards, self.machine.rules[node.op](self, node), None, node)

    def round(self, loop: Loop) -> Round:
        entries = tuple(self.entries(loop.body, ()))
        low, high = loop.shifts
        shifts = [low, high] + [0 for e in entries if e.inner is not None]
        names = scalars_in(loop.body, self.name) | {loop.index, loop.total}
        trips = compiled(loop.trips)
        last, first = min(shifts), max(shifts)
        self.rounds.append(Round(loop, self.name, trips, first, last, names, entries))
        if loop.flat:
            self.flatten(self.rounds[-1])
        return self.rounds[-1]

    def flatten(self, each: Round) -> None:
        """The parts of a flat loop on this core."""
        front = [n for n in each.loop.body[: each.loop.inner] if isinstance(n, Row)]
        scalar = {id(r) for r in front if OPS[r.op].kind == "scalar"}
        each.scalars = tuple(self.entries(tuple(r for r in front if id(r) in scalar), ()))
        each.inner = next((e.inner for e in each.entries if e.inner is not None), None)
        each.parts = (
            tuple(self.entries(tuple(r for r in front if id(r) not in scalar), ())),
            each.inner.entries if each.inner is not None else (),
            tuple(self.entries(each.loop.body[each.loop.inner + 1 :], ())),
        )

    # operands

    def pick(self, ref: Ref) -> Callable[[Env], Slot]:
        """The slot that ``ref`` stands for: its index modulo the depth."""
        if ref.name not in self.slots:
            raise ScheduleError(f"the {self.name} core has no buffer '{ref.name}'")
        slots = self.slots[ref.name]
        if ref.index is None:
            return lambda env: slots[0]
        index, depth = compiled(ref.index), len(slots)
        return lambda env: slots[int(index(env)) % depth]

    def reader(self, row: Row, ref: Ref) -> Callable[[Scope], Array]:
        """The tile in the slot, all of which must have been written."""
        pick = self.pick(ref)

        def read(scope: Scope) -> Array:
            slot = pick(scope)
            if not slot.written.all():
                raise self.uninitialised(row, slot, slot.written, scope)
            return slot.values.T if ref.transposed else slot.values

        return read

    def operand(self, row: Row, o: Operand) -> Callable[[Scope], Any]:
        if isinstance(o, Ref):
            return self.reader(row, o)
        if isinstance(o, Word):
            return lambda scope: o.name
        assert isinstance(o, Expr)
        return compiled(o)

    def locate(self, row: Row, view: View) -> Locate:
        shape = self.machine.tensors[view.tensor].shape
        kernel = self.machine.kernel
        return locator(view, shape, outside(kernel, row, view, shape, MemoryAccessError))

    def ring(self, o: Any) -> Ring:
        assert isinstance(o, Queue)
        return self.machine.rings[o.name]

    def uninitialised(self, row: Row, slot: Slot, seen: Array, scope: Scope) -> MemoryAccessError:
        missing, bad = int(seen.size - seen.sum()), np.argwhere(~seen)[0]
        column = int(bad[1]) // slot.values.itemsize
        what = f"{self}: {statement(row, self.machine.kernel)}"
        detail = f"{missing} of its {seen.size} bytes, the first at [{bad[0]}, {column}]"
        where = ", ".join(f"{n} = {v}" for n, v in indices(scope).items())
        message = f"{what}\nreads {slot.label} of {slot.buffer.space}, which was never written"
        return MemoryAccessError(f"{message} ({detail}; {where})", row.loc)

    # execution

    def start(self, names: Mapping[str, Any]) -> Iterator[None]:
        """The whole program of this core; yields while it is blocked."""
        for entry, scope in self.rows(names):
            issue, ready = entry.step.issue, entry.step.ready
            if ready is not None:
                while not ready():
                    self.blocked = entry.row
                    yield
                self.blocked = None
                self.machine.progress += 1
            if issue is not None:
                fetch, commit = issue(scope)
                commit(fetch())

    def rows(self, names: Mapping[str, Any]) -> Iterator[tuple[Entry, Scope]]:
        """The rows of this core in the order it issues them, each with its iteration's scalars.

        A ``read`` or ``let`` must be done before the next row is asked for.
        """
        for memory in self.memories.values():
            memory.reset()
        for each in self.rounds:
            each.finished = 0
        scope = Scope()
        scope.update(names)
        scope["lane"] = self.lane
        for entry in self.body:
            yield from self.taken(entry, scope)

    def taken(self, entry: Entry, scope: Scope) -> Iterator[tuple[Entry, Scope]]:
        for test, wanted in entry.guards:
            if bool(test(scope)) != wanted:
                return
        if entry.inner is None:
            yield entry, scope
        else:
            yield from self.iterate(entry.inner, scope)

    def iterate(self, each: Round, outer: Scope) -> Iterator[tuple[Entry, Scope]]:
        """Steps ``t``; in each, every row runs for its own iteration ``t + shift``."""
        if each.loop.flat:
            yield from self.flat(each, outer)
            return
        n, index, total = self.trips(each, outer), each.loop.index, each.loop.total
        scopes: dict[int, Scope] = {}
        for t in range(-each.first, n - each.last):
            for entry in each.entries:
                i = t + entry.shift
                if not 0 <= i < n:
                    continue
                if i not in scopes:
                    scopes[i] = Scope(outer, each.own)
                    scopes[i][index] = i
                    scopes[i][total] = each.finished + i
                scope = scopes[i]
                if entry.guards or entry.inner is not None:
                    yield from self.taken(entry, scope)
                else:
                    yield entry, scope
            scopes.pop(t + each.last, None)
        each.finished += n

    def trips(self, each: Round, outer: Scope) -> int:
        """The trip count of a loop that is entered."""
        return max(int(each.trips(outer)), 0)

    def flat(self, each: Round, outer: Scope) -> Iterator[tuple[Entry, Scope]]:
        """The steps of a flat loop and of the loop in it (``pto/ir.py``)."""
        inner, items, (low, high) = each.inner, self.trips(each, outer), each.loop.shifts
        places: list[Place] = []
        for empty in (True, False):
            for w in range(items):
                item = Scope(outer, each.own)
                item[each.loop.index] = w
                item[each.loop.total] = each.finished
                if inner is not None:
                    item[inner.loop.total] = inner.finished
                for entry in each.scalars:
                    yield entry, item
                n = 1 if inner is None else self.trips(inner, item)
                if (n == 0) != empty:
                    continue
                each.finished += 1
                if empty:
                    for entry in sorted((*each.parts[0], *each.parts[2]), key=lambda e: -e.shift):
                        yield entry, item
                for i in range(n):
                    scope = item
                    if inner is not None:
                        scope = Scope(item, inner.own)
                        scope[inner.loop.index] = i
                        scope[inner.loop.total] = inner.finished
                        inner.finished += 1
                    places.append(Place(item, scope, (i == 0, True, i + 1 == n)))
        for step in range(-high, len(places) - low):
            for part, entries in enumerate(each.parts):
                for entry in entries:
                    if 0 <= step + entry.shift < len(places):
                        place = places[step + entry.shift]
                        if place.runs[part]:
                            yield entry, place.inside if part == INSIDE else place.item


def indices(scope: Scope | None) -> dict[str, Any]:
    """The integers known here, innermost first: what to say in an error."""
    found: dict[str, Any] = {}
    while scope is not None and scope.outer is not None:
        found |= {n: v for n, v in scope.items() if n and n not in found}
        scope = scope.outer
    return found
