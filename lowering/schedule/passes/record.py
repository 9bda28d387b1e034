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
from lowering.schedule.passes.mentions import named, scalars_of
from pto import ir


def record(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """The records where ``options.record`` says, behind fences if ``options.fence`` says so."""
    body = WAYS[options.record](kernel.body, options.lookahead)
    return replace(kernel, body=ir.map_rows(body, fenced) if options.fence == "dsb" else body)


def with_push(block: ir.Block, ahead: int) -> ir.Block:
    """Every push tells by itself."""
    return block


def at_push(block: ir.Block, ahead: int) -> ir.Block:
    """x = push t --> x = push_data t; drain PIPE; record x"""
    return ir.map_rows(block, lambda row: (by_data(row), *told(row)) if is_push(row) else row)


def by_hand(block: ir.Block, ahead: int) -> ir.Block:
    """The same on the cube alone, as the reference kernel was written (docs/machine.md 16.3)."""
    return ir.map_rows(
        block,
        lambda row: (by_data(row), *told(row)) if is_push(row) and row.core == "cube" else row,
    )


def next_step(block: ir.Block, ahead: int) -> ir.Block:
    """In innermost loops a step late, beside those of a flat loop ``ahead`` steps; elsewhere there is no
    step to wait for."""
    out: list[ir.Node] = []
    for node in block:
        if not isinstance(node, ir.Loop):
            out += at_push((node,), ahead)
        elif not any(isinstance(n, ir.Loop) for n in node.body):
            out.append(replace(node, body=stepwise(node.body, ahead)))
        elif node.flat:
            out.append(replace(node, body=itemwise(node.body, ahead)))
        else:
            out.append(replace(node, body=next_step(node.body, ahead)))
    return tuple(out)


WAYS: dict[str, Callable[[ir.Block, int], ir.Block]] = {
    "next_step": next_step,
    "at_push": at_push,
    "by_hand": by_hand,
    "with_push": with_push,
}
"""What ``record`` may be (``lowering/schedule/options.py``)."""


def itemwise(block: ir.Block, ahead: int) -> ir.Block:
    """The body of a flat loop.  A push beside its inner loop, one per work item, is told as many steps
    late as the cores look ahead: a large tile takes its pipe longer than a step."""
    out: list[ir.Node] = []
    for node in block:
        if isinstance(node, ir.Loop):
            out.append(replace(node, body=stepwise(node.body, ahead)))
        elif isinstance(node, ir.Row) and is_push(node):
            out += (*told(node, ahead), by_data(node)) if ahead else (by_data(node), *told(node))
        else:
            out.append(node)
    return tuple(out)


ROUND_TRIP = 3
"""Steps that the cores must look ahead if each is told a step late of what it waits for first: two for
a tile and the answer to it, and one so that the answer was sent before the wait."""


def stepwise(block: ir.Block, ahead: int) -> ir.Block:
    """The body of an innermost loop in step order.

    The records of the step before stand right in front of the pushes of the step, and these behind
    all that it loads, pops, moves and multiplies: issued by then, it goes on while the scalar unit
    waits for a pipe that has nothing new to do.  With less lookahead than a round trip takes the vector
    core records at the end of the same step, and nothing is moved.
    """
    far = ahead >= ROUND_TRIP
    out: list[ir.Node] = []
    for core in ir.CORES:
        rows = [r for r in block if isinstance(r, ir.Row) and r.core == core]
        late = int(far or core == "cube")
        front, rest = pushes_last(rows) if far else divided(rows, late)
        records = [x for push in filter(is_push, rows) for x in told(push, late)]
        out += [*map(by_data, front), *records, *map(by_data, rest)]
    return tuple(out)


def divided(rows: list[ir.Row], late: int) -> tuple[list[ir.Row], list[ir.Row]]:
    """What stands in front of the records: all, or what the first push does not stand behind."""
    first = next((k for k, r in enumerate(rows) if late and is_push(r)), len(rows))
    return rows[:first], rows[first:]


def pushes_last(rows: list[ir.Row]) -> tuple[list[ir.Row], list[ir.Row]]:
    """What stands in front of the records of a step, and the pushes behind them, with the vector work
    behind the first one: its queue is long enough, and the push need not wait for it."""
    front, rest = divided(rows, late=1)
    stays: list[ir.Row] = []
    made: set[str] = set()
    for row in rest:
        if (
            is_push(row)
            or row.pipe == "V"
            or row.op == "store"
            or made & {*named(row.args), *scalars_of(row)}
        ):
            stays.append(row)
            made |= {*named((row.out,))}
        else:
            front.append(row)
    return front, stays


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
