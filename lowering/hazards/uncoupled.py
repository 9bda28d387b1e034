"""Stages of a flat loop that decide for themselves where items begin.

In: the compiled kernel.  Out: the same with stages in groups, which need not agree about items, and with
rings taken for one slot; or nothing, where that gains nothing.  Invariant: every run of the kernel is a run
of what comes out, with the same hazards; so if all runs of that are right, the kernel is.  If one is not,
the kernel may be right all the same, and is asked itself (``lowering/hazards/prover.py``).

A stage that is far behind another goes by the items that the other has begun, so states would differ
in which of all positions between them are first ones: two to the power of the lookahead.  Stages that share
nothing that goes by the item need not agree, and nothing is remembered between them.  Stages that share
an event or a FIFO there stay together, as each has to wait as often as the other sets.

A ring that such stages share is *merged*: each of its slots is taken for all of them, so that nothing
depends on the item of either.  It is touched by rows of one pipe alone; who knows the last of them to be
complete knows the same of all before it.  So a row that meets another in its slot meets the last one in
the merged one.  None of its slots is read before it was written (``lowering/hazards/unwritten.py``), so it
counts as written from the start: of stages that do not agree, one may read what the other has not written.
No other name has its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, ITERATION
from lowering.hazards.instructions import Edge, RowCode, Stage
from lowering.hazards.operands import queue_of
from lowering.hazards.rotations import exclusive
from lowering.hazards.unwritten import may_be_unwritten


def uncouple(code: Code) -> bool:
    """Puts the stages of ``code`` into groups; False if all of them stay together."""
    unwritten = may_be_unwritten(code)
    found = False
    for outer, stages in code.flat.items():
        names = _names(code, outer, stages) if _may_disagree(code, stages) else {}
        merged = {n for n in set().union(*names.values()) if _is_mergeable(code, n, unwritten)}
        groups = _groups({k: shared - merged for k, shared in names.items()})
        if len(set(groups.values())) > 1:
            found = True
            code.merged |= {
                n for n in merged if len({groups[k] for k in names if n in names[k]}) > 1
            }
            for stage in stages:
                stage.group = groups.get(stage.cursor, stage.group)
    return found


def _may_disagree(code: Code, stages: list[Stage]) -> bool:
    """Each stage counts positions, so that all agree on how many there are, but not yet on where items
    begin; and no access of a tensor is told from others by its item."""
    cursors = {stage.cursor for stage in stages}
    tracked = any(row.tracked for row in code.running if row.cursor in cursors)
    inner = [stage.inner for stage in stages]
    return not tracked and ABSENT not in inner and code.loops[inner[0]].constant is None


def _names(code: Code, outer: int, stages: list[Stage]) -> dict[int, set[str]]:
    """By cursor of the stages that go by item: what their rows name that do so."""
    names: dict[int, set[str]] = {x.cursor: set() for x in stages if not x.by_position}
    for row in _rows_by_item(code, outer):
        if row.cursor in names:
            names[row.cursor] |= {name for _, _, name in code.indices(row.row)}
            names[row.cursor].add(queue_of(row.row))
    return {k: found - {""} for k, found in names.items()}


def _rows_by_item(code: Code, outer: int) -> Iterator[RowCode]:
    """The rows of a flat loop beside its inner one, and those inside whose slots or flags go by the item."""
    for side in code.instructions:
        for pc, ins in enumerate(side):
            if isinstance(ins, Edge) and ins.loop == outer:
                for row in side[pc + 1 : ins.exit]:
                    if isinstance(row, RowCode) and (ins.first is not None or _varies(row, outer)):
                        yield row


def _varies(row: RowCode, outer: int) -> bool:
    return any(v.letter == ITERATION or v.loop == outer for v in row.variables)


def _is_mergeable(code: Code, name: str, unwritten: list[bool]) -> bool:
    """``name`` is a ring, or one slot, that may be merged."""
    if name not in code.buffers or name in {code.slot_buffer[s] for s in code.spoiled}:
        return False
    found = exclusive(code, name)
    return bool(found) and all(len(code.accessors[b]) == 1 and not unwritten[b] for b in found)


def _groups(names: dict[int, set[str]]) -> dict[int, int]:
    """By cursor the first one that it has to agree with, for all that share a name."""
    groups = {k: k for k in names}
    for k, mine in names.items():
        for other in names:
            if mine & names[other] and groups[k] != groups[other]:
                old, new = sorted((groups[k], groups[other]), reverse=True)
                groups = {x: new if g == old else g for x, g in groups.items()}
    return groups
