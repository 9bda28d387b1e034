"""From a scheduled kernel to the code of the hazard checker.

In: a scheduled ``Kernel``.  Out: ``Code``, finished: which loops run equally often, which tests a trip
count decides, which rows may meet in a tensor, who touches which bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from lowering.hazards.code import Code
from lowering.hazards.counters import COMPARE, Relation, Threshold, constant, settled
from lowering.hazards.emitter import Context, Emitter
from lowering.hazards.flat_code import compile_flat, finish_flat_loops
from lowering.hazards.forms import terms_of
from lowering.hazards.instructions import (
    End,
    Enter,
    Head,
    Leaving,
    LoopCode,
    Next,
    RowCode,
    Test,
)
from lowering.hazards.operands import queue_of
from lowering.hazards.scalars import forked
from lowering.hazards.tensor_conflicts import tensor_conflicts
from pto.ir import Bin, Block, Branch, Expr, Kernel, Loop, Row, Var


def compiled(
    kernel: Kernel,
    assume: frozenset[str] = frozenset(),
    by_position: bool = True,
    whole: bool = False,
) -> Code:
    """The code of ``kernel``.

    ``by_position``: stages of flat loops may go by the position alone, not knowing their item.
    ``whole``: constant loops run as often as they say, however long that is.

    Raises:
        Refused: for a program that cannot be decided.
    """
    code = Code(kernel, assume)
    _compile(Emitter(code, whole), kernel.body, Context((), ({}, {})))
    for side in code.instructions:
        side.append(End())
    _group_loops(code)
    _relate_tests(code)
    code.meets, faults = tensor_conflicts(code.scalars, code.loops, code.rows)
    code.faults += faults
    finish_flat_loops(code, by_position)
    _note_accessors(code)
    return code


# ---------------------------------------------------------------------------------------- the tree


def _compile(emitter: Emitter, block: Block, at: Context) -> None:
    emitter.code.scalars.define(block, at.scalars)
    for node in block:
        if isinstance(node, Row):
            emitter.row(node, at)
        elif isinstance(node, Loop):
            (compile_flat if node.flat else _compile_loop)(emitter, node, at)
        else:
            _compile_branch(emitter, node, at)


def _compile_branch(emitter: Emitter, node: Branch, at: Context) -> None:
    scalars = emitter.code.scalars
    always = scalars.facts.holds(scalars.uniform(node.test, at.scalars, "a branch"))
    for side, taken in ((node.then, True), (node.orelse, False)):
        if always is None or always == taken:
            guards = at.guards if always is not None else (*at.guards, (node.test, taken))
            _compile(emitter, side, Context(at.loops, forked(at.scalars), guards))


def _compile_loop(emitter: Emitter, node: Loop, at: Context) -> None:
    code = emitter.code
    inside = emitter.enter(node, at, node.shifts)
    starts, heads = [len(out) for out in code.instructions], list[Head]()
    skips: list[list[Leaving]] = []
    for c, out in enumerate(code.instructions):
        skips.append(emitter.guard(c, at, 0))
        heads.append(Head(inside.loop))
        out += Enter(inside.loop), heads[c]
    first = [len(out) for out in code.instructions]
    _compile(emitter, node.body, inside)
    loop = code.loops[inside.loop]
    for c, out in enumerate(code.instructions):
        if not any(isinstance(ins, RowCode) for ins in out[first[c] :]):
            del out[starts[c] :]  # a core without rows here
            continue
        loop.cursors.append(c)
        out.append(Next(inside.loop, first[c] - 1))
        emitter.land(c, [*skips[c], heads[c]])


# ------------------------------------------------------------------------------------ after all rows


def _group_loops(code: Code) -> None:
    """Loops with one trip count expression run equally often while its scalars are the same."""
    groups: dict[Expr, list[LoopCode]] = {}
    for x in code.loops:
        groups.setdefault(x.trips, []).append(x)
    for number, members in enumerate(groups.values()):
        for x in members:
            x.group, x.scope = number, code.scalars.scope(x.trips)
            x.reused = len(members) > 1 or x.scope != x.parent


def _relate_tests(code: Code) -> None:
    """Tests that a trip count decides; all loops with that count agree with them, so trip
    counts are told apart up to where no test does any more (``caps``, by group).

    A loop of a negative count runs no step, but a test sees the number itself (``floors``: -1
    stands for any negative count).
    """
    code.caps = dict.fromkeys((x.group for x in code.loops), 1)
    code.floors = dict.fromkeys((x.group for x in code.loops), 0)
    for t in (t for t in code.tests if not t.known):
        t.about = next((a for x in code.loops if (a := _about(code, t, x))), None)
        if isinstance(t.about, Threshold):
            group = t.about.group
            code.caps[group] = max(code.caps[group], t.about.decided_from)
            for x in code.loops:
                x.reused |= x.group == group


def _about(code: Code, t: Test, loop: LoopCode) -> Relation | Threshold | None:
    """How a test compares a counter of ``loop``, or a constant, with its trip count; or None."""
    e = t.expr
    if not isinstance(e, Bin) or e.op not in COMPARE or loop.constant is not None:
        return None
    apart, trips = terms_of(Bin("-", e.a, e.b)), terms_of(loop.trips)
    behind = terms_of(Bin("-", Var(f"i#{loop.number}"), loop.trips))
    for sign in (1, -1):
        shift = constant(apart, behind, sign)
        if shift is not None:
            return Relation(loop.number, sign, shift, e.op)
        shift = constant(apart, trips, sign)
        if shift is not None and code.scalars.facts.never_negative(loop.trips):
            return Threshold(loop.group, sign, shift, e.op)
        if shift is not None and settled(e.op, shift - sign, -sign):
            code.floors[loop.group] = -1
            return Threshold(loop.group, sign, shift, e.op)
    return None


def _note_accessors(code: Code) -> None:
    """For every byte range the pipes that read it and those that write it, over all slots of a
    buffer."""
    readers: list[set[int]] = [set() for _ in code.ranges]
    writers: list[set[int]] = [set() for _ in code.ranges]
    for row in code.running:
        for refs, side in ((row.tiles.read, readers), (row.tiles.written, writers)):
            for b in (b for r in refs for b in _ranges_of(code, r.name)):
                side[b].add(row.pipe)
        if row.row.op in ("push", "push_data", "pop"):
            ring = code.rings[code.ring_number[queue_of(row.row)]]
            side = readers if row.row.op == "pop" else writers
            for b in range(ring.first_range, ring.first_range + ring.fifo.depth):
                side[b].add(row.pipe)
    code.writers = [tuple(sorted(w)) for w in writers]
    code.accessors = [tuple(sorted(w | r)) for w, r in zip(writers, readers, strict=True)]


def _ranges_of(code: Code, buffer: str) -> Iterator[int]:
    for slot in range(code.buffers[buffer].depth):
        yield from code.slot_ranges[code.slots[buffer, slot]]
