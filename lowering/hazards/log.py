"""What an abstract execution that is to be described remembers: hazards, and the rows around them.

In: the rows of ``lowering/hazards/happens_before.py`` as they run.  Out: a ``Log``, from which
``lowering/hazards/report.py`` and ``lowering/hazards/window.py`` tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowering.hazards.counters import ABSENT
from lowering.hazards.instructions import POP, PUSH, PUSH_DATA, RECORD, Effect, Instruction

if TYPE_CHECKING:
    from lowering.hazards.happens_before import Run

At = tuple[int, int]
"""A row that ran: (pipe, how many rows of the pipe ran up to it)."""

STILL_SET = "the flag is still set"
SPOILED = "a row has used it as scratch since"
ON_RING = (PUSH, PUSH_DATA, RECORD, POP)


@dataclass(frozen=True, slots=True)
class Found:
    """A hazard as the execution sees it.  ``known``: how many rows of each pipe are known complete
    when the second row starts; where there is none, before the core ends."""

    kind: str
    detail: str
    first: At | None = None
    second: At | None = None
    atom: int = ABSENT
    flag: int = ABSENT
    ring: int = ABSENT
    slot: int = ABSENT
    known: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that ran: its step and iteration, the flags it waits for and sets, the rows whose set or
    signal it waits for with the name of the flag or FIFO, and the ring it works on (or ABSENT)."""

    step: int
    iteration: tuple[tuple[str, int], ...]
    waits: tuple[int, ...]
    sets: tuple[int, ...]
    after: tuple[tuple[At, str], ...]
    ring: int


MOST = 12
"""Hazards of one run that a report looks for."""


class Log:
    """What a described execution remembers: its rows by (pipe, count), in an order of issue."""

    def __init__(self, limit: int = MOST) -> None:
        self.rows: dict[At, Entry] = {}
        self.senders: dict[tuple[str, int], list[At]] = {}
        self.found: list[Found] = []
        self.limit = limit

    def row(self, run: Run, c: int, p: int, row: int, ins: Instruction, effect: Effect) -> None:
        """Notes a row that is about to run."""
        code, at = run.code, []
        for x in code.steps[ins[1]].loops:
            offset = ins[3] if x == ins[2] else code.loops[x].high
            at.append((code.loops[x].node.index, run.state.step[ins[8]][x] - offset))
        kind, ring = ins[6], ins[7] if ins[6] in ON_RING else ABSENT
        met = [
            (self.sender("flag", f, len(run.state.flag[f])), code.flags[f].name) for f in effect[0]
        ]
        if kind == POP:
            sender = self.sender("data", ring, len(run.state.data[ring]))
            met.append((sender, code.rings[ring].fifo.name))
        elif kind in (PUSH, PUSH_DATA) and run.needs_credit(ring):
            sender = self.sender("free", ring, len(run.state.free[ring]))
            met.append((sender, code.rings[ring].fifo.name))
        after = tuple((sender, name) for sender, name in met if sender)
        self.rows[p, row] = Entry(ins[1], tuple(at), effect[0], effect[3], after, ring)

    def sent(self, what: str, number: int, at: At) -> None:
        """A row has set flag ``number``, or signalled that FIFO ``number`` has 'data' or is 'free'."""
        self.senders.setdefault((what, number), []).append(at)

    def sender(self, what: str, number: int, pending: int) -> At | None:
        """Who sent the oldest of the last ``pending``; nobody sends the credits of an empty FIFO."""
        found = self.senders.get((what, number), [])
        return found[-pending] if 0 < pending <= len(found) else None
