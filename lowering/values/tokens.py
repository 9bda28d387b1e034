"""What a scheduled program stores, with numbers for expressions instead of values.

In: a scheduled kernel and a made-up world (``lowering/values/world.py``).  Out: the number of what each
tensor holds at the end.  A value is the number of the expression that made it, so two values are equal
if and only if they were made the same way from the same inputs.
Invariant: literal, and nothing shared with the side that it is compared with: cores one after the
other, steps and shifts, ring slots by number, FIFOs as queues, scalars per iteration.
Non-goals: order between pipes, bounds, numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from lowering.values.world import UNDEFINED, World
from lowering.walk import Entry, Walk
from pto.errors import ScheduleError
from pto.ir import (
    CORES,
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
    all_rows,
    substitute,
)
from pto.ops import OPS
from pto.row_rules import touched
from pto.types import TileType

ALIASES = frozenset(("move", "scales", "push", "push_data", "pop"))
"""Ops that only hand a value on."""

SILENT = frozenset(op.name for op in OPS.values() if op.kind == "sync") | {"record"}
"""Ops that order but do not compute."""

Log = dict[tuple[int, tuple[int, ...]], int]
"""(row, iterations of the loops around it) -> the number of what it makes."""


class Frame(dict[str, Expr]):
    """Scalars of one iteration on one core, those around it included; ``at``: which iteration."""

    __slots__ = ("at",)

    def __init__(self, scalars: Mapping[str, Expr] | None = None, at: tuple[int, ...] = ()) -> None:
        super().__init__(scalars or {})
        self.at = at


@dataclass
class Shared:
    """What both cores see: the world, FIFOs, tensors, and the log."""

    world: World
    queues: dict[str, list[int]]
    tensors: dict[str, int]
    log: Log = field(default_factory=dict)
    done: int = 0


class Core:
    """One core: runs its rows in order and gives way while a pop finds nothing."""

    shared: Shared

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.name = name
        self.slots: dict[tuple[str, int], int] = {}
        self.depth = {b.name: b.depth for b in kernel.buffers}
        self.touched = {id(r): touched(r) for r in all_rows(kernel.body) if r.core == name}
        """By the id of a row: what it reads, what it writes."""
        types = {b.name: b.type for b in kernel.buffers if b.core == name == "vector"}
        self.mine = {
            id(r): next((types[x.name] for x in (r.out, *r.args) if isinstance(x, Ref)), None)
            for r in all_rows(kernel.body)
            if r.core == name == "vector"
        }
        """By the id of a row: what a lane has of its first tile."""
        self.walk = Walk(kernel.body, name, self)

    def run(self, shared: Shared) -> Generator[None]:
        self.shared, self.world = shared, shared.world
        self.slots.clear()
        for entry, frame in self.walk.rows(Frame()):
            row = entry.row
            if row.op == "pop":
                while not shared.queues[row.operand(Queue).name]:
                    yield
            if row.op not in SILENT:
                self.execute(row, frame, frame.at[: entry.depth])

    # the domain of symbols (``lowering/walk.py``)

    def trips(self, loop: Loop, frame: Frame, ahead: Sequence[Entry] = ()) -> int:
        for entry in ahead:
            self.execute(entry.row, frame, frame.at)
        return self.world.count(loop, frame)

    def holds(self, branch: Branch, frame: Frame) -> bool:
        return self.world.truth(substitute(branch.test, frame))

    def inside(self, loop: Loop, frame: Frame, i: int, total: int) -> Frame:
        found = Frame(frame, (*frame.at, i))
        found[loop.index], found[loop.total] = Const(i), Const(total)
        return found

    def count(self, frame: Frame, counters: Mapping[str, int]) -> None:
        frame.update({name: Const(value) for name, value in counters.items()})

    # rows

    def execute(self, row: Row, frame: Frame, at: tuple[int, ...]) -> None:
        self.shared.done += 1
        if any(not self.world.truth(substitute(test, frame)) for test in row.tests):
            self.pass_over(row, frame)
            return
        if row.op == "let":
            frame[row.result(Scalar).name] = substitute(row.scalar(), frame)
            return
        (reads, writes), out = self.touched[id(row)], row.out
        token = self.result(row, reads, frame)
        if isinstance(out, Scalar):
            frame[out.name] = Var(f"%{token}", out.is_float)
            return
        for spoiled in writes[1:]:
            assert isinstance(spoiled, Ref)
            self.slots[self.slot(spoiled, frame)] = UNDEFINED
        if row.op not in ALIASES:
            self.shared.log[id(row), at] = token
        if out is None:
            return
        if isinstance(out, Queue):
            self.shared.queues[out.name].append(token)
        elif isinstance(out, View):
            before = self.shared.tensors[out.tensor]
            self.shared.tensors[out.tensor] = self.world.holding(row, before, token)
        else:
            self.slots[self.slot(row.result(Ref), frame)] = token

    def pass_over(self, row: Row, frame: Frame) -> None:
        """A row that does not work: a FIFO goes on by one place, a scalar is 0."""
        if isinstance(row.out, Queue):
            self.shared.queues[row.out.name].append(UNDEFINED)
        elif row.op == "pop":
            self.shared.queues[row.operand(Queue).name].pop(0)
        elif isinstance(row.out, Scalar):
            frame[row.out.name] = Const(0)

    def slot(self, ref: Ref, frame: Frame) -> tuple[str, int]:
        if ref.index is None:
            return ref.name, 0
        return ref.name, int(self.world.number(ref.index, frame)) % self.depth[ref.name]

    def result(self, row: Row, reads: Sequence[Operand], frame: Frame) -> int:
        first = reads[0]
        if isinstance(first, Queue):
            return self.shared.queues[first.name].pop(0)
        mine = self.mine.get(id(row))
        operands = [self.operand(a, frame, mine) for a in reads]
        if row.op in ALIASES:
            return self.world.value(operands[0])
        where = [self.operand(row.out, frame, mine)] if isinstance(row.out, View) else []
        states = self.world.states(row, self.shared.tensors)
        return self.world.result(row, [*where, *operands, *states])

    def operand(self, a: Operand, frame: Frame, mine: TileType | None) -> object:
        if isinstance(a, Ref):
            return self.slots.get(self.slot(a, frame), UNDEFINED), a.transposed
        return self.world.operand(a, frame, mine)


class Scheduled:
    """Both cores of a scheduled program, to be run in many worlds."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.cores = [Core(kernel, name) for name in CORES]

    def run(self, world: World) -> Shared:
        """The cores take turns whenever one waits."""
        shared = Shared(world, {f.name: [] for f in self.kernel.fifos}, world.start())
        cores = [core.run(shared) for core in self.cores]
        before = -1
        while cores:
            cores = [c for c in cores if next(c, "done") is None]
            if cores and shared.done == before:
                raise ScheduleError("a pop waits for a push that never comes")
            before = shared.done
        return shared
