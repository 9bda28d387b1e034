"""Which bytes may be read before they were written.

In: the compiled kernel.  Out: for every byte range, whether a state has to remember that nothing was
written there yet.  It has not if each row that reads the bytes follows one that writes the same slot, in
its own iteration or in front of its loop; nor in a FIFO, where a pop waits for the signal of its push, if
that comes with the push or behind it.
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.instructions import RowCode
from lowering.hazards.signals import comes_behind, precedes
from pto.ir import Const, Expr, Ref, names_in

Writes = dict[tuple[int, str, Expr], list[RowCode]]
"""Rows by core, buffer and slot that they write."""


def may_be_unwritten(code: Code) -> list[bool]:
    """By byte range; where there are tests, of all."""
    found = [bool(code.tests)] * len(code.ranges)
    writes = _writes(code)
    for row in code.running:
        for ref in row.tiles.read:
            before = writes.get((row.core, ref.name, slot_named(code, ref, row)), [])
            if not any(precedes(code, w, row) for w in before):
                for slot in range(code.buffers[ref.name].depth):
                    for b in code.slot_ranges[code.slots[ref.name, slot]]:
                        found[b] = True
    for k in code.split_rings:
        first = code.rings[k].first_range
        for b in range(first, first + code.rings[k].fifo.depth):
            found[b] |= not comes_behind(code, k)
    return found


def _writes(code: Code) -> Writes:
    """The rows that write a slot which the counters of their own loops name."""
    writes: Writes = {}
    for row in code.running:
        out = row.tiles.out
        if out is not None:
            e = slot_named(code, out, row)
            if all(n[:2] in ("i#", "u#") and int(n[2:]) in row.loops for n in names_in(e)):
                writes.setdefault((row.core, out.name, e), []).append(row)
    return writes


def slot_named(code: Code, ref: Ref, row: RowCode) -> Expr:
    """Which slot a row names, by the counters of the loops: equal texts may differ."""
    return Const(0) if ref.index is None else code.index(ref.index, row)
