"""What a drain waits for: all that its pipe was given, or one push.

In: a scheduled kernel with a drain in front of every record.  Out: the same, with an event ``x.stored`` from
each push to a drain that does not stand right behind it; and the drains at the end.  Invariant: a drain still
waits for the push whose record stands behind it.  Non-goals: where records stand (record), what else may be
in the queue of a pipe (sync).

A drain of a pipe waits for everything in its queue, so the pipe runs dry: until the scalar unit has seen
that, it is given nothing.  An event that is set behind the push lets the scalar unit give it more before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from lowering.schedule.passes.sync import event_names, ordered
from pto import ir
from pto.ops import STORE_PIPE
from pto.targets import target_of


def drain(kernel: ir.Kernel) -> ir.Kernel:
    """All of this module in order."""
    return with_final_drains(with_stored(kernel))


# ------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Told:
    """A push, the drain in front of its record, in the body of one loop, and how many pushes may be complete
    before a drain takes the event of the first."""

    push: ir.Row
    drain: ir.Row
    pending: int
    total: str

    @property
    def name(self) -> str:
        return f"{self.push.queue}.stored"


def with_stored(kernel: ir.Kernel) -> ir.Kernel:
    """x = push_data t ... drain PIPE; record x
    --> x = push_data t | set x.stored ... drain | wait x.stored; record x

    As long as there are ids; else the drain of the pipe stays.
    """
    target, used = target_of(kernel), dict[tuple[str, str], int]()
    events: list[ir.Event] = []
    sets: dict[int, ir.Flag] = {}
    waits: dict[int, ir.Flag] = {}
    found = list(all_told(kernel.body))
    for told, name in zip(found, event_names([t.name for t in found]), strict=True):
        pipes = told.push.core, told.push.pipe
        first = used.get(pipes, 0)
        ids = tuple(range(first, first + told.pending))
        if told.pending and ids[-1] < target.drain_id:
            used[pipes] = first + told.pending
            events.append(ir.Event(pipes[0], name, pipes[1], "S", ids))
            flag = ir.Flag(name, ir.Var(told.total) if told.pending > 1 else None)
            sets[id(told.push)] = waits[id(told.drain)] = flag

    def edited(row: ir.Row) -> ir.Row:
        if id(row) in sets:
            return replace(row, set=(*row.set, sets[id(row)]))
        return replace(row, args=(), wait=(waits[id(row)],)) if id(row) in waits else row

    known = ordered([*kernel.events, *events], list(target.pipes))
    return replace(kernel, body=ir.map_rows(kernel.body, edited), events=tuple(known))


def all_told(block: ir.Block, loop: ir.Loop | None = None, total: str = "") -> Iterator[Told]:
    """Every push with a drain of its own, behind something else; ``total``: counts the steps of the ``loop``
    around it, if there is one."""
    rows = [node for node in block if isinstance(node, ir.Row)]
    lone = [r for r in rows if r.op != "fence"]
    at = {id(r): k for k, r in enumerate(rows)}
    for drain, record in pairwise(lone):
        if (drain.op, record.op) == ("drain", "record"):
            mine = [r for r in rows if r.queue == record.queue]
            number = [at[id(r)] for r in mine if r.op == "record"].index(at[id(record)])
            push = [r for r in mine if r.op == "push_data"][number]
            steps = push.shift - drain.shift + (at[id(push)] < at[id(drain)])
            if total and rows[at[id(drain)] - 1] is not push:
                yield Told(push, drain, steps, total)
    for node in block:
        if isinstance(node, ir.Loop):
            yield from all_told(node.body, node, node.total or ("" if loop else node.index))


# ---------------------------------------------------------------------------------- the end


def with_final_drains(kernel: ir.Kernel) -> ir.Kernel:
    """Before the kernel returns, each core waits for its writes to GM (docs/machine.md R10); a push with a
    record of its own has a drain behind it already."""
    rows = []
    for core in ir.CORES:
        pipe = STORE_PIPE[core]
        mine = [r for r in ir.all_rows(kernel.body) if r.core == core]
        stores = [r for r in mine if r.pipe == pipe and isinstance(r.out, ir.View | ir.Queue)]
        drained = any(r.op == "drain" for r in mine)
        if any(r.op != "push_data" or not drained for r in stores):
            rows.append(ir.Row("drain", None, (ir.Word(pipe),), core, "S"))
    return replace(kernel, body=(*kernel.body, *rows))
