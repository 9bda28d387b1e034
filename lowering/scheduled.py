"""The scheduled program in numpy: both cores, slots and FIFOs included, and strict.

In: a scheduled kernel and the bound arrays.  Out: the output arrays by name.
Invariant: each core runs its rows in the order written, for the iterations that their shifts say;
on-chip memories are real bytes, poisoned at the start, so buffers that overlap destroy each other;
a read of a byte that was never written, an access outside a tensor, a store to an input, a FIFO
that blocks forever or is left with tiles in it: each is an error.  A good schedule gives the bits
of ``sequential.py``.
Non-goals: time and the overlap of pipes; ``wait``, ``set``, ``barrier`` and ``drain`` order pipes
and mean nothing here (``hazards.py`` proves them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lowering.access import (
    DTYPES,
    Array,
    Env,
    Lengths,
    Locate,
    Scope,
    compiled,
    lengths,
    locator,
    negative,
    outside,
    scalars_in,
    span_shape,
)
from lowering.inputs import Bound, is_scheduled
from lowering.sequential import COMPUTE, apply, convert, scalar_read, unknown_rows, writable
from lowering.target import TARGETS, Target
from pto.errors import CapacityError, InputError, MemoryAccessError, ScheduleError, ShapeError
from pto.ir import (
    Block,
    Branch,
    Buffer,
    Expr,
    Fifo,
    Kernel,
    Loop,
    Operand,
    Queue,
    Ref,
    Row,
    Scalar,
    View,
    Word,
    all_rows,
)
from pto.ops import OPS
from pto.text import statement

POISON = 0xFF
"""Every byte at the start: NaN as f32, f16 and bf16, -1 as i32."""

# ------------------------------------------------------------------------------------ memory


@dataclass(frozen=True, slots=True)
class Slot:
    """One ring slot: its elements, and for each of their bytes whether it was written."""

    label: str
    buffer: Buffer
    values: Array
    written: Array

    def put(self, tile: Array) -> None:
        self.values[...] = tile
        self.written[...] = True

    def poison(self) -> None:
        self.values.view(np.uint8)[...] = POISON
        self.written[...] = False


class Memory:
    """One on-chip memory of one core: bytes, and which of them were written."""

    def __init__(self, capacity: int) -> None:
        self.bytes = np.full(capacity, POISON, np.uint8)
        self.written = np.zeros(capacity, bool)
        self.top = 0

    def slots(self, b: Buffer) -> list[Slot]:
        """The ring slots of ``b``, as windows on these bytes.

        Raises:
            CapacityError: when the buffer does not end inside the memory.
        """
        kind, found = b.type, []
        for k in range(b.depth):
            lo = b.at + k * b.stride
            hi = lo + kind.size_bytes
            if lo < 0 or hi > len(self.bytes):
                message = f"{b.name}[{k}] lies at {lo} .. {hi}"
                raise CapacityError(f"{message}, but {b.space} has {len(self.bytes)} bytes")
            self.top = max(self.top, hi)
            values = self.bytes[lo:hi].view(DTYPES[kind.dtype]).reshape(kind.rows, kind.cols)
            written = self.written[lo:hi].reshape(kind.rows, -1)
            found.append(Slot(f"{b.name}[{k}]", b, values, written))
        return found

    def reset(self) -> None:
        self.bytes[: self.top] = POISON
        self.written[: self.top] = False


class Ring:
    """A FIFO: ``depth`` slots in GM, and the counts of both ends (one per lane on the vector core).

    Credits come in batches: a push ahead of the ring waits once every ``period`` pushes, for the
    signal that a pop gives once every ``period`` pops (MACHINE.md 5.3).
    """

    def __init__(self, fifo: Fifo, target: Target) -> None:
        self.fifo = fifo
        self.period = target.ring_period.get(fifo.depth, max(fifo.depth // 2, 1))
        self.values = np.empty(
            (fifo.depth, fifo.type.rows, fifo.type.cols), DTYPES[fifo.type.dtype]
        )
        ends = (1, target.lanes) if fifo.direction == "c2v" else (target.lanes, 1)
        self.pushed, self.recorded = [0] * ends[0], [0] * ends[0]
        self.popped = [0] * ends[1]

    def reset(self) -> None:
        self.values.reshape(-1).view(np.uint8)[:] = POISON
        for counts in (self.pushed, self.recorded, self.popped):
            counts[:] = [0] * len(counts)

    def may_push(self, end: int) -> bool:
        k, depth = self.pushed[end], self.fifo.depth
        if not self.fifo.credit:
            if k - min(self.popped) >= depth:
                message = f"push {k} overwrites a tile that was not popped: {self}"
                raise ScheduleError(f"{self.fifo.name} has no credit, and {message}")
            return True
        return k < depth or k % self.period != 0 or min(self.popped) >= k - depth + self.period

    def may_pop(self, end: int) -> bool:
        return min(self.recorded) > self.popped[end]

    def part(self, number: int, end: int, rows: int) -> Array:
        """What an end with tiles of ``rows`` rows sees of tile ``number``: all, or its lane's."""
        whole: Array = self.values[number % self.fifo.depth]
        return whole if rows == self.fifo.type.rows else whole[end * rows : (end + 1) * rows]

    def __str__(self) -> str:
        counts = f"{self.recorded} recorded, {self.popped} popped"
        return f"{self.fifo.name} [{self.fifo.depth}]: {self.pushed} pushed, {counts}"


# ----------------------------------------------------------------------------------- program

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
    checked: Lengths
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
FINISHED = object()


@dataclass
class Machine:
    """What the cores of one hardware block share."""

    kernel: Kernel
    target: Target
    tensors: Mapping[str, Array]
    rings: Mapping[str, Ring]
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
                yield Entry(node.shift, guards, RULES[node.op](self, node), None, node)

    def round(self, loop: Loop) -> Round:
        entries = tuple(self.entries(loop.body, ()))
        low, high = loop.shifts
        shifts = [low, high] + [0 for e in entries if e.inner is not None]
        names = scalars_in(loop.body, self.name) | {loop.index, loop.total}
        checked = lengths(self.machine.kernel, loop, self.name)
        trips = compiled(loop.trips)
        last, first = min(shifts), max(shifts)
        self.rounds.append(Round(loop, self.name, trips, checked, first, last, names, entries))
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
        """The trip count of a loop that is entered.

        Raises:
            InputError: if the inputs make it negative.
        """
        for e, value in each.checked:
            if value(outer) < 0:
                raise negative(self.machine.kernel, each.loop, self.name, e, outer)
        return int(each.trips(outer))

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


# ------------------------------------------------------------------------------------- rules


def _computed(core: Core, row: Row) -> Step:
    """Vector arithmetic: the same ``apply`` as in the traced program, on slots."""
    op = OPS[row.op]
    assert isinstance(row.out, Ref)
    args, scratch = row.args, None
    if op.scratch and len(args) > 1:
        assert isinstance(args[-1], Ref)
        scratch, args = core.pick(args[-1]), args[:-1]
    pick, read = core.pick(row.out), [core.operand(row, a) for a in args]

    def issue(scope: Scope) -> Action:
        out, spare = pick(scope), None if scratch is None else scratch(scope)

        def commit(result: Array) -> None:
            if spare is not None:
                spare.poison()
            out.put(result)

        return Action(lambda: apply(row, out.buffer.type, [r(scope) for r in read]), commit)

    return Step(issue)


def _pad(core: Core, row: Row) -> Step:
    """The one op that may read a partly written slot: only its inside counts."""
    source, out = row.args[0], row.out
    assert isinstance(source, Ref) and isinstance(out, Ref)
    pick, pick_out = core.pick(source), core.pick(out)
    rows, cols = (core.operand(row, a) for a in row.args[1:])

    def issue(scope: Scope) -> Action:
        slot, target = pick(scope), pick_out(scope)
        r, c = int(rows(scope)), int(cols(scope))

        def fetch() -> Array:
            seen = slot.written[: max(r, 0), : max(c, 0) * slot.values.itemsize]
            if not seen.all():
                raise core.uninitialised(row, slot, seen, scope)
            return apply(row, target.buffer.type, [slot.values, r, c])

        return Action(fetch, target.put)

    return Step(issue)


def _matmul(core: Core, row: Row) -> Step:
    """``out = [acc +] a @ b``; the accumulator is read only when it is added."""
    assert isinstance(row.out, Ref)
    pick, read = core.pick(row.out), [core.operand(row, a) for a in row.args]
    a, b, *more = read
    acc = more[0] if more else None
    test = more[1] if len(more) > 1 else None

    def issue(scope: Scope) -> Action:
        out = pick(scope)

        def fetch() -> Array:
            args = [a(scope), b(scope)]
            if acc is not None and (test is None or test(scope)):
                args.append(acc(scope))
            return apply(row, out.buffer.type, args)

        return Action(fetch, out.put)

    return Step(issue)


def _load(core: Core, row: Row) -> Step:
    """A partial load fills L1 with zero, and leaves the rest of a vector slot unwritten."""
    out, view = row.out, row.args[0]
    assert isinstance(out, Ref) and isinstance(view, View)
    pick, locate, shape = core.pick(out), core.locate(row, view), span_shape(view)
    tensor = core.machine.tensors[view.tensor]
    fill_zero = core.name == "cube"

    def issue(scope: Scope) -> Action:
        slot, region = pick(scope), locate(scope)

        def commit(tile: Array) -> None:
            if not region.whole:
                slot.poison()
                if fill_zero:
                    slot.put(np.zeros((), slot.values.dtype))
            if not region.empty:
                slot.values.reshape(shape)[region.inside] = tile
                slot.written.reshape(*shape, -1)[region.inside] = True

        return Action(lambda: None if region.empty else tensor[region.where], commit)

    _check_elements(core, row, out, shape)
    return Step(issue)


def _check_elements(core: Core, row: Row, ref: Ref, shape: tuple[int, ...]) -> None:
    kind = core.machine.kernel.buffer(ref.name).type
    if int(np.prod(shape)) != kind.rows * kind.cols:
        message = f"{statement(row, core.machine.kernel)}: the view has {list(shape)} elements"
        raise ShapeError(f"{message}, but {ref.name} holds {kind}", row.loc)


def _store(core: Core, row: Row) -> Step:
    view, source = writable(core.machine.kernel, row), row.args[0]
    assert isinstance(source, Ref)
    tensor, dtype = core.machine.tensors[view.tensor], core.machine.kernel.param(view.tensor).dtype
    locate, shape, pick = core.locate(row, view), span_shape(view), core.pick(source)
    _check_elements(core, row, source, shape)

    def issue(scope: Scope) -> Action:
        region, slot = locate(scope), pick(scope)

        def fetch() -> Array | None:
            if region.empty:
                return None
            seen = slot.written.reshape(*shape, -1)[region.inside]
            if not seen.all():
                raise core.uninitialised(row, slot, slot.written, scope)
            return convert(slot.values, dtype).reshape(shape)[region.inside]

        def commit(tile: Array | None) -> None:
            if tile is not None:
                tensor[region.where] = tile

        return Action(fetch, commit)

    return Step(issue)


def _move(core: Core, row: Row) -> Step:
    assert isinstance(row.out, Ref) and isinstance(row.args[0], Ref)
    pick, read = core.pick(row.out), core.reader(row, row.args[0])

    def issue(scope: Scope) -> Action:
        out = pick(scope)

        def fetch() -> Array:
            tile = read(scope)
            if tile.shape != out.values.shape or tile.dtype != out.values.dtype:
                message = f"{statement(row, core.machine.kernel)}: {list(tile.shape)} {tile.dtype}"
                raise ShapeError(f"{message} does not fit {out.buffer.type}", row.loc)
            return tile

        return Action(fetch, out.put)

    return Step(issue)


def _push(core: Core, row: Row) -> Step:
    """Writes a FIFO slot; ``push`` also records it, ``push_data`` leaves that to a later row."""
    ring, source = core.ring(row.out), row.args[0]
    assert isinstance(source, Ref)
    read, end, records = core.reader(row, source), core.lane, row.op == "push"
    rows = _rows_of_end(core, row, source, ring)

    def issue(scope: Scope) -> Action:
        part = ring.part(ring.pushed[end], end, rows)
        ring.pushed[end] += 1
        if records:
            ring.recorded[end] = ring.pushed[end]

        def commit(tile: Array) -> None:
            part[...] = tile

        return Action(lambda: convert(read(scope), ring.fifo.type.dtype), commit)

    return Step(issue, lambda: ring.may_push(end))


def _record(core: Core, row: Row) -> Step:
    ring, end = core.ring(row.args[0] if row.args else row.out), core.lane

    def issue(scope: Scope) -> Action:
        if ring.recorded[end] >= ring.pushed[end]:
            message = f"{core}: record {ring.fifo.name} without a push before it"
            raise ScheduleError(message, row.loc)
        ring.recorded[end] += 1
        return Action(lambda: None, lambda nothing: None)

    return Step(issue, lambda: True)


def _pop(core: Core, row: Row) -> Step:
    ring, out = core.ring(row.args[0]), row.out
    assert isinstance(out, Ref)
    pick, end = core.pick(out), core.lane
    rows = _rows_of_end(core, row, out, ring)

    def issue(scope: Scope) -> Action:
        part = ring.part(ring.popped[end], end, rows)
        ring.popped[end] += 1
        return Action(lambda: part, pick(scope).put)

    return Step(issue, lambda: ring.may_pop(end))


def _rows_of_end(core: Core, row: Row, ref: Ref, ring: Ring) -> int:
    """Rows of a tile on this side of the FIFO: all of them, or on the vector core its lane's."""
    kind, whole = core.machine.kernel.buffer(ref.name).type, ring.fifo.type
    parts = core.machine.target.lanes if core.name == "vector" else 1
    if kind.cols != whole.cols or kind.rows not in (whole.rows, whole.rows / parts):
        message = f"{statement(row, core.machine.kernel)}: {ref.name} holds {kind}"
        raise ShapeError(f"{message}, but {ring.fifo.name} holds {whole}", row.loc)
    return kind.rows


def _read(core: Core, row: Row) -> Step:
    out, view = row.out, row.args[0]
    assert isinstance(out, Scalar) and isinstance(view, View)
    value = scalar_read(core.locate(row, view), core.machine.tensors[view.tensor])
    return _scalar(value, out.name)


def _let(core: Core, row: Row) -> Step:
    assert isinstance(row.out, Scalar)
    return _scalar(compiled(row.args[0]), row.out.name)  # type: ignore[arg-type]


def _scalar(value: Callable[[Scope], Any], name: str) -> Step:
    def issue(scope: Scope) -> Action:
        return Action(lambda: value(scope), lambda number: scope.__setitem__(name, number))

    return Step(issue)


def _order(core: Core, row: Row) -> Step:
    """Orders pipes: nothing to do where rows run one after the other."""
    return NOTHING


RULES: Mapping[str, Callable[[Core, Row], Step]] = {
    **dict.fromkeys(COMPUTE, _computed),
    "pad": _pad,
    "matmul": _matmul,
    "load": _load,
    "store": _store,
    "move": _move,
    "push": _push,
    "push_data": _push,
    "record": _record,
    "pop": _pop,
    "read": _read,
    "let": _let,
    **dict.fromkeys(("sync", "barrier", "drain"), _order),
}
"""What each op does on a core."""

# --------------------------------------------------------------------------------------- run


def run(kernel: Kernel, bound: Bound, *, block_num: int | None = None) -> dict[str, Array]:
    """The outputs of a scheduled kernel on ``block_num`` hardware blocks (default: the target's).

    Blocks run one after the other, the cores of a block in turns, each until it has to wait.

    Raises:
        MemoryAccessError: an uninitialised read, an access outside a tensor, a store to an input.
        ScheduleError: cores that wait for each other forever, or a FIFO that is not emptied.
        InputError: a negative loop length (use ``validate`` first for the rest of the contents).
    """
    if not is_scheduled(kernel):
        raise InputError(f"{kernel.name} is not scheduled: no row has a core")
    for row in unknown_rows(kernel, RULES):
        raise InputError(f"unknown op '{row.op}'", row.loc)
    target = TARGETS[kernel.target]
    outputs = bound.outputs()
    rings = {f.name: Ring(f, target) for f in kernel.fifos}
    machine = Machine(kernel, target, {**bound.arrays, **outputs}, rings)
    cores = [Core(machine, "cube", 0)]
    cores += [Core(machine, "vector", lane) for lane in range(target.lanes)]
    blocks = target.block_num if block_num is None else block_num
    with np.errstate(all="ignore"):
        for block_idx in range(blocks):
            _run_block(machine, cores, {**bound.names, "block_idx": block_idx, "block_num": blocks})
    return outputs


def _run_block(machine: Machine, cores: list[Core], names: Mapping[str, Any]) -> None:
    """Runs the cores of one block until all have finished."""
    for ring in machine.rings.values():
        ring.reset()
    running = [(core, core.start(names)) for core in cores]
    while running:
        before = machine.progress
        still = [(core, it) for core, it in running if next(it, FINISHED) is not FINISHED]
        if len(still) == len(running) and machine.progress == before:
            raise _deadlock(machine, [core for core, _ in still])
        running = still
    for ring in machine.rings.values():
        if min(ring.popped) != max(ring.pushed) or min(ring.pushed) != max(ring.pushed):
            raise ScheduleError(f"the program ends with tiles left in a FIFO: {ring}")


def _deadlock(machine: Machine, cores: list[Core]) -> ScheduleError:
    lines = [
        f"  {core} waits at: {statement(core.blocked, machine.kernel)}"
        for core in cores
        if core.blocked is not None
    ]
    rings = [f"  {ring}" for ring in machine.rings.values()]
    return ScheduleError("\n".join(["the cores wait for each other forever", *lines, *rings]))
