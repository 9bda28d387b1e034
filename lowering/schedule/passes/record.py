"""When the other core is told that a FIFO slot is full.

In: pushes with shifts.  Out: the same pushes, or ``push_data`` rows with a ``drain`` and a ``record`` of
their own.  Invariant: of every FIFO, records come in the order of its pushes, each behind its own.
With ``options.fence``, a data synchronisation barrier stands in front of every signal of a push.
Non-goals: how many slots that takes (place), whether it is enough (the proof).

A push that tells by itself (``with_push``) signals on its own pipe, and whether such a signal can overtake
the data sources disagree about (docs/machine.md 5.5).  A drain settles it: the scalar unit waits until the
pipe has finished, then records.  Right behind the push (``at_push``) it stops the issue of everything
else; one step late (``next_step``) the push has ended long ago, and the other core gets the tile a step
later, which lookahead hides.  A fence is insurance on top of that, which no reading of the machine asks
for (docs/machine.md 5.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lowering.schedule.options import Options
from pto import ir


def record(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """The records where ``options.record`` says, behind fences if ``options.fence`` says so."""
    body = WAYS[options.record](kernel.body)
    return replace(kernel, body=ir.map_rows(body, fenced) if options.fence == "dsb" else body)


def with_push(block: ir.Block) -> ir.Block:
    """Every push tells by itself."""
    return block


def at_push(block: ir.Block) -> ir.Block:
    """x = push t --> x = push_data t; drain PIPE; record x"""
    return ir.map_rows(block, lambda row: (by_data(row), *told(row)) if is_push(row) else row)


def by_hand(block: ir.Block) -> ir.Block:
    """The same on the cube alone, as the reference kernel was written (docs/machine.md 16.3)."""
    return ir.map_rows(
        block,
        lambda row: (by_data(row), *told(row)) if is_push(row) and row.core == "cube" else row,
    )


def next_step(block: ir.Block) -> ir.Block:
    """In innermost loops a step late; elsewhere there is no step to wait for."""
    out: list[ir.Node] = []
    for node in block:
        if not isinstance(node, ir.Loop):
            out += at_push((node,))
        elif any(isinstance(n, ir.Loop) for n in node.body):
            out.append(replace(node, body=next_step(node.body)))
        else:
            out.append(replace(node, body=stepwise(node.body)))
    return tuple(out)


WAYS: dict[str, Callable[[ir.Block], ir.Block]] = {
    "next_step": next_step,
    "at_push": at_push,
    "by_hand": by_hand,
    "with_push": with_push,
}
"""What ``record`` may be (``lowering/schedule/options.py``)."""


def stepwise(block: ir.Block) -> ir.Block:
    """The body of an innermost loop in step order.

    On the cube the records of the step before stand in front of the first push: behind what the step
    issues before it, loads and matmuls, and in front of what could make FIX busy again.  The vector
    core, whose scalar unit has nothing to issue for the next step yet, records at the end of the same.
    """
    out: list[ir.Node] = []
    for core in ir.CORES:
        rows = [r for r in block if isinstance(r, ir.Row) and r.core == core]
        pushes = [r for r in rows if is_push(r)]
        late = int(core == "cube")
        records = [x for p in pushes for x in told(p, late)]
        first = rows.index(pushes[0]) if pushes and late else len(rows)
        out += [*map(by_data, rows[:first]), *records, *map(by_data, rows[first:])]
    return tuple(out)


def is_push(row: ir.Row) -> bool:
    return row.op == "push"


def by_data(row: ir.Row) -> ir.Row:
    """A push that leaves telling to a record; every other row as it is."""
    return replace(row, op="push_data") if is_push(row) else row


def told(push: ir.Row, late: int = 0) -> tuple[ir.Row, ir.Row]:
    """The drain and the record of a push, ``late`` steps behind it."""
    fifo, core, shift = push.result(ir.Queue), push.core, push.shift - late
    return (
        ir.Row("drain", None, (ir.Word(push.pipe),), core, "S", shift, loc=push.loc),
        ir.Row("record", None, (fifo,), core, push.pipe, shift, loc=push.loc),
    )


def fenced(row: ir.Row) -> tuple[ir.Row, ...]:
    """record x --> fence; record x; and a push that tells by itself, whose signal leaves no room for one:

    x = push t --> x = push_data t; fence; record x
    """
    if row.op not in ("push", "record"):
        return (row,)
    fence = ir.Row("fence", None, (), row.core, "S", row.shift, loc=row.loc)
    if row.op == "record":
        return fence, row
    fifo = row.result(ir.Queue)
    record = ir.Row("record", None, (fifo,), row.core, row.pipe, row.shift, loc=row.loc)
    return by_data(row), fence, record
