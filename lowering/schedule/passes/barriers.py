"""Barriers of the pipes that need them: V and M start a row before the one in front of it has ended; copies over each
other have no order but that of who reads between them, and what is popped to tell of a store nobody reads.

In: a scheduled kernel.  Out: the same with ``barrier`` rows.  Invariant: a row that depends on an unfinished
row of its own pipe has one in front; found by running the rows for the lengths of ``lowering/unroll.py``,
judged by the proof for all (docs/machine.md 6.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import lcm

from lowering.schedule.passes.handovers import over_each_other, shares_bytes
from lowering.unroll import Counters, Issued, Unrolled, launches, pairs_of_loops
from pto import ir
from pto.arithmetic import GREATEST, Number
from pto.row_rules import touched
from pto.targets import Pipe, target_of


def with_barriers(kernel: ir.Kernel) -> ir.Kernel:
    """A barrier before every row that depends on an unfinished row of its own pipe, where the pipe
    needs one."""
    marked = {id(r) for r in ir.all_rows(kernel.body) if r.op == "pop" and is_unread(kernel, r)}
    for pipe in target_of(kernel).pipes.values():
        for core in pipe.cores if pipe.needs_barrier else ():
            marked |= needed_barriers(kernel, core, pipe)

    def behind_barrier(row: ir.Row) -> ir.Row | tuple[ir.Row, ...]:
        if id(row) not in marked:
            return row
        return ir.Row("barrier", None, (), row.core, row.pipe, row.shift, loc=row.loc), row

    return replace(kernel, body=ir.map_rows(kernel.body, behind_barrier))


def is_unread(kernel: ir.Kernel, pop: ir.Row) -> bool:
    """No row reads the buffer of what is popped."""
    buffer = pop.result(ir.Ref).name
    reads = (x for r in ir.all_rows(kernel.body) for x in touched(r)[0])
    return not any(isinstance(x, ir.Ref) and x.name == buffer for x in reads)


def needed_barriers(kernel: ir.Kernel, core: str, pipe: Pipe) -> set[int]:
    """Rows, by their ids, that need a barrier in front, in some execution; found by running the program."""
    marked: set[int] = set()

    def is_mine(row: ir.Row) -> bool:
        return row.core == core and row.pipe == pipe.name and row.op != "sync"

    sides = [touched(r) for r in ir.all_rows(kernel.body) if is_mine(r)]
    found = {
        "reads": {x.name for side, _ in sides for x in side if isinstance(x, ir.Ref)},
        "writes": {x.name for _, side in sides for x in side if isinstance(x, ir.Ref)},
    }
    shared = over_each_other(kernel)
    found["overwrites"] = found["reads"]
    if not shared and not any(found[how] & found["writes"] for how in pipe.needs_barrier):
        return marked  # no row meets what another one writes
    slots = _Slots(kernel.buffers, pipe.needs_barrier)
    issues = Unrolled(kernel, core, is_mine)
    for lengths in (*launches(kernel), pairs_of_loops(kernel)):
        steps = [x for run in issues.runs(lengths, slots.period) for x in slots.of(run)]
        known = -1
        while len(marked) > known:
            known = len(marked)
            unfinished = 0
            for row, depends, does in steps:
                if depends & unfinished or row in marked:
                    marked.add(row)
                    unfinished = 0
                unfinished |= does
    return marked


Step = tuple[int, int, int]
"""The id of a row, what it depends on, and what it does.  As bits: of every slot that it is written, and that it is
read."""

Known = tuple[tuple[str, ...], int, dict[tuple[Number, ...], Sequence[Step]]]
"""Of a run of rows the counters that count, modulo what they do, and the steps by their values."""


class _Slots:
    """What rows become, found once for each run of rows and the slots that its counters pick.

    ``depends``: what of a row depends on rows before it: "reads" and "writes" on writes, "overwrites" on reads.
    """

    def __init__(self, buffers: Sequence[ir.Buffer], depends: tuple[str, ...]) -> None:
        self.depths, self.depends = {b.name: b.depth for b in buffers}, depends
        self.period = lcm(*self.depths.values())
        self.over = {
            b.name: [o for o in buffers if o is not b and shares_bytes(b, o)] for b in buffers
        }
        self.runs: dict[int, Known] = {}
        """By the id of the first row."""
        self.numbers: dict[tuple[str, int], int] = {}

    def of(self, issued: Issued) -> Sequence[Step]:
        run, counters = issued
        names, period, found = self.runs.get(id(run[0].row)) or self._known([e.row for e in run])
        at = tuple([counters[n] % period for n in names])
        steps = found.get(at)
        if steps is None:
            steps = found[at] = [(id(e.row), *self._found(e.row, counters)) for e in run]
        return steps

    def _known(self, rows: Sequence[ir.Row]) -> Known:
        """The counters that pick the slots of a run, and modulo what: rings turn with sums of them."""
        touched = (x for r in rows for x in (r.out, *r.args) if isinstance(x, ir.Ref))
        indices = [x.index for x in touched if x.index is not None]
        names = tuple(dict.fromkeys(n for index in indices for n in ir.names_in(index)))
        turns = all(ir.coefficients(index) is not None for index in indices)
        return self.runs.setdefault(id(rows[0]), (names, self.period if turns else GREATEST, {}))

    def _found(self, row: ir.Row, counters: Counters) -> tuple[int, int]:
        reads, writes = (self._bits(side, counters) for side in touched(row))
        spoils = writes | self._bits_over(touched(row)[1])
        depends = reads * ("reads" in self.depends) | writes * ("writes" in self.depends)
        if "overwrites" in self.depends:
            return depends | spoils << 1, spoils | reads << 1
        return depends, spoils

    def _bits_over(self, side: Iterable[object]) -> int:
        """All slots of the buffers that share bytes with what is written."""
        bits = 0
        for x in side:
            for other in self.over[x.name] if isinstance(x, ir.Ref) else ():
                for slot in range(other.depth):
                    bits |= self._bit((other.name, slot))
        return bits

    def _bits(self, side: Iterable[object], counters: Counters) -> int:
        bits = 0
        for x in side:
            if isinstance(x, ir.Ref):
                at = 0 if x.index is None else int(ir.evaluate(x.index, counters.__getitem__))
                bits |= self._bit((x.name, at % self.depths[x.name]))
        return bits

    def _bit(self, slot: tuple[str, int]) -> int:
        """That a slot is written; the next bit: that it is read."""
        return 1 << 2 * self.numbers.setdefault(slot, len(self.numbers))
