"""Where an abstract execution stands.

In: the compiled kernel and decisions.  Out: a ``State``, which ``lowering/hazards/run.py`` moves on
and ``lowering/hazards/normal_form.py`` reads.  Invariant: clocks are lists that are never changed in
place, so that ``State.fork`` is shallow.
"""

from __future__ import annotations

from typing import NamedTuple

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, UNKNOWN
from lowering.hazards.instructions import RowCode, Stage

Clock = list[int]
"""By pipe: how many of its rows are known to be complete."""

ENDED = -2
"""The iteration of a stage behind the last position of a flat loop."""


def join(a: Clock, b: Clock) -> Clock:
    """What either knows.  Most of an execution is spent here; this is twice as fast as a zip."""
    found = a[:]
    for p, n in enumerate(b):
        if n > found[p]:
            found[p] = n
    return found


class Positions(NamedTuple):
    """What is decided of the positions of a flat loop: those below ``promised`` exist, and no others
    if it is ``closed``."""

    promised: int = 0
    closed: bool = False


class Items(NamedTuple):
    """What is decided of the items of a flat loop, as a group of its stages sees them.

    Of positions below ``known`` it is decided whether they are first, ``firsts`` are those that
    matter still.  The first ``begun`` items exist, and no others if it is ``closed``.
    """

    known: int = 0
    firsts: tuple[int, ...] = ()
    begun: int = 0
    closed: bool = False

    def noted(self, p: int, item: int, first: bool) -> Items:
        """With position ``p``, the next after those known, decided; if it is ``first``, of ``item``."""
        if not first:
            return self._replace(known=p + 1)
        begun = max(self.begun, item + 1)
        return self._replace(known=p + 1, firsts=(*self.firsts, p), begun=begun)


class State:
    """Everything that the future of the execution depends on.

    By core: ``pc``.  By cursor and loop: ``step``, begun in the running entry (below 0: outside),
    ``trips``, ``total``, ``entry``, ``last``, the trip count of the last entry; by cursor ``wait``, steps
    until a stage of a flat loop starts.  By pipe: ``clock``, ``count`` of rows, ``gm``, the last row that
    wrote there.  By byte range: ``writer``, its row ``written``, the ``slot`` written, ``reader``.  By flag:
    ``flag``, what its pending sets knew, ``last_wait``.  By FIFO: ``pushed``, ``popped``, and the signals
    ``data`` and ``free``.  By row: ``tensor``.  Decisions: ``flat``, ``items``, ``decided``, ``group``,
    ``tests``.
    """

    __slots__ = (
        "clock", "count", "data", "decided", "entry", "flag", "flat", "free", "gm", "group", "items", "last", "last_wait",
        "pc", "popped", "pushed", "reader", "slot", "step", "tensor", "tests", "total", "trips", "wait", "writer", "written",
    )  # fmt: skip

    def __init__(self, code: Code) -> None:
        pipes, loops, rings = len(code.pipes), len(code.loops), len(code.rings)
        who, ranges = range(len(code.cursors)), len(code.ranges)
        self.pc = [0, 0]
        self.step = [[-1] * loops for _ in who]
        self.trips = [[UNKNOWN] * loops for _ in who]
        self.total = [[0] * loops for _ in who]
        self.entry = [[0] * loops for _ in who]
        self.last = [[0] * loops for _ in who]
        self.wait = [0] * len(who)
        self.clock: list[Clock] = [[0] * pipes for _ in range(pipes)]
        self.count, self.gm = [0] * pipes, [0] * pipes
        self.flag: list[tuple[Clock, ...]] = [()] * len(code.flags)
        self.last_wait = [0] * len(code.flags)
        self.writer = [ABSENT] * ranges
        self.written = [0] * ranges
        self.slot = [ABSENT] * ranges
        for slot in (code.slots[n, 0] for n in code.buffers if n in code.merged):
            for b in code.slot_ranges[slot]:  # as if written: see uncoupled.py
                self.writer[b], self.slot[b] = code.accessors[b][0], slot
        self.reader: list[tuple[tuple[int, int], ...]] = [()] * ranges
        self.pushed, self.popped = [0] * rings, [0] * rings
        self.data: list[tuple[Clock, ...]] = [()] * rings
        # The library lets the first pushes pass without a credit: as many credits as periods begin
        # in an empty ring, which know nothing, are the same and make early and late states alike.
        nothing = [0] * pipes
        self.free: list[tuple[Clock, ...]] = [
            (nothing,) * -(-r.fifo.depth // r.period) if r.fifo.credit else () for r in code.rings
        ]
        self.tensor: dict[int, tuple[tuple[tuple[int, ...], int], ...]] = {}
        self.flat: dict[int, Positions] = {}
        self.items: dict[int, Items] = {}
        for outer, stages in code.flat.items():
            self._in_front(code, outer, stages)
        self.decided: dict[tuple[int, int], tuple[int, bool]] = {}
        self.group: dict[tuple[int, int], tuple[int, bool]] = {}
        self.tests: dict[tuple[int, int], bool] = {}

    def _in_front(self, code: Code, outer: int, stages: list[Stage]) -> None:
        """In front of a flat loop every stage waits as long as it is behind the first one of its core;
        where items may be empty, which come first, all are as behind one."""
        for stage in stages:
            self.wait[stage.cursor] = stage.delay + 1
            if stage.empty != ABSENT:
                self.step[stage.cursor][stage.own] = ENDED
        inside = [code.loops[s.inner].constant for s in stages if s.inner != ABSENT]
        never = any(n is not None and n <= 0 for n in inside)
        self.flat[outer] = Positions(closed=never)
        self.items.update({stage.group: Items(closed=never) for stage in stages})

    def begun(self, k: int, loop: int) -> int:
        """Steps of ``loop`` before the one that cursor ``k`` is in, counted over the whole run."""
        return self.total[k][loop] + max(self.step[k][loop], 0)

    def fork(self) -> State:
        """A copy that shares nothing that changes."""
        new = State.__new__(State)
        new.step, new.trips = [x[:] for x in self.step], [x[:] for x in self.trips]
        new.total, new.entry = [x[:] for x in self.total], [x[:] for x in self.entry]
        new.last = [x[:] for x in self.last]
        for name in _PLAIN:
            setattr(new, name, getattr(self, name).copy())
        return new


_PLAIN = tuple(n for n in State.__slots__ if n not in ("step", "trips", "total", "entry", "last"))


def count_steps(
    code: Code, state: State, group: int, instance: int, least: int, exact: bool
) -> None:
    """Notes that the loops of ``group`` run ``least`` times, or at least so often; from the cap of
    the group on, trip counts are not told apart."""
    cap, known = code.caps[group], known_count(code, state, group, instance)
    if not known[1]:
        state.group[group, instance] = max(known, (min(least, cap), exact or least >= cap))


def known_count(code: Code, state: State, group: int, instance: int) -> tuple[int, bool]:
    """(least, exact): what is decided of the trip count of the loops of ``group``."""
    return state.group.get((group, instance), (code.floors[group], False))


def needs_credit(code: Code, state: State, ring: int) -> bool:
    """The next push of a FIFO waits for a free signal."""
    r = code.rings[ring]
    return r.fifo.credit and state.pushed[ring] % r.period == 0


def has_ended(state: State, stage: Stage) -> bool:
    """A stage has begun, and is behind all positions or out of its loop."""
    return not state.wait[stage.cursor] and state.step[stage.cursor][stage.own] < 0


def oldest(code: Code, state: State, loop: int) -> int:
    """Iterations of ``loop`` before this one, counted over the whole run, are over on every cursor."""
    who, span = code.loops[loop].cursors, code.loops[loop].span
    lowest = [state.total[k][loop] + max(state.step[k][loop] - span, 0) for k in who]
    return min(lowest, default=0)


def relative(code: Code, state: State, at: tuple[int, ...], row: RowCode) -> tuple[int | None, ...]:
    """Iterations seen from where the cores are now; None: before all that may still run.

    Whatever a later row of either core is compared with, two accesses that look alike from here
    meet it alike.
    """
    found: list[int | None] = []
    for loop, x in zip(row.loops, at, strict=True):
        if x < oldest(code, state, loop):
            return (*found, None)
        k = code.lead(row.core, loop)
        found.append(x - state.begun(k, loop))
    return tuple(found)
