"""What a simulation may vary, and what it finds: every row in time, busy cycles, stalls, the critical path.

Filled by ``lowering/simulate/machine.py``; read by ``pto simulate``, ``pto tune``, traces and pictures.
Invariant: for every unit busy + stalls = makespan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise

from lowering.svg import Picture, Text, element
from lowering.unroll import Counters
from pto.arithmetic import Number
from pto.errors import InputError
from pto.ir import Block, Kernel, Loop, Row
from pto.targets import Costs, target_of
from pto.text import statement

LANE = "vector0"
"""The vector lane that is shown for all of them."""

START, ISSUE, ORDER, MEMORY, END = "start", "issue", "order of the pipe", "memory", "end"
"""Causes that are no event, FIFO, drain, barrier or queue: nothing was waited for, the scalar unit,
the op before on the same pipe, bytes that this pipe is through with, nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a hardware block may move to and from tensors: (from cycle, bytes per cycle), in order.

    Without steps, as much as its own rates let it.
    """

    steps: tuple[tuple[int, float], ...] = ()

    def moved(self, at: float, size: float) -> float:
        """When ``size`` bytes are through of which the first moves at ``at``, with nothing beside."""
        left = float(size)
        for (_, rate), (until, _) in pairwise(self.steps):
            if until > at:
                if left <= rate * (until - at):
                    return at + left / rate
                left -= rate * (until - at)
                at = until
        return at + left / self.steps[-1][1] if self.steps else at


@dataclass(frozen=True, slots=True)
class Setup:
    """What a simulation may vary.

    ``costs``: a table of the target, by name ('' for its first), or one of its own.  ``latency``: cycles from a FIFO
    signal to the other core (None: the table's).  ``queue_depth``: of a pipe (None: the table's).  ``bandwidth``: what
    other blocks leave of the memory.  ``hits``: the part of what moves to and from tensors that L2 has
    (None: what ``lowering/simulate/l2.py`` finds for a launch; nothing for one block).  ``clusters``: those whose
    signals pass the same scheduler; ``lowering/simulate/launch.py`` finds them.  ``partial``: loads that
    may be partial are so in the last trip of their loop, which trip counts do not say.  ``holds``: of a hundred
    trips those in which the tests of rows hold, which data says.
    """

    costs: str | Costs = ""
    latency: int | None = None
    queue_depth: int | None = None
    bandwidth: Bandwidth = Bandwidth()
    hits: float | None = None
    clusters: int = 1
    partial: bool = False
    holds: int = 100


DEFAULT = Setup()


@dataclass(frozen=True, slots=True)
class Span:
    """One row in one iteration: where it ran, from when to when, and what it waited for.

    ``after`` is the number of the span whose end (or start, of the same pipe) bound its own start,
    -1 for none; ``why`` says by what: an event, a FIFO, a drain, the order of the pipe; or what the
    scalar unit waited for before it issued the row.
    """

    unit: str
    row: Row
    scope: Counters
    start: int
    end: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class Stall:
    """A unit stood still from ``start`` to ``end``."""

    start: int
    end: int
    cause: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Cycles of one unit: with something to do, and in time why it had nothing.

    ``work``: of ``busy`` what its rows take in whatever order, with the memory to themselves.
    """

    busy: int
    work: int
    stalls: tuple[Stall, ...]

    @property
    def stall(self) -> dict[str, int]:
        """Cycles by cause, the largest first."""
        found: dict[str, int] = {}
        for s in self.stalls:
            found[s.cause] = found.get(s.cause, 0) + s.end - s.start
        return dict(sorted(found.items(), key=lambda c: (-c[1], c[0])))


@dataclass(frozen=True, slots=True)
class Step:
    """A row on the critical path: how often, and what part of the makespan it makes up.

    ``waited_cycles``: the part of ``cycles`` in which what it waited for was done already, but the row did
    not run: a signal on its way to another core, or the scalar unit issuing.
    """

    pipe: str
    row: str
    waited_for: str
    times: int
    cycles: int
    waited_cycles: int


@dataclass(frozen=True)
class Timing:
    """The result, in cycles.

    ``makespan``: until all is done.  ``blocks``: as given, one per work item.  ``pipes``: by unit its busy
    cycles and its stalls.  ``spans``: every row in time.  ``tensor_bytes``: what moves to and from tensors;
    ``asked_bytes``: what HBM could move meanwhile.  ``signals``: sent from core to core.
    """

    kernel: Kernel
    setup: Setup
    blocks: tuple[int, ...]
    makespan: int
    pipes: Mapping[str, Usage]
    spans: tuple[Span, ...]
    tensor_bytes: int
    asked_bytes: float
    signals: int

    @property
    def bound_pipe(self) -> str:
        """The unit that is busy for longest: with these barriers no overlap is faster than that."""
        return max(self.pipes, key=lambda p: self.pipes[p].busy)

    @property
    def bound(self) -> int:
        """Cycles that ``bound_pipe`` is busy for."""
        return self.pipes[self.bound_pipe].busy

    @property
    def costs(self) -> Costs:
        return costs_named(self.kernel, self.setup.costs)

    @property
    def latency(self) -> int:
        """Cycles from a FIFO signal to the other core."""
        return latency_of(self.setup, self.costs)

    def seconds(self, cycles: float) -> float:
        return cycles / self.costs.clock_hz

    @property
    def shown(self) -> dict[str, str]:
        """The units that have work, by the names to show: the vector lanes do the same at the same
        time, so that the first stands for all."""
        units = [u for u in self.pipes if self.pipes[u].busy and u.startswith(("cube", LANE))]
        return {shown(u): u for u in units}

    @property
    def work_items(self) -> str:
        """The trip counts in words."""
        n, counts = len(self.blocks), [str(b) for b in self.blocks]
        items = f"{n} work item{'s' * (n != 1)}"
        if all(len(loops) < 2 for loops in self._loops.values()):
            return items
        same = counts[:1] if len(set(counts)) == 1 else counts
        shown = ", ".join(same if len(same) <= 8 else [*same[:7], "..."])
        return f"{items} of {shown} block{'s' * (shown != '1')}"

    def iteration(self, span: Span) -> dict[str, Number]:
        """The counters of the loops around a row, from the outermost in."""
        return {name: span.scope[name] for name in self._loops[id(span.row)]}

    @cached_property
    def _loops(self) -> dict[int, tuple[str, ...]]:
        return dict(_loops_around(self.kernel.body, ()))

    def critical(self) -> list[Span]:
        """The chain of rows that the makespan consists of, in time."""
        if not self.spans:
            return []
        at = max(range(len(self.spans)), key=lambda k: self.spans[k].end)
        chain = []
        while at >= 0:
            chain.append(self.spans[at])
            at = self.spans[at].after
        return chain[::-1]

    def critical_path(self) -> list[Step]:
        """The critical path by row of the schedule, the largest part first; the parts add up to
        the end of its last row."""
        chain = self.critical()
        until = [min(a.end, b.start) for a, b in pairwise(chain)] + [s.end for s in chain[-1:]]
        found: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for s, before, end in zip(chain, [0, *until], until, strict=False):
            key = s.unit, statement(s.row, self.kernel), s.why
            found.setdefault(key, []).append((end - before, s.start - before))
        steps = [Step(*key, len(v), *map(sum, zip(*v, strict=True))) for key, v in found.items()]
        return sorted(steps, key=lambda s: -s.cycles)

    def report(self) -> Text:
        """What ``pto simulate`` prints: stalls of every pipe, the critical path."""
        from lowering.simulate.report import told

        return Text("\n".join(line.rstrip() for line in told(self, {})))

    @property
    def gantt(self) -> Picture:
        """The pipes of both cores in time, some steps in the middle of the run."""
        from lowering.simulate import gantt

        return gantt.picture(self)

    @property
    def memory(self) -> Picture:
        """What every slot of every memory holds meanwhile."""
        from lowering.simulate import memory_map

        return memory_map.picture(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: a card, and the pipes in time."""
        left = {"style": "text-align:left"}
        rows = (
            (element("th", escape(a), **left), element("td", escape(b), **left))
            for a, b in self.card.items()
        )
        told = "".join(element("tr", name + text) for name, text in rows)
        return element("table", told) + self.gantt._repr_html_()

    def __repr__(self) -> str:
        """What a prompt shows: the card."""
        return "\n".join(f"{name:<9} {text}" for name, text in self.card.items())

    @property
    def card(self) -> dict[str, str]:
        """The result in three lines."""
        share = f"makespan / bound = {self.makespan / self.bound:.2f}" if self.bound else ""
        time = f"{self.seconds(self.makespan) * 1e6:,.2f} us"
        return {
            self.kernel.name: f"{self.work_items}, costs {self.costs.name}, cross-core latency {self.latency:,}",
            "makespan": f"{self.makespan:,} cycles, {time}",
            "bound": f"{self.bound:,} cycles of {shown(self.bound_pipe)}, the busiest pipe; {share}".rstrip(
                "; "
            ),
        }


def shown(unit: str) -> str:
    return unit.replace(LANE, "vector")


def _loops_around(block: Block, loops: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """By the identity of each row, the counters of its loops."""
    for node in block:
        if isinstance(node, Row):
            yield id(node), loops
        elif isinstance(node, Loop):
            yield from _loops_around(node.body, (*loops, node.index))
        else:
            yield from _loops_around((*node.then, *node.orelse), loops)


def costs_named(kernel: Kernel, name: str | Costs) -> Costs:
    """A cost table of the kernel's target, or the one that is given.

    Raises:
        InputError: if there is none of this name.
    """
    if isinstance(name, Costs):
        return name
    target = target_of(kernel)
    tables = target.costs
    if name and name not in tables:
        message = f"{target.name} has no costs '{name}'"
        raise InputError(message, hint=f"one of: {', '.join(tables)}")
    return tables[name or next(iter(tables))]


def latency_of(setup: Setup, costs: Costs) -> int:
    """Cycles from a FIFO signal to the other core."""
    return costs.signal if setup.latency is None else setup.latency


def depth_of(setup: Setup, costs: Costs, pipe: str) -> int:
    """Entries that a pipe holds before the scalar unit stops."""
    return setup.queue_depth or costs.queue_depths.get(pipe, costs.queue_depth)
