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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import filterfalse

from lowering.schedule.options import Options
from lowering.schedule.passes.fifos import enough_flags
from lowering.schedule.passes.in_place import Memory, memory_of, ties
from lowering.schedule.passes.mentions import named, scalars_of
from lowering.schedule.passes.rings import stands_still
from pto import ir
from pto.ops import LOADS
from pto.targets import target_of


def record(kernel: ir.Kernel, options: Options) -> ir.Kernel:
    """The records where ``options.record`` says, behind fences if ``options.fence`` says so."""
    made = WAYS[options.record](kernel, options.lookahead)
    return replace(made, body=ir.map_rows(made.body, fenced)) if options.fence == "dsb" else made


@dataclass(frozen=True, slots=True)
class Late:
    """``far``: pushes of both cores are told a step late, else only those of the cube.  ``item``: steps from
    a push beside an inner loop, one per work item, to its record.  ``roomy``: L0C has two slots of all.
    ``spare``: steps of lookahead beyond a round trip.  ``memory``: which loads stay behind a store, or a pop."""

    far: bool
    item: int
    roomy: bool
    spare: int
    memory: Memory


def with_push(kernel: ir.Kernel, ahead: int) -> ir.Kernel:
    """Every push tells by itself."""
    return kernel


def next_step(kernel: ir.Kernel, ahead: int) -> ir.Kernel:
    """All tiles of a step by one signal, where the cores answer each other and the flags serve all FIFOs."""
    return a_step_late(kernel, ahead, together)


def next_step_each(kernel: ir.Kernel, ahead: int) -> ir.Kernel:
    """Each tile by its own signal."""
    return a_step_late(kernel, ahead, lambda apart: apart)


def a_step_late(
    kernel: ir.Kernel, ahead: int, told_of: Callable[[ir.Kernel], ir.Kernel]
) -> ir.Kernel:
    """As late as the cores can wait without standing still: what one of them waits for first, the other
    must have been able to make by then."""
    answered = len({f.direction for f in kernel.fifos}) > 1
    kept = roomy(kernel), ahead - ROUND_TRIP, memory_of(kernel.body)
    late = [Late(far, item, *kept) for item in (1, 0) for far in (True, False)]
    if not answered:  # nobody waits for a tile to go on
        late = [Late(True, min(ahead, LARGE), *kept)]
    made = [replace(kernel, body=looped(kernel.body, x)) for x in late]
    if answered:
        grouped = [[x for x in (told_of(apart),) if enough_flags(x)] for apart in made]
        made = [x for once, apart in zip(grouped, made, strict=True) for x in (*once, apart)]
    return next(filterfalse(stands_still, made), None) or at_push(kernel, ahead)


def together(kernel: ir.Kernel) -> ir.Kernel:
    """One signal for all tiles of a step that are pushed and popped together:

    x = push_data a; y = push_data b; drain; record x; drain; record y ... c = pop x; d = pop y
    --> x = push_data a; y = push_data b; drain; record y ... d = pop y; c = pop x, x without a signal
    """
    untold: set[str] = set()
    notes: list[str] = []

    def in_loops(block: ir.Block) -> ir.Block:
        inside = tuple(
            replace(n, body=in_loops(n.body)) if isinstance(n, ir.Loop) else n for n in block
        )
        for group in told_in_a_step(inside):
            inside = told_once(inside, group)
            *others, last = (p.queue for p in group)
            untold.update(others)
            notes.append(f"the signal of {last} tells of {', '.join(others)} too")
        return inside

    body = in_loops(kernel.body)
    fifos = (
        replace(f, credit=False, signal=False) if f.name in untold else f for f in kernel.fifos
    )
    return replace(kernel, body=body, fifos=tuple(fifos), notes=(*kernel.notes, *notes))


def told_in_a_step(block: ir.Block) -> list[list[ir.Row]]:
    """Pushes of one core in an innermost loop that are pushed, told and popped in the same steps, in their
    order; of several only."""
    if any(isinstance(n, ir.Loop) for n in block):
        return []
    rows = [n for n in block if isinstance(n, ir.Row)]
    shifts: dict[str, dict[str, int]] = {}
    for r in rows:
        if r.queue:
            shifts.setdefault(r.queue, {})[r.op] = r.shift
    found: dict[tuple[object, ...], list[ir.Row]] = {}
    for r in rows:
        steps = shifts.get(r.queue, {})
        if r.op == "push_data" and {"record", "pop"} <= steps.keys():
            found.setdefault((r.core, *sorted(steps.items())), []).append(r)
    return [group for group in found.values() if len(group) > 1]


def told_once(block: ir.Block, group: list[ir.Row]) -> ir.Block:
    """With the record of the last push, where the first record was if it comes in a later step, and its pop in
    front of the others."""
    fifos, last = {p.queue for p in group}, group[-1]
    records = [n for n in block if isinstance(n, ir.Row) and n.op == "record" and n.queue in fifos]
    pops = [n for n in block if isinstance(n, ir.Row) and n.op == "pop" and n.queue in fifos]
    kept = records[0 if records[0].shift < last.shift else -1]
    drains = {
        id(block[k - 1])
        for k, n in enumerate(block)
        if any(n is r for r in records if r is not kept)
    }
    mine = next(p for p in pops if p.queue == last.queue)
    out: list[ir.Node] = []
    for node in block:
        if node is kept:
            out.append(replace(kept, args=(ir.Queue(last.queue),), loc=last.loc))
        elif node is pops[0]:
            out += dict.fromkeys((mine, pops[0]))
        elif id(node) not in drains and not any(node is x for x in (*records, mine)):
            out.append(node)
    return tuple(out)


def roomy(kernel: ir.Kernel) -> bool:
    """L0C holds two slots of every tile that the cube makes."""
    rows = [r for r in ir.all_rows(kernel.body) if r.op == "matmul"]
    added_to = {name for r in rows for name in named(r.args[2:])}
    made = [r.result(ir.Define) for r in rows]
    return (
        2 * sum(x.type.size_bytes for x in made if x.name not in added_to)
        <= target_of(kernel).spaces["l0c"].capacity_bytes
    )


LARGE = 2
"""Steps in which a pipe is through with a tile that is made in a whole loop, the largest of a kernel: its
cycles grow with its rows (docs/machine.md 11.5), as those of the step do."""


ROUND_TRIP = 5
"""Steps from a product to the one that needs the answer of the other core, at least: its push is one behind,
the record another, the step of the other core and its record make two, and one is for the latency."""


def at_push(kernel: ir.Kernel, ahead: int) -> ir.Kernel:
    """x = push t --> x = push_data t; drain PIPE; record x"""
    return replace(kernel, body=told_at_once(kernel.body, ir.CORES))


def by_hand(kernel: ir.Kernel, ahead: int) -> ir.Kernel:
    """The same on the cube alone, as the reference kernel was written (docs/machine.md 16.3)."""
    return replace(kernel, body=told_at_once(kernel.body, ("cube",)))


WAYS: dict[str, Callable[[ir.Kernel, int], ir.Kernel]] = {
    "next_step": next_step,
    "next_step_each": next_step_each,
    "at_push": at_push,
    "by_hand": by_hand,
    "with_push": with_push,
}
"""What ``record`` may be (``lowering/schedule/options.py``)."""


def told_at_once(block: ir.Block, cores: Sequence[str]) -> ir.Block:
    return ir.map_rows(
        block, lambda r: (by_data(r), *told(r)) if is_push(r) and r.core in cores else r
    )


def looped(block: ir.Block, late: Late) -> ir.Block:
    """In innermost loops a step late, beside those of a flat loop ``late.item`` steps; elsewhere, and in a loop
    of one step at most, there is no step to wait for."""
    out: list[ir.Node] = []
    for node in block:
        if not isinstance(node, ir.Loop):
            out += told_at_once((node,), ir.CORES)
        elif node.is_guard:
            out.append(replace(node, body=told_at_once(node.body, ir.CORES)))
        elif not any(isinstance(n, ir.Loop) for n in node.body):
            out.append(replace(node, body=stepwise(node.body, late)))
        elif node.flat:
            out.append(replace(node, body=itemwise(node.body, late)))
        else:
            out.append(replace(node, body=looped(node.body, late)))
    return tuple(out)


def itemwise(block: ir.Block, late: Late) -> ir.Block:
    """The body of a flat loop, with one push per work item beside its inner loop."""
    out: list[ir.Node] = []
    for node in block:
        if isinstance(node, ir.Loop):
            out.append(replace(node, body=stepwise(node.body, late)))
        elif isinstance(node, ir.Row) and is_push(node):
            records, push = told(node, late.item), by_data(node)
            out += (*records, push) if late.item else (push, *records)
        else:
            out.append(node)
    return tuple(out)


def stepwise(block: ir.Block, late: Late) -> ir.Block:
    """The body of an innermost loop in step order: records right in front of the pushes of the next step.

    What is issued before them goes on while the scalar unit waits for a pipe that has nothing new to do.
    """
    out: list[ir.Node] = []
    for core in ir.CORES:
        rows = [r for r in block if isinstance(r, ir.Row) and r.core == core]
        steps = int(late.far or core == "cube")
        if not late.far:
            front, rest = divided(rows, steps)
        else:
            front, rest = (
                behind_loads(rows, late) if core == "cube" else behind_pops(rows, late.memory)
            )
        out += map(by_data, front)
        if core == "cube" and rest and late.spare >= 0:
            out += alternating(rest, steps, late.spare)
        else:
            out += (x for push in filter(is_push, rest or front) for x in told(push, steps))
            out += map(by_data, rest)
    return tuple(out)


def alternating(rows: list[ir.Row], steps: int, spare: int) -> Iterator[ir.Row]:
    """Each push behind its record of the step before, so that FIX always has one to store; the record then
    waits for that.  With a step to ``spare``, what is popped for its product in front of both, as it need
    not wait for FIX; the record then waits for the other core."""
    left = list(rows)
    for push in filter(is_push, rows):
        pops = popped_for(push, left) if spare else []
        left = [r for r in left if r not in pops]
        yield from (*pops, *told(push, steps), by_data(push))
    yield from (r for r in left if not is_push(r))


def popped_for(push: ir.Row, rows: list[ir.Row]) -> list[ir.Row]:
    """The pops on which a push depends."""
    names, found = {*named(push.args)}, list[ir.Row]()
    for row in reversed(rows):
        if names & {*named((row.out,))}:
            names |= {*named((*row.args, row.other))}
            found += [row] if row.op == "pop" else []
    return found[::-1]


Halves = tuple[list[ir.Row], list[ir.Row]]
"""Rows of a step in front of the records, and behind them."""


def divided(rows: list[ir.Row], steps: int) -> Halves:
    """All rows where they are; records at the end, or in front of the first push if they come late."""
    first = next((k for k, r in enumerate(rows) if steps and is_push(r)), len(rows))
    return rows[:first], rows[first:]


def behind_loads(rows: list[ir.Row], late: Late) -> Halves:
    """On the cube: the loads of the step, then the pushes of the one before, then all else.  MTE2 has
    work meanwhile, and the products of the one before are under way.  Where there is no room for two
    tiles of each, all else first, then the pushes of the same step."""
    if not any(map(is_push, rows)):
        return rows, []
    others = [r for r in rows if not is_push(r)]
    if not late.roomy:
        return others, list(filter(is_push, rows))
    loads, rest = parted(others, late.memory, lambda r: r.op in LOADS or r.pipe == "S")
    return loads, [*(replace(r, shift=r.shift - 1) for r in rows if is_push(r)), *rest]


def behind_pops(rows: list[ir.Row], memory: Memory) -> Halves:
    """On the vector core: what the step brings in first, and vector work up to the first push; that
    behind it stays there, since its queue is long enough and the push need not wait for it."""
    front, rest = divided(rows, 1)
    more, rest = parted(rest, memory, lambda r: r.pipe in ("MTE2", "S"))
    return [*front, *more], rest


def parted(rows: list[ir.Row], memory: Memory, first: Callable[[ir.Row], bool]) -> Halves:
    """The rows for which ``first`` holds and which need none of the others before them; the others."""
    front: list[ir.Row] = []
    rest: list[ir.Row] = []
    made: set[str] = set()
    tied, stay = ties(tuple(rows), memory), set[int]()
    for k, row in enumerate(rows):
        behind = any(b == k and a in stay for a, b in tied)
        if (
            first(row)
            and not behind
            and not made & {*named((*row.args, row.other)), *scalars_of(row)}
        ):
            front.append(row)
        else:
            rest.append(row)
            stay.add(k)
            made |= {*named((row.out,))}
    return front, rest


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
