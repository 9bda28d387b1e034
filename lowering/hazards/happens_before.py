"""What rows know of each other: one abstract execution with vector clocks (docs/machine.md 9).

In: the rows of a compiled kernel, in an order of issue.  Out: hazards, or the knowledge of every pipe.

*Why one execution stands for every interleaving.*  Each flag and each cross-core signal has one
in-order sender and one in-order receiver, so the k-th wait always meets the k-th set: which
completion is known before which start does not depend on timing.  So the cores may run here in any
order that respects issue; a pipe's clock says how many rows of each pipe are *known complete* before
its next row starts.  Knowledge comes only from set -> wait, barrier, drain and signal, each of which
covers everything earlier in its pipe, so a count per pipe is enough.  Rows are executed in
issue order: a wait must be issued behind its set (queues are of unknown depth, docs/machine.md 10), and
each row depends only on rows executed before it, so nothing but a FIFO wait can block issue.

*Lanes.*  Both vector lanes run one stream on disjoint rows (``tensor_conflicts`` checks it), a cube
signal reaches each of them and the cube waits for both, so one lane stands for both.  No trip count
and no branch depends on the lane (``scalars`` refuses it), so both run the same rows.

*Benign.*  V reads before it writes in order, so V's write-after-read needs nothing; the row-expand
ops of the library share a scratch area at the top of UB, but carry their own barrier.

Non-goals: values, timing, which row comes next (``lowering/hazards/run.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lowering.hazards.assumptions import (
    COUNTING_FLAGS,
    EARLY_SETS,
    ORDERED_ACCUMULATION,
    ORDERED_COPIES,
    ORDERED_SIGNALS,
    OVERTAKING_FREES,
    PASSING_WAITS,
)
from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT
from lowering.hazards.instructions import (
    BARRIER,
    BARRIER_ALL,
    DRAIN,
    NOTHING,
    POP,
    PUSH,
    PUSH_DATA,
    PUSHES,
    RECORD,
    Effect,
    RowCode,
    SlotRange,
    SlotRanges,
)
from lowering.hazards.log import DATA, FLAG, FREE, ON_TENSOR, SPOILED, STILL_SET, At, Found, Log
from lowering.hazards.state import Clock, State, join, needs_credit, relative
from pto.ir import CORES

Special = tuple[SlotRanges, SlotRanges, Clock]
"""What a row reads and writes, and what it knows before it does."""


class Hit(Exception):
    """A hazard was found (fast mode, which keeps no log to describe it)."""


class HappensBefore:
    """Takes row after row into ``state``.  Without a ``log`` the first hazard raises ``Hit``, with one
    the first that it does not want any more."""

    def __init__(self, code: Code, state: State, log: Log | None = None) -> None:
        self.code, self.state, self.log = code, state, log
        self.early_sets = EARLY_SETS in code.assume
        self.counting_flags = COUNTING_FLAGS in code.assume
        in_order = ORDERED_ACCUMULATION in code.assume
        self.adder = code.pipe_number.get(("cube", "M"), ABSENT) if in_order else ABSENT
        alone = PASSING_WAITS in code.assume
        self.fenced = [[p] for p in code.scalar_pipe] if alone else code.core_pipes
        copies = ORDERED_COPIES in code.assume
        self.copiers = {p for p, (_, name) in enumerate(code.pipes) if copies and name in _MTE}

    def row(self, row: RowCode, effect: Effect) -> bool:
        """One row.  False if the scalar unit must wait for the other core first."""
        state, p = self.state, row.pipe
        if row.ring != ABSENT and not self._ready(row):
            return False
        waits, reads, writes, sets = effect
        clock, n = state.clock[p], state.count[p] + 1
        state.count[p] = n
        if self.log is not None:
            self.log.row(self.code, state, row, (p, n), effect)
        if waits:
            clock = self._take(waits, clock, p, n)
        if p in self.copiers:
            clock = _complete(clock, p, n - 1)
        if row.kind in _SPECIAL:
            reads, writes, clock = _SPECIAL[row.kind](self, row, effect, clock, n)
        elif waits and p == self.code.scalar_pipe[row.core]:
            clock = _complete(clock, p, n)
            self._fence(row.core, clock)
        state.clock[p] = clock
        if reads:
            self._read(reads, clock, p, n)
        if writes:
            self._write(reads, writes, clock, p, n)
        if reads:
            self._note_reads(reads, p, n)
        if row.tracked or row.writes_tensor:
            self._tensor(row, clock, n)
        if row.ring != ABSENT:
            self._signal(row, clock, n)
        if sets:
            self._send(sets, clock, p, n)
        return True

    # bytes

    def _read(self, reads: SlotRanges, clock: Clock, p: int, n: int) -> None:
        """Row ``n`` of pipe ``p`` must find written and complete what it reads."""
        state = self.state
        writer, written, slot = state.writer, state.written, state.slot
        for b, s in reads:
            w = writer[b]
            if w == ABSENT or clock[w] < written[b] or slot[b] != s:
                self._bad_read(b, s, clock, p, n)

    def _bad_read(self, b: int, s: int, clock: Clock, p: int, n: int) -> None:
        """What is read was never written, may not be complete, or has been overwritten since."""
        w, last, there = self.state.writer[b], self.state.written[b], self.state.slot[b]
        if w == ABSENT:
            self._hazard(Found("uninitialised", "", None, (p, n), b, slot=s))
        elif clock[w] < last and not w == p == self.adder:
            self._hazard(Found("RAW", "", (w, last), (p, n), b, slot=s))
        elif there != s:
            spoiled = there == self.code.spoiled.get(s)
            kind, why = ("uninitialised", SPOILED) if spoiled else ("overwritten", "")
            self._hazard(Found(kind, why, (w, last), (p, n), b, slot=s))

    def _write(self, reads: SlotRanges, writes: SlotRanges, clock: Clock, p: int, n: int) -> None:
        """It must find complete what read and wrote the bytes before; then it is the last that wrote."""
        state = self.state
        writer, written, slot, reader = state.writer, state.written, state.slot, state.reader
        for b, s in writes:
            for q, r in reader[b]:
                # a pipe reads before it writes: benign on V; own operands: see row_checks
                if clock[q] < r and not (q == p and self.code.reads_first(p)):
                    self._hazard(Found("WAR", "", (q, r), (p, n), b, slot=s))
            w = writer[b]
            if w != ABSENT and clock[w] < written[b]:
                adds = w == p == self.adder and (b, s) in reads
                if not adds:
                    self._hazard(Found("WAW", "", (w, written[b]), (p, n), b, slot=s))
            reader[b], writer[b], written[b], slot[b] = (), p, n, s

    def _note_reads(self, reads: SlotRanges, p: int, n: int) -> None:
        """Of each pipe the last read since the last write, so that who writes next meets it."""
        state = self.state
        writer, written, reader = state.writer, state.written, state.reader
        for b, _ in reads:
            if written[b] == n and writer[b] == p:
                continue  # in place: who comes later meets the write
            old = reader[b]
            if not old or len(old) == 1 and old[0][0] == p:
                reader[b] = ((p, n),)
            else:
                reader[b] = (*(x for x in old if x[0] != p), (p, n))

    # flags

    def _take(self, waits: tuple[int, ...], clock: Clock, p: int, n: int) -> Clock:
        """Takes the flags that a row waits for; what it knows then."""
        state = self.state
        for f in waits:
            sent = state.flag[f]
            if not sent:
                self._hazard(Found("wait", "no set can meet this wait", None, (p, n), flag=f))
                continue
            if self.code.siblings[f]:
                self._check_siblings(f, state.clock[p], p, n)
            clock = join(clock, sent[0])
            state.flag[f] = sent[1:]
            state.last_wait[f] = n
        return clock

    def _send(self, sets: tuple[int, ...], clock: Clock, p: int, n: int) -> None:
        """Sets flags when the row and all before it in its pipe are complete."""
        state, flags, siblings = self.state, self.code.flags, self.code.siblings
        sent = clock if self.early_sets else _complete(clock, p, n)
        for f in sets:
            if self.counting_flags:
                state.flag[f] = (*state.flag[f], sent)
            else:
                if state.flag[f] or clock[flags[f].dst] < state.last_wait[f]:
                    self._double_set(f, p, n)
                state.flag[f] = (sent,)
            if self.log is not None:
                self.log.sent(FLAG, f, (p, n))
            if siblings[f]:
                self._check_siblings(f, clock, p, n)

    def _double_set(self, f: int, p: int, n: int) -> None:
        """The last set of a flag has not met its wait, or that may not have ended."""
        state, dst = self.state, self.code.flags[f].dst
        if state.flag[f]:
            last = self.log.sender(FLAG, f, 1) if self.log is not None else None
            self._hazard(Found("double set", STILL_SET, last, (p, n), flag=f))
        else:
            self._hazard(Found("double set", "", (dst, state.last_wait[f]), (p, n), flag=f))

    def _check_siblings(self, f: int, clock: Clock, p: int, n: int) -> None:
        """One flag under several names: it is clear, and no wait for it may still be pending, when
        another name of it is set or waited for."""
        state = self.state
        for g in self.code.siblings[f]:
            dst, other = self.code.flags[g].dst, self.code.flags[g].name
            if state.flag[g]:
                text = f"{other} has the same id and is still set"
                self._hazard(Found("double set", text, None, (p, n), flag=f))
            elif clock[dst] < state.last_wait[g]:
                text = f"the wait for {other}, which has the same id, may not have ended"
                self._hazard(Found("double set", text, (dst, state.last_wait[g]), (p, n), flag=f))

    # barriers, drains and FIFOs

    def _ready(self, row: RowCode) -> bool:
        """The scalar unit need not wait for the other core."""
        if row.kind == POP and self.code.rings[row.ring].fifo.signal:
            return bool(self.state.data[row.ring])
        if row.kind in PUSHES and needs_credit(self.code, self.state, row.ring):
            return bool(self.state.free[row.ring])
        return True

    def _fence(self, c: int, clock: Clock) -> None:
        """Issue of core ``c`` has waited until everything in ``clock`` was complete."""
        clocks, old, new = self.state.clock, clock, clock
        for q in self.fenced[c]:
            if clocks[q] is not old:  # behind a barrier of all pipes they share one
                old = clocks[q]
                new = join(old, clock)
            clocks[q] = new

    # what barriers, drains and FIFO rows do before they touch memory: (reads, writes, clock)

    def _barrier(self, row: RowCode, effect: Effect, clock: Clock, n: int) -> Special:
        return effect.reads, effect.writes, _complete(clock, row.pipe, n - 1)

    def _barrier_all(self, row: RowCode, effect: Effect, clock: Clock, n: int) -> Special:
        """Every pipe of the core waits for all of them."""
        mine, clocks = self.code.core_pipes[row.core], self.state.clock
        known, clock = clock, clock[:]
        for q in mine:
            if clocks[q] is not known:
                known = clocks[q]
                clock = join(clock, known)
        for q in mine:  # it is done by the scalar unit itself
            clock[q] = self.state.count[q]
        for q in mine:
            clocks[q] = clock
        return effect.reads, effect.writes, clock

    def _drain(self, row: RowCode, effect: Effect, clock: Clock, n: int) -> Special:
        """The scalar unit waits for all rows of one pipe."""
        q = row.drained
        clock = join(clock, _complete(self.state.clock[q], q, self.state.count[q]))
        clock[row.pipe] = n  # it is done by the scalar unit itself
        self._fence(row.core, clock)
        return effect.reads, effect.writes, clock

    def _pop(self, row: RowCode, effect: Effect, clock: Clock, n: int) -> Special:
        """It waits for data, if the FIFO tells of it itself, and reads a slot."""
        state, ring = self.state, row.ring
        if self.code.rings[ring].fifo.signal:
            clock = self._receive(state.data, row, clock)
        elif state.popped[ring] >= state.pushed[ring]:
            self._hazard(Found("fifo", "nothing is pushed yet", None, (row.pipe, n), ring=ring))
        access = self._ring_slot(ring, state.popped[ring])
        self._check_local(ring, effect.writes[0], (row.pipe, n))
        state.popped[ring] += 1
        return (*effect.reads, access), effect.writes, clock

    def _push(self, row: RowCode, effect: Effect, clock: Clock, n: int) -> Special:
        """It may wait for a free signal, and writes a slot of the FIFO."""
        state, ring = self.state, row.ring
        if needs_credit(self.code, state, ring):
            clock = self._receive(state.free, row, clock)
        access = self._ring_slot(ring, state.pushed[ring])
        state.pushed[ring] += 1
        state.gm[row.pipe] = n
        return effect.reads, (*effect.writes, access), clock

    def _receive(self, queues: list[tuple[Clock, ...]], row: RowCode, clock: Clock) -> Clock:
        """Takes the oldest signal of a FIFO, which issue has waited for."""
        clocks, queue = self.state.clock, queues[row.ring]
        queues[row.ring], clocks[row.pipe] = queue[1:], clock
        self._fence(row.core, queue[0])
        return clocks[row.pipe]

    def _ring_slot(self, ring: int, index: int) -> SlotRange:
        r = self.code.rings[ring]
        return r.first_range + index % r.fifo.depth, ABSENT

    def _check_local(self, ring: int, written: SlotRange, at: At) -> None:
        """The library puts pop number k into slot k mod depth of the local ring."""
        b, slot = written
        name = self.code.slot_buffer[slot]
        depth = self.code.buffers[name].depth
        expected = self.code.slots[name, self.state.popped[ring] % depth]
        if slot != expected:
            text = f"the library puts this pop into {self.code.slot_name[expected]}"
            self._hazard(Found("fifo", text, None, at, b, ring=ring, slot=slot))

    def _signal(self, row: RowCode, clock: Clock, n: int) -> None:
        """The cross-core signals that a FIFO row sends when everything earlier in its pipe is done."""
        state, ring = self.state, row.ring
        if row.kind in (PUSH, RECORD):
            what, queues = DATA, state.data
        elif row.kind == POP and self._frees(ring):
            what, queues = FREE, state.free
        else:
            return
        sent = self._told(row, what, clock, n)
        queues[ring] = (*queues[ring], sent)
        if self.log is not None:
            self.log.sent(what, ring, (row.pipe, n))

    def _told(self, row: RowCode, what: str, clock: Clock, n: int) -> Clock:
        """What a signal tells of: only what the scalar unit has waited for, if it may arrive as soon as it is
        issued."""
        assume, p = self.code.assume, row.pipe
        if what == FREE:
            return clock if OVERTAKING_FREES in assume else _complete(clock, p, n)
        if ORDERED_SIGNALS in assume:
            return _complete(clock, p, n)
        return (
            [0] * len(clock)
            if PASSING_WAITS in assume
            else self.state.clock[self.code.scalar_pipe[row.core]]
        )

    def _frees(self, ring: int) -> bool:
        """The last pop of a FIFO ends a period: it tells the producer."""
        r = self.code.rings[ring]
        return r.fifo.credit and self.state.popped[ring] % r.period == 0

    # user tensors

    def _tensor(self, row: RowCode, clock: Clock, n: int) -> None:
        """An access of a tensor must find complete what it may meet."""
        state, code = self.state, self.code
        if row.writes_tensor:
            state.gm[row.pipe] = n
        if not row.tracked:
            return
        where = self._iterations(row)
        for number, levels in code.meets.get(row.number, ()):
            other = code.rows[number]
            for at, r in state.tensor.get(number, ()):
                level = _first_difference(at, where, len(levels) - 1)
                if levels[level] and clock[other.pipe] < r:
                    after_write = "WAW" if row.writes_tensor else "RAW"
                    kind = after_write if other.writes_tensor else "WAR"
                    self._hazard(Found(kind, ON_TENSOR, (other.pipe, r), (row.pipe, n)))
        kept = {relative(code, state, where, row): (where, n)}
        for at, r in state.tensor.get(row.number, ()):
            kept.setdefault(relative(code, state, at, row), (at, r))
        state.tensor[row.number] = tuple(kept.values())

    def _iterations(self, row: RowCode) -> tuple[int, ...]:
        """The iterations of its loops that a row is in, counted over the whole run."""
        step, total = self.state.step[row.cursor], self.state.total[row.cursor]
        return tuple(
            total[x] + step[x] - (row.offset if x == row.loop else self.code.loops[x].high)
            for x in row.loops
        )

    # ends

    def finish(self) -> None:
        """Both cores have ended: no flag is set, no FIFO filled, no write to GM unfinished."""
        state, code = self.state, self.code
        for f, sent in enumerate(state.flag):
            if sent:
                last = self.log.sender(FLAG, f, 1) if self.log is not None else None
                text = "the flag is still set at the end of the kernel"
                self._hazard(Found("leftover", text, last, flag=f))
        for k in range(len(code.rings)):
            pushed, popped, left = state.pushed[k], state.popped[k], len(state.data[k])
            if left or pushed != popped:
                text = f"{pushed} pushes, {popped} pops, {left} records left"
                self._hazard(Found("fifo", text, ring=k))
        for p, n in enumerate(state.gm):
            if n and state.clock[code.scalar_pipe[code.core_of[p]]][p] < n:
                text = "a write to GM may be unfinished when the kernel ends"
                self._hazard(Found("undrained", text, (p, n)))

    def deadlock(self, stuck: tuple[RowCode | None, RowCode | None]) -> None:
        """No core goes on: each waits in front of such a row for ever, or has ended (None)."""
        waiting = [
            f"the {core} core waits for {'data' if row.kind == POP else 'a free slot'} of "
            f"{self.code.rings[row.ring].fifo.name}"
            for core, row in zip(CORES, stuck, strict=True)
            if row is not None
        ]
        text = " and ".join(waiting) + ("; the other core has ended" if len(waiting) == 1 else "")
        if self.log is not None:
            at = [self._note_stuck(row) for row in stuck if row is not None]
            first, second = at if len(at) == 2 else (None, *at)
            self.log.found.append(Found("deadlock", text, first, second))
        raise Hit

    def _note_stuck(self, row: RowCode) -> At:
        at = row.pipe, self.state.count[row.pipe] + 1
        if self.log is not None:
            self.log.row(self.code, self.state, row, at, NOTHING)
        return at

    # hazards

    def _known(self, found: Found) -> tuple[int, ...]:
        code = self.code
        if found.second:
            return tuple(self.state.clock[found.second[0]])
        pipe = code.scalar_pipe[code.core_of[found.first[0]]] if found.first else ABSENT
        return tuple(self.state.clock[pipe]) if found.first else ()

    def _hazard(self, found: Found) -> None:
        if self.log is None:
            raise Hit
        self.log.found.append(replace(found, known=self._known(found)))
        if len(self.log.found) >= self.log.limit:
            raise Hit


_SPECIAL: dict[int, Callable[[HappensBefore, RowCode, Effect, Clock, int], Special]] = {
    BARRIER: HappensBefore._barrier,
    BARRIER_ALL: HappensBefore._barrier_all,
    DRAIN: HappensBefore._drain,
    POP: HappensBefore._pop,
    PUSH: HappensBefore._push,
    PUSH_DATA: HappensBefore._push,
}
"""What a row of that kind does beside waiting for flags and touching its tiles."""


_MTE = ("MTE1", "MTE2", "MTE3")


def _complete(clock: Clock, p: int, n: int) -> Clock:
    """What is known when row number ``n`` of pipe ``p`` and all before it are complete."""
    sent = clock[:]
    sent[p] = n
    return sent


def _first_difference(a: tuple[int, ...], b: tuple[int, ...], most: int) -> int:
    """The first place where two rows are in different iterations; ``most`` if that is not before it."""
    for level, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y or level == most:
            return level
    return min(len(a), len(b))
