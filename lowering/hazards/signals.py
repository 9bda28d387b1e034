"""What the signal of a push tells: that there is data, and that it is complete.

In: the compiled kernel.  Out: which rows always follow another one, and for a FIFO, whether every signal
comes behind its push, and whether it comes when the data is complete.  A push that signals by itself does
the first; one in two rows, ``push_data`` and ``record``, where each record follows a push of its own
iteration, each another one.  Then the first n records follow n pushes, and so the first n, as rows of one
core are issued in order.

A signal fires when all earlier work of its pipe is complete, so one that comes behind its push tells of it.
Where signals may overtake data (``assumptions``), only a drain in between does.  One of the pipe waits for all
pushes before it.  One by an event waits for the push of its own iteration, where that alone sets the event
and nothing else waits for it: the n-th wait for a flag is met by the n-th set.  What the scalar unit knows,
its core does.
"""

from __future__ import annotations

from collections.abc import Iterator

from lowering.hazards.assumptions import EARLY_SETS, ORDERED_SIGNALS, PASSING_WAITS
from lowering.hazards.code import Code
from lowering.hazards.instructions import DRAIN, PUSH, PUSHES, RECORD, RowCode


def comes_behind(code: Code, ring: int) -> bool:
    """The signal of every push of a FIFO comes with or behind it."""
    pairs = list(_pairs(code, ring))
    return bool(pairs) and all(p is r or follows(code, p, r) for p, r in pairs)


def tells_of_data(code: Code, ring: int) -> bool:
    """It also tells that the data of the push is complete."""
    if not comes_behind(code, ring):
        return False
    if ORDERED_SIGNALS in code.assume:
        return all(p.pipe == r.pipe for p, r in _pairs(code, ring))
    scalar = [row for row in code.running if row.pipe in code.scalar_pipe]
    return PASSING_WAITS not in code.assume and all(
        any(_drains(code, d, p) and follows(code, p, d) and follows(code, d, r) for d in scalar)
        for p, r in _pairs(code, ring)
    )


def _drains(code: Code, d: RowCode, p: RowCode) -> bool:
    """Behind row ``p`` and ``d``, of the scalar unit, in one iteration ``p`` is complete."""
    if d.kind == DRAIN:
        return d.drained == p.pipe
    return EARLY_SETS not in code.assume and any(
        flag in d.row.wait and _is_private(code, flag.name, d, p) for flag in p.row.set
    )


def _is_private(code: Code, event: str, d: RowCode, p: RowCode) -> bool:
    """Only ``p`` sets an event and only ``d`` waits for it, and no other event has one of its ids."""
    users = [x for x in code.running if any(f.name == event for f in (*x.row.set, *x.row.wait))]
    alone = not any(code.siblings[f] for f in code.event_flags[event])
    return alone and {x.number for x in users} == {p.number, d.number}


def _pairs(code: Code, ring: int) -> Iterator[tuple[RowCode, RowCode]]:
    """The rows that push and those that signal, in their order; none if some may not run."""
    rows = [row for row in code.running if row.ring == ring]
    pushes = [row for row in rows if row.kind in PUSHES]
    signals = [row for row in rows if row.kind in (PUSH, RECORD)]
    if len(pushes) == len(signals) and not code.tests:
        yield from zip(pushes, signals, strict=True)


def follows(code: Code, a: RowCode, b: RowCode) -> bool:
    """``b`` always runs behind ``a`` of the same core and iteration."""
    return a.core == b.core and a.loops == b.loops and precedes(code, a, b)


def precedes(code: Code, w: RowCode, r: RowCode) -> bool:
    """``w`` always runs before ``r``: in the same iteration, or in front of the loop that ``r``
    is in.  That loop is at shift 0 of the one around it."""
    if w is r or w.loops != r.loops[: len(w.loops)]:
        return False
    first, shift = w.number < r.number, w.row.shift
    if not w.loops:
        return first
    if (
        w.loop in code.flat
    ):  # at the first position of the item, ``r`` there or later; or at one position
        earlier = w.loops == r.loops and shift > r.row.shift
        return (first and shift >= r.row.shift) or (earlier and _side(code, w) == _side(code, r))
    other = r.row.shift if w.loops == r.loops else 0
    return shift > other or (shift == other and first)


def _side(code: Code, row: RowCode) -> bool:
    """Whether a row beside the inner loop of a flat one stands in front of it."""
    node = code.loops[row.loop].node
    return any(row.row is x for x in node.body[: node.inner])
