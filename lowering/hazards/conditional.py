"""What rows that work under a test only leave for others to read.

In: the compiled kernel, whose rows the proof takes to work always.  Out: nothing, or a refusal.

*Why the rest of the proof holds where some of them do not.*  A row waits, sets and signals whether it works
or not, so what is known to be complete before what does not depend on it.  If every two accesses of the same
bytes are in order when all rows work, those of fewer rows are, too: of three in a row the first is ordered before
the last through what the one between them waits for and sets, and not through its work.

What is lost is what it would have written.  So where a row reads a buffer that any row writes under a test only,
one that surely works when the reader does must write that slot before, and no other buffer may have those bytes;
and a FIFO is pushed to and popped from under the same tests.
Non-goals: whether it is the intended value (``lowering/values``).
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.instructions import POP, PUSHES, Refused, RowCode
from lowering.hazards.signals import precedes
from lowering.hazards.unwritten import slot_named
from pto.ir import Expr, Ref
from pto.text import statement


def check_conditional(code: Code) -> None:
    """
    Raises:
        Refused: where it cannot be told that what is read was written.
    """
    writers: dict[str, list[RowCode]] = {}
    for row in code.running:
        if row.tiles.out is not None:
            writers.setdefault(row.tiles.out.name, []).append(row)
    doubtful = {name for name, rows in writers.items() if any(w.tests for w in rows)}
    for row in code.running:
        for ref in row.tiles.read:
            if ref.name in doubtful:
                _check_read(code, row, ref, writers[ref.name])
    for ring in range(len(code.rings)):
        _check_fifo(code, ring)


def _check_read(code: Code, row: RowCode, ref: Ref, writers: list[RowCode]) -> None:
    what = f"'{statement(row.row, code.kernel)}' reads {ref.name}, which is written under a test only"
    if not any(_surely_writes(code, w, row, ref) for w in writers):
        raise Refused(what)
    here = _ranges(code, ref.name)
    for other in code.buffers:
        if other != ref.name and not here.isdisjoint(_ranges(code, other)):
            raise Refused(f"{what}, over {other}")


def _surely_writes(code: Code, w: RowCode, row: RowCode, ref: Ref) -> bool:
    """``w`` works where ``row`` does, before it, and writes the slot that it reads."""
    out = w.tiles.out
    return (
        out is not None
        and set(w.tests) <= set(row.tests)
        and w.core == row.core
        and precedes(code, w, row)
        and slot_named(code, out, w) == slot_named(code, ref, row)
    )


def _ranges(code: Code, buffer: str) -> set[int]:
    """The byte ranges of all slots."""
    depth = code.buffers[buffer].depth
    return {b for k in range(depth) for b in code.slot_ranges[code.slots[buffer, k]]}


def _check_fifo(code: Code, ring: int) -> None:
    rows = [row for row in code.running if row.ring == ring]
    pushes, pops = ([*map(_tests, _in_turn(rows, kinds))] for kinds in (PUSHES, (POP,)))
    if pushes != pops and any((*pushes, *pops)):
        name = code.rings[ring].fifo.name
        raise Refused(f"{name} is not pushed to and popped from under the same tests")


def _tests(row: RowCode) -> frozenset[Expr]:
    return frozenset(row.tests)


def _in_turn(rows: list[RowCode], kinds: tuple[int, ...]) -> list[RowCode]:
    """Loop after loop, in the order of an iteration."""
    mine = [row for row in rows if row.kind in kinds]
    return sorted(mine, key=lambda row: (row.loops, -row.row.shift, row.number))
