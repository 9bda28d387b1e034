"""When every row of a scheduled program runs, by the cost table of its target.

In: a scheduled kernel, the trip counts of one hardware block's work items, a ``Setup``.
Out: ``Timing`` (``lowering/simulate/timing.py``): the makespan, for every unit its busy cycles and its stalls
by cause, the critical path as rows of the schedule, and a lower bound.

The machine (docs/machine.md 3.4, 4, 5; 9 is the same model without time):

* A scalar unit per core walks its rows, one cycle each, and drops them into the queues of the
  pipes.  It stops where a queue is full, where it waits itself (a FIFO signal, a drain, a barrier
  on all pipes), and nowhere else.
* A pipe takes its queue in order: a wait holds back what is behind it, a set or a signal fires when
  everything before it is complete, an op starts when the one before lets it (``lowering/simulate/costs.py``).
* A FIFO signal arrives ``latency`` cycles after it is sent, on every core that waits for it; the
  cube waits for both vector lanes.  In a launch the signals of all clusters pass one scheduler, one
  after the other.  Who waits for one stops the issue to all pipes of its core.

Each unit keeps its own clock and runs as far as what it knows lets it; every time is the latest of
those that it depends on, so the order in which the units are taken does not matter.  Only what shares a
bounded memory or the scheduler of signals is taken in the order in which it is asked for.
Invariant: for every unit busy + stalls = makespan.  Non-goals: data, and whether the order is
right (``lowering/hazards/``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil, inf
from operator import attrgetter, itemgetter
from typing import NamedTuple

from lowering.simulate.costs import ALONE, Cost, Shared, cost_of, view_of
from lowering.simulate.folds import Folds
from lowering.simulate.l2 import OUTSIDE
from lowering.simulate.timing import (
    DEFAULT,
    END,
    ISSUE,
    MEMORY,
    ORDER,
    START,
    Setup,
    Span,
    Stall,
    Timing,
    Usage,
    costs_named,
    depth_of,
    latency_of,
)
from lowering.unroll import Counters, issued
from pto import ir
from pto.errors import InputError
from pto.folds import fold_of
from pto.ops import OPS
from pto.targets import target_of


def simulate(kernel: ir.Kernel, blocks: Sequence[int], setup: Setup = DEFAULT) -> Timing:
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


class _Transfer(NamedTuple):
    """What a pipe asks of the memory: ``size`` bytes, ``asked`` for at that cycle, there at ``least`` then."""

    asked: int
    pipe: str
    size: float
    least: int


class _Signal(NamedTuple):
    """What a pipe asks of the scheduler of signals, ``asked`` for at that cycle."""

    asked: int
    pipe: str


class _Pipe:
    """One pipe of one core: its queue, its clock, and why it stood still.

    What the scalar unit puts into the queue is one of the methods ``wait``, ``start``, ``barrier``,
    ``tell`` and ``signal``, which say whether they are through.
    """

    def __init__(self, machine: Machine, scalar: _Scalar, name: str) -> None:
        self.machine, self.scalar, self.name = machine, scalar, name
        self.depth = depth_of(machine.setup, machine.costs, name.split()[1])
        self.queue: deque[tuple[Moment, str, Callable[[], bool]]] = deque()
        self.entered = 0
        self.left: list[Moment] = []  # when each entry left the queue
        self.front: Moment = (0, -1)  # the next entry is looked at from here on
        self.why = START
        self.ready: Moment = (0, -1)  # the order of the pipe lets the next op start
        self.done: Moment = (0, -1)  # everything before is complete
        self.through = 0  # ... as far as this pipe has a part in it
        self.asks = 0  # for the next transfer, however slow the memory is
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
        """A set."""
        send(latest(self.front, self.done))
        return True

    def signal(self, send: Callable[[Moment], None]) -> bool:
        """To another core; the pipe goes on while it is on its way."""
        fires, number = latest(self.front, self.done)
        sent = self.machine.scheduled(self.name, fires)
        if sent is None:
            return False
        send((sent, number))
        return True

    def barrier(self) -> bool:
        self.ready = latest(self.ready, self.done)
        return True

    def start(self, row: ir.Row, scope: Counters, cost: Cost) -> bool:
        start, after, why = *self.front, self.why
        if self.ready[0] >= start and self.ready[1] >= 0:
            start, after, why = *self.ready, ORDER
        end = start + cost.latency
        if cost.tensor_bytes and self.machine.bandwidth.steps:
            asked = start + cost.latency if cost.posted else max(self.front[0], self.asks)
            end = self.machine.transfer(self.name, asked, start + cost.latency, cost.asked_bytes)
            if not end:
                return False
            self.asks = asked + cost.occupies
        through = start + cost.latency if cost.posted else end
        self._stood_still()
        self._stall(max(self.front[0], self.through), start, MEMORY)
        self.busy += max(0, through - max(start, self.through))
        self.work += cost.occupies
        number = len(self.machine.spans)
        self.machine.spans.append(Span(self.name, row, scope, start, through, after, why))
        self.machine.tensor_bytes += cost.tensor_bytes
        self.machine.asked_bytes += cost.asked_bytes
        self.front, self.why = (start, after), why
        self.ready = (through - cost.latency + cost.occupies, number)
        self.through = max(self.through, through)
        if end >= self.done[0]:
            self.done = (end, number)
        return True

    def _reach(self, moment: Moment, cause: str, why: str) -> None:
        """The front of the queue stood still until ``moment``."""
        if moment[0] > self.front[0]:
            self.waits.append((self.front[0], moment[0], cause))
            self.front, self.why = moment, why

    def _stood_still(self) -> None:
        """What was waited for since the pipe was through with everything before is a stall."""
        for start, end, cause in self.waits:
            self._stall(max(start, self.through), end, cause)
        self.waits = []

    def _stall(self, start: int, end: int, cause: str) -> None:
        """Where the scalar unit is the cause, its own causes."""
        if end > start:
            alone = cause != ISSUE
            self.stalls += [Stall(start, end, cause)] if alone else self.scalar.causes(start, end)

    def finish(self, makespan: int) -> Usage:
        self._stood_still()
        at = max(self.front[0], self.through)
        self._stall(at, self.done[0], MEMORY)
        self._stall(max(at, self.done[0]), makespan, END)
        return Usage(self.busy, self.work, tuple(self.stalls))


class _Scalar:
    """The scalar unit of one core: walks its rows and fills the queues."""

    def __init__(self, machine: Machine, core: int, pipes: Sequence[str]) -> None:
        self.machine, self.core, self.name = machine, core, machine.names[core]
        self.peers = range(1, len(machine.names)) if core == 0 else (0,)
        self.pipes = {p: _Pipe(machine, self, f"{self.name} {p}") for p in pipes}
        self.counts = dict.fromkeys(machine.credits, 0)  # pushes or pops so far
        self.now: Moment = (0, -1)
        self.why = START  # ... of the last stall
        self.busy = 0
        self.stalls: list[Stall] = []
        self.over = False
        self.folds = Folds(machine.kernel, ir.CORES[min(core, 1)], machine.blocks)
        self.program = self._program()

    def run(self) -> None:
        """Issues as far as it goes."""
        next(self.program, None)

    # The program and its parts yield where something has to happen before the unit can go on.

    def _program(self) -> Iterator[None]:
        core = ir.CORES[min(self.core, 1)]
        for _, row, scope in issued(self.machine.kernel, core, self.machine.blocks):
            plan = self.machine.plan(row, scope)
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

    def _work(self, row: ir.Row, scope: Counters, plan: _Plan) -> Iterator[None]:
        if row.op == "drain":
            for x in row.args:
                assert isinstance(x, ir.Word), row
                yield from self._drain([x.name], f"drain {x.name}")
        elif row.op == "barrier" and row.pipe == "ALL":
            yield from self._drain(list(self.pipes), "barrier")
        elif row.op == "barrier":
            yield from self._put(self.pipes[row.pipe], self.pipes[row.pipe].barrier)
        elif row.op == "fence":
            self._spend(self.machine.costs.fence)
        elif row.op == "record":
            yield from self._signal(self.pipes[row.pipe], plan.fifo)
        elif OPS[row.op].kind == "scalar":
            self._spend(self._scalar(row, scope))
        elif row.op != "sync":
            yield from self._op(row, scope, plan)

    def _scalar(self, row: ir.Row, scope: Counters) -> int:
        """Cycles of a row that gives a scalar."""
        costs = self.machine.costs
        if row.op != "fold":
            return costs.read if row.op == "read" else costs.issue
        fold = fold_of(row)
        step = costs.read * len(fold.entries) + costs.issue * len(fold.steps)
        return costs.issue + step * self.folds.steps(row, scope)

    def _op(self, row: ir.Row, scope: Counters, plan: _Plan) -> Iterator[None]:
        """A row that a pipe runs; a push or a pop with signals and credits (docs/machine.md 5.3)."""
        pipe, fifo = self.pipes[row.pipe], plan.fifo
        if row.op == "pop":
            if self.machine.kernel.fifo(fifo).signal:
                yield from self._await(fifo, False)
        elif fifo and self.machine.credits[fifo].taken_by_push(self.counts[fifo]):
            yield from self._await(fifo, True)
        cost = self.machine.cost(row, scope, plan)
        yield from self._put(pipe, partial(pipe.start, row, scope, cost))
        if row.op == "push":
            yield from self._signal(pipe, fifo)
        elif row.op == "pop" and self.machine.credits[fifo].sent_by_pop(self.counts[fifo]):
            yield from self._signal(pipe, fifo, free=True)
        if fifo:
            self.counts[fifo] += 1

    def _signal(self, pipe: _Pipe, fifo: str, free: bool = False) -> Iterator[None]:
        send = partial(self.machine.signal, fifo, free, self.core, self.peers)
        return self._put(pipe, partial(pipe.signal, send))

    def _await(self, fifo: str, free: bool) -> Iterator[None]:
        """A signal, of both lanes if they are the ones that send; the issue to all pipes stops."""
        signals = [self.machine.signals[fifo, free, peer, self.core] for peer in self.peers]
        yield from self._receive(signals, f"fifo {fifo} {'full' if free else 'empty'}")
        self._spend(self.machine.costs.wait)

    def _flags(self, event: ir.Event, index: ir.Expr | None, scope: Counters) -> Box:
        at = 0 if index is None else int(ir.evaluate(index, scope.__getitem__))
        key = self.core, event.src, event.dst, event.ids[at % len(event.ids)]
        return self.machine.flags[key]

    def _put(self, pipe: _Pipe, act: Callable[[], bool]) -> Iterator[None]:
        """An entry into the queue of a pipe, once there is room."""
        full = pipe.entered - pipe.depth
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
    waits: tuple[tuple[ir.Event, ir.Expr | None], ...]
    sets: tuple[tuple[ir.Event, ir.Expr | None], ...]


class Machine:
    """One hardware block: the cube and the vector lanes, and what they share.

    ``run`` stops in front of a transfer of a tensor that would end behind ``horizon``, because how
    much of the memory it has until then is not known yet; ``bandwidth`` may change between runs.
    ``shared``: how a row that moves tensors shares them with other blocks, by work item.
    """

    def __init__(
        self,
        kernel: ir.Kernel,
        blocks: Sequence[int],
        setup: Setup,
        shared: Callable[[ir.Row, int], Shared] | None = None,
    ) -> None:
        self.kernel, self.blocks, self.setup = kernel, tuple(blocks), setup
        target = target_of(kernel)
        self.costs = costs_named(kernel, setup.costs)
        self.latency = latency_of(setup, self.costs)
        self.turn = self.costs.signal_turn * setup.clusters if setup.clusters > 1 else 0.0
        self.names = ("cube", *(f"vector{lane}" for lane in range(target.lanes)))
        self.events = {e.name: e for e in kernel.events}
        self.credits = {f.name: target.credits(f) for f in kernel.fifos}
        self.flags: defaultdict[tuple[int, str, str, int], Box] = defaultdict(deque)
        self.signals: defaultdict[tuple[str, bool, int, int], Box] = defaultdict(deque)
        self.bandwidth = setup.bandwidth
        self.moved = 0.0  # when the memory is through with all that it was asked for
        self.asking: list[_Transfer | _Signal] = []  # those that wait for their turn
        self.signalled = -inf  # when the scheduler last had a turn for this cluster
        self.signals_sent = 0
        self.granted: dict[str, int] = {}  # by pipe, when its transfer ends or its signal leaves
        self.spans: list[Span] = []
        self.tensor_bytes, self.asked_bytes = 0, 0.0
        alone = ALONE if setup.hits is None else Shared(setup.hits)
        self.shared = shared or (lambda row, item: alone)
        self.moving = {id(r) for r in ir.all_rows(kernel.body) if view_of(r)} if shared else set()
        self.plans: dict[tuple[int, int], _Plan] = {}
        self.moves = 0
        self.scalars = [_Scalar(self, k, _pipes(kernel, k)) for k in range(len(self.names))]
        self.pipes = [p for s in self.scalars for p in s.pipes.values()]

    def plan(self, row: ir.Row, scope: Counters) -> _Plan:
        item = scope.at[0] if scope.at and id(row) in self.moving else OUTSIDE
        found = self.plans.get((id(row), item))
        if found is None:
            waits, sets = map(self._events_of, (row.wait, row.set))
            cost = cost_of(row, self.kernel, self.costs, self.shared(row, item))
            found = self.plans[id(row), item] = _Plan(cost, row.queue, waits, sets)
        return found

    def cost(self, row: ir.Row, scope: Counters, plan: _Plan) -> Cost:
        """What a row takes in this trip: in the last one of its loop a partial load finds less."""
        cost = plan.cost
        if (
            not self.setup.partial
            or not cost.zeros
            or scope.at[-1:] != self.last_trips[id(row), scope.at[:-1]]
        ):
            return cost
        longer = cost.occupies + cost.zeros, cost.latency + cost.zeros
        return replace(cost, occupies=longer[0], latency=longer[1])

    @cached_property
    def last_trips(self) -> dict[tuple[int, ir.Path], ir.Path]:
        """Of each row of the cube, by the trips of the loops around the one in which it stands."""
        rows = issued(self.kernel, ir.CORES[0], self.blocks)
        return {(id(row), scope.at[:-1]): scope.at[-1:] for _, row, scope in rows}

    def _events_of(self, flags: Sequence[ir.Flag]) -> tuple[tuple[ir.Event, ir.Expr | None], ...]:
        return tuple((self.events[f.name], f.index) for f in flags)

    def signal(
        self, fifo: str, free: bool, sender: int, receivers: Sequence[int], fires: Moment
    ) -> None:
        arrives = (fires[0] + self.latency, fires[1])
        for receiver in receivers:
            self.signals[fifo, free, sender, receiver].append(arrives)

    def run(self, horizon: float = inf) -> float:
        """Goes on as far as possible; the end of the first transfer behind ``horizon``, or inf.

        Transfers share the memory in the order in which they are asked for, a load when its pipe would
        get to it were the memory as fast as it, a store when its pipe is through with it; those of one
        cycle, as of both lanes, until all of them are through.  When all units stand still the earliest have
        their turn: whatever else may come depends on one that waits.
        """
        self._settle()
        while self.asking:
            first = min(t.asked for t in self.asking)
            if any(isinstance(t, _Signal) for t in self.asking if t.asked == first):
                self._pass_signals(first)
                self._settle()
                continue
            together = [t for t in self.asking if isinstance(t, _Transfer) and t.asked == first]
            moved = self.bandwidth.moved(max(first, self.moved), sum(t.size for t in together))
            ends = {t.pipe: max(t.least, ceil(moved - 1e-6)) for t in together}
            last = max(ends.values())
            if last > horizon:
                return last
            self.moved, self.granted = moved, ends
            self._settle()
        return inf

    def _pass_signals(self, start: int) -> None:
        """Those of ``start`` through the scheduler, in the order of the units.  It has one of every other
        cluster between two of this one, which may use the turn before if it did not."""
        for asked in self.asking:
            if isinstance(asked, _Signal) and asked.asked == start:
                self.signalled = max(start - self.turn, self.signalled + self.turn)
                self.granted[asked.pipe] = max(start, ceil(self.signalled - 1e-6))

    def _settle(self) -> None:
        """All units as far as they get."""
        seen = -1
        while seen != self.moves:
            seen, self.asking = self.moves, []
            for s in self.scalars:
                s.run()
                for p in s.pipes.values():
                    p.run()

    def transfer(self, pipe: str, asked: int, least: int, size: float) -> int:
        """The end of a transfer of a tensor, 0 if it is not its turn."""
        if pipe not in self.granted:
            self.asking.append(_Transfer(asked, pipe, size, least))
        return self.granted.pop(pipe, 0)

    def scheduled(self, pipe: str, start: int) -> int | None:
        """When a signal leaves the scheduler, None if it is not its turn."""
        if self.turn and pipe not in self.granted:
            self.asking.append(_Signal(start, pipe))
            return None
        self.signals_sent += 1
        return self.granted.pop(pipe, start)

    def timing(self) -> Timing:
        """The result of a run to the end."""
        stuck = [s.name for s in self.scalars if not s.over]
        stuck += [p.name for p in self.pipes if p.queue]
        if stuck:
            message = f"the program stands still: {', '.join(stuck)} wait forever"
            raise InputError(message, hint="pto check")
        ends = [s.now for s in self.scalars] + [latest(p.front, p.done) for p in self.pipes]
        makespan = latest(ends)[0]
        usage = {}
        for s in self.scalars:
            usage[f"{s.name} S"] = s.finish(makespan)
            usage |= {p.name: p.finish(makespan) for p in s.pipes.values()}
        moved = tuple(self.spans), self.tensor_bytes, self.asked_bytes, self.signals_sent
        return Timing(self.kernel, self.setup, self.blocks, makespan, usage, *moved)


def _pipes(kernel: ir.Kernel, core: int) -> list[str]:
    """The pipes that a core uses, or at least drains."""
    rows = [r for r in ir.all_rows(kernel.body) if r.core == ir.CORES[min(core, 1)]]
    drained = {x.name for r in rows if r.op == "drain" for x in r.args if isinstance(x, ir.Word)}
    return [p for p in target_of(kernel).pipes if p in (drained | {r.pipe for r in rows}) - {"S"}]
