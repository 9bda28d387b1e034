"""When every row of a scheduled program runs, by the cost table of its target.

In: a scheduled kernel, the trip counts of one hardware block's work items, a ``Setup``.
Out: ``Timing``: the makespan, for every unit its busy cycles and its stalls by cause, the critical
path as rows of the schedule, and a lower bound.

The machine (MACHINE.md 3.4, 4, 5; section 9 is the same model without time):

* A scalar unit per core walks its rows, one cycle each, and drops them into the queues of the
  pipes.  It stops where a queue is full, where it waits itself (a FIFO signal, a drain, a barrier
  on all pipes), and nowhere else.
* A pipe takes its queue in order: a wait holds back what is behind it, a set or a signal fires when
  everything before it is complete, an op starts when the one before lets it (``lowering/costs.py``).
* A FIFO signal arrives ``latency`` cycles after it is sent, on every core that waits for it; the
  cube waits for both vector lanes.

Each unit keeps its own clock and runs as far as what it knows lets it; every time is the latest of
those that it depends on, so the order in which the units are taken does not matter.
Invariant: for every unit busy + stalls = makespan.  Non-goals: data, and whether the order is
right (``lowering/hazards.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from math import ceil, inf
from operator import attrgetter, itemgetter

from lowering.costs import Cost, cost_of
from lowering.target import TARGETS, Costs
from lowering.unroll import Counters, issued
from pto.errors import InputError
from pto.ir import (
    Block,
    Event,
    Expr,
    Flag,
    Kernel,
    Loop,
    Number,
    Queue,
    Row,
    Word,
    all_rows,
    evaluate,
)
from pto.ops import OPS
from pto.text import statement

LANE = "vector0"
"""The vector lane that is shown for all of them."""

START, ISSUE, ORDER, END = "start", "issue", "order of the pipe", "end"
"""Causes that are no event, FIFO, drain, barrier or queue: nothing was waited for, the scalar unit,
the op before on the same pipe, nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a hardware block may move to and from tensors: (from cycle, bytes per cycle), in order.

    Without steps, as much as its own rates let it.
    """

    steps: tuple[tuple[int, float], ...] = ()

    def end(self, start: int, cycles: int, size: int) -> int:
        """When ``size`` bytes are through that take ``cycles`` by the core's own rate."""
        at, left = start, float(size)
        for (_, rate), (until, _) in pairwise(self.steps):
            if until > at:
                if left <= rate * (until - at):
                    return max(start + cycles, ceil(at + left / rate - 1e-6))
                left -= rate * (until - at)
                at = until
        if not self.steps:
            return start + cycles
        return max(start + cycles, ceil(at + left / self.steps[-1][1] - 1e-6))


@dataclass(frozen=True, slots=True)
class Setup:
    """What a simulation may vary.

    ``costs``: a table of the target, by name ('' for its first).  ``latency``: cycles from a FIFO
    signal to the other core.  ``queue_depth``: of a pipe (None: the table's).  ``bandwidth``: what
    other blocks leave of the memory.
    """

    costs: str = ""
    latency: int = 0
    queue_depth: int | None = None
    bandwidth: Bandwidth = Bandwidth()


DEFAULT = Setup()


@dataclass(frozen=True, slots=True)
class Span:
    """One row in one iteration: where it ran, from when to when, and what it waited for.

    ``after`` is the number of the span whose end (or start, of the same pipe) bound its own start,
    -1 for none; ``why`` says by what: an event, a FIFO, a drain, the order of the pipe; or what the
    scalar unit waited for before it issued the row.
    """

    unit: str
    row: Row
    scope: Counters
    start: int
    end: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class Stall:
    """A unit stood still from ``start`` to ``end``."""

    start: int
    end: int
    cause: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Cycles of one unit: with something to do, and in time why it had nothing.

    ``work``: of ``busy`` what its rows take in whatever order, with the memory to themselves.
    """

    busy: int
    work: int
    stalls: tuple[Stall, ...]

    @property
    def stall(self) -> dict[str, int]:
        """Cycles by cause, the largest first."""
        found: dict[str, int] = {}
        for s in self.stalls:
            found[s.cause] = found.get(s.cause, 0) + s.end - s.start
        return dict(sorted(found.items(), key=lambda c: (-c[1], c[0])))


@dataclass(frozen=True, slots=True)
class Step:
    """A row on the critical path: how often, and what part of the makespan it makes up.

    ``waited``: the part of ``cycles`` in which what it waited for was done already, but the row did
    not run: a signal on its way to another core, or the scalar unit issuing.
    """

    unit: str
    text: str
    why: str
    count: int
    cycles: int
    waited: int


@dataclass(frozen=True)
class Timing:
    """The result, in cycles."""

    kernel: Kernel
    setup: Setup
    blocks: tuple[int, ...]
    makespan: int
    pipes: Mapping[str, Usage]
    spans: tuple[Span, ...]
    tensor_bytes: int

    @property
    def bound_pipe(self) -> str:
        """The unit that is busy for longest: with these barriers no overlap is faster than that."""
        return max(self.pipes, key=lambda p: self.pipes[p].busy)

    @property
    def bound(self) -> int:
        return self.pipes[self.bound_pipe].busy

    @property
    def costs(self) -> Costs:
        return costs_named(self.kernel, self.setup.costs)

    def seconds(self, cycles: float) -> float:
        return cycles / self.costs.clock_hz

    @property
    def shown(self) -> dict[str, str]:
        """The units that have work, by the names to show: the vector lanes do the same at the same
        time, so that the first stands for all."""
        units = [u for u in self.pipes if self.pipes[u].busy and u.startswith(("cube", LANE))]
        return {shown(u): u for u in units}

    @property
    def work_items(self) -> str:
        """The trip counts in words."""
        n, counts = len(self.blocks), [str(b) for b in self.blocks]
        items = f"{n} work item{'s' * (n != 1)}"
        if all(len(loops) < 2 for loops in self._loops.values()):
            return items
        same = counts[:1] if len(set(counts)) == 1 else counts
        shown = ", ".join(same if len(same) <= 8 else [*same[:7], "..."])
        return f"{items} of {shown} block{'s' * (shown != '1')}"

    def iteration(self, span: Span) -> dict[str, Number]:
        """The counters of the loops around a row, from the outermost in."""
        return {name: span.scope[name] for name in self._loops[id(span.row)]}

    @cached_property
    def _loops(self) -> dict[int, tuple[str, ...]]:
        return dict(_loops_around(self.kernel.body, ()))

    def critical(self) -> list[Span]:
        """The chain of rows that the makespan consists of, in time."""
        if not self.spans:
            return []
        at = max(range(len(self.spans)), key=lambda k: self.spans[k].end)
        chain = []
        while at >= 0:
            chain.append(self.spans[at])
            at = self.spans[at].after
        return chain[::-1]

    def critical_path(self) -> list[Step]:
        """The critical path by row of the schedule, the largest part first; the parts add up to
        the end of its last row."""
        chain = self.critical()
        until = [min(a.end, b.start) for a, b in pairwise(chain)] + [s.end for s in chain[-1:]]
        found: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for s, before, end in zip(chain, [0, *until], until, strict=False):
            key = s.unit, statement(s.row, self.kernel), s.why
            found.setdefault(key, []).append((end - before, s.start - before))
        steps = [Step(*key, len(v), *map(sum, zip(*v, strict=True))) for key, v in found.items()]
        return sorted(steps, key=lambda s: -s.cycles)


def shown(unit: str) -> str:
    return unit.replace(LANE, "vector")


def _loops_around(block: Block, loops: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """By the identity of each row, the counters of its loops."""
    for node in block:
        if isinstance(node, Row):
            yield id(node), loops
        elif isinstance(node, Loop):
            yield from _loops_around(node.body, (*loops, node.index))
        else:
            yield from _loops_around((*node.then, *node.orelse), loops)


def costs_named(kernel: Kernel, name: str) -> Costs:
    """A cost table of the kernel's target.

    Raises:
        InputError: if there is none of this name.
    """
    tables = TARGETS[kernel.target].costs
    if name and name not in tables:
        raise InputError(
            f"{kernel.target} has no costs '{name}'", hint=f"one of: {', '.join(tables)}"
        )
    return tables[name or next(iter(tables))]


def simulate(kernel: Kernel, blocks: Sequence[int], setup: Setup = DEFAULT) -> Timing:
    """One hardware block that works through one item per entry of ``blocks``.

    ``blocks``: the trip count of the inner loops in each work item.

    Raises:
        InputError: the program stands still.
    """
    machine = Machine(kernel, blocks, setup)
    machine.run()
    return machine.timing()


# ------------------------------------------------------------------------------------- the machine

Moment = tuple[int, int]
"""(cycle, number of the span that it comes from; -1 for none)."""

Box = deque[Moment]
"""Flags or signals that are sent and not received yet."""

latest = partial(max, key=itemgetter(0))


class _Pipe:
    """One pipe of one core: its queue, its clock, and why it stood still.

    What the scalar unit puts into the queue is one of the methods ``wait``, ``start``, ``barrier``
    and ``tell``, which say whether they are through.
    """

    def __init__(self, machine: Machine, scalar: _Scalar, name: str) -> None:
        self.machine, self.scalar, self.name = machine, scalar, name
        self.queue: deque[tuple[Moment, str, Callable[[], bool]]] = deque()
        self.entered = 0
        self.left: list[Moment] = []  # when each entry left the queue
        self.front: Moment = (0, -1)  # the next entry is looked at from here on
        self.why = START
        self.ready: Moment = (0, -1)  # the order of the pipe lets the next op start
        self.done: Moment = (0, -1)  # everything before is complete
        self.waits: list[tuple[int, int, str]] = []  # since the op before
        self.busy, self.work = 0, 0
        self.stalls: list[Stall] = []

    def put(self, at: Moment, why: str, act: Callable[[], bool]) -> None:
        self.queue.append((at, why, act))
        self.entered += 1

    def run(self) -> None:
        """Works off the queue as far as it goes."""
        while self.queue:
            at, why, act = self.queue[0]
            self._reach(at, ISSUE, why)
            if not act():
                break
            self.queue.popleft()
            self.left.append(self.front)
            self.machine.moves += 1

    def wait(self, box: Box, cause: str) -> bool:
        """Holds back what is behind it."""
        if not box:
            return False
        self._reach(box.popleft(), cause, cause)
        return True

    def tell(self, send: Callable[[Moment], None]) -> bool:
        """A set or a signal."""
        send(latest(self.front, self.done))
        return True

    def barrier(self) -> bool:
        self.ready = latest(self.ready, self.done)
        return True

    def start(self, row: Row, scope: Counters, cost: Cost) -> bool:
        start, after, why = *self.front, self.why
        if self.ready[0] >= start and self.ready[1] >= 0:
            start, after, why = *self.ready, ORDER
        end = start + cost.latency
        if cost.tensor_bytes:
            end = self.machine.bandwidth.end(start, cost.latency, cost.tensor_bytes)
            if end > self.machine.horizon:
                self.machine.refused = min(self.machine.refused, end)
                return False
        self._stood_still()
        self.busy += max(0, end - max(start, self.done[0]))
        self.work += cost.occupies
        number = len(self.machine.spans)
        self.machine.spans.append(Span(self.name, row, scope, start, end, after, why))
        self.machine.tensor_bytes += cost.tensor_bytes
        self.front, self.why = (start, after), why
        self.ready = (end - cost.latency + cost.occupies, number)
        if end >= self.done[0]:
            self.done = (end, number)
        return True

    def _reach(self, moment: Moment, cause: str, why: str) -> None:
        """The front of the queue stood still until ``moment``."""
        if moment[0] > self.front[0]:
            self.waits.append((self.front[0], moment[0], cause))
            self.front, self.why = moment, why

    def _stood_still(self) -> None:
        """What was waited for since everything before was complete is a stall."""
        for start, end, cause in self.waits:
            self._stall(max(start, self.done[0]), end, cause)
        self.waits = []

    def _stall(self, start: int, end: int, cause: str) -> None:
        """Where the scalar unit is the cause, its own causes."""
        if end > start:
            alone = cause != ISSUE
            self.stalls += [Stall(start, end, cause)] if alone else self.scalar.causes(start, end)

    def finish(self, makespan: int) -> Usage:
        self._stood_still()
        self._stall(max(self.front[0], self.done[0]), makespan, END)
        return Usage(self.busy, self.work, tuple(self.stalls))


class _Scalar:
    """The scalar unit of one core: walks its rows and fills the queues."""

    def __init__(self, machine: Machine, core: int, pipes: Sequence[str]) -> None:
        self.machine, self.core, self.name = machine, core, machine.names[core]
        self.peers = range(1, len(machine.names)) if core == 0 else (0,)
        self.pipes = {p: _Pipe(machine, self, f"{self.name} {p}") for p in pipes}
        self.counts = dict.fromkeys(machine.fifos, 0)  # pushes or pops so far
        self.now: Moment = (0, -1)
        self.why = START  # ... of the last stall
        self.busy = 0
        self.stalls: list[Stall] = []
        self.over = False
        self.program = self._program()

    def run(self) -> None:
        """Issues as far as it goes."""
        next(self.program, None)

    # The program and its parts yield where something has to happen before the unit can go on.

    def _program(self) -> Iterator[None]:
        core = _CORES[min(self.core, 1)]
        for _, row, scope in issued(self.machine.kernel, core, self.machine.blocks):
            plan = self.machine.plan(row)
            for event, index in plan.waits:
                flags, cause = self._flags(event, index, scope), f"event {event.name}"
                if row.pipe == "S":
                    yield from self._receive([flags], cause)
                else:
                    pipe = self.pipes[row.pipe]
                    yield from self._put(pipe, partial(pipe.wait, flags, cause))
            yield from self._work(row, scope, plan)
            for event, index in plan.sets:
                flags = self._flags(event, index, scope)
                if row.pipe == "S":
                    self._spend(self.machine.costs.issue)
                    flags.append(self.now)
                else:
                    yield from self._tell(self.pipes[row.pipe], flags.append)
        self.over = True

    def _work(self, row: Row, scope: Counters, plan: _Plan) -> Iterator[None]:
        if row.op == "drain":
            assert isinstance(row.args[0], Word)
            yield from self._drain([row.args[0].name], f"drain {row.args[0].name}")
        elif row.op == "barrier" and row.pipe == "ALL":
            yield from self._drain(list(self.pipes), "barrier")
        elif row.op == "barrier":
            yield from self._put(self.pipes[row.pipe], self.pipes[row.pipe].barrier)
        elif row.op == "record":
            yield from self._tell(self.pipes[row.pipe], self._signal(plan.fifo))
        elif OPS[row.op].kind == "scalar":
            self._spend(self.machine.costs.read if row.op == "read" else self.machine.costs.issue)
        elif row.op != "sync":
            yield from self._op(row, scope, plan)

    def _op(self, row: Row, scope: Counters, plan: _Plan) -> Iterator[None]:
        """A row that a pipe runs; a push or a pop with the signals and credits of MACHINE.md 5.3."""
        pipe, fifo = self.pipes[row.pipe], plan.fifo
        if row.op == "pop":
            yield from self._receive(self._signals(fifo, free=False), f"fifo {fifo} empty")
        elif fifo and self._needs_credit(fifo):
            yield from self._receive(self._signals(fifo, free=True), f"fifo {fifo} full")
        yield from self._put(pipe, partial(pipe.start, row, scope, plan.cost))
        if fifo:
            self.counts[fifo] += 1
        if row.op == "push":
            yield from self._tell(pipe, self._signal(fifo))
        elif row.op == "pop" and self._gives_credit(fifo):
            yield from self._tell(pipe, self._signal(fifo, free=True))

    def _needs_credit(self, fifo: str) -> bool:
        depth, period, credit = self.machine.fifos[fifo]
        return credit and self.counts[fifo] >= depth and self.counts[fifo] % period == 0

    def _gives_credit(self, fifo: str) -> bool:
        _, period, credit = self.machine.fifos[fifo]
        return credit and self.counts[fifo] % period == 0

    def _signal(self, fifo: str, free: bool = False) -> Callable[[Moment], None]:
        return partial(self.machine.signal, fifo, free, self.core, self.peers)

    def _signals(self, fifo: str, free: bool) -> list[Box]:
        """Of both lanes, if they are the ones that send."""
        return [self.machine.signals[fifo, free, peer, self.core] for peer in self.peers]

    def _flags(self, event: Event, index: Expr | None, scope: Counters) -> Box:
        at = 0 if index is None else int(evaluate(index, scope.__getitem__))
        key = self.core, event.src, event.dst, event.ids[at % len(event.ids)]
        return self.machine.flags[key]

    def _put(self, pipe: _Pipe, act: Callable[[], bool]) -> Iterator[None]:
        """An entry into the queue of a pipe, once there is room."""
        full = pipe.entered - self.machine.depth
        if full >= 0:
            while len(pipe.left) <= full:
                yield
            self._reach(pipe.left[full], f"{pipe.name.split()[1]} queue full")
        self._spend(self.machine.costs.issue)
        pipe.put(self.now, self.why, act)

    def _tell(self, pipe: _Pipe, send: Callable[[Moment], None]) -> Iterator[None]:
        return self._put(pipe, partial(pipe.tell, send))

    def _drain(self, pipes: Sequence[str], cause: str) -> Iterator[None]:
        """A set from each pipe to this unit, and the wait for all."""
        boxes: list[Box] = [deque() for _ in pipes]
        for name, box in zip(pipes, boxes, strict=True):
            yield from self._tell(self.pipes[name], box.append)
        yield from self._receive(boxes, cause)

    def _receive(self, boxes: Sequence[Box], cause: str) -> Iterator[None]:
        """One flag or signal from each."""
        while not all(boxes):
            yield
        moments = [box.popleft() for box in boxes]
        self._reach(max(moments, key=itemgetter(0), default=self.now), cause)
        self._spend(self.machine.costs.issue)

    def _reach(self, moment: Moment, cause: str) -> None:
        if moment[0] > self.now[0]:
            self.stalls.append(Stall(self.now[0], moment[0], cause))
            self.now, self.why = moment, cause

    def _spend(self, cycles: int) -> None:
        self.now = (self.now[0] + cycles, self.now[1])
        self.busy += cycles
        self.machine.moves += 1

    def causes(self, start: int, end: int) -> Iterator[Stall]:
        """What kept this unit from issuing between two cycles; that it issued, for the rest."""
        for s in self.stalls[bisect_right(self.stalls, start, key=attrgetter("end")) :]:
            if s.start >= end:
                break
            if s.start > start:
                yield Stall(start, s.start, ISSUE)
                start = s.start
            yield Stall(start, min(s.end, end), s.cause)
            start = min(s.end, end)
        if end > start:
            yield Stall(start, end, ISSUE)

    def finish(self, makespan: int) -> Usage:
        if makespan > self.now[0]:
            self.stalls.append(Stall(self.now[0], makespan, END))
        return Usage(self.busy, self.busy, tuple(self.stalls))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What does not change from one iteration of a row to the next."""

    cost: Cost
    fifo: str
    waits: tuple[tuple[Event, Expr | None], ...]
    sets: tuple[tuple[Event, Expr | None], ...]


class Machine:
    """One hardware block: the cube and the vector lanes, and what they share.

    ``run`` stops in front of a transfer of a tensor that would end behind ``horizon``, because how
    much of the memory it has until then is not known yet; ``bandwidth`` may change between runs.
    """

    def __init__(self, kernel: Kernel, blocks: Sequence[int], setup: Setup) -> None:
        self.kernel, self.blocks, self.setup = kernel, tuple(blocks), setup
        target = TARGETS[kernel.target]
        self.costs = costs_named(kernel, setup.costs)
        self.depth = setup.queue_depth or self.costs.queue_depth
        self.names = ("cube", *(f"vector{lane}" for lane in range(target.lanes)))
        self.events = {e.name: e for e in kernel.events}
        self.fifos = {
            f.name: (f.depth, target.ring_period[f.depth], f.credit) for f in kernel.fifos
        }
        self.flags: defaultdict[tuple[int, str, str, int], Box] = defaultdict(deque)
        self.signals: defaultdict[tuple[str, bool, int, int], Box] = defaultdict(deque)
        self.bandwidth, self.horizon, self.refused = setup.bandwidth, inf, inf
        self.spans: list[Span] = []
        self.tensor_bytes = 0
        self.plans: dict[int, _Plan] = {}
        self.moves = 0
        self.scalars = [_Scalar(self, k, _pipes(kernel, k)) for k in range(len(self.names))]
        self.pipes = [p for s in self.scalars for p in s.pipes.values()]

    def plan(self, row: Row) -> _Plan:
        found = self.plans.get(id(row))
        if found is None:
            fifos = [x.name for x in (row.out, *row.args) if isinstance(x, Queue)]
            waits, sets = map(self._events_of, (row.wait, row.set))
            cost = cost_of(row, self.kernel, self.costs)
            found = self.plans[id(row)] = _Plan(cost, fifos[0] if fifos else "", waits, sets)
        return found

    def _events_of(self, flags: Sequence[Flag]) -> tuple[tuple[Event, Expr | None], ...]:
        return tuple((self.events[f.name], f.index) for f in flags)

    def signal(
        self, fifo: str, free: bool, sender: int, receivers: Sequence[int], fires: Moment
    ) -> None:
        arrives = (fires[0] + self.setup.latency, fires[1])
        for receiver in receivers:
            self.signals[fifo, free, sender, receiver].append(arrives)

    def run(self, horizon: float = inf) -> float:
        """Goes on as far as possible; the end of the first transfer behind ``horizon``, or inf."""
        self.horizon, seen = horizon, -1
        while seen != self.moves:
            seen, self.refused = self.moves, inf
            for s in self.scalars:
                s.run()
                for p in s.pipes.values():
                    p.run()
        return self.refused

    def timing(self) -> Timing:
        """The result of a run to the end."""
        stuck = [s.name for s in self.scalars if not s.over]
        stuck += [p.name for p in self.pipes if p.queue]
        if stuck:
            raise InputError(
                f"the program stands still: {', '.join(stuck)} wait forever", hint="pto check"
            )
        ends = [s.now for s in self.scalars] + [latest(p.front, p.done) for p in self.pipes]
        makespan = latest(ends)[0]
        usage = {}
        for s in self.scalars:
            usage[f"{s.name} S"] = s.finish(makespan)
            usage |= {p.name: p.finish(makespan) for p in s.pipes.values()}
        spans, moved = tuple(self.spans), self.tensor_bytes
        return Timing(self.kernel, self.setup, self.blocks, makespan, usage, spans, moved)


def _pipes(kernel: Kernel, core: int) -> list[str]:
    """The pipes that a core uses, or at least drains."""
    rows = [r for r in all_rows(kernel.body) if r.core == _CORES[min(core, 1)]]
    drained = {x.name for r in rows if r.op == "drain" for x in r.args if isinstance(x, Word)}
    return [p for p in _PIPES if p in drained | {r.pipe for r in rows}]


_CORES = ("cube", "vector")
_PIPES = ("MTE2", "MTE1", "M", "FIX", "V", "MTE3")
