"""The search for the schedule options of a kernel, and for the static parameters that it leaves open: the
proof filters, the simulator judges.

In: a traced kernel, for each choice of its tuned static parameters a ``Variant``.  Out: ``Search``: every
candidate with its cycles in every scenario or the reason why it was refused, best first, and the one to use.

The search climbs from every named schedule at once; with variants only from the default, or from the best if
the default is slower.  It goes through the choices one by one, the variants first: each climber tries all
values of one choice and stays at the best; it ends when a whole round moves nobody.  Each candidate is proven and simulated once; a variant whose busiest unit alone has more to do than
the best candidate takes is passed over.  The result depends on nothing but the kernel, the case and the cost
table: a search that was interrupted goes on from what was tried to the same end.

Score: the geometric mean of the cycles over the scenarios.  The best is the simplest of those whose
score is within ``EQUAL`` of the lowest.  Simpler is an earlier variant, then a smaller lookahead, then a
smaller prefetch, then fewer slots (in the FIFOs, in L1 and UB, in L0), no overlap of work items, and last the
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
from lowering.schedule import LOAD_AT, MOVES, NAMED, ROWS_AT, Options, scheduled_with
from lowering.schedule.tuned import changes
from lowering.simulate import Setup, Timing, simulate
from lowering.simulate.timing import END, ISSUE, START, costs_named, shown
from pto.errors import PtoError, ScheduleError
from pto.ir import Kernel
from pto.signature import Static
from pto.targets import target_of

Axes = Mapping[str, Sequence[int | str | bool]]
Chosen = tuple[tuple[str, Static], ...]
"""Tuned static parameters with their values."""

Tried = dict["Point", "Candidate"]
Judge = Callable[["Point"], "Candidate"]

AXES: Axes = {
    "lookahead": (1, 2, 3, 4, 5),
    "prefetch": (0, 1, 2),
    "load_at": LOAD_AT,
    "moves": MOVES,
    "rows_at": ROWS_AT,
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
class Variant:
    """A kernel for one choice of its tuned static parameters: what a hardware block does of the same work in
    every scenario, and the cycles that its busiest unit needs for that at least."""

    kernel: Kernel
    chosen: Chosen = ()
    scenarios: tuple[Scenario, ...] = SCENARIOS
    bound: int = 0


def same_work(kernel: Kernel, chosen: Chosen, items: Sequence[int], bound: int = 0) -> Variant:
    """The variant whose hardware block has the items of these trip counts in a case that all variants share."""
    scenarios = (*(Scenario(f"case {c}", tuple(items), c) for c in LATENCIES),
                 Scenario(f"queue {SHALLOW}", tuple(items), 0, SHALLOW))  # fmt: skip
    return Variant(kernel, chosen, scenarios, bound)


@dataclass(frozen=True, slots=True)
class Point:
    """What a search decides: the number of the variant, and the options of the schedule."""

    variant: int
    options: Options


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
    """A choice with a run for each scenario, or the reason why it was refused."""

    at: Point
    runs: tuple[Run, ...] = ()
    refused: str = ""

    @property
    def options(self) -> Options:
        return self.at.options

    @property
    def score(self) -> float:
        """The geometric mean of the cycles; inf for a refused one."""
        return exp(sum(log(r.cycles) for r in self.runs) / len(self.runs)) if self.runs else inf


@dataclass(frozen=True, slots=True)
class Search:
    """The result.  ``candidates``: the best first, then by score, the refused ones last; ``passed``: numbers
    of the variants that were passed over by their bounds; ``complete``: it was not interrupted."""

    variants: tuple[Variant, ...]
    costs: str
    candidates: tuple[Candidate, ...]
    passed: tuple[int, ...] = ()
    complete: bool = True

    def variant(self, candidate: Candidate) -> Variant:
        return self.variants[candidate.at.variant]

    @property
    def kernel(self) -> Kernel:
        """Of the variant that was chosen."""
        return self.variant(self.chosen).kernel

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """Of which all variants have one of each name."""
        return self.variants[0].scenarios

    def told(self, candidate: Candidate) -> str:
        """The choices that are not the default, in words."""
        chosen, options = self.variant(candidate).chosen, changes(candidate.options)
        statics = [f"{n}={x}" for n, x in chosen]
        return (
            " ".join([*statics, options] if options != changes(Options()) else statics) or options
        )

    def choices(self, candidate: Candidate) -> dict[str, Any]:
        """All choices by name."""
        chosen = dict(self.variant(candidate).chosen)
        return {**({"statics": chosen} if chosen else {}), "options": candidate.options.choices}

    @property
    def proven(self) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates if not c.refused)

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def chosen(self) -> Candidate:
        """The default, unless it is refused or the best is better by more than ``MARGIN``; likewise the default
        options for the variant of the best."""
        for at in (DEFAULT, replace(DEFAULT, variant=self.best.at.variant)):
            default = next((c for c in self.candidates if c.at == at), None)
            if default and gain(default, self.best) <= MARGIN:
                return default
        return self.best

    def why(self, candidate: Candidate) -> str:
        """Why it was chosen or lost, in one line."""
        if candidate.refused:
            return f"refused: {candidate.refused}"
        better = gain(candidate, self.best)
        if candidate is self.best is self.chosen:
            return f"chosen, the best; {self._waits(candidate)}"
        if candidate is self.chosen:
            found = f"{percent(better)} behind" if better > EQUAL else "as fast as"
            return f"chosen, {found} the best; {self._waits(candidate)}"
        if candidate is self.best:
            ahead = gain(self.chosen, candidate)
            than = f"only {percent(ahead)} faster than" if ahead > EQUAL else "as fast as"
            return f"the best, {than} the default; {self._waits(candidate)}"
        if better <= EQUAL:
            return "as fast as the best, but not as simple"
        return self._loss(candidate)

    def _waits(self, candidate: Candidate) -> str:
        """What the busiest unit waits for in the scenario in which it waits most."""
        worst = max(range(len(candidate.runs)), key=lambda k: candidate.runs[k].ratio)
        run = candidate.runs[worst]
        stall = run.units[run.pipe].stall
        cause = max(stall, key=lambda c: stall[c], default="")
        waits = f"waits {stall[cause]:,} cycles{_cause(cause)}" if cause else "never waits"
        return f"{self.scenarios[worst].name}: {shown(run.pipe)} {waits}"

    def _loss(self, candidate: Candidate) -> str:
        """Where most is lost to the best, and what its busiest unit does there all the while."""
        pairs = list(zip(candidate.runs, self.best.runs, strict=True))
        worst = max(range(len(pairs)), key=lambda k: pairs[k][0].cycles / pairs[k][1].cycles)
        run, other = pairs[worst]
        mine, theirs = run.units[run.pipe], other.units.get(run.pipe, Unit(0, {}))
        more = {_cause(c): n - theirs.stall.get(c, 0) for c, n in mine.stall.items()}
        more[" with its rows"] = mine.busy - theirs.busy
        cause = max(more, key=lambda c: more[c])
        behind = percent(run.cycles / other.cycles - 1)
        told = f"{shown(run.pipe)} spends {more[cause]:,} cycles more{cause}"
        return f"{behind} behind at {self.scenarios[worst].name}; {told}"


def gain(old: Candidate, new: Candidate) -> float:
    """The part of the cycles of ``old`` that ``new`` saves."""
    return 1 - new.score / old.score


def percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _cause(cause: str) -> str:
    words = {END: " at the end", START: " at the start", ISSUE: " until it gets its next row"}
    return words.get(cause, f" on {cause}")


# -------------------------------------------------------------------------------------- the search


def tune(
    kernel: Kernel | Sequence[Variant],
    costs: str = "",
    axes: Axes = AXES,
    workers: int = 0,
    tried: Tried | None = None,
) -> Search:
    """The best proven options of a traced kernel, or the best variant and its options.

    ``costs``: a cost table of the target.  ``axes``: options that may change.  ``workers``:
    processes (0: one per core).  ``tried``: what is known already; it fills while the search goes on.

    Raises:
        InputError: no such cost table.
        ScheduleError: every candidate is refused.
    """
    variants = (Variant(kernel),) if isinstance(kernel, Kernel) else tuple(kernel)
    costs = costs_of(variants, costs)
    tried = {} if tried is None else tried
    with processes(workers) as map_:
        _climb(partial(judged, variants, costs), variants, axes, tried, map_)
    return found(variants, costs, tried)


def costs_of(variants: Sequence[Variant], costs: str) -> str:
    """The name of a cost table of the target.

    Raises:
        InputError: there is none of that name.
    """
    return costs_named(variants[0].kernel, costs).name


def found(variants: Sequence[Variant], costs: str, tried: Tried, complete: bool = True) -> Search:
    """What a search has come to with what was ``tried``.

    Raises:
        ScheduleError: every candidate is refused.
    """
    lowest, *_ = ranked = sorted(tried.values(), key=order)
    if lowest.refused:
        name, reason = variants[0].kernel.name, tried.get(DEFAULT, lowest).refused
        raise ScheduleError(f"no schedule of {name} can be proven; the default: {reason}")
    equal = (c for c in ranked if not c.refused and gain(c, lowest) <= EQUAL)
    best = min(equal, key=lambda c: simplicity(c.at))
    seen = {c.at.variant for c in ranked}
    passed = tuple(k for k in range(len(variants)) if k not in seen)
    others = (c for c in ranked if c is not best)
    return Search(tuple(variants), costs, (best, *others), passed, complete)


def _climb(judge: Judge, variants: Sequence[Variant], axes: Axes, tried: Tried, map_: Map) -> None:
    seen: Tried = {}  # of ``tried`` what this search has come to: it goes on as if nothing had been tried

    def best_of(ways: Sequence[Iterable[Point]]) -> list[Point]:
        """Of each way the best, once."""
        new = dict.fromkeys(x for way in ways for x in way if x not in tried)
        for candidate in map_(judge, new):
            tried[candidate.at] = candidate
        seen.update((x, tried[x]) for way in ways for x in way)
        best = [min((tried[x] for x in way), key=order) for way in ways]
        return list(dict.fromkeys(c.at for c in best))

    def worth_it() -> list[int]:
        """The variants that are not slower than the best by what their busiest unit has to do."""
        least = min(c.score for c in seen.values())
        return [k for k, v in enumerate(variants) if v.bound <= least]

    before: list[Point] = []
    climbers = best_of([[Point(0, told_as_default(options))] for options in NAMED.values()])
    if len(variants) > 1:
        (best,) = best_of([climbers])
        climbers = [DEFAULT if gain(tried[DEFAULT], tried[best]) <= MARGIN else best]
    while climbers != before:
        before = climbers
        climbers = best_of([[x, *(replace(x, variant=k) for k in worth_it())] for x in climbers])
        for name, values in axes.items():
            change = partial(_changed, name, values)
            climbers = best_of([[x, *change(x)] for x in climbers])


def told_as_default(options: Options) -> Options:
    """With records, fences and free signals as by default: no search may rest on another reading of the
    machine."""
    default = Options()
    return replace(options, record=default.record, fence=default.fence, credit=default.credit)


def _changed(name: str, values: Sequence[Any], at: Point) -> list[Point]:
    return [replace(at, options=replace(at.options, **{name: value})) for value in values]


def order(candidate: Candidate) -> tuple[Any, ...]:
    """Lowest score first; of equal ones the simplest."""
    return candidate.score, simplicity(candidate.at)


def simplicity(at: Point) -> tuple[int, ...]:
    """Smaller is simpler; different for different choices."""
    o = at.options
    slots = o.fifo_depth or max(o.lookahead, 2), o.local_depth, o.l0_depth
    words = LOAD_AT.index(o.load_at), MOVES.index(o.moves), ROWS_AT.index(o.rows_at)
    return at.variant, o.lookahead, o.prefetch, *slots, o.flat, *words, o.fifo_depth


DEFAULT = Point(0, Options())


def judged(variants: Sequence[Variant], costs: str, at: Point) -> Candidate:
    """A choice proven, then simulated in every scenario."""
    variant = variants[at.variant]
    clusters = target_of(variant.kernel).block_num
    setups = [
        (s.blocks, Setup(costs, s.latency, s.queue_depth, clusters=clusters))
        for s in variant.scenarios
    ]
    try:
        program = scheduled_with(variant.kernel, at.options).kernel
        return Candidate(at, tuple(_run(simulate(program, *s)) for s in setups))
    except HazardError as error:
        return Candidate(at, refused=error.proof.message.splitlines()[0])
    except PtoError as error:
        return Candidate(at, refused=error.message)


def _run(timing: Timing) -> Run:
    units = {u: Unit(timing.pipes[u].busy, timing.pipes[u].stall) for u in timing.shown.values()}
    return Run(timing.makespan, timing.bound_pipe, units)


# ------------------------------------------------------------------------------------- the result


def result(search: Search) -> dict[str, Any]:
    """What a file of ``lowering/schedule/tuned.py`` holds: the choice, and what it rests on."""
    chosen, best = search.chosen, search.best
    runs = dict(zip((s.name for s in search.scenarios), chosen.runs, strict=True))
    facts = {
        "kernel": search.kernel.name,
        "target": target_of(search.kernel).name,
        "statics": dict(search.kernel.statics),
        "options": chosen.options.choices,
        "about": f"{search.told(chosen)}; {search.why(chosen)}",
        "costs": search.costs,
        "score": round(chosen.score, 1),
        "cycles": {name: r.cycles for name, r in runs.items()},
        "ratio_to_busiest_pipe": {name: round(r.ratio, 4) for name, r in runs.items()},
        "best": {"score": round(best.score, 1), **search.choices(best)},
        "candidates": len(search.proven),
        "refused": len(search.candidates) - len(search.proven),
    }
    return facts if search.complete else {**facts, "complete": False}
