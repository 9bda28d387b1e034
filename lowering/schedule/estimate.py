"""How long a kernel takes at least, before it is scheduled: the work of its busiest unit.

In: a traced kernel.  Out: ``Rates``: what every unit has to do for an item and for each of its iterations,
and the cycles of a hardware block that this makes.
Invariant: the same kernel and costs give the same rates; no order of these rows takes fewer cycles.
Non-goals: what a schedule waits for (``lowering/schedule/tune.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

from lowering.schedule.options import Options
from lowering.schedule.passes.credit import bare
from lowering.schedule.scheduler import behind
from lowering.simulate import Setup, simulate
from lowering.simulate.l2 import number, trips_of
from lowering.simulate.launch import SIGNALS
from lowering.simulate.timing import Timing
from pto.arithmetic import Number
from pto.errors import CapacityError
from pto.ir import Kernel
from pto.targets import target_of

TYPICAL = 2048
"""What stands for an integer that only the contents of a tensor know, as the length of a context: programs
are chosen by shapes, so that the same shapes always get the same one."""

SAMPLE = 8
"""Work items of a call that are looked at, evenly spread over all."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Cycles by unit: of an item without its iterations, and of each iteration.  ``placed``: the kernel with
    cores, pipes and slots, but without events."""

    placed: Kernel
    item: Mapping[str, int]
    iteration: Mapping[str, int]

    def cycles(self, items: Sequence[int]) -> int:
        """Of the busiest unit of a hardware block; ``items``: the trip counts of its work items."""
        count, trips = len(items), sum(items)
        return max(n * count + self.iteration[u] * trips for u, n in self.item.items())

    def dealt(self, sizes: Mapping[str, Number]) -> tuple[int, ...] | None:
        """The trip counts of the items of one hardware block in a call of such sizes; None if these do not
        say how many there are."""
        integers = [p for p in self.placed.params if p.dtype == "i32"]
        sizes = {**{p.name: TYPICAL for p in integers if p.shape is None}, **sizes}
        sides = [number(side, sizes) for side in self.placed.grid]
        grid = [n for n in sides if isinstance(n, int)]
        if len(grid) < len(sides):
            return None
        total = prod(grid)
        looked_at = min(total, SAMPLE)
        spread = [(2 * k + 1) * total // (2 * looked_at) for k in range(looked_at)]
        contents = {p.name: _Anything() for p in integers}
        trips = trips_of(self.placed, spread, sizes, contents)
        each = ceil(total / target_of(self.placed).block_num)
        return tuple(trips[k * looked_at // each] for k in range(each))


def rates(kernel: Kernel, costs: str = "") -> Rates | None:
    """Of a traced kernel on all hardware blocks; None if it does not fit them."""
    try:
        placed = behind("place", kernel, Options(lookahead=1))
    except CapacityError:
        return None
    placed = bare(placed, {f.name: f.depth for f in placed.fifos})  # some will need free signals
    setup = Setup(costs, clusters=target_of(kernel).block_num)
    once, longer, again = (_work(simulate(placed, x, setup)) for x in ((1,), (2,), (1, 1)))
    iteration = {u: longer[u] - n for u, n in once.items()}
    return Rates(placed, {u: again[u] - n - iteration[u] for u, n in once.items()}, iteration)


def _work(timing: Timing) -> Counter[str]:
    """By unit, of which one passes on the signals of all hardware blocks."""
    found = Counter({name: usage.work for name, usage in timing.pipes.items()})
    found[SIGNALS] = ceil(timing.signals * timing.costs.signal_turn * timing.setup.clusters)
    return found


class _Anything:
    """A tensor of integers of which nothing is known."""

    def __getitem__(self, at: object) -> int:
        return TYPICAL
