"""How many slots a FIFO needs so that the two cores never wait for each other forever.

In: rows with shifts, the wanted depths.  Out: depths, at least those, that do not block.
Invariant: with the result, running the pushes and pops of both cores to the end never gets stuck
for loops of every length tried; the proof (``lowering/hazards/``) decides the rest.

A free signal comes only every ``target.ring_period[slots]`` pops (docs/machine.md 5.3): a ring
can be too short although fewer tiles than slots are in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from lowering.unroll import Lengths, Unrolled, launches, pairs_of_loops
from pto.errors import CapacityError, ScheduleError
from pto.ir import CORES, Const, Fifo, Kernel, Loop, Row, all_rows, loops_of
from pto.targets import Credits, Target, target_of

Action = tuple[str, str]


@dataclass(slots=True)
class Ring:
    """Signals of one FIFO: what was pushed, told and popped, and how often a free signal was used."""

    credits: Credits
    signal: bool
    pushed: int = 0
    told: int = 0
    popped: int = 0
    freed: int = 0
    used: int = 0

    def try_push(self) -> bool:
        """A push that tells by itself."""
        return self.try_push_data() and self.try_record()

    def try_record(self) -> bool:
        self.told += 1
        return True

    def try_push_data(self) -> bool:
        if self.credits.taken_by_push(self.pushed):
            if self.used == self.freed:
                return False
            self.used += 1
        self.pushed += 1
        return True

    def try_pop(self) -> bool:
        if self.popped == (self.told if self.signal else self.pushed):
            return False
        self.freed += self.credits.sent_by_pop(self.popped)
        self.popped += 1
        return True


def deep_enough(kernel: Kernel, wanted: Mapping[str, int]) -> dict[str, int]:
    """The wanted depths, doubled where a core would block forever.

    Raises:
        ScheduleError: for a wanted depth that no ring can have.
        CapacityError: if the deepest ring is not deep enough.
    """
    target = target_of(kernel)
    for name, depth in wanted.items():
        if depth not in target.ring_period:
            offered = ", ".join(map(str, target.ring_period))
            raise ScheduleError(
                f"{name} would have {depth} slots, a FIFO has one of {offered}",
                None,
                "another fifo_depth, or a smaller lookahead",
            )
    depths = dict(wanted)
    actions = {id(r): a for r in all_rows(kernel.body) if (a := exchanged(r))}
    cores = [Unrolled(kernel, core, lambda row: id(row) in actions) for core in CORES]
    runs: list[Lengths] = [*lengths_of(kernel), pairs_of_loops(kernel)]
    while True:
        found = (
            full_rings(cores, actions, kernel.fifos, depths, target, lengths) for lengths in runs
        )
        full = next(filter(None, found), [])
        if not full:
            return depths
        name = min(full, key=depths.__getitem__)
        most = max(target.ring_period)
        if depths[name] == most:
            raise CapacityError(
                f"the cores wait for each other at '{name}', which has {most} slots, the most there are",
                None,
                "a smaller lookahead; or let the two cores exchange tiles in the same order",
            )
        deeper = [n for n in sorted(target.ring_period) if n > depths[name]]
        depths[name] = next((n for n in deeper if n >= 2 * depths[name]), deeper[0])


def lengths_of(kernel: Kernel) -> list[Sequence[int] | None]:
    """``launches``.  Where all pushes and pops stand in the inner loop of a flat one, work items do not matter
    to them: one launch for each number of positions, unless each item has as many.  They are those of one item,
    or of one each, where an item has one at most."""
    runs = list(launches(kernel))
    loops = [node for node in kernel.body if isinstance(node, Loop) and node.flat]
    beside = [node for node in kernel.body if node not in loops]
    beside += [node for loop in loops for node in loop.body if not isinstance(node, Loop)]
    inner = [x for n in loops for x in loops_of(n.body)]
    fixed = all(isinstance(x.trips, Const) for x in inner)
    if fixed or any(exchanged(r) for r in all_rows(tuple(beside))):
        return runs
    numbers = sorted({sum(lengths or ()) for lengths in runs})
    return [(1,) * n if any(x.is_guard for x in inner) else (n,) for n in numbers]


def stands_still(kernel: Kernel) -> bool:
    """The cores wait for each other for ever, however many slots the FIFOs have."""
    most = max(target_of(kernel).ring_period)
    try:
        deep_enough(kernel, dict.fromkeys((f.name for f in kernel.fifos), most))
    except (CapacityError, ScheduleError):
        return True
    return False


def full_rings(
    both: Sequence[Unrolled],
    actions: Mapping[int, Action],
    fifos: Sequence[Fifo],
    depths: Mapping[str, int],
    target: Target,
    lengths: Lengths,
) -> list[str]:
    """The FIFOs whose full rings stop everything, none if both cores reach the end; ``actions``: of
    rows, by their ids."""
    rings = {
        f.name: Ring(Credits(n, target.ring_period[n], f.credit), f.signal)
        for f in fifos
        if (n := depths.get(f.name))
    }
    period = lcm(*depths.values())
    cores = [
        (actions[id(e.row)] for run, _ in core.runs(lengths, period) for e in run) for core in both
    ]
    waiting: list[Action | None] = [next(c, None) for c in cores]
    moved = True
    while moved:
        moved = False
        for k, core in enumerate(cores):
            action = waiting[k]
            while action is not None and attempt(rings[action[1]], action[0]):
                action, moved = next(core, None), True
            waiting[k] = action
    full = [action[1] for action in waiting if action and action[0] in PUSHES]
    if any(waiting) and not full:
        raise ScheduleError("the cores wait for tiles that nobody pushes")
    return full


PUSHES = ("push", "push_data")
ATTEMPTS: dict[str, Callable[[Ring], bool]] = {
    "push": Ring.try_push,
    "push_data": Ring.try_push_data,
    "record": Ring.try_record,
    "pop": Ring.try_pop,
}


def attempt(ring: Ring, kind: str) -> bool:
    return ATTEMPTS[kind](ring)


def exchanged(row: Row) -> Action | None:
    """What a row does with a FIFO."""
    return (row.op, row.queue) if row.queue else None
