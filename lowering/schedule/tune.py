"""The search for the schedule options of a kernel: the proof filters, the simulator judges.

In: a traced kernel.  Out: ``Search``: every candidate with its cycles in every scenario or the
reason why it was refused, best first, and the one to use.

The search climbs from every named schedule at once.  It goes through the options one by one: each
climber tries all values of one option and stays at the best; it ends when a whole round moves
nobody.  Each candidate is proven and simulated once.  The result depends on nothing but the kernel
and the cost table.

Score: the geometric mean of the cycles over ``SCENARIOS``.  The best is the simplest of those whose
score is within ``EQUAL`` of the lowest.  Simpler is a smaller lookahead, then a smaller prefetch, then
fewer slots (in the FIFOs, in L1 and UB, in L0), no overlap of work items, and last the
order of the values in ``AXES``.  The default options stay unless the best is better by more than
``MARGIN``: the costs of the model are not known well enough for less (docs/machine.md 11).

Every hardware block is taken to do the same, so that the signals of all pass their scheduler together.
Non-goals: how records are told and slots are freed, and fences, which are no question of time alone; other
cost tables than the one asked for; the order of rows within a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp, inf, log
from typing import Any

from lowering.hazards.proof import HazardError
from lowering.parallel import Map, processes
from lowering.schedule import LOAD_AT, MOVES, NAMED, Options, scheduled_with
from lowering.schedule.tuned import changes
from lowering.simulate import Setup, Timing, simulate
from lowering.simulate.timing import END, ISSUE, START, costs_named, shown
from pto.errors import PtoError, ScheduleError
from pto.ir import Kernel
from pto.targets import target_of

Axes = Mapping[str, Sequence[int | str | bool]]
Judge = Callable[[Options], "Candidate"]

AXES: Axes = {
    "lookahead": (1, 2, 3, 4, 5),
    "prefetch": (0, 1, 2),
    "load_at": LOAD_AT,
    "moves": MOVES,
    "local_depth": (2, 3),
    "l0_depth": (1, 2),
    "fifo_depth": (0, 8),  # 0: as many as the lookahead needs
    "flat": (False, True),
}
"""What is tried, by option."""

LATENCIES = (0, 500, 1000)
"""Cycles from core to core; nobody has measured them (docs/machine.md 11.2)."""

SHALLOW = 4
"""Entries of a queue in the last scenario: its depth is unknown too (docs/machine.md 3.4), and a
shallow one stops the scalar unit, so that loads must be issued early."""

LONG = (64,)
SHORT = tuple(1 + (k * 2654435761 >> 16) % 4 for k in range(64))
"""Trip counts of the work items of one hardware block; 1 to 4 drawn by Knuth's multiplicative hash
(TAOCP 6.4)."""

EQUAL, MARGIN = 0.001, 0.01
"""Parts of a score: what does not count as a difference, and what is worth a change of the default."""


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    blocks: tuple[int, ...]
    latency: int
    queue_depth: int | None = None


SCENARIOS = (
    *(Scenario(f"long {c}", LONG, c) for c in LATENCIES),
    *(Scenario(f"short {c}", SHORT, c) for c in LATENCIES),
    Scenario(f"queue {SHALLOW}", LONG, 0, SHALLOW),
)


@dataclass(frozen=True, slots=True)
class Unit:
    """Cycles of one unit: busy, and what it waited for."""

    busy: int
    stall: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario of a candidate.  ``pipe``: the busiest unit, for ``bound`` cycles."""

    cycles: int
    pipe: str
    units: Mapping[str, Unit]

    @property
    def bound(self) -> int:
        return self.units[self.pipe].busy

    @property
    def ratio(self) -> float:
        return self.cycles / self.bound


@dataclass(frozen=True, slots=True)
class Candidate:
    """Options with a run for each scenario, or the reason why they were refused."""

    options: Options
    runs: tuple[Run, ...] = ()
    refused: str = ""

    @property
    def score(self) -> float:
        """The geometric mean of the cycles; inf for a refused one."""
        return exp(sum(log(r.cycles) for r in self.runs) / len(self.runs)) if self.runs else inf


@dataclass(frozen=True, slots=True)
class Search:
    """The result.  ``candidates``: the best first, then by score, the refused ones last."""

    kernel: Kernel
    costs: str
    candidates: tuple[Candidate, ...]

    @property
    def proven(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates if not c.refused)

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def chosen(self) -> Candidate:
        """The default, unless it is refused or the best is better by more than ``MARGIN``."""
        default = next(c for c in self.candidates if c.options == Options())
        return default if gain(default, self.best) <= MARGIN else self.best

    def why(self, candidate: Candidate) -> str:
        """Why it was chosen or lost, in one line."""
        if candidate.refused:
            return f"refused: {candidate.refused}"
        better = gain(candidate, self.best)
        if candidate is self.best is self.chosen:
            return f"chosen, the best; {_waits(candidate)}"
        if candidate is self.chosen:
            found = f"{percent(better)} behind" if better > EQUAL else "as fast as"
            return f"chosen, {found} the best; {_waits(candidate)}"
        if candidate is self.best:
            ahead = gain(self.chosen, candidate)
            than = f"only {percent(ahead)} faster than" if ahead > EQUAL else "as fast as"
            return f"the best, {than} the default; {_waits(candidate)}"
        if better <= EQUAL:
            return "as fast as the best, but not as simple"
        return _loss(candidate, self.best)


def gain(old: Candidate, new: Candidate) -> float:
    """The part of the cycles of ``old`` that ``new`` saves."""
    return 1 - new.score / old.score


def percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _waits(candidate: Candidate) -> str:
    """What the busiest unit waits for in the scenario in which it waits most."""
    worst = max(range(len(SCENARIOS)), key=lambda k: candidate.runs[k].ratio)
    run = candidate.runs[worst]
    stall = run.units[run.pipe].stall
    cause = max(stall, key=lambda c: stall[c], default="")
    waits = f"waits {stall[cause]:,} cycles{_cause(cause)}" if cause else "never waits"
    return f"{SCENARIOS[worst].name}: {shown(run.pipe)} {waits}"


def _loss(candidate: Candidate, best: Candidate) -> str:
    """Where most is lost to the best, and what its busiest unit does there all the while."""
    pairs = list(zip(candidate.runs, best.runs, strict=True))
    worst = max(range(len(pairs)), key=lambda k: pairs[k][0].cycles / pairs[k][1].cycles)
    run, other = pairs[worst]
    mine, theirs = run.units[run.pipe], other.units.get(run.pipe, Unit(0, {}))
    more = {_cause(c): n - theirs.stall.get(c, 0) for c, n in mine.stall.items()}
    more[" with its rows"] = mine.busy - theirs.busy
    cause = max(more, key=lambda c: more[c])
    behind = percent(run.cycles / other.cycles - 1)
    told = f"{shown(run.pipe)} spends {more[cause]:,} cycles more{cause}"
    return f"{behind} behind at {SCENARIOS[worst].name}; {told}"


def _cause(cause: str) -> str:
    words = {END: " at the end", START: " at the start", ISSUE: " until it gets its next row"}
    return words.get(cause, f" on {cause}")


# -------------------------------------------------------------------------------------- the search


def tune(
    kernel: Kernel,
    costs: str = "",
    axes: Axes = AXES,
    workers: int = 0,
    tried: dict[Options, Candidate] | None = None,
) -> Search:
    """The best proven options of a traced kernel.

    ``costs``: a cost table of the target.  ``axes``: options that may change.  ``workers``:
    processes (0: one per core).  ``tried`` fills while the search goes on.

    Raises:
        InputError: no such cost table.
        ScheduleError: every candidate is refused.
    """
    costs = costs_named(kernel, costs).name
    tried = {} if tried is None else tried
    with processes(workers) as map_:
        _climb(partial(judged, kernel, costs), axes, tried, map_)
    lowest, *_ = ranked = sorted(tried.values(), key=order)
    if lowest.refused:
        reason = tried[Options()].refused
        raise ScheduleError(f"no schedule of {kernel.name} can be proven; the default: {reason}")
    equal = (c for c in ranked if not c.refused and gain(c, lowest) <= EQUAL)
    best = min(equal, key=lambda c: simplicity(c.options))
    return Search(kernel, costs, (best, *(c for c in ranked if c is not best)))


def _climb(judge: Judge, axes: Axes, tried: dict[Options, Candidate], map_: Map) -> None:
    def best_of(ways: Sequence[Iterable[Options]]) -> list[Options]:
        """Of each way the best, once."""
        new = dict.fromkeys(o for way in ways for o in way if o not in tried)
        for candidate in map_(judge, new):
            tried[candidate.options] = candidate
        best = [min((tried[o] for o in way), key=order) for way in ways]
        return list(dict.fromkeys(c.options for c in best))

    before: list[Options] = []
    climbers = best_of([[told_as_default(options)] for options in NAMED.values()])
    while climbers != before:
        before = climbers
        for name, values in axes.items():
            change = partial(_changed, name, values)
            climbers = best_of([[options, *change(options)] for options in climbers])


def told_as_default(options: Options) -> Options:
    """With records, fences and free signals as by default: no search may rest on another reading of the
    machine."""
    default = Options()
    return replace(options, record=default.record, fence=default.fence, credit=default.credit)


def _changed(name: str, values: Sequence[Any], options: Options) -> list[Options]:
    return [replace(options, **{name: value}) for value in values]


def order(candidate: Candidate) -> tuple[Any, ...]:
    """Lowest score first; of equal ones the simplest."""
    return candidate.score, simplicity(candidate.options)


def simplicity(options: Options) -> tuple[int, ...]:
    """Smaller is simpler; different for different options."""
    o = options
    slots = o.fifo_depth or max(o.lookahead, 2), o.local_depth, o.l0_depth
    words = LOAD_AT.index(o.load_at), MOVES.index(o.moves)
    return o.lookahead, o.prefetch, *slots, o.flat, *words, o.fifo_depth


def judged(kernel: Kernel, costs: str, options: Options) -> Candidate:
    """``options`` proven, then simulated in every scenario."""
    clusters = target_of(kernel).block_num
    setups = [
        (s.blocks, Setup(costs, s.latency, s.queue_depth, clusters=clusters)) for s in SCENARIOS
    ]
    try:
        program = scheduled_with(kernel, options).kernel
        return Candidate(options, tuple(_run(simulate(program, *s)) for s in setups))
    except HazardError as error:
        return Candidate(options, refused=error.proof.message.splitlines()[0])
    except PtoError as error:
        return Candidate(options, refused=error.message)


def _run(timing: Timing) -> Run:
    units = {u: Unit(timing.pipes[u].busy, timing.pipes[u].stall) for u in timing.shown.values()}
    return Run(timing.makespan, timing.bound_pipe, units)


# ------------------------------------------------------------------------------------- the result


def result(search: Search) -> dict[str, Any]:
    """What a file of ``lowering/schedule/tuned.py`` holds: the choice, and what it rests on."""
    chosen, best = search.chosen, search.best
    runs = dict(zip((s.name for s in SCENARIOS), chosen.runs, strict=True))
    return {
        "kernel": search.kernel.name,
        "target": target_of(search.kernel).name,
        "statics": dict(search.kernel.statics),
        "options": chosen.options.choices,
        "about": f"{changes(chosen.options)}; {search.why(chosen)}",
        "costs": search.costs,
        "score": round(chosen.score, 1),
        "cycles": {name: r.cycles for name, r in runs.items()},
        "ratio_to_busiest_pipe": {name: round(r.ratio, 4) for name, r in runs.items()},
        "best": {"score": round(best.score, 1), "options": best.options.choices},
        "candidates": len(search.proven),
        "refused": len(search.candidates) - len(search.proven),
    }
