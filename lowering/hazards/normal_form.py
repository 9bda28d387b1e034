"""The normal form of an execution state: what its future depends on.

In: a ``State`` where both cores wait for a decision.  Out: ``Form``: a hashable part that must be
equal, what was never written, and for each clock the accesses it does *not* know to be complete.
Invariant: from two states with equal hashable parts, the same decisions run the same rows, and what
is unknown evolves by unions and intersections only; so a state that knows less meets every hazard of
one that knows more (``Seen.covers``).  The form forgets:

* absolute row counts: a clock only ever answers "is this access complete?" for accesses that some
  byte, flag or exit rule still remembers;
* what is settled: an access that every pipe which may touch the bytes knows to be complete, or will
  be told of by what it waits for before it touches them (``lowering/hazards/awaited.py``);
* absolute loop counts: only the classes that indices can tell apart (``lowering/hazards/control_form.py``);
* which slot of a ring is current: it is written down from that slot on (``lowering/hazards/rotations.py``).

The number of forms is finite unless one core runs ahead of the other without bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm
from typing import NamedTuple

from lowering.hazards.awaited import Awaited, Told
from lowering.hazards.code import Code
from lowering.hazards.control_form import ControlForm
from lowering.hazards.counters import ABSENT, Counters, decidable
from lowering.hazards.rotations import local_rings, rotations
from lowering.hazards.state import Clock, State, join, relative
from lowering.hazards.unwritten import may_be_unwritten


@dataclass(frozen=True, slots=True)
class Form:
    """``same`` decides which rows run; ``unwritten`` bytes have never been written (bits by
    position), ``unknown`` says what each clock, flag and signal does not know (bits)."""

    same: tuple[object, ...]
    unwritten: int
    unknown: int


class Seen:
    """The forms explored so far with one ``same`` part: none of them covers another."""

    def __init__(self) -> None:
        self.unwritten: list[int] = []
        self.unknown: list[int] = []

    def covers(self, new: Form) -> bool:
        """True if every hazard met from ``new`` is met from a form seen before; else notes it.

        What is unwritten and what is unknown lead to different hazards, each decided by the rows
        that run, so the two may be covered by two different forms.
        """
        written = any(not new.unwritten & ~x for x in self.unwritten)
        known = any(not new.unknown & ~x for x in self.unknown)
        if not written:
            self.unwritten.append(new.unwritten)
        if not known:
            self.unknown.append(new.unknown)
        return written and known


Live = tuple[int, int, int]
"""(record, pipe, row): what some pipe may still have to be ordered behind.  A record is a number for
what a later row would meet there, the same in states that look alike."""


class _Order(NamedTuple):
    """Byte ranges and flags, each ring from its current slot on.  Of ranges (place, number): of those
    whose accesses, and of those whose first write, a state may have to remember."""

    watched: list[tuple[int, int]]
    unwritten: list[tuple[int, int]]
    flags: list[int]


class NormalForm:
    """Computes normal forms for the states of one program."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.turns = rotations(code)
        self.rings: list[tuple[tuple[int, ...], bool]] = [
            *((t.members, t.is_event) for t in self.turns),
            *(
                (tuple(range(r.first_range, r.first_range + r.fifo.depth)), False)
                for r in code.rings
            ),
        ]
        self.drivers: dict[tuple[int, int], int] = {}
        for t in self.turns:
            driver = t.cursor, t.loop
            self.drivers[driver] = lcm(self.drivers.get(driver, 1), len(t.members))
        self._fixed_members()
        counters = _counters(code, {t.name for t in self.turns})
        self.control = ControlForm(code, counters, *local_rings(code, self.turns))
        self.awaited = Awaited(code)
        self.may_be_unwritten = may_be_unwritten(code)
        self.benign = [
            [code.reads_first(q) and w == (q,) for q in range(len(code.pipes))]
            for w in code.writers
        ]
        self.orders: dict[tuple[int, ...], _Order] = {}
        self.numbers: dict[tuple[object, ...], int] = {}

    def _fixed_members(self) -> None:
        """The byte ranges and flags that are always written down in one order."""
        code = self.code
        turned = {b for members, is_event in self.rings if not is_event for b in members}
        flags = {f for members, is_event in self.rings if is_event for f in members}
        named = [b for ranges in code.slot_ranges for b in ranges]
        self.fixed_ranges = [b for b in range(len(code.ranges)) if b not in turned]
        self.shared_ranges = [b for b in self.fixed_ranges if named.count(b) > 1]
        self.fixed_flags = [f for f in range(len(code.flags)) if f not in flags]

    def form(self, s: State) -> Form:
        """The normal form of ``s``."""
        order = self._order(s)
        pattern, clocks = self._clocks(s, order.flags)
        bits, by_pipe = [1 << k for k in range(len(clocks))], list(zip(*clocks, strict=True))
        unknown, width = 0, len(clocks)
        by_whom: dict[tuple[int, int], int] = {}  # of a row, which several records may be about
        for number, q, r in self._live(s, order):
            found = by_whom.get((q, r))
            if found is None:
                known = zip(bits, by_pipe[q], strict=True)
                found = by_whom[q, r] = sum([bit for bit, n in known if n < r])
            unknown |= found << number * width
        last_slot = tuple([s.slot[b] for b in self.shared_ranges])
        unwritten = 0
        for k, b in order.unwritten:
            if s.writer[b] == ABSENT:
                unwritten |= 1 << k
        return Form((self.control.of(s), pattern, last_slot), unwritten, unknown)

    def _order(self, s: State) -> _Order:
        turned = [s.begun(*driver) % n for driver, n in self.drivers.items()]
        pushed = [n % ring.fifo.depth for n, ring in zip(s.pushed, self.code.rings, strict=True)]
        key = (*turned, *pushed)
        if key not in self.orders:
            ranges, flags = self.fixed_ranges[:], self.fixed_flags[:]
            at = [*(t.current(s.begun(t.cursor, t.loop)) for t in self.turns), *pushed]
            for n, (members, is_event) in zip(at, self.rings, strict=True):
                k = n % len(members)
                (flags if is_event else ranges).extend(members[k:] + members[:k])
            places = list(enumerate(ranges))
            watched = [(k, b) for k, b in places if b not in self.awaited.kept_apart]
            unwritten = [(k, b) for k, b in places if self.may_be_unwritten[b]]
            self.orders[key] = _Order(watched, unwritten, flags)
        return self.orders[key]

    def _clocks(self, s: State, flags: list[int]) -> tuple[tuple[int, ...], list[Clock]]:
        """How many sets and signals are pending; and what is known: to the pipes, and to who receives what is
        pending then, as that need not tell what its receiver knows."""
        code, pattern, found = self.code, list[int](), s.clock[:]
        for f in flags:
            pattern.append(len(s.flag[f]))
            for sent in s.flag[f]:
                found.append(join(sent, s.clock[code.flags[f].dst]))
        for k, ring in enumerate(code.rings):
            producer = 0 if ring.fifo.direction == "c2v" else 1
            for queue, core in ((s.data[k], 1 - producer), (s.free[k], producer)):
                pattern.append(len(queue))
                found += [join(sent, s.clock[code.scalar_pipe[core]]) for sent in queue]
        return tuple(pattern), found

    # what a later row may still meet

    def _number(self, *name: object) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def _live(self, s: State, order: _Order) -> Iterator[Live]:
        told = Told(self.awaited, s)
        yield from self._accesses(s, order.watched, told)
        yield from self._waits(s, order.flags, told)
        yield from self._stores(s)
        yield from self._tensors(s)

    def _accesses(self, s: State, ranges: list[tuple[int, int]], told: Told) -> Iterator[Live]:
        """The last write of each byte range and the reads since."""
        awaited = self.awaited
        for k, b in ranges:
            q = s.writer[b]
            if q == ABSENT:
                continue
            if told.is_open(q, s.written[b], awaited.of_access[b]):
                yield self._number("write", k, q), q, s.written[b]
            for q, r in s.reader[b]:
                if not self.benign[b][q] and told.is_open(q, r, awaited.of_write[b]):
                    yield self._number("read", k, q), q, r

    def _waits(self, s: State, flags: list[int], told: Told) -> Iterator[Live]:
        """The last wait for each flag, which the next set must come behind."""
        for k, f in enumerate(flags):
            q, r = self.code.flags[f].dst, s.last_wait[f]
            if r and told.is_open(q, r, self.awaited.of_set[f]):
                yield self._number("wait", k), q, r

    def _stores(self, s: State) -> Iterator[Live]:
        """The last write of each pipe to GM, which the end must come behind."""
        code = self.code
        for q, r in enumerate(s.gm):
            if r > s.clock[code.scalar_pipe[code.core_of[q]]][q]:
                yield self._number("store", q), q, r

    def _tensors(self, s: State) -> Iterator[Live]:
        """Accesses of tensors that may meet others, by the iterations they were in."""
        for number, entries in s.tensor.items():
            row = self.code.rows[number]
            for at, r in entries:
                yield self._number("tensor", number, relative(self.code, s, at, row)), row.pipe, r


def _counters(code: Code, rotated: set[str]) -> Counters:
    """The classes of counters that tests and the indices of rings can tell apart which are not
    rotated."""
    counters: Counters = {}
    for row in code.running:
        for e, modulus, name in code.indices(row.row):
            if name not in rotated:
                decidable(code.index(e, row), modulus, counters)
    for t in code.tests:
        if t.known:
            decidable(t.expr, 0, counters)
    return counters
