"""What rows that work under a test only leave for others to read.

In: the compiled kernel, whose rows the proof takes to work always.  Out: nothing, or why it cannot be told.

*Why the rest of the proof holds where some of them do not.*  A row waits, sets and signals whether it works
or not, so what is known to be complete before what does not depend on it.  If every two accesses of the same
bytes are in order when all rows work, those of fewer rows are, too: of three in a row the first is ordered before
the last through what the one between them waits for and sets, and not through its work.

What is lost is what it would have written.  So where a row reads a buffer that any row writes under a test only,
one that surely works when the reader does must write that slot before, and no row that writes another buffer over
those bytes may come between them; and a FIFO is pushed to and popped from under the same tests.
Non-goals: whether it is the intended value (``lowering/values``).
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.instructions import POP, PUSHES, RowCode
from lowering.hazards.signals import precedes
from lowering.hazards.unwritten import slot_named
from pto.ir import Expr, Ref
from pto.text import statement

Writers = dict[str, list[RowCode]]
"""By buffer."""


def doubts(code: Code) -> str:
    """Why it cannot be told that what is read was written, '' if it can."""
    writers: Writers = {name: [] for name in code.buffers}
    for row in code.running:
        for name in dict.fromkeys(ref.name for ref in row.tiles.written):
            writers[name].append(row)
    found = (
        _doubt(code, row, ref, writers)
        for row in code.running
        for ref in row.tiles.read
        if any(w.tests for w in writers[ref.name])
    )
    of_fifos = (_doubt_of_fifo(code, ring) for ring in range(len(code.rings)))
    return next(filter(None, (*found, *of_fifos)), "")


def _doubt(code: Code, row: RowCode, ref: Ref, writers: Writers) -> str:
    """Whether a tile that a row reads is there."""
    sure = [w for w in writers[ref.name] if _surely_writes(code, w, row, ref)]
    here = _ranges(code, ref.name)
    over = [x for x in writers if x != ref.name and not here.isdisjoint(_ranges(code, x))]
    others = [x for name in over for x in writers[name]]
    if any(all(_apart(code, w, x) for x in others) for w in sure):
        return ""
    what = f"'{statement(row.row, code.kernel)}' reads {ref.name}, which is written under a test"
    return f"{what}, over {', '.join(over)}" if sure else f"{what} only"


def _surely_writes(code: Code, w: RowCode, row: RowCode, ref: Ref) -> bool:
    """``w`` works where ``row`` does, before it, and writes the slot that it reads."""
    out = w.tiles.out
    return (
        out is not None
        and out.name == ref.name
        and set(w.tests) <= set(row.tests)
        and w.core == row.core
        and precedes(code, w, row)
        and slot_named(code, out, w) == slot_named(code, ref, row)
    )


def _apart(code: Code, w: RowCode, x: RowCode) -> bool:
    """``x`` never runs in an iteration of the loops of ``w``, and so not between it and those behind it there; of a
    flat loop, of which iterations overlap, in none of its iterations."""
    flat = [k for k, loop in enumerate(w.loops, 1) if loop in code.flat]
    around = w.loops[: flat[0]] if flat else w.loops
    return x.loops[: len(around)] != around


def _ranges(code: Code, buffer: str) -> set[int]:
    """The byte ranges of all slots."""
    depth = code.buffers[buffer].depth
    return {b for k in range(depth) for b in code.slot_ranges[code.slots[buffer, k]]}


def _doubt_of_fifo(code: Code, ring: int) -> str:
    """Whether what is popped was pushed."""
    rows = [row for row in code.running if row.ring == ring]
    pushes, pops = ([*map(_tests, _in_turn(rows, kinds))] for kinds in (PUSHES, (POP,)))
    if pushes == pops or not any((*pushes, *pops)):
        return ""
    return f"{code.rings[ring].fifo.name} is not pushed to and popped from under the same tests"


def _tests(row: RowCode) -> frozenset[Expr]:
    return frozenset(row.tests)


def _in_turn(rows: list[RowCode], kinds: tuple[int, ...]) -> list[RowCode]:
    """Loop after loop, in the order of an iteration."""
    mine = [row for row in rows if row.kind in kinds]
    return sorted(mine, key=lambda row: (row.loops, -row.row.shift, row.number))
