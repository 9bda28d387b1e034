"""The scheduler: a visible table of passes, and the named choices of their options.

In: a traced kernel.  Out: ``Schedule``: the scheduled kernel with its proof and its sources.
Every pass is ``Kernel -> Kernel``; ``stages`` shows them all, each checked against the legality tables;
a schedule is checked once, at its end.  The result computes what was traced
(``lowering/values/equivalence.py``) in a proven order (``lowering/hazards/``), or is refused; nothing is
changed silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from lowering.ascend import emit
from lowering.hazards import Proof, check, slots_needed
from lowering.hazards.proof import HazardError
from lowering.schedule.options import LOOPS, NAMED, Options
from lowering.schedule.passes.accumulate import accumulate
from lowering.schedule.passes.assign import assign
from lowering.schedule.passes.credit import credit
from lowering.schedule.passes.drain import drain
from lowering.schedule.passes.fifos import fifos
from lowering.schedule.passes.hoist import hoist
from lowering.schedule.passes.persist import persist
from lowering.schedule.passes.place import place
from lowering.schedule.passes.record import record
from lowering.schedule.passes.skew import skew
from lowering.schedule.passes.sync import sync
from lowering.schedule.passes.unnest import unnest
from lowering.schedule.tuned import best_options
from lowering.simulate import simulate
from lowering.values.equivalence import same_values
from pto.errors import CapacityError, PtoError, ScheduleError
from pto.ir import Kernel, Loop, all_rows
from pto.legality import verify
from pto.ops import ASSIGNED, PERSISTENT, SCHEDULED

SHORT_RUN = (12, 2, 12)
"""Trip counts of work items that use every slot of a FIFO again, and meet their borders."""


class Judge:
    """Proves scheduled kernels, under the readings on which the options rest.  Notes prove nothing: what
    was asked before is not proven again."""

    def __init__(self, options: Options) -> None:
        self.assume = options.assume
        self.proofs: dict[Kernel, Proof] = {}

    def proof(self, kernel: Kernel) -> Proof:
        bare = replace(kernel, notes=(), details=())
        found = self.proofs.get(bare)
        if found is None:
            found = self.proofs[bare] = check(bare, assume=self.assume)
        return found

    def slots(self, kernel: Kernel) -> dict[str, int] | None:
        """As many as FIFOs without free signals need in a short run, None if that fails: known sooner."""
        return slots_needed(kernel, SHORT_RUN, self.assume)


@dataclass(frozen=True, slots=True)
class Pass:
    """One step of a schedule; ``form``: of the program that it leaves behind (``pto/ops.py``);
    ``reads``: the options that it reads."""

    run: Callable[[Kernel, Options, Judge], Kernel]
    form: str
    reads: tuple[str, ...] = ()


PASSES: dict[str, Pass] = {
    "persist": Pass(lambda k, *_: persist(k), PERSISTENT),
    "unnest": Pass(
        lambda k, o, _: unnest(k) if o.loops == "unnested" else k, PERSISTENT, ("loops",)
    ),
    "hoist": Pass(lambda k, o, _: hoist(k) if o.loops != "kept" else k, PERSISTENT, ("loops",)),
    "accumulate": Pass(lambda k, *_: accumulate(k), PERSISTENT),
    "assign": Pass(lambda k, o, _: assign(k, o.loops != "kept"), ASSIGNED, ("loops",)),
    "skew": Pass(
        lambda k, o, _: skew(k, o),
        ASSIGNED,
        ("lookahead", "prefetch", "load_at", "moves", "rows_at", "flat"),
    ),
    "record": Pass(lambda k, o, _: record(k, o), ASSIGNED, ("record", "fence")),
    "fifos": Pass(lambda k, *_: fifos(k), ASSIGNED),
    "place": Pass(
        lambda k, o, _: place(k, o),
        SCHEDULED,
        ("lookahead", "local_depth", "l0_depth", "fifo_depth"),
    ),
    "sync": Pass(lambda k, *_: sync(k), SCHEDULED),
    "drain": Pass(lambda k, *_: drain(k), SCHEDULED),
    "credit": Pass(
        credit,
        SCHEDULED,
        ("fifo_depth", "credit"),
    ),
}
"""Every pass by name, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduled kernel, how it was made, why it is right, and its source files by name."""

    kernel: Kernel
    options: Options
    proof: Proof
    sources: Mapping[str, str]


def stages(kernel: Kernel, options: Options) -> Iterator[tuple[str, Kernel]]:
    """(pass name, kernel after it), in order, each checked for legality."""
    for name, made in _passes(kernel, options, Judge(options)):
        yield name, verify(made, PASSES[name].form)


def _passes(kernel: Kernel, options: Options, judge: Judge) -> Iterator[tuple[str, Kernel]]:
    """``stages`` unchecked: of a whole schedule the proof checks the last, which shows them all."""
    for name, step in PASSES.items():
        kernel = step.run(kernel, options, judge)
        yield name, kernel


def options_for(
    name: str = "best",
    kernel: Kernel | None = None,
    tuned: Path | None = None,
    **changes: int | str | bool | None,
) -> Options:
    """The options of a named schedule, with those that are not None changed.

    ``best`` of a ``kernel`` is what was tuned for it, if there is such a result, in the file
    ``tuned`` or where ``lowering/schedule/tuned.py`` looks.

    Raises:
        ScheduleError: for an unknown name, or a value that makes no sense.
        InputError: for a file that is no tuned schedule of this kernel.
    """
    if name not in NAMED:
        raise ScheduleError(f"no schedule is called '{name}'", None, f"one of: {', '.join(NAMED)}")
    options = NAMED[name]
    if kernel is not None and name == "best":
        options = best_options(kernel, tuned)
    given = {k: v for k, v in changes.items() if v is not None}
    if options.origin and given:
        changed = " ".join(f"{k}={v}" for k, v in given.items())
        given["origin"] = f"{options.origin}; given: {changed}"
    exact = name != "best" or "lookahead" in given or "flat" in given
    return replace(options, exact=exact, **given)  # type: ignore[arg-type]


def schedule(kernel: Kernel, options: Options | str = "best") -> Schedule:
    """The proven schedule of a traced kernel, for the target that it names, or else the first one.

    ``best`` looks less far ahead where it would not fit, where its proof would need too many states, or
    where that leaves events for all and is faster by the cost model; the notes of the schedule say so.

    Raises:
        PtoError: when the kernel does not fit the target.
        HazardError: when the proof is refused, as one that needs too many states, or fails.
        AssertionError: when a pass has lost a value; like a proof that fails, a bug of ours, not of
            the kernel.
    """
    chosen = options_for(options, kernel) if isinstance(options, str) else options
    refused: list[tuple[Options, str]] = []
    failed: PtoError | None = None
    for tried in less_ahead(chosen, kernel):
        if tried.rows_at != chosen.rows_at and not isinstance(failed, CapacityError):
            break  # it is not memory that is short
        try:
            return with_events_for_all(
                kernel, scheduled_with(kernel, tried, told(refused)), refused
            )
        except CapacityError as error:
            failed, reason = error, error.message
        except HazardError as error:
            if not error.proof.refused:
                return schedule(kernel, with_signals(kernel, tried, error))
            failed, reason = error, error.proof.refused
        refused.append((tried, reason.partition(";")[0]))
    assert failed is not None
    raise failed


def less_ahead(options: Options, kernel: Kernel) -> Iterator[Options]:
    """``options``, then, unless they are exact, what needs less memory and fewer states of the proof:
    less lookahead, down to one step; then the same without overlap of work items; then all of this with the
    loops more as they are written, where that is another program; then all of it with rows as late as they
    can be, where that is another order."""
    if options.exact:
        yield options
        return
    programs: list[Kernel] = []  # with their loops as they are scheduled
    ways = []
    for loops in LOOPS[LOOPS.index(options.loops) :]:
        written = replace(options, loops=loops)
        program = behind("hoist", kernel, written)
        if program in programs:
            continue
        programs.append(program)
        for flat in (True, False) if options.flat else (False,):
            for n in range(options.lookahead, min(options.lookahead, 1) - 1, -1):
                ways.append(replace(written, lookahead=n, flat=flat))
    yield from ways
    late = [replace(x, rows_at="alap") for x in ways]
    if any(
        behind("skew", kernel, x) != behind("skew", kernel, y)
        for x, y in zip(ways, late, strict=True)
    ):
        yield from late


def with_signals(kernel: Kernel, options: Options, failed: HazardError) -> Options:
    """The same with a signal for every tile: where one tells of several, nothing may come back that keeps pushes
    of the others behind their pops.

    Raises:
        HazardError: ``failed``, where every tile has its signal already.
    """
    if all(f.signal for f in behind("record", kernel, options).fifos):
        raise failed
    return replace(options, record="next_step_each")


def behind(last: str, kernel: Kernel, options: Options) -> Kernel:
    """As the pass called ``last`` leaves it, unchecked.

    Raises:
        CapacityError: it does not fit the target.
    """
    return next(made for name, made in _passes(kernel, options, Judge(options)) if name == last)


def told(refused: Sequence[tuple[Options, str]]) -> list[str]:
    """Why not with more lookahead: one note for each way to overlap, to write the loops and to order the rows."""
    notes = []
    for (rows_at, flat, loops), group in groupby(
        refused, lambda x: (x[0].rows_at, x[0].flat, x[0].loops)
    ):
        tried = list(group)
        most, least = (tried[k][0].lookahead for k in (0, -1))
        ahead = f"lookahead {most}" if most == least else f"lookahead {most} to {least}"
        how = "" if flat else ", not flat"
        how += "" if loops == LOOPS[0] else f", loops {loops}"
        how += "" if rows_at == "asap" else f", rows_at {rows_at}"
        notes.append(f"not {ahead}{how}: {tried[-1][1]}")
    return notes


def with_events_for_all(
    kernel: Kernel, made: Schedule, refused: Sequence[tuple[Options, str]]
) -> Schedule:
    """``made``; or with less lookahead, if a barrier stops all pipes for want of events, none does then, and
    a short run is faster."""
    if made.options.exact or not stops_all(made.kernel):
        return made
    ahead = made.options.lookahead
    why = f"not lookahead {ahead}: a barrier for want of events, slower by the cost model"
    for less in (replace(made.options, lookahead=n) for n in range(ahead - 1, 0, -1)):
        if stops_all(behind("sync", kernel, less)):
            continue
        try:
            other = scheduled_with(kernel, less, (*told(refused), why))
        except HazardError as error:
            if not error.proof.refused:
                raise
            continue
        runs = [simulate(x.kernel, short_run(kernel)).makespan for x in (made, other)]
        return made if runs[0] <= runs[1] else other
    return made


def short_run(kernel: Kernel) -> tuple[int, ...]:
    """``SHORT_RUN``, as many items as it has iterations if they have no loops."""
    return SHORT_RUN if any(isinstance(n, Loop) for n in kernel.body) else (1,) * sum(SHORT_RUN)


def stops_all(kernel: Kernel) -> bool:
    """A barrier stops all pipes of a core."""
    return any(r.op == "barrier" and r.pipe == "ALL" for r in all_rows(kernel.body))


def scheduled_with(kernel: Kernel, options: Options, notes: Sequence[str] = ()) -> Schedule:
    """``schedule`` with these options and no others; ``notes`` go in front of those of the passes.

    What is proven is emitted, too: what the tile library or the runtime cannot take is told here.
    """
    judge = Judge(options)
    made = dict(_passes(kernel, options, judge))
    done = made["credit"]
    same_values(made["persist"], done)
    described = f"lookahead {options.lookahead}, prefetch {options.prefetch}"
    described += ", rows as late as they can be" if options.rows_at == "alap" else ""
    described += ", a signal for every tile" if options.record == "next_step_each" else ""
    origin = (options.origin,) if options.origin else ()
    done = replace(done, notes=(described, *origin, *notes, *done.notes))
    proof = judge.proof(done)
    if not proof.ok:
        raise HazardError(proof)
    return Schedule(done, options, proof, emit(done))
