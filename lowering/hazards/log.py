"""What an abstract execution that is to be described remembers: hazards, and the rows around them.

In: the rows of ``lowering/hazards/happens_before.py`` as they run.  Out: a ``Log``, from which
``lowering/hazards/report.py`` and ``lowering/hazards/window.py`` tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.instructions import POP, PUSHES, Effect, RowCode
from lowering.hazards.state import State, needs_credit

At = tuple[int, int]
"""A row that ran: (pipe, how many rows of the pipe ran up to it)."""

STILL_SET = "the flag is still set"
SPOILED = "a row has used it as scratch since"
ON_TENSOR = "tensor"
"""Details of a hazard that are asked for: a double set, a read of scratch, accesses of a tensor."""

FLAG, DATA, FREE = "flag", "data", "free"
"""Who can be waited for: the set of a flag, the push of a FIFO, the free signal of one."""

HAZARD_LIMIT = 12
"""Hazards of one run that a report looks for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A hazard as the execution sees it.  ``known``: how many rows of each pipe are known complete
    when the second row starts; where there is none, before the core ends."""

    kind: str
    detail: str
    first: At | None = None
    second: At | None = None
    range: int = ABSENT
    flag: int = ABSENT
    ring: int = ABSENT
    slot: int = ABSENT
    known: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that ran: its iteration, the flags it waits for and sets, the rows whose set or signal it
    waits for with the name of the flag or FIFO."""

    row: RowCode
    iteration: tuple[tuple[str, int], ...]
    waits: tuple[int, ...]
    sets: tuple[int, ...]
    after: tuple[tuple[At, str], ...]


class Log:
    """What a described execution remembers: its rows by (pipe, count), in an order of issue."""

    def __init__(self, limit: int = HAZARD_LIMIT) -> None:
        self.rows: dict[At, Entry] = {}
        self.senders: dict[tuple[str, int], list[At]] = {}
        self.found: list[Found] = []
        self.limit = limit

    def row(self, code: Code, state: State, row: RowCode, at: At, effect: Effect) -> None:
        """Notes a row that is about to run."""
        iteration = []
        for x in row.loops:
            offset = row.offset if x == row.loop else code.loops[x].high
            iteration.append((code.loops[x].node.index, state.step[row.cursor][x] - offset))
        met = [(self.sender(FLAG, f, len(state.flag[f])), code.flags[f].name) for f in effect.waits]
        if row.kind == POP and code.rings[row.ring].fifo.signal:
            sender = self.sender(DATA, row.ring, len(state.data[row.ring]))
            met.append((sender, code.rings[row.ring].fifo.name))
        elif row.kind in PUSHES and needs_credit(code, state, row.ring):
            sender = self.sender(FREE, row.ring, len(state.free[row.ring]))
            met.append((sender, code.rings[row.ring].fifo.name))
        after = tuple((sender, name) for sender, name in met if sender)
        self.rows[at] = Entry(row, tuple(iteration), effect.waits, effect.sets, after)

    def sent(self, what: str, number: int, at: At) -> None:
        """A row has set flag ``number``, or signalled that FIFO ``number`` has data or is free."""
        self.senders.setdefault((what, number), []).append(at)

    def sender(self, what: str, number: int, pending: int) -> At | None:
        """Who sent the oldest of the last ``pending``; nobody sends the credits of an empty FIFO."""
        found = self.senders.get((what, number), [])
        return found[-pending] if 0 < pending <= len(found) else None
