"""The pipes of one cluster as in-order queues: what may happen next, and making it happen.

In: the instruction streams of one hardware block (``lowering/execute/instructions.py``).  The scalar unit of
each core drops the parts of its rows into the queues of its pipes; each pipe starts its parts in
order.  Which enabled move comes next is up to the caller: at random with data
(``adversarial.py``), or all of them without (``tests/judges/exhaustive.py``).

Rules (docs/machine.md 3.4, 4.1, 5.1 to 5.3): a row that works is in flight from start to finish, and
several of one pipe may be.  A wait at the head of a queue holds the queue back until its flag
is set, and clears it.  A set or free signal fires when no earlier work of its pipe is in flight; it
holds nothing back.  A barrier holds its pipe back until the pipe is idle.  The scalar unit itself stops
at waits on S, drains, barriers of ALL, and at FIFO signals.  Queues are as long as they need to be,
but a wait must be issued behind its set, as no queue may be counted on (docs/machine.md 10).

When the data signal of a push or record arrives, sources disagree about (docs/machine.md 5.5).  Under the
strict reading, which is the default, it arrives once it is issued, before whatever its pipe has not
done: only what the scalar unit has waited for, by a drain, is there.  Under the reading
``ordered-signals`` it fires like a set.

Sets and signals fire as soon as they can: to fire later only holds others back, and what goes wrong
with a late one (a race) goes wrong with an early one too, because work in flight may stay in flight.
Non-goals: what the rows compute, time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lowering.execute.instructions import FlagKey, Instruction, Pipe, Program, Stream
from lowering.hazards.assumptions import ORDERED_SIGNALS
from pto.errors import InputError, ScheduleError

WORK, WAIT, SET, SIGNAL, BARRIER = range(5)
ISSUE, START, TAKE, FINISH = range(4)
"""Moves: a core issues its next row; a pipe starts the work at its head, or takes the flag that its
head waits for; work in flight ends."""


Counter = tuple[str, bool, int, int]
"""Signals that have arrived and were not used: FIFO, True for free ones, sender, receiver."""


class Part(NamedTuple):
    """What one row leaves in the queue of its pipe; a signal adds one to each of ``counters``."""

    kind: int
    of: Instruction
    flag: FlagKey | None = None
    counters: tuple[Counter, ...] = ()


class Move(NamedTuple):
    """``where``: the stream that issues, or the pipe; ``part``: which of its parts finishes."""

    kind: int
    where: int
    part: int = -1


_move = lru_cache(1 << 16)(Move)
"""The same few are asked for again and again."""


class InterleavingError(ScheduleError):
    """A legal order of the pipes in which the program goes wrong.  ``kind``: as in hazards.py."""

    def __init__(self, kind: str, message: str, of: Instruction | None = None) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {message}", None if of is None else of.row.loc)


class Issue(NamedTuple):
    """One row of a stream: it belongs to ``pipe``, which holds ``upto`` parts once it is issued; the
    scalar unit needs one signal from each of ``needs``, the ``flags``, and the pipes ``idle``, and adds one
    signal to each of ``tells``."""

    of: Instruction
    pipe: int
    upto: int
    needs: tuple[Counter, ...]
    tells: tuple[Counter, ...]
    flags: tuple[FlagKey, ...] = ()
    idle: tuple[int, ...] = ()


@dataclass(frozen=True)
class Queues:
    """All that a program ever puts into the queues, in order; shared by every run of it."""

    program: Program
    pipes: tuple[Pipe, ...]
    parts: tuple[tuple[Part, ...], ...]
    streams: tuple[tuple[Issue, ...], ...]
    of_core: tuple[tuple[int, ...], ...]


def signals_in_order(assume: Collection[str]) -> bool:
    """Whether the signal of a push stays behind its data, under the readings ``assume``.

    Raises:
        InputError: for a reading that no executor has.
    """
    for name in sorted(set(assume) - {ORDERED_SIGNALS}):
        message = f"no executor runs under the reading '{name}'"
        raise InputError(message, hint=f"the only one: {ORDERED_SIGNALS}")
    return ORDERED_SIGNALS in assume


def queues_of(program: Program, assume: Collection[str] = ()) -> Queues:
    """The queues of ``program``, under the readings ``assume``.

    Raises:
        InterleavingError: for a wait that is issued before its set.
        InputError: for a reading that no executor has.
    """
    in_order = signals_in_order(assume)
    pipes: dict[Pipe, list[Part]] = {}
    numbers: dict[Pipe, int] = {}
    streams: list[tuple[Issue, ...]] = []
    of_core: list[tuple[int, ...]] = []
    for k, stream in enumerate(program.streams):
        found = []
        _check_waits(program, stream)
        for ins in stream:
            number, queue = (
                numbers.setdefault(ins.pipe, len(numbers)),
                pipes.setdefault(ins.pipe, []),
            )
            signals = _signals(program, ins)
            queued, at_once = (signals, ()) if in_order or ins.pops else ((), signals)
            if not _on_scalar(ins):
                queue.extend(_parts(ins, queued))
            found.append(Issue(ins, number, len(queue), _needs(program, ins), at_once))
        streams.append(tuple(found))
        of_core.append(tuple(n for (core, _), n in numbers.items() if core == k))
    parts = tuple(tuple(q) for q in pipes.values())
    stopping = [
        tuple([_stopped(x, k, numbers, of_core[k]) for x in stream])
        for k, stream in enumerate(streams)
    ]
    return Queues(program, tuple(pipes), parts, tuple(stopping), tuple(of_core))


def _stopped(
    issue: Issue, core: int, numbers: Mapping[Pipe, int], of_core: tuple[int, ...]
) -> Issue:
    """With what its scalar unit stops for if it does the row itself."""
    ins = issue.of
    if not _on_scalar(ins):
        return issue
    drained = numbers.get((core, ins.drains))
    idle = of_core if ins.pipe[1] == "ALL" else () if drained is None else (drained,)
    return issue._replace(flags=ins.waits, idle=idle)


def _check_waits(program: Program, stream: Stream) -> None:
    unused: dict[FlagKey, int] = {}
    for ins in stream:
        for f in ins.waits:
            unused[f] = unused.get(f, 0) - 1
            if unused[f] < 0:
                message = f"no set of {_flag_text(f)} is issued before {ins.told(program)}"
                raise InterleavingError("wait", message, ins)
        for f in ins.sets:
            unused[f] = unused.get(f, 0) + 1


def _on_scalar(ins: Instruction) -> bool:
    """Done by the scalar unit itself when it issues the row."""
    return ins.pipe[1] in ("S", "ALL")


def _needs(program: Program, ins: Instruction) -> tuple[Counter, ...]:
    if not ins.acquires:
        return ()
    free, k = not ins.pops, ins.pipe[0]
    senders = program.senders(program.kernel.fifo(ins.acquires), free)
    return tuple((ins.acquires, free, s, k) for s in senders)


def _signals(program: Program, ins: Instruction) -> tuple[Counter, ...]:
    if not ins.signals:
        return ()
    receivers = program.receivers(program.kernel.fifo(ins.signals), ins.pops)
    return tuple((ins.signals, ins.pops, ins.pipe[0], r) for r in receivers)


def _parts(ins: Instruction, signals: tuple[Counter, ...]) -> list[Part]:
    parts = [Part(WAIT, ins, f) for f in ins.waits]
    if ins.row.op == "barrier":
        parts.append(Part(BARRIER, ins))
    elif ins.action is not None and ins.row.op != "record":
        parts.append(Part(WORK, ins))
    if signals:
        parts.append(Part(SIGNAL, ins, None, signals))
    return parts + [Part(SET, ins, f) for f in ins.sets]


def _flag_text(f: FlagKey) -> str:
    return f"flag {f[1]} -> {f[2]} id {f[3]}"


class Cluster:
    """The state of all queues, flags and signals.

    ``begun`` and ``ended`` are called with each row when its work starts and finishes.
    """

    __slots__ = ("ahead", "begun", "ended", "flags", "issued", "pc", "queues", "signals", "waiting")

    def __init__(
        self,
        queues: Queues,
        begun: Callable[[Instruction], None] | None = None,
        ended: Callable[[Instruction], None] | None = None,
    ) -> None:
        self.queues, self.begun, self.ended = queues, begun, ended
        self.pc = [0] * len(queues.program.streams)
        self.ahead = [0] * len(queues.pipes)
        self.issued = [0] * len(queues.pipes)
        self.waiting: list[tuple[int, ...]] = [()] * len(queues.pipes)
        self.flags: frozenset[FlagKey] = frozenset()
        self.signals: dict[Counter, int] = {}

    def copy(self) -> Cluster:
        """The same state, to go on from in another way."""
        new = Cluster.__new__(Cluster)
        new.queues, new.begun, new.ended = self.queues, self.begun, self.ended
        new.pc, new.ahead, new.waiting = self.pc[:], self.ahead[:], self.waiting[:]
        new.issued = self.issued[:]
        new.flags, new.signals = self.flags, dict(self.signals)
        return new

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal states."""
        return tuple(self.pc), tuple(self.ahead), tuple(self.waiting), self.flags

    # what may happen

    def moves(self) -> list[Move]:
        """Everything that may happen next, always in the same order; empty at the end."""
        found = []
        for p, waiting in enumerate(self.waiting):
            n, issued = self.ahead[p], self.issued[p]
            if n == issued and not waiting:
                continue
            parts = self.queues.parts[p]
            found += [_move(FINISH, p, n) for n in waiting if parts[n].kind == WORK]
            if n < issued:
                kind = parts[n].kind
                if kind == WAIT:
                    if parts[n].flag in self.flags:
                        found.append(_move(TAKE, p))
                elif kind == WORK or not waiting:
                    found.append(_move(START, p))
        found += [_move(ISSUE, k) for k in range(len(self.pc)) if self.may_issue(k)]
        return found

    def may_issue(self, k: int) -> bool:
        """The scalar unit of stream ``k`` is not stopped at its next row."""
        stream = self.queues.streams[k]
        if self.pc[k] == len(stream):
            return False
        issue = stream[self.pc[k]]
        for counter in issue.needs:
            if not self.signals.get(counter):
                return False
        for flag in issue.flags:
            if flag not in self.flags:
                return False
        return all(map(self.idle, issue.idle))

    def idle(self, p: int) -> bool:
        """Everything issued to pipe ``p`` is complete."""
        return not self.waiting[p] and self.ahead[p] == self.issued[p]

    # making it happen

    def make(self, move: Move) -> Instruction | None:
        """One move; the row whose work it starts, if it does.

        Raises:
            InterleavingError: a flag set twice, or a core that ends before its writes to GM.
        """
        kind, where, n = move
        if kind == ISSUE:
            self._issue(where)
        elif kind == FINISH:
            parts = self.queues.parts[where]
            self.waiting[where] = tuple(x for x in self.waiting[where] if x != n)
            if self.ended is not None:
                self.ended(parts[n].of)
            self._fire(where)
        else:
            return self._start(where, kind)
        return None

    def _start(self, p: int, kind: int) -> Instruction | None:
        n = self.ahead[p]
        part = self.queues.parts[p][n]
        self.ahead[p] = n + 1
        if kind == TAKE:
            assert part.flag is not None
            self.flags -= {part.flag}
        elif part.kind == WORK:
            self.waiting[p] = (*self.waiting[p], n)
            if self.begun is not None:
                self.begun(part.of)
        self._pass(p)
        return part.of if part.kind == WORK else None

    def _pass(self, p: int) -> None:
        """Sets and signals at the head of the queue do not hold it back."""
        parts, n, last = self.queues.parts[p], self.ahead[p], self.issued[p]
        while n < last and parts[n].kind in (SET, SIGNAL):
            self.waiting[p] = (*self.waiting[p], n)
            n += 1
        self.ahead[p] = n
        self._fire(p)

    def _fire(self, p: int) -> None:
        """Sets and signals without earlier work in flight."""
        parts = self.queues.parts[p]
        while self.waiting[p] and parts[self.waiting[p][0]].kind != WORK:
            part = parts[self.waiting[p][0]]
            self.waiting[p] = self.waiting[p][1:]
            if part.kind == SET:
                self._set(part.flag, part.of)
            self._tell(part.counters)

    def _tell(self, counters: tuple[Counter, ...]) -> None:
        for counter in counters:
            self.signals[counter] = self.signals.get(counter, 0) + 1

    def _set(self, flag: FlagKey | None, of: Instruction) -> None:
        assert flag is not None
        if flag in self.flags:
            message = f"{_flag_text(flag)} is still set at {of.told(self.queues.program)}"
            raise InterleavingError("double set", message, of)
        self.flags |= {flag}

    def _issue(self, k: int) -> None:
        ins, p, upto, needs, tells, *_ = self.queues.streams[k][self.pc[k]]
        self.issued[p] = upto
        self.pc[k] += 1
        for counter in needs:
            self.signals[counter] -= 1
        self._tell(tells)
        if _on_scalar(ins):
            self.flags -= set(ins.waits)
            for f in ins.sets:
                self._set(f, ins)
            if ins.action is not None and self.ended is not None:
                self.ended(ins)
        else:
            self._pass(p)
        if self.pc[k] == len(self.queues.program.streams[k]):
            self._end(k)

    def _end(self, k: int) -> None:
        """The kernel of one core returns: what it writes to GM must be there."""
        for p in self.queues.of_core[k]:
            parts = self.queues.parts[p]
            open_ = [*self.waiting[p], *range(self.ahead[p], len(parts))]
            for part in (parts[n] for n in open_):
                if part.kind == WORK and part.of.leaves_the_core:
                    message = f"the kernel may end before {part.of.told(self.queues.program)}"
                    raise InterleavingError("undrained", message, part.of)

    # the end

    def finish(self) -> None:
        """To be called when nothing can move any more.

        Raises:
            InterleavingError: a deadlock, a flag that is still set, a tile left in a FIFO.
        """
        program = self.queues.program
        for k, stream in enumerate(program.streams):
            if self.pc[k] < len(stream):
                ins = stream[self.pc[k]]
                message = f"nothing can move; the scalar unit stops at {ins.told(program)}"
                raise InterleavingError("deadlock", message, ins)
        for p, parts in enumerate(self.queues.parts):
            if self.ahead[p] < len(parts):
                ins = parts[self.ahead[p]].of
                message = f"nothing can move; the pipe stops at {ins.told(program)}"
                raise InterleavingError("deadlock", message, ins)
        for flag in sorted(self.flags):
            raise InterleavingError("leftover", f"{_flag_text(flag)} is still set at the end")
        for fifo in program.kernel.fifos:
            pushed, popped = (program.tiles(fifo, pops) for pops in (False, True))
            left = any(
                n for (name, free, *_), n in self.signals.items() if name == fifo.name and not free
            )
            if left or pushed != popped:
                text = f"{fifo.name} ends with {pushed} tiles pushed and {popped} popped"
                raise InterleavingError("fifo", text)
