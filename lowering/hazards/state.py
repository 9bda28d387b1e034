"""Where an abstract execution stands, and the decisions that lead on from there.

In: the compiled kernel and decisions.  Out: a ``State``, which ``lowering/hazards/happens_before.py`` moves on
and ``lowering/hazards/normal_form.py`` reads.  Invariant: clocks are lists that are never changed in place, so
that ``State.fork`` is shallow.
"""

from __future__ import annotations

from lowering.hazards.code import Code
from lowering.hazards.counters import ABSENT, UNKNOWN, Threshold
from lowering.hazards.course import FIRST, ITEM, MORE, Course, decided

Clock = list[int]
Need = tuple[str, int, int, int, int]
"""A decision to take: ('loop', number, entry, step, instance), ('test', number, instance, 0, 0) or
('count', number of a test, instance, least, 0): is the trip count that it is about above ``least``;
an instance is the iteration of the loop that the trip count or test depends on.  Of a flat loop
(``lowering/hazards/course.py``): ('more', loop, position, 0, 0), ('first', loop, position, 0, item) or
('item', loop, item, 0, 0)."""


def join(a: Clock, b: Clock) -> Clock:
    """What either knows."""
    return [x if x > y else y for x, y in zip(a, b, strict=True)]


class State:
    """Everything that the future of the execution depends on."""

    __slots__ = (
        "clock", "count", "course", "data", "decided", "entry", "flag", "free", "gm", "group", "last", "last_wait", "pc",
        "popped", "pushed", "reader", "slot", "step", "tensor", "tests", "total", "trips", "wait", "writer", "written",
    )  # fmt: skip

    def __init__(self, code: Code) -> None:
        pipes, loops, atoms, rings = (
            len(code.pipes),
            len(code.loops),
            len(code.atoms),
            len(code.rings),
        )
        who = range(len(code.cursors))
        self.pc = [0, 0]
        # steps begun in the running entry, below 0: outside
        self.step = [[-1] * loops for _ in who]
        self.trips = [[UNKNOWN] * loops for _ in who]
        self.total = [[0] * loops for _ in who]
        self.entry = [[0] * loops for _ in who]
        self.last = [[0] * loops for _ in who]  # trip counts of the last entries
        self.wait = [0] * len(who)  # steps until a stage of a flat loop starts
        self.course: dict[int, Course] = {}
        self.clock: list[Clock] = [[0] * pipes for _ in range(pipes)]
        self.count = [0] * pipes
        self.flag: list[tuple[Clock, ...]] = [()] * len(code.flags)
        self.last_wait = [0] * len(code.flags)
        self.writer = [ABSENT] * atoms
        self.written = [0] * atoms
        self.slot = [ABSENT] * atoms
        self.reader: list[tuple[tuple[int, int], ...]] = [()] * atoms
        self.pushed, self.popped = [0] * rings, [0] * rings
        self.data: list[tuple[Clock, ...]] = [()] * rings
        # The library lets the first pushes pass without a credit: as many credits as periods begin
        # in an empty ring, which know nothing, are the same and make early and late states alike.
        nothing = [0] * pipes
        self.free: list[tuple[Clock, ...]] = [
            (nothing,) * -(-r.fifo.depth // r.period) if r.fifo.credit else () for r in code.rings
        ]
        self.gm = [0] * pipes
        self.tensor: dict[int, tuple[tuple[tuple[int, ...], int], ...]] = {}
        self.decided: dict[tuple[int, int], tuple[int, bool]] = {}
        self.group: dict[tuple[int, int], tuple[int, bool]] = {}
        self.tests: dict[tuple[int, int], bool] = {}

    def fork(self) -> State:
        """A copy that shares nothing that changes."""
        new = State.__new__(State)
        new.step, new.trips = [x[:] for x in self.step], [x[:] for x in self.trips]
        new.total, new.entry = [x[:] for x in self.total], [x[:] for x in self.entry]
        new.last = [x[:] for x in self.last]
        for name in _FLAT:
            setattr(new, name, getattr(self, name).copy())
        return new


_FLAT = tuple(n for n in State.__slots__ if n not in ("step", "trips", "total", "entry", "last"))


def decide(code: Code, state: State, need: Need, choice: bool) -> None:
    """Takes a decision: run one more step (or: the test holds), or not."""
    kind, number, which, step, instance = need
    if kind in (MORE, FIRST, ITEM):
        state.course[number] = decided(state.course[number], need, choice)
    elif kind == "test":
        state.tests[number, which] = choice
    elif kind == "count":
        about = code.tests[number].about
        assert isinstance(about, Threshold)
        _count(code, state, about.group, which, step + choice, not choice)
    elif choice:
        state.decided[number, which] = (step + 1, False)
        loop = code.loops[number]
        if loop.reused:
            _count(code, state, loop.group, instance, step + 1, False)
    else:
        state.decided[number, which] = (step, True)
        loop = code.loops[number]
        if loop.reused:
            _count(code, state, loop.group, instance, step, True)


def _count(code: Code, state: State, group: int, instance: int, least: int, exact: bool) -> None:
    """Notes that the loops of ``group`` run ``least`` times, or at least so often; from the cap of
    the group on, trip counts are not told apart."""
    cap, known = code.caps[group], known_count(code, state, group, instance)
    if not known[1]:
        state.group[group, instance] = max(known, (min(least, cap), exact or least >= cap))


def known_count(code: Code, state: State, group: int, instance: int) -> tuple[int, bool]:
    """(least, exact): what is decided of the trip count of the loops of ``group``."""
    return state.group.get((group, instance), (code.floors[group], False))
