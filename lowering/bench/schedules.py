"""The named schedules of a kernel side by side, in simulated time.

In: schedules by name, and the sizes of a reference case.  Out: ``Report``: cycles at each latency
between the cores, of one work item, of many short ones on one core, and of a whole launch; beside
it what was published.  The figures are the simulator's: the same on every machine.

What a launch does not know is told in ``lowering/simulate/launch.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from lowering.parallel import processes
from lowering.schedule.tune import LATENCIES, SHORT
from lowering.simulate import Setup, simulate
from lowering.simulate.launch import launch
from lowering.simulate.timing import shown
from pto.ir import Kernel
from pto.signature import Static
from pto.targets import target_of

BEFORE, AFTER = "repair", "best"

UNEVEN = (8, 1, 5, 3, 7)
"""Eighths of the full context that the work items have in turn."""

BLIND = (
    "Simulated, not measured: by costs from a published model or, table device, fitted to published",
    "times.  It does not know the latency from core to core, the depth of most queues and, but for table",
    "device, what L2 saves (all comes from HBM), what a launch itself and its signals take; a block never",
    "uses memory bandwidth that another one leaves.",
)


@dataclass(frozen=True, slots=True)
class Reference:
    """One case: ``items`` work items of ``blocks`` blocks each.

    ``measured``: microseconds of the hand-written kernel on an A3, from and to, by schedule.
    ``fastest``: of any kernel for these inputs.  ``once``: microseconds in which the memory moves its inputs once.
    """

    statics: Mapping[str, Static]
    blocks: int = 64
    items: int = 256
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    once: float = 0
    fastest: float = 0


WIDE_PAGES = Reference(
    dict(q_tile=16, block=128, heads=16),
    64,
    256,
    {"serial": (1483, 1507), "repair": (1325.3, 1325.3)},
    671,
    1131.2,
)
WIDE_QUERIES = Reference(
    dict(q_tile=64, block=64, heads=64),
    128,
    64,
    {"serial": (740, 745), "repair": (694.4, 694.4)},
    168,
    492.1,
)
REFERENCES: Mapping[str, tuple[Reference, ...]] = MappingProxyType(
    {"paged_attention": (WIDE_PAGES, WIDE_QUERIES)}
)
"""By shipped kernel; the context is 8192 (docs/machine.md 11.4)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One program in one situation.  ``bound_pipe`` is busy for ``bound_cycles``, or HBM is."""

    cycles: int
    bound_cycles: int
    bound_pipe: str
    seconds: float

    @property
    def ratio(self) -> float:
        return self.cycles / self.bound_cycles


@dataclass(frozen=True, slots=True)
class Section:
    """One situation: figures by latency, then by schedule.

    ``unit``: cycles or us.  ``case``: what was measured in this situation.
    """

    title: str
    unit: str
    figures: Mapping[int, Mapping[str, Figure]]
    case: Reference | None = None

    @property
    def head(self) -> str:
        return f"  {self.title}, {self.unit}"

    def line(self, latency: int, by_name: Mapping[str, Figure]) -> str:
        return f"    latency {latency:<5}" + _line(by_name, self.unit)

    def foot(self, names: Iterable[str]) -> Iterator[str]:
        if self.case and self.case.measured:
            yield f"    {'an A3':13}" + "".join(f"{self._measured(n):>11}" for n in names)
            yield f"    K and V once at 1.6 TB/s: {self.case.once:g}"

    def _measured(self, name: str) -> str:
        found = self.case.measured.get(name, ()) if self.case else ()
        return "-".join(f"{t:g}" for t in dict.fromkeys(found)) or "-"

    def facts(self) -> dict[str, Any]:
        by_latency = {
            str(latency): {name: asdict(f) for name, f in by_name.items()}
            for latency, by_name in self.figures.items()
        }
        facts: dict[str, Any] = {"title": self.title, "by_latency": by_latency}
        if self.case:
            facts["measured_us"] = dict(self.case.measured)
        return facts


@dataclass(frozen=True, slots=True)
class Report:
    """All situations of one case."""

    title: str
    sections: tuple[Section, ...]

    def facts(self) -> dict[str, Any]:
        return {"title": self.title, "situations": [s.facts() for s in self.sections]}


def _head(title: str, names: Iterable[str]) -> Iterator[str]:
    yield title
    yield f"{'':17}" + "".join(f"{n:>11}" for n in names) + f"{'delta':>10}{'best / bound':>16}"


def _line(by_name: Mapping[str, Figure], unit: str) -> str:
    told = "".join(f"{_amount(f, unit):>11}" for f in by_name.values())
    before, after = by_name[BEFORE], by_name[AFTER]
    delta = 100 * (after.cycles / before.cycles - 1)
    return f"{told}{delta:+8.1f} %{after.ratio:9.3f} {shown(after.bound_pipe)}"


def _amount(figure: Figure, unit: str) -> str:
    return f"{figure.seconds * 1e6:,.1f}" if unit == "us" else f"{figure.cycles:,}"


# ------------------------------------------------------------------------------------- the figures

Job = tuple[bool, Kernel, tuple[int, ...], Setup]
"""Whether on all hardware blocks, the program, its work items, the setup."""


def report(
    title: str,
    programs: Mapping[str, Kernel],
    case: Reference,
    costs: str = "",
    launches: bool = True,
    workers: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """``programs`` by the name of their schedule, ``BEFORE`` and ``AFTER`` among them.

    ``launches``: whole launches too.  ``workers``: processes (0: one per core).  ``tell`` gets the
    lines of the report, each as soon as its figures are known.
    """
    target = target_of(next(iter(programs.values())))
    situations = list(_situations(case, target.block_num if launches else 0))
    jobs: list[Job] = [
        (s.unit == "us", program, items, Setup(costs, latency))
        for s, items in situations
        for latency in LATENCIES
        for program in programs.values()
    ]
    for line in _head(title, programs):
        tell(line)
    sections = []
    with processes(workers) as map_:
        found = iter(map_(figure, jobs))
        for section, _ in situations:
            tell(section.head)
            figures = {}
            for latency in LATENCIES:
                figures[latency] = {name: next(found) for name in programs}
                tell(section.line(latency, figures[latency]))
            for line in section.foot(programs):
                tell(line)
            sections.append(replace(section, figures=figures))
    return Report(title, tuple(sections))


def _situations(case: Reference, clusters: int) -> Iterator[tuple[Section, tuple[int, ...]]]:
    """Sections without figures, each with its work items; ``clusters``: of a launch, if there is one."""
    yield Section(f"one work item of {case.blocks} blocks", "cycles", {}), (case.blocks,)
    yield Section(f"{len(SHORT)} work items of 1 to 4 blocks on one core", "cycles", {}), SHORT
    if not clusters:
        return
    items = f"{clusters} clusters, {case.items} work items of"
    even = Section(f"{items} {case.blocks} blocks", "us", {}, case)
    yield even, (case.blocks,) * case.items
    uneven = tuple(case.blocks * UNEVEN[k % len(UNEVEN)] // 8 for k in range(case.items))
    turns = ", ".join(map(str, uneven[: len(UNEVEN)]))
    yield Section(f"{items} {turns} blocks in turn", "us", {}), uneven


def figure(job: Job) -> Figure:
    """What one program takes."""
    whole, program, items, setup = job
    found = (launch if whole else simulate)(program, items, setup)
    return Figure(found.makespan, found.bound, found.bound_pipe, found.seconds(found.makespan))
