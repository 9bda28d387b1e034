"""The default schedule of paged attention on a whole chip, beside the fastest launches that others measured.

In: nothing.  Out: lines: microseconds by cost table and by latency between the cores.  The figures are the
simulator's: the same on every machine.  Non-goals: other schedules (``lowering/bench/schedules.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

from lowering.bench.schedules import REFERENCES, figure
from lowering.parallel import processes
from lowering.schedule import schedule
from lowering.schedule.tune import LATENCIES
from lowering.simulate import Setup
from pto.kernels import SHIPPED
from pto.targets import target_of

KERNEL = "paged_attention"
COSTS = ("device", "flat")
WIDTH = 10

NOTE = (
    "fastest seen: another kernel for the same inputs, measured by others on an A3; all else is simulated.",
    "Nobody has measured what one signal from core to core takes, nor this schedule.",
)
"""What the figures are (docs/machine.md 11.4 and 17.3)."""


def report(workers: int = 0) -> Iterator[str]:
    """The table, line by line; ``workers``: processes (0: one per core)."""
    cases = REFERENCES[KERNEL]
    programs = [schedule(SHIPPED[KERNEL].trace(**case.statics)).kernel for case in cases]
    clusters = target_of(programs[0]).block_num
    yield f"{KERNEL}, schedule best: a launch on {clusters} clusters, us"
    yield f"{'':24}{'fastest':>{WIDTH}}" + "".join(f"{c:>{3 * WIDTH}}" for c in COSTS)
    latencies = "".join(f"{n:>{WIDTH}}" for n in LATENCIES) * len(COSTS)
    yield f"{'cycles of a signal':24}{'seen':>{WIDTH}}{latencies}"
    setups = [Setup(costs, latency) for costs in COSTS for latency in LATENCIES]
    with processes(workers) as map_:
        for case, program in zip(cases, programs, strict=True):
            items = (case.blocks,) * case.items
            found = map_(figure, [(True, program, items, setup) for setup in setups])
            told = "".join(f"{f.seconds * 1e6:>{WIDTH},.1f}" for f in found)
            what = f"{case.items} items of {case.blocks} pages"
            yield f"{what:24}{case.fastest:>{WIDTH},.1f}{told}"
    yield from NOTE
