"""The choices of the scheduler, and what the named schedules choose.

In: nothing.  Out: ``Options``, a value; ``NAMED``, the history of the reference kernel and the default.
Non-goals: what a choice does (``lowering/schedule/passes``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from lowering.hazards.assumptions import ORDERED_SIGNALS
from pto.errors import ScheduleError
from pto.targets import TARGETS, Target
from pto.tracer import noun

LOAD_AT = ("first", "after_move", "after_push")
MOVES = ("early", "late")
ROWS_AT = ("asap", "alap")
CREDIT = ("always", "needed")
LOOPS = ("unnested", "hoisted", "kept")
DRAINED = ("next_step", "next_step_each", "at_push")
RECORD = (*DRAINED, "by_hand", "with_push")
FENCE = ("none", "dsb")

MOST_SLOTS = max(
    s.capacity_bytes // s.align_bytes for t in TARGETS.values() for s in t.spaces.values()
)
"""Slots of the smallest size that fit into a memory."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the passes may choose.

    ``lookahead``: steps that the first stage of a core runs ahead of the second.
    ``prefetch``: steps that a load runs ahead of its use.
    ``load_at``: where in the step a prefetch is issued: first, after_move, after_push.
    ``moves``: L1 to L0 as soon as the tile is there (early), or the left operand first, right
    before the matmul (late).
    ``rows_at``: where in its stage a row stands: as soon as what it reads is there (asap), or as late as what
    reads it allows (alap), so that fewer tiles live at once.
    ``record``: when the other core is told of a push: behind a drain, one step late (next_step: all tiles of a
    step by one signal; next_step_each), right behind it (at_push), so on the cube alone (by_hand); or by the
    push itself (with_push).
    ``fence``: what stands in front of every signal of a push: nothing (none), or a data synchronisation
    barrier (dsb).
    ``local_depth``, ``l0_depth``, ``fifo_depth``: ring slots in L1 and UB, in L0, in GM.
    ``credit``: free signals in every FIFO (always), or only where the proof fails without (needed).
    ``flat``: a work item starts while the one before it ends.
    ``loops``: as they are written (kept), with what no iteration changes in front (hoisted), and those in
    other loops one with these (unnested).
    ``origin``: the tuned result that they come from, for the notes of the schedule.
    ``exact``: no smaller lookahead where these do not fit.
    """

    lookahead: int = 6
    prefetch: int = 1
    load_at: str = "first"
    moves: str = "early"
    rows_at: str = "asap"
    record: str = "next_step"
    fence: str = "none"
    local_depth: int = 2
    l0_depth: int = 2
    fifo_depth: int = 0
    credit: str = "needed"
    flat: bool = True
    loops: str = "unnested"
    origin: str = field(default="", compare=False)
    exact: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        for f in fields(self):
            found = getattr(self, f.name)
            if type(found) is not type(f.default):
                message = f"{f.name} is {noun(found)}, one like {f.default!r} is expected"
                raise ScheduleError(message)
        if self.lookahead < 0 or self.prefetch < 0:
            raise ScheduleError("lookahead and prefetch count steps, from 0 up")
        if min(self.local_depth, self.l0_depth) < 1 or self.fifo_depth < 0:
            raise ScheduleError("a ring has at least one slot")
        if max(self.local_depth, self.l0_depth) > MOST_SLOTS:
            raise ScheduleError(f"no memory has room for a ring of more than {MOST_SLOTS:,} slots")
        if self.load_at not in LOAD_AT:
            raise ScheduleError(f"load_at '{self.load_at}'", None, f"one of: {', '.join(LOAD_AT)}")
        if self.moves not in MOVES:
            raise ScheduleError(f"moves '{self.moves}'", None, f"one of: {', '.join(MOVES)}")
        if self.rows_at not in ROWS_AT:
            raise ScheduleError(f"rows_at '{self.rows_at}'", None, f"one of: {', '.join(ROWS_AT)}")
        if self.credit not in CREDIT:
            raise ScheduleError(f"credit '{self.credit}'", None, f"one of: {', '.join(CREDIT)}")
        if self.loops not in LOOPS:
            raise ScheduleError(f"loops '{self.loops}'", None, f"one of: {', '.join(LOOPS)}")
        if self.record not in RECORD:
            raise ScheduleError(f"record '{self.record}'", None, f"one of: {', '.join(RECORD)}")
        if self.fence not in FENCE:
            raise ScheduleError(f"fence '{self.fence}'", None, f"one of: {', '.join(FENCE)}")

    @property
    def assume(self) -> tuple[str, ...]:
        """Readings of the machine that the schedule rests on: a push that tells by itself trusts the
        order of its pipe."""
        return () if self.record in DRAINED else (ORDERED_SIGNALS,)

    @property
    def choices(self) -> dict[str, int | str | bool]:
        """By name all that is chosen."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.compare}

    def fifo_slots(self, target: Target, pushes: int) -> int:
        """Slots of a FIFO ring with so many pushes in a step: one for each per step of lookahead, and a number
        that a ring can have; the most there are if none has so many."""
        rings = target.ring_period
        enough = (n for n in rings if n >= max(self.lookahead, 2) * pushes)
        return self.fifo_depth or min(enough, default=max(rings))


HAND = Options(
    1, 1, "after_move", record="by_hand", moves="late", l0_depth=1, credit="always", flat=False,
    loops="kept",
)  # fmt: skip
"""How the reference kernel was written by hand, with its prefetch (docs/machine.md 16.2)."""

NAMED: dict[str, Options] = {
    "serial": replace(HAND, prefetch=0),
    "prefetch": HAND,
    "repair": replace(HAND, load_at="after_push"),
    "best": Options(),
}
"""The history of the reference kernel (docs/machine.md 16.1 to 16.3), and the default, which a tuned
result replaces (``options_for``)."""
