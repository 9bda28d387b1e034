"""What the memories hold, and when: every value that a run puts into a slot of a buffer.

In: a ``Timing``.  Out: ``Held`` values of the cube core and of the lane that stands for all, in the
order in which a core issues the rows that make them; from the start of the row that makes a value
to the end of the last one that reads it, or, if that is of the same pipe, which works in order, to the
start of the row that makes the next value in the slot: so a tile is updated in place.
Invariant: who reads a value is found by slots in the order of issue, not by names: values that
share a buffer stay apart.  Non-goals: whether that order holds (``lowering/hazards``).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from lowering.simulate.timing import LANE, Span, Timing
from lowering.unroll import Counters, issued
from pto import ir
from pto.row_rules import touched

UNITS = {"cube": "cube", "vector": LANE}
"""Whose rows are looked at, by core."""


@dataclass(slots=True)
class Held:
    """A value in a slot: from cycle ``start`` to ``end``.

    ``made``, ``last``: the row that makes it, and the one that ends last of all that touch it.
    ``read_by``: rows, in the order of issue.
    """

    buffer: ir.Buffer
    slot: int
    made: Span
    last: Span
    end: int
    read_by: list[ir.Row] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.made.start

    @property
    def name(self) -> str:
        """The user's name of the value."""
        return (
            made_by(self.made.row)
            if self.made.row.result(ir.Ref).name == self.buffer.name
            else self.buffer.name
        )

    @property
    def bytes(self) -> tuple[int, int]:
        """From the first byte to behind the last one."""
        first = self.buffer.at + self.slot * self.buffer.stride
        return first, first + self.buffer.type.size_bytes


def made_by(row: ir.Row) -> str:
    """The user's name of what a row makes: a tile, a tensor or a FIFO."""
    if isinstance(row.out, ir.View):
        return row.out.tensor
    name = row.out.name if isinstance(row.out, ir.Ref | ir.Queue) else row.op
    return row.value or name


def held(timing: Timing) -> list[Held]:
    """Every value of a run."""
    return [value for core in UNITS for value in _held_by(timing, core)]


def _held_by(timing: Timing, core: str) -> Iterator[Held]:
    buffers = {b.name: b for b in timing.kernel.buffers if b.core == core}
    now: dict[tuple[str, int], Held] = {}
    for row, scope, span in _ran(timing, core):
        reads, writes = touched(row, partial(_adds, scope=scope))
        places = [_place(buffers[x.name], x, scope) for x in writes if isinstance(x, ir.Ref)]
        for x in reads:
            place = _place(buffers[x.name], x, scope) if isinstance(x, ir.Ref) else None
            if place in now:
                value = now[place]
                value.read_by.append(row)
                value.last = max(value.last, span, key=attrgetter("end"))
                value.end = value.last.end
        for place in places:
            old = now.get(place)
            if old and old.last.unit == span.unit:
                old.end = min(old.end, span.start)
            now[place] = Held(buffers[place[0]], place[1], span, span, span.end)
            yield now[place]


def _ran(timing: Timing, core: str) -> Iterator[tuple[ir.Row, Counters, Span]]:
    """The rows that took time, as the core issued them: each pipe runs its own in that order."""
    queues: dict[str, deque[Span]] = defaultdict(deque)
    for span in timing.spans:
        if span.unit.split()[0] == UNITS[core]:
            queues[span.row.pipe].append(span)
    ran = {id(span.row) for spans in queues.values() for span in spans}
    for _, row, scope in issued(timing.kernel, core, timing.blocks):
        if id(row) in ran:
            span = queues[row.pipe].popleft()
            assert span.row is row, row
            yield row, scope, span


def _place(buffer: ir.Buffer, x: ir.Ref, scope: Counters) -> tuple[str, int]:
    index = 0 if x.index is None else int(ir.evaluate(x.index, scope.__getitem__))
    return buffer.name, index % buffer.depth


def _adds(test: ir.Expr, scope: Counters) -> bool:
    """Whether a product is added to what is there; if only a call can say, it may be."""
    known = all(name in scope for name in ir.names_in(test))
    return bool(ir.evaluate(test, scope.__getitem__)) if known else True
