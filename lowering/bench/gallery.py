"""The kernels of the gallery in simulated time: each on a whole chip, in its own case, beside what nothing passes.

In: kernels by name.  Out: a table: microseconds, the busiest pipe and its share of them, the roof.  The figures
are the simulator's: the same on every machine.  Non-goals: other schedules (``lowering/bench/schedules.py``).

The roof (``lowering/simulate/limits.py``) is that of the hardware block with the longest time, or what HBM must
move of the launch; beside it the launch itself takes its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lowering.execute.cases import draw
from lowering.execute.inputs import bind
from lowering.parallel import cores, processes
from lowering.programs import load
from lowering.schedule import schedule
from lowering.simulate import Setup, simulate
from lowering.simulate.l2 import lengths
from lowering.simulate.launch import HBM, launch
from lowering.simulate.limits import roof
from lowering.simulate.timing import shown
from pto.errors import InputError
from pto.kernel import Kernel

HEAD = f"{'us':16}{'items':>7}{'time':>9}  {'busiest':<12}{'':>6}{'roof':>9}  {'of':<12}{'time / roof':>12}  shape"

NOTE = (
    "time: a whole launch, simulated.  busiest: the part of it that this works, of the pipes of a core, HBM and the",
    "signals between cores.  roof: what must be moved once and computed, at full rates, and the launch itself.",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel.  ``seconds``: of its launch; ``busiest``: works for the part ``share`` of it; ``roof``: seconds that
    no rows get below, because of ``limit``; ``sizes``: by the names of its dimensions."""

    name: str
    sizes: Mapping[str, int]
    items: int
    seconds: float
    busiest: str
    share: float
    roof: float
    limit: str

    @property
    def line(self) -> str:
        time, least = self.seconds * 1e6, self.roof * 1e6
        sizes = " ".join(f"{n}={size}" for n, size in self.sizes.items())
        return (
            f"{self.name:16}{self.items:>7}{time:>9,.1f}  {shown(self.busiest):<12}{self.share:>5.0%} "
            f"{least:>9,.1f}  {shown(self.limit):<12}{time / least:>12.2f}  {sizes}"
        )


def report(names: Sequence[str], costs: str = "", workers: int = 0) -> Iterator[str]:
    """The table, line by line; ``names``: as KERNEL of a command; ``workers``: processes (0: one per core).

    Raises:
        InputError: a kernel draws no case, or does not exist.
    """
    for name in names:
        drawing(name)
    yield HEAD
    with processes(min(workers or cores(), len(names))) as map_:
        for found in map_(partial(entry, costs=costs), names):
            yield found.line
    yield from NOTE


def drawing(name: str) -> Kernel:
    """The kernel, which has a case."""
    kernel = load(name)
    if not isinstance(kernel, Kernel) or kernel.draw_case is None:
        raise InputError(f"{name} draws no case", hint="define one: @KERNEL.case")
    return kernel


def entry(name: str, costs: str = "") -> Entry:
    """What the launch of one kernel takes, in its own case and its best schedule."""
    kernel, setup = drawing(name), Setup(costs)
    traced = kernel.trace()
    program = schedule(traced).kernel
    bound = bind(traced, draw(kernel, traced, []))
    items = lengths(program, bound.items, bound.names, bound.arrays)
    found = launch(program, items, setup, sizes=bound.names, arrays=bound.arrays)
    longest = max(found.timings.values(), key=lambda t: t.makespan)
    limits = {**roof(simulate(program, longest.blocks, setup)), HBM: found.bounds[HBM]}
    limit = max(limits, key=lambda unit: limits[unit])
    return Entry(
        name,
        {n: int(size) for n, size in bound.dims.items()},
        len(items),
        found.seconds(found.makespan),
        found.bound_pipe,
        found.bound / found.makespan,
        found.seconds(found.costs.launch + limits[limit]),
        limit,
    )
