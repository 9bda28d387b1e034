"""A scheduled program as the instructions that its scalar units issue, for given inputs.

In: a scheduled kernel and the bound arrays.  Out: for each hardware block one ``Stream`` per core
(the cube, and each vector lane): every row of every iteration in issue order, its ring slots, event
flags, FIFO places and tensor regions fixed.  What follows from the data alone (trip counts,
branches, indices) is settled here, because nothing that a scalar unit reads is ever written.

``adversarial.py`` runs them with data in random orders, ``tests/judges/exhaustive.py`` without data
in all orders.  Neither knows the scheduler or the proof (``hazards/``).
Invariant: a stream does not depend on how the pipes interleave.  Non-goals: order, time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lowering.execute.access import Region, Scope, compiled
from lowering.execute.core import Action, indices
from lowering.execute.inputs import Bound
from lowering.execute.scheduled import block_of
from pto.ir import Fifo, Flag, Kernel, Queue, Ref, Row, View, Word
from pto.ops import OPS
from pto.row_rules import touched
from pto.targets import Target, target_of
from pto.text import statement

Pipe = tuple[int, str]
"""(stream number, pipe)."""

FlagKey = tuple[int, str, str, int]
"""(stream number, source pipe, destination pipe, id): what the hardware calls one flag."""

Extent = tuple[str, tuple[range, ...]]
"""Where, and what per dimension: a memory of one core in bytes, a FIFO slot in rows, a tensor."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One row of one iteration.

    ``waits`` and ``sets`` are flags.  ``acquires`` is a (FIFO, number of signals) that the scalar
    unit waits for before it issues the row; ``signals`` the FIFO signal behind it; ``pops`` says
    whether they are those of a consumer.  ``reads`` and ``writes`` are what ``action`` touches.
    """

    row: Row
    scope: Scope
    pipe: Pipe
    waits: tuple[FlagKey, ...]
    sets: tuple[FlagKey, ...]
    action: Action | None
    reads: tuple[Extent, ...] = ()
    writes: tuple[Extent, ...] = ()
    acquires: str = ""
    signals: str = ""
    pops: bool = False
    drains: str = ""

    @property
    def leaves_the_core(self) -> bool:
        """Whether it writes to GM."""
        return bool(self.writes) and not isinstance(self.row.out, Ref)

    def told(self, program: Program) -> str:
        """The row, where it runs and in which iteration, for a person."""
        values = ", ".join(f"{n} = {v}" for n, v in indices(self.scope).items())
        where = f"{program.names[self.pipe[0]]} {self.pipe[1]}"
        return f"{where}: {statement(self.row, program.kernel)}" + (
            f"   ({values})" if values else ""
        )


Stream = tuple[Instruction, ...]


@dataclass(frozen=True)
class Program:
    """The streams of one hardware block, and what they share."""

    kernel: Kernel
    target: Target
    streams: tuple[Stream, ...]
    names: tuple[str, ...]

    def receivers(self, fifo: Fifo, free: bool) -> tuple[int, ...]:
        """The streams that receive the data signals of a FIFO, or its free signals."""
        lanes = tuple(range(1, 1 + self.target.lanes))
        return lanes if (fifo.direction == "c2v") != free else (0,)

    def tiles(self, fifo: Fifo, pops: bool) -> int:
        """Tiles that one end of a FIFO pushes or pops."""
        (k, *_) = self.senders(fifo, pops)
        return sum(
            any(x == Queue(fifo.name) for x in (i.row.out, *i.row.args))
            and i.row.op in ("push", "push_data", "pop")
            for i in self.streams[k]
        )

    def senders(self, fifo: Fifo, free: bool) -> tuple[int, ...]:
        """The streams that send them; a receiver waits for all of these."""
        return self.receivers(fifo, not free)


class Blocks:
    """The hardware blocks of one launch, one after the other, on the same outputs.  ``left``: all that a block
    leaves behind, by name: the outputs and what is known of their sums."""

    def __init__(self, kernel: Kernel, bound: Bound, block_num: int) -> None:
        self.kernel, self.target = kernel, target_of(kernel)
        self.outputs = bound.outputs()
        self.machine, self.cores = block_of(kernel, {**bound.arrays, **self.outputs})
        sums = self.machine.written.items()
        beside = {f"{n} {k}": a for n, x in sums for k, a in enumerate(x.memory)}
        self.left = {**self.outputs, **beside}
        self.bound, self.block_num = bound, block_num
        self.ids = {e.name: (e.src, e.dst, e.ids) for e in kernel.events}

    def __iter__(self) -> Iterator[Program]:
        """Each block as a program; memories are poisoned and rings emptied before it."""
        names = tuple(map(str, self.cores))
        for block_idx in range(self.block_num):
            self.poison()
            launch = {"block_idx": block_idx, "block_num": self.block_num}
            streams = tuple(
                tuple(self._stream(k, {**self.bound.names, **launch}))
                for k in range(len(self.cores))
            )
            yield Program(self.kernel, self.target, streams, names)

    def poison(self) -> None:
        """On-chip memories and rings as they are before a block starts."""
        for core in self.cores:
            for memory in core.memories.values():
                memory.reset()
        for ring in self.machine.rings.values():
            ring.reset()

    def _stream(self, k: int, names: Mapping[str, Any]) -> Iterator[Instruction]:
        core = self.cores[k]
        counts = dict.fromkeys(self.machine.rings, 0)
        for entry, scope in core.rows(names):
            row = entry.row
            if OPS[row.op].kind == "scalar":
                core.define(row, scope)
                if not row.wait and not row.set:
                    continue
            yield self._instruction(k, row, scope, counts)

    def _instruction(self, k: int, row: Row, scope: Scope, counts: dict[str, int]) -> Instruction:
        scalar, issue = OPS[row.op].kind == "scalar", self.cores[k].steps[id(row)].issue
        reads, writes = self._touched(k, row, scope, counts)
        acquires, signals = self._fifo(row, counts)
        action = None if scalar or issue is None else issue(scope)
        drains = next((a.name for a in row.args if isinstance(a, Word)), "")
        return Instruction(
            row,
            scope,
            (k, row.pipe),
            tuple(self._flag(k, f, scope) for f in row.wait),
            tuple(self._flag(k, f, scope) for f in row.set),
            action,
            reads,
            writes,
            acquires,
            signals,
            row.op == "pop",
            drains if row.op == "drain" else "",
        )

    def _flag(self, k: int, flag: Flag, scope: Scope) -> FlagKey:
        src, dst, ids = self.ids[flag.name]
        at = 0 if flag.index is None else int(compiled(flag.index)(scope))
        return k, src, dst, ids[at % len(ids)]

    def _fifo(self, row: Row, counts: dict[str, int]) -> tuple[str, str]:
        """(FIFO whose signal it waits for, FIFO that it signals), or '' (docs/machine.md 5.3)."""
        name = row.queue
        if not name:
            return "", ""
        ring = self.machine.rings[name]
        number, credits = counts[name], ring.credits
        if row.op == "record":
            return "", name
        counts[name] += 1
        if row.op == "pop":
            return name if ring.fifo.signal else "", name if credits.sent_by_pop(number) else ""
        return name if credits.taken_by_push(number) else "", name if row.op == "push" else ""

    def _touched(
        self, k: int, row: Row, scope: Scope, counts: Mapping[str, int]
    ) -> tuple[tuple[Extent, ...], tuple[Extent, ...]]:
        """(what the row reads, what it writes); a scalar row touches nothing here."""
        idle = any(not compiled(test)(scope) for test in row.tests)
        if idle or OPS[row.op].kind in ("scalar", "sync", "debug") or row.op == "record":
            return (), ()
        sides = touched(row, lambda test: bool(compiled(test)(scope)))
        found = [[self._extent(k, row, x, scope, counts) for x in side] for side in sides]
        reads, writes = (tuple(e for e in side if e is not None) for side in found)
        return reads, writes

    def _extent(
        self, k: int, row: Row, x: object, scope: Scope, counts: Mapping[str, int]
    ) -> Extent | None:
        core = self.cores[k]
        if isinstance(x, Ref):
            b = self.kernel.buffer(x.name)
            slot = 0 if x.index is None else int(compiled(x.index)(scope)) % b.depth
            at = b.at + slot * b.stride
            return f"{core} {b.space}", (range(at, at + b.type.size_bytes),)
        if isinstance(x, Queue):
            ring = self.machine.rings[x.name]
            tile = row.result(Ref) if row.op == "pop" else row.operand(Ref)
            kind = self.kernel.buffer(tile.name).type
            sides = ring.window(core.lane, kind.rows, kind.cols)
            slot_number = counts[x.name] % ring.fifo.depth
            extents = (range(side.start, side.stop) for side in sides)
            return f"fifo {x.name}", (range(slot_number, slot_number + 1), *extents)
        if isinstance(x, View):
            return _region(x.tensor, core.locate(row, x)(scope))
        return None


def _region(tensor: str, region: Region) -> Extent | None:
    if region.empty:
        return None
    places = (w if isinstance(w, slice) else slice(w, w + 1, 1) for w in region.where)
    return f"tensor {tensor}", tuple(range(w.start, w.stop, w.step) for w in places)
