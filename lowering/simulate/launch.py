"""A whole launch: every hardware block with its work items, and what they share: the memory, and the
scheduler of signals.

In: a scheduled kernel, the trip count of each work item, a ``Setup``.
Out: ``Launch``: when each hardware block ends, the makespan, and a lower bound.

Block b of B takes the items b, b + B, b + 2 B, ..., as the emitted loop does.  Until the first
block ends each of them may use a B-th of the bandwidth of the memory, then a (B-1)-th, and so on
(``shares_of_memory``).  The blocks go on in the order in which their next transfers would end if no
other block ended before: for the first of them that is certain, because a block that ends has ended
its transfers.  Of the scheduler each has its part until the end of all.

What it does not know: within a step of that bandwidth no block uses what another one leaves, though
a block that waits moves nothing; the transfers of one block have its part one after the other; everything
is read from HBM, even what another block has just brought into L2 (K and V that several query tiles share) unless ``Setup.hits`` says what part is not, while FIFO rings never leave L2; all blocks start
at once, as late as the table says (``Costs.launch``, mostly 0); the memory never refreshes, and no page is closer
to one core than to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from lowering.simulate.machine import Machine
from lowering.simulate.timing import DEFAULT, Bandwidth, Setup, Timing, costs_named
from pto.ir import Kernel
from pto.targets import target_of

Items = tuple[int, ...]
"""Trip counts of the work items of one hardware block, in order."""

HBM, SIGNALS = "HBM", "signals"


@dataclass(frozen=True)
class Launch:
    """The result, in cycles."""

    kernel: Kernel
    setup: Setup
    dealt: tuple[Items, ...]
    """By hardware block."""
    timings: Mapping[Items, Timing]
    """Of each different list of items, beside all the others; without its spans."""

    @property
    def ends(self) -> tuple[int, ...]:
        """By hardware block, what the launch itself takes included."""
        head = costs_named(self.kernel, self.setup.costs).launch
        return tuple(head + self.timings[items].makespan for items in self.dealt)

    @property
    def makespan(self) -> int:
        return max(self.ends)

    @property
    def tensor_bytes(self) -> int:
        """Moved to and from tensors by all blocks."""
        return sum(self.timings[items].tensor_bytes for items in self.dealt)

    @property
    def signals(self) -> int:
        """From core to core, of all blocks."""
        return sum(self.timings[items].signals for items in self.dealt)

    @property
    def bounds(self) -> dict[str, int]:
        """Cycles that no order of the rows gets below, by what is busy for them: the unit of a core
        with the most work in one block, the memory, and the scheduler of signals."""
        work = {
            name: max(t.pipes[name].work for t in self.timings.values())
            for name in next(iter(self.timings.values())).pipes
        }
        pipe = max(work, key=lambda name: work[name])
        memory = ceil(self.tensor_bytes / bytes_per_cycle(self.kernel, self.setup))
        found = {pipe: work[pipe], HBM: memory}
        turn = costs_named(self.kernel, self.setup.costs).signal_turn
        late = max(t.signals for t in self.timings.values()) - 2  # the first two need not wait
        return (
            found | {SIGNALS: ceil(late * turn * self.setup.clusters)}
            if turn and late > 0
            else found
        )

    @property
    def bound_pipe(self) -> str:
        return max(self.bounds, key=lambda name: self.bounds[name])

    @property
    def bound(self) -> int:
        return self.bounds[self.bound_pipe]

    def seconds(self, cycles: float) -> float:
        return cycles / costs_named(self.kernel, self.setup.costs).clock_hz


def bytes_per_cycle(kernel: Kernel, setup: Setup) -> float:
    """Of the memory of the whole chip, per cycle of a core; what L2 has comes at the rate of L2."""
    costs = costs_named(kernel, setup.costs)
    hbm, l2 = costs.hbm_bytes_per_second, costs.l2_bytes_per_second
    share = 1 - setup.hits + setup.hits * hbm / l2
    return hbm / share / costs.clock_hz if share else inf


def deal(items: Sequence[int], block_num: int) -> tuple[Items, ...]:
    """The items of each hardware block."""
    return tuple(tuple(items[b::block_num]) for b in range(block_num))


def shares_of_memory(ends: Sequence[float], total: float) -> Bandwidth:
    """What each block that still runs may use of ``total`` bytes per cycle; an end may be inf."""
    times = [0, *sorted({int(end) for end in ends if 0 < end < inf})]
    running = [sum(end > at for end in ends) for at in times]
    return Bandwidth(tuple((at, total / n) for at, n in zip(times, running, strict=True) if n))


def launch(
    kernel: Kernel, items: Sequence[int], setup: Setup = DEFAULT, block_num: int = 0
) -> Launch:
    """All of ``items`` on ``block_num`` hardware blocks (0: as many as the target has).

    Blocks with equal items are simulated once.  ``setup.bandwidth`` and ``setup.clusters`` are found here.

    Raises:
        InputError: the program stands still.
    """
    dealt = deal(items, block_num or target_of(kernel).block_num)
    total = bytes_per_cycle(kernel, setup)
    setup = replace(setup, clusters=sum(map(bool, dealt)))
    running = {x: Machine(kernel, x, setup) for x in dict.fromkeys(dealt)}
    timings: dict[Items, Timing] = {}
    nearest: dict[Items, float] = {}  # when the next transfer ends, if no other block ends before
    while running:
        if not nearest:
            ends = [timings[x].makespan if x in timings else inf for x in dealt]
            for machine in running.values():
                machine.bandwidth = shares_of_memory(ends, total)
            nearest = dict.fromkeys(running, 0)
        first, *others = sorted(nearest, key=lambda x: nearest[x])
        nearest[first] = running[first].run(nearest[others[0]] if others else inf)
        if nearest[first] == inf:
            timings[first] = replace(running.pop(first).timing(), spans=())
            nearest = {}
    return Launch(kernel, setup, dealt, timings)
