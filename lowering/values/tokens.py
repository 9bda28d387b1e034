"""Proof by running twice: a flow stores what its scheduled program stores, for ragged trip counts.

In: a flow.  Both sides run with tokens: a value is the number of the expression that made it, so
two values are equal if and only if they were made the same way from the same inputs.  The scheduled
side is literal and shares nothing with the builder of the flow: cores one after the other, steps
and shifts, ring slots by number, FIFOs as queues, scalars per iteration.

Sizes and what is read are made up (the same on both sides), so that trip counts are short and long, in
different orders; why these decide, and how far, stands in ``lowering/values/world.py``.

Raises ``ScheduleError`` with the first row and iteration that differ.  Non-goals: bounds, numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from lowering.values.flow import ALIASES, SILENT, Choice, Flow, Part, Repeat, Step, Use
from lowering.values.world import UNDEFINED, World, worlds
from lowering.walk import Entry, Walk
from pto.errors import ScheduleError
from pto.ir import (
    CORES,
    Bin,
    Branch,
    Const,
    Expr,
    Kernel,
    Loop,
    Operand,
    Queue,
    Ref,
    Row,
    Scalar,
    Var,
    View,
    Word,
    all_rows,
    substitute,
)
from pto.row_rules import touched
from pto.text import statement

Log = dict[tuple[int, tuple[int, ...]], int]
"""(row, iterations of the loops around it) -> token."""


# ---------------------------------------------------------------------- the scheduled side


class Frame(dict[str, Expr]):
    """Scalars of one iteration on one core, those around it included; ``at``: which iteration."""

    __slots__ = ("at",)

    def __init__(self, scalars: Mapping[str, Expr] | None = None, at: tuple[int, ...] = ()) -> None:
        super().__init__(scalars or {})
        self.at = at


class Core:
    """One core: runs its rows in order and gives way while a pop finds nothing."""

    def __init__(self, kernel: Kernel, name: str, world: World, shared: Shared) -> None:
        self.name, self.world, self.shared = name, world, shared
        self.slots: dict[tuple[str, int], int] = {}
        self.depth = {b.name: b.depth for b in kernel.buffers}
        self.walk = Walk(kernel.body, name, self)

    def run(self) -> Generator[None]:
        for entry, frame in self.walk.rows(Frame()):
            row = entry.row
            if row.op == "pop":
                queue = row.args[0]
                assert isinstance(queue, Queue)
                while not self.shared.queues[queue.name]:
                    yield
            if row.op not in SILENT:
                self.execute(row, frame, frame.at[: entry.depth])

    # the domain of symbols (``lowering/walk.py``)

    def trips(self, loop: Loop, frame: Frame, ahead: Sequence[Entry] = ()) -> int:
        for entry in ahead:
            self.execute(entry.row, frame, frame.at)
        return self.world.count(substitute(loop.trips, frame))

    def holds(self, branch: Branch, frame: Frame) -> bool:
        return self.world.truth(substitute(branch.test, frame))

    def inside(self, loop: Loop, frame: Frame, i: int) -> Frame:
        return Frame(frame, (*frame.at, i))

    def count(self, frame: Frame, counters: Mapping[str, int]) -> None:
        frame.update({name: Const(value) for name, value in counters.items()})

    # rows

    def execute(self, row: Row, frame: Frame, at: tuple[int, ...]) -> None:
        self.shared.done += 1
        if row.op == "let":
            (value,) = row.args
            assert isinstance(row.out, Scalar)
            assert isinstance(value, Const | Var | Bin)
            frame[row.out.name] = substitute(value, frame)
            return
        reads, (_, *scratch) = touched(row)
        token = self.result(row, reads, frame)
        if isinstance(row.out, Scalar):
            frame[row.out.name] = Var(f"%{token}")
            return
        for spoiled in scratch:
            assert isinstance(spoiled, Ref)
            self.slots[self.slot(spoiled, frame)] = UNDEFINED
        if row.op not in ALIASES:
            self.shared.log[id(row), at] = token
        if isinstance(row.out, Queue):
            self.shared.queues[row.out.name].append(token)
        elif isinstance(row.out, View):
            self.shared.tensors[row.out.tensor] = token
        else:
            assert isinstance(row.out, Ref)
            self.slots[self.slot(row.out, frame)] = token

    def slot(self, ref: Ref, frame: Frame) -> tuple[str, int]:
        index = self.world.number(substitute(ref.index or Const(0), frame))
        return ref.name, int(index) % self.depth[ref.name]

    def result(self, row: Row, args: Sequence[Operand], frame: Frame) -> int:
        if row.op in ALIASES:
            (source,) = args
            if isinstance(source, Queue):
                return self.shared.queues[source.name].pop(0)
            found = self.operand(source, frame)
            assert isinstance(found, tuple)
            value, transposed = found
            assert isinstance(value, int)
            return self.world.token(("T", value)) if transposed else value
        operands = [self.operand(a, frame) for a in args]
        place = row.out if isinstance(row.out, View) else None
        tensors = [a.tensor for a in (place, *args) if isinstance(a, View)]
        state = [self.shared.tensors[t] for t in tensors if t in self.shared.tensors]
        where = [] if place is None else [self.world.place(place, frame, self.name)]
        return self.world.result(row, [*where, *operands, *state])

    def operand(self, a: object, frame: Frame) -> object:
        if isinstance(a, Ref):
            return self.slots.get(self.slot(a, frame), UNDEFINED), a.transposed
        if isinstance(a, View):
            return self.world.place(a, frame, self.name)
        if isinstance(a, Word):
            return a.name
        assert isinstance(a, Const | Var | Bin)
        return self.world.scalar(a, frame)


@dataclass
class Shared:
    """What both cores see: FIFOs, tensors, and the log."""

    queues: dict[str, list[int]]
    tensors: dict[str, int]
    log: Log = field(default_factory=dict)
    done: int = 0


def run_schedule(kernel: Kernel, world: World) -> Shared:
    """Both cores, taking turns whenever one waits."""
    tensors = {
        p.name: world.token(p.name) for p in kernel.params if p.direction in ("out", "inout")
    }
    shared = Shared({f.name: [] for f in kernel.fifos}, tensors)
    cores = [Core(kernel, name, world, shared).run() for name in CORES]
    before = -1
    while cores:
        cores = [c for c in cores if next(c, "done") is None]
        if cores and shared.done == before:
            raise ScheduleError("a pop waits for a push that never comes")
        before = shared.done
    return shared


# --------------------------------------------------------------------------- the flow side


class Tokens:
    """A flow run with tokens."""

    def __init__(self, flow: Flow, world: World, tensors: dict[str, int]) -> None:
        self.world = world
        self.values = {flow.first[name]: token for name, token in tensors.items()}
        self.scalars: dict[str, Expr] = {}
        self.log: Log = {}

    def parts(self, parts: list[Part], at: tuple[int, ...]) -> None:
        for part in parts:
            if isinstance(part, Step):
                self.step(part, at)
            elif isinstance(part, Repeat):
                self.repeat(part, at)
            else:
                self.choice(part, at)

    def get(self, value: int | None) -> int:
        return UNDEFINED if value is None else self.values[value]

    def step(self, step: Step, at: tuple[int, ...]) -> None:
        if step.op in ALIASES:
            (used,) = step.args
            assert isinstance(used, Use)
            token = self.get(used.value)
            self.values[step.out] = self.world.token(("T", token)) if used.transposed else token
            return
        state = [] if step.state is None else [self.get(step.state)]
        token = self.world.made(step.op, [*map(self.operand, step.args), *state])
        self.values[step.out] = token
        if step.op == "read":
            self.scalars[f"%{step.out}"] = Var(f"%{token}")
        else:
            self.log[id(step.row), at] = token

    def operand(self, a: object) -> object:
        if isinstance(a, Use):
            return self.get(a.value), a.transposed
        if isinstance(a, View):
            return self.world.place(a, self.scalars)
        if isinstance(a, Word):
            return a.name
        assert isinstance(a, Const | Var | Bin)
        return self.world.scalar(a, self.scalars)

    def repeat(self, loop: Repeat, at: tuple[int, ...]) -> None:
        now = [self.get(p.init) for p in loop.phis]
        for i in range(self.world.count(substitute(loop.trips, self.scalars))):
            self.scalars[loop.index] = Const(i)
            self.values.update({p.inner: t for p, t in zip(loop.phis, now, strict=True)})
            self.parts(loop.body, (*at, i))
            now = [self.get(p.next) for p in loop.phis]
        self.values.update({p.last: t for p, t in zip(loop.phis, now, strict=True)})

    def choice(self, choice: Choice, at: tuple[int, ...]) -> None:
        way = self.world.truth(substitute(choice.test, self.scalars))
        self.parts(choice.then if way else choice.orelse, at)
        for m in choice.merges:
            self.values[m.out] = self.get(m.then if way else m.orelse)


# ----------------------------------------------------------------------------- comparison


def same_stores(flow: Flow) -> None:
    """Raises ScheduleError unless both sides leave the same tensors behind."""
    for trips in worlds(flow.kernel):
        world = World(trips, flow.kernel)
        shared = run_schedule(flow.kernel, world)
        start = {p: world.token(p) for p in flow.first}
        tokens = Tokens(flow, world, start)
        tokens.parts(flow.parts, ())
        if any(tokens.values[flow.last[name]] != t for name, t in shared.tensors.items()):
            raise first_difference(flow.kernel, shared.log, tokens.log)


def first_difference(kernel: Kernel, schedule: Log, flow: Log) -> ScheduleError:
    """The first row, in the order of the schedule, that makes something else."""
    rows = {id(r): r for r in all_rows(kernel.body)}
    for (row, at), token in schedule.items():
        if flow.get((row, at), token) != token:
            text = statement(rows[row], kernel)
            when = ", ".join(map(str, at))
            message = f"'{text}' in iteration {when} reads the value of another iteration"
            return ScheduleError(message, rows[row].loc, "run 'pto check' on the schedule")
    return ScheduleError("the schedule stores in another order than its iterations do")
