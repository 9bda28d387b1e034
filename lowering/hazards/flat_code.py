"""Flat loops (``docs/language.md``) as code: a cursor for every stage of every core.

In: a flat loop.  Out: its instructions, the loops it consists of, and which stages go by the position
alone.  Non-goals: walking through it (``lowering/hazards/flat_walk.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, LETTERS
from lowering.hazards.emitter import Context, Emitter, staged
from lowering.hazards.instructions import (
    Again,
    Edge,
    Flat,
    Instruction,
    LoopCode,
    Refused,
    RowCode,
    Stage,
)
from lowering.hazards.limits import INFINITE
from pto.errors import PtoError
from pto.ir import CORES, Loop, Row, Var, all_rows
from pto.ops import OPS
from pto.slot_form import flat_nest


@dataclass(frozen=True, slots=True)
class _Nest:
    """A flat loop being compiled: ``around`` and ``within`` are where rows beside and inside of its
    inner loop stand; ``empty`` is the loop of the items whose inner loop is empty, or ABSENT."""

    node: Loop
    around: Context
    within: Context
    empty: int


def compile_flat(emitter: Emitter, node: Loop, at: Context) -> None:
    """A flat loop and the one in it: a cursor for every stage of every core, each a number of
    positions behind the first one of its core."""
    if at.loop != ABSENT or at.guards:
        raise Refused(f"the flat loop {node.index} is inside of a loop or a branch")
    code = emitter.code
    try:
        flat_nest(node)
    except PtoError as illegal:
        code.fault("illegal", illegal.message)
        return
    around = emitter.enter(node, at, (0, 0))
    code.scalars.define(node.body, around.scalars)
    inside = node.body[node.inner]
    assert isinstance(inside, Loop)
    within = emitter.enter(inside, around, (0, 0))
    code.scalars.define(inside.body, within.scalars)
    for s in around.scalars if inside.total else ():
        s[inside.total] = Var(f"u#{within.loop}")
    nest = _Nest(node, around, within, _empty_items(emitter, around.loop, within.loop))
    for c, core in enumerate(CORES):
        rows = [r for r in all_rows(node.body) if r.core == core and OPS[r.op].kind != "scalar"]
        if rows:
            _compile_core(emitter, c, rows, nest)


def _empty_items(emitter: Emitter, outer: int, inner: int) -> int:
    """A loop whose trip count is how many items of a flat loop have an empty inner loop;
    ABSENT if none can have one.  Such items come first, so the others have iterations."""
    loops = emitter.code.loops
    if loops[inner].least > 0:
        return ABSENT
    number = len(loops)
    loops.append(
        LoopCode(number, loops[outer].node, ABSENT, 0, 0, Var(f"empty${number}"), None, 0, INFINITE)
    )
    emitter.shuffled.add(f"i#{outer}")
    return number


def _compile_core(emitter: Emitter, c: int, rows: list[Row], nest: _Nest) -> None:
    """The rows of one core in a flat loop."""
    code, out = emitter.code, emitter.code.instructions[c]
    outer, inner, body = nest.around.loop, nest.within.loop, nest.node.body
    mine = {id(r) for r in all_rows((body[nest.node.inner],))}
    first = {id(r) for r in body[: nest.node.inner]}

    def where(r: Row) -> tuple[int, bool | None]:
        return r.shift, None if id(r) in mine else id(r) in first

    if not any(id(r) in mine for r in rows):
        if nest.empty != ABSENT:
            text = f"which may be empty, and the {CORES[c]} core has no row there"
            raise Refused(f"the flat loop {nest.node.index} runs by its inner loop, {text}")
        inner = ABSENT
    shifts = sorted({r.shift for r in rows}, reverse=True)
    own = inner if inner != ABSENT else outer
    stages = {
        s: Stage(len(code.cursors) + k, shifts[0] - s, outer, inner, own, nest.empty, outer)
        for k, s in enumerate(shifts)
    }
    every = tuple(stages.values())
    code.cursors += [c] * len(shifts)
    code.flat.setdefault(outer, []).extend(every)
    head, leaving = len(out), Flat(outer, every)
    out.append(leaving)
    for (shift, early), group in groupby(rows, where):
        edge = Edge(stages[shift], outer, early)
        out.append(edge)
        for r in group:
            at = nest.within if early is None else nest.around
            emitter.row(r, staged(at, edge.stage.cursor))
        emitter.land(c, [edge])
    out.append(Again(head))
    emitter.land(c, [leaving])


def finish_flat_loops(code: Code, by_position: bool) -> None:
    """Who has a place in the loops, now that it is known which stages go ``by_position`` alone."""
    for c, out in enumerate(code.instructions):
        for at, ins in enumerate(out):
            if not isinstance(ins, Flat):
                continue
            if by_position:
                _go_by_position(code, ins, out[at : ins.exit])
            every = [s.cursor for s in ins.stages]
            by_item = [s.cursor for s in ins.stages if not s.by_position]
            inner, empty = ins.stages[0].inner, ins.stages[0].empty
            for number, cursors in ((ins.loop, by_item), (inner, by_item), (empty, every)):
                if number != ABSENT and cursors:
                    code.loops[number].cursors += cursors
            code.leads[c, ins.loop] = (by_item or every)[0]
            code.leads[c, inner] = every[0]


def _go_by_position(code: Code, flat: Flat, body: list[Instruction]) -> None:
    """Marks the stages of a core that need not know where items begin."""
    inner = flat.stages[0].inner
    if any(s.inner == ABSENT for s in code.flat[flat.loop]) or code.loops[inner].least > 1:
        return
    rows = [ins for ins in body if isinstance(ins, RowCode)]
    edges = [ins for ins in body if isinstance(ins, Edge)]
    by_item = {ins.stage.cursor for ins in edges if ins.first is not None}
    for row in rows:
        free = all(LETTERS[v.letter] == "u" and v.loop == inner for v in row.variables)
        if row.tracked or not free:
            by_item.add(row.cursor)
    used = {row.cursor for row in rows}
    for stage in flat.stages:
        stage.by_position = stage.cursor in used - by_item
