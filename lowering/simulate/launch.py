"""A whole launch: every hardware block with its work items, and what they share: the memory, and the
scheduler of signals.

In: a scheduled kernel, the trip count of each work item, a ``Setup``, sizes of its tensors.
Out: ``Launch``: when each hardware block ends, the makespan, and a lower bound.

Block b of B takes the items b, b + B, b + 2 B, ..., as the emitted loop does.  Until the first
block ends each of them may use a B-th of the bandwidth of the memory, then a (B-1)-th, and so on
(``shares_of_memory``).  The blocks go on in the order in which their next transfers would end if no
other block ended before: for the first of them that is certain, because a block that ends has ended
its transfers.  Of the scheduler each has its part until the end of all.

What it does not know: within a step of that bandwidth no block uses what another one leaves, though
a block that waits moves nothing; the transfers of one block have its part one after the other; what L2 has
is found before (``lowering/simulate/l2.py``), the average of the blocks with equal items, and with a table
without an L2 all comes from HBM, while FIFO rings never leave L2; all blocks start at once, as late as the
table says (``Costs.launch``, mostly 0); the memory never refreshes, and no page is closer to one core than
to another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf
from types import MappingProxyType
from typing import Any

from lowering.simulate import l2
from lowering.simulate.costs import Shared
from lowering.simulate.l2 import Items, Traffic
from lowering.simulate.machine import Machine
from lowering.simulate.timing import DEFAULT, Bandwidth, Setup, Timing, costs_named
from pto.arithmetic import Number
from pto.ir import Kernel, Row
from pto.targets import Costs, target_of

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
    launched: l2.Launched | None = None
    traffic: Traffic | None = None
    """What L2 has, where the costs have one."""

    @property
    def costs(self) -> Costs:
        return costs_named(self.kernel, self.setup.costs)

    @property
    def ends(self) -> tuple[int, ...]:
        """By hardware block, what the launch itself takes included."""
        head = self.costs.launch
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
        asked = sum(self.timings[items].asked_bytes for items in self.dealt)
        memory = ceil(asked / bytes_per_cycle(self.kernel, self.setup))
        found = {pipe: work[pipe], HBM: memory}
        turn = self.costs.signal_turn
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
        return cycles / self.costs.clock_hz


def bytes_per_cycle(kernel: Kernel, setup: Setup) -> float:
    """Of HBM, for the whole chip, per cycle of a core."""
    costs = costs_named(kernel, setup.costs)
    return costs.hbm_bytes_per_second / costs.clock_hz


def deal(items: Sequence[int], block_num: int) -> tuple[Items, ...]:
    """The items of each hardware block."""
    return tuple(tuple(items[b::block_num]) for b in range(block_num))


def shares_of_memory(ends: Sequence[float], total: float) -> Bandwidth:
    """What each block that still runs may use of ``total`` bytes per cycle; an end may be inf."""
    times = [0, *sorted({int(end) for end in ends if 0 < end < inf})]
    running = [sum(end > at for end in ends) for at in times]
    return Bandwidth(tuple((at, total / n) for at, n in zip(times, running, strict=True) if n))


def launch(
    kernel: Kernel,
    items: Sequence[int],
    setup: Setup = DEFAULT,
    block_num: int = 0,
    sizes: Mapping[str, Number] = MappingProxyType({}),
    arrays: Mapping[str, Any] = MappingProxyType({}),
) -> Launch:
    """All of ``items`` on ``block_num`` hardware blocks (0: as many as the target has).

    ``sizes``: of tensors, and scalars, by name; those that decide which tiles items share and are not given
    are assumed (``l2.assumed``).  ``arrays``: tensors that indices are read from; without its array every
    element of one stands for another index.

    Blocks with equal items are simulated once.  ``setup.bandwidth`` and ``setup.clusters`` are found here.

    Raises:
        InputError: the program stands still.
    """
    dealt = deal(items, block_num or target_of(kernel).block_num)
    capacity = costs_named(kernel, setup.costs).l2_bytes
    if setup.hits is not None or not capacity:
        return beside(kernel, dealt, setup)
    found = l2.assumed(kernel, len(items), sizes)
    launched = l2.Launched(dealt, found, arrays)
    traffic = l2.traffic(kernel, launched, capacity)
    return replace(beside(kernel, dealt, setup, traffic.of), launched=launched, traffic=traffic)


def beside(
    kernel: Kernel,
    dealt: tuple[Items, ...],
    setup: Setup,
    shared: Callable[[Items, Row, int], Shared] | None = None,
) -> Launch:
    """The blocks of a launch beside each other; ``shared``: how a row of one of their items shares what it
    moves with others."""
    total = bytes_per_cycle(kernel, setup)
    setup = replace(setup, clusters=sum(map(bool, dealt)))
    running = {
        x: Machine(kernel, x, setup, shared and partial(shared, x)) for x in dict.fromkeys(dealt)
    }
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
