"""Rings that are written down from their current slot on.

In: the compiled kernel.  Out: the rings whose indices are all ``stride * u + constant``, each with the loop
that turns it, and how far the local ring of every FIFO is from one.  Rotating the slots of such a ring is a
symmetry of the program, because nothing else names them, except rows that name all of them (priming
and final waits).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.instructions import POP, RowCode
from pto.ir import Bin, Const, Expr, Flag, Var


@dataclass(frozen=True, slots=True)
class Rotation:
    """A ring read from its current slot on, which turns by ``stride`` slots with every step of ``cursor``
    in ``loop``.  ``members``: its byte ranges, or the flags of an event, by slot."""

    name: str
    is_event: bool
    members: tuple[int, ...]
    cursor: int
    loop: int
    stride: int

    def current(self, steps: int) -> int:
        """The slot to read from behind so many steps."""
        return steps * self.stride % len(self.members)


class LocalRing(NamedTuple):
    """A FIFO that is popped into a buffer which turns."""

    ring: int
    into: Rotation


def rotations(code: Code) -> list[Rotation]:
    """The rings that may be rotated: moved by one loop, and known by no other name."""
    drivers = _Drivers(code)
    for row in code.running:
        drivers.note(row)
    found = []
    for name, loops in drivers.loops.items():
        members, event = exclusive(code, name), code.events.get(name)
        loop, _, stride = min(loops)
        if len(loops) == 1 and loop != ABSENT and len(members) > 1:
            cursor = drivers.cursors[name]
            found.append(Rotation(name, event is not None, members, cursor, loop, stride))
    return found


class _Drivers:
    """``loops``: by buffer or event, the loops whose running totals move its indices (ABSENT: something
    else does), each with the group of stages that agree on that, and by how many slots.  ``cursors``:
    one of those that do."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.loops: dict[str, set[tuple[int, int, int]]] = {}
        self.groups = {x.cursor: group for group, stages in code.groups.items() for x in stages}
        self.cursors: dict[str, int] = {}

    def note(self, row: RowCode) -> None:
        """Notes what moves the indices of a row."""
        code = self.code
        for column in (row.row.wait, row.row.set):
            whole = self._named_whole(column)
            for f in column:
                if f.name not in whole:
                    self._note_index(f.name, f.index or Const(0), row, len(code.events[f.name].ids))
        for e, _, name in code.indices(row.row):
            if name in code.buffers:
                self._note_index(name, e, row, code.buffers[name].depth)

    def _named_whole(self, column: tuple[Flag, ...]) -> set[str]:
        """Events of which a column names every position once, by constants."""
        named: dict[str, list[int | float]] = {}
        for f in column:
            named.setdefault(f.name, []).append(f.index.value if isinstance(f.index, Const) else -1)
        return {
            n
            for n, found in named.items()
            if sorted(found) == list(range(len(self.code.events[n].ids)))
        }

    def _note_index(self, name: str, e: Expr, row: RowCode, depth: int) -> None:
        full, stride = self.code.index(e, row), 1
        while isinstance(full, Bin) and isinstance(full.b, Const) and isinstance(full.b.value, int):
            if full.op == "*":
                stride *= full.b.value
            elif full.op not in "+-" and not (
                full.op == "%" and stride * full.b.value % depth == 0
            ):
                break
            full = full.a
        loop = ABSENT
        if isinstance(full, Var) and "#" in full.name:
            number = int(full.name[2:])
            if full.name[0] == "u" or self.code.loops[number].parent == ABSENT:
                loop = number
        group = self.groups.get(row.cursor, ABSENT) if loop in self.code.flat else ABSENT
        self.loops.setdefault(name, set()).add((loop, group, stride % depth))
        self.cursors.setdefault(name, row.cursor)


def exclusive(code: Code, name: str) -> tuple[int, ...]:
    """The flags or byte ranges of a ring, by slot; none if there is another name for one of them."""
    if name in code.events:
        mine = code.event_flags[name]
        if any(code.siblings[f] for f in mine):
            return ()
        others = [f for n, flags in code.event_flags.items() if n != name for f in flags]
    else:
        slots = [code.slot_ranges[code.slots[name, s]] for s in range(code.buffers[name].depth)]
        if any(len(ranges) != 1 for ranges in slots):
            return ()
        mine = tuple(b for ranges in slots for b in ranges)
        named = zip(code.slot_buffer, code.slot_ranges, strict=True)
        others = [b for buffer, ranges in named if buffer != name for b in ranges]
    return mine if len(set(mine)) == len(mine) and set(mine).isdisjoint(others) else ()


def local_rings(code: Code, rotated: list[Rotation]) -> tuple[list[LocalRing], list[int]]:
    """Pops put number k into local slot k: where that is relative to a rotated ring, and by FIFO the
    number of slots where it is absolute."""
    absolute = [1] * len(code.rings)
    relative: dict[LocalRing, None] = {}
    driver = {r.name: r for r in rotated}
    for row in code.running:
        if row.kind == POP:
            name = next(n for _, _, n in code.indices(row.row) if n in code.buffers)
            if name in driver:
                relative[LocalRing(row.ring, driver[name])] = None
            else:
                absolute[row.ring] *= code.buffers[name].depth
    return list(relative), absolute
