"""The independent judge of a schedule: no race and no deadlock, for every trip count.

In: a scheduled ``Kernel`` (made by the scheduler or parsed from text).  Out: a ``Proof``: ok, or the
violations with both accesses, the bytes, the smallest failing trip counts and the missing edge, or
a refusal with its reason.  Shares no code with the scheduler; the rules are docs/machine.md 9, and why
they are decided for every trip count and every interleaving stands in docs/proof.md.
Invariant: merging raises no false alarm, since a violation is replayed with the concrete decisions that
led to it (``lowering/hazards/failure.py``).  Non-goals: numbers, speed, and whether a slot holds the
*intended* iteration (the executors check that).

What tells of a failure is imported when there is one: most proofs succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lowering.hazards.assumptions import READINGS, readings
from lowering.hazards.code import Code
from lowering.hazards.compiler import compiled
from lowering.hazards.concrete import fails, fewest_slots, logged, smallest
from lowering.hazards.conditional import doubts
from lowering.hazards.exploration import Exploration, Path
from lowering.hazards.instructions import Refused
from lowering.hazards.log import HAZARD_LIMIT, Log
from lowering.hazards.places import Fault
from lowering.hazards.proof import Proof
from lowering.hazards.trips import Trips
from lowering.hazards.uncoupled import uncouple
from pto.errors import PtoError
from pto.ir import Kernel
from pto.legality import verify
from pto.ops import SCHEDULED
from pto.printer import given
from pto.row_rules import check_rows

if TYPE_CHECKING:
    import random

MAX_STATES = 4000
"""Normal forms after which ``check`` refuses instead of going on."""

TURNS, SMALLER = (256, 1024), 4
"""Normal forms of more runs than a kernel has up to which these are explored before its own get their turn, and how
many fewer those are."""

WHOLE_LIMIT = 1 << 14
"""Steps that a constant loop is run for, where it fails as one of several trip counts that look alike."""


def check(
    kernel: Kernel,
    max_states: int = MAX_STATES,
    assume: Iterable[str] = (),
    order: random.Random | None = None,
) -> Proof:
    """Decides ``kernel`` for every trip count, sequence of work items, branch and interleaving.

    ``assume``: other readings of the machine, by name (``lowering/hazards/assumptions.py``).
    ``order``: explores in a random order; the verdict must be the same, the states need not.

    Raises:
        InputError: for a reading that does not exist.
    """
    assumed = readings(assume)
    try:
        code = _code(kernel, assumed)
        if code.faults:
            from lowering.hazards.report import faulty

            return faulty(code)
        doubt = doubts(code)
        explored, path = _searched(code, max_states, order)
        if path is None:
            return _refused(kernel, Refused(doubt)) if doubt else _proven(explored)
        from lowering.hazards.failure import failed

        return failed(explored, path, lambda: _code(kernel, assumed, by_position=False))
    except Refused as reason:
        return _refused(kernel, reason)


def _searched(
    code: Code, max_states: int, order: random.Random | None = None
) -> tuple[Exploration, Path | None]:
    """The exploration that settles it, and the way to a hazard, or None; where constant loops fail, of these
    as long as they are.

    Raises:
        Refused: when there are too many states.
    """
    explored = _settling(code, max_states, order)
    path = explored.search()
    if path is None or not 0 < _constant_rounds(explored.code) <= WHOLE_LIMIT:
        return explored, path
    whole = _code(code.kernel, code.assume, whole=True)
    explored = Exploration(whole, max_states, order)
    return explored, explored.search()


def _settling(code: Code, max_states: int, order: random.Random | None) -> Exploration:
    """The exploration that will settle it: one of more runs than the kernel has, if these are right, else one
    of all that it has.

    What goes wrong often does so soon, while the search of more runs goes on for long before it meets that; so
    the two take turns, the other one by smaller steps.
    """
    kernel, assumed = code.kernel, code.assume
    if not uncouple(code):
        return Exploration(code, max_states, order)
    more, exact = Exploration(code, max_states, order), None
    with suppress(Refused):  # only ``more`` comes so far
        for states in TURNS:
            if more.search(states) is None and more.settled:
                return more
            if exact is None:
                exact = Exploration(_code(kernel, assumed), max_states, order)
            if more.settled:
                break
            exact.search(states // SMALLER)
            if exact.settled:
                return exact
        if more.search() is None:
            return more
    return exact or Exploration(_code(kernel, assumed), max_states, order)


def _proven(explored: Exploration) -> Proof:
    code = explored.code
    loops = "every trip count" if code.loops else "its only run"
    states = "1 state" if explored.states == 1 else f"{explored.states} states"
    what = f"proven for {loops} and every interleaving ({states} explored)"
    assumed = tuple(name for name in READINGS if name in code.assume)
    under = f", assuming {', '.join(assumed)}" if assumed else ""
    stated = [" ".join((name, *facts)) for name, facts in given(code.kernel.params).items()]
    under += f", given {', '.join(stated)}" if stated else ""
    message = f"{code.kernel.name}: {what}{under}"
    found = Proof(True, (), explored.states, explored.longest, message=message)
    return replace(found, assume=assumed)


def on_ladder(kernel: Kernel, proof: Proof) -> Proof:
    """``proof`` of ``kernel`` with the other readings of the machine that it holds under too.

    Where it is proven the weaker ones hold, and each of the stricter ones is tried; where it is not,
    each of the weaker ones.
    """
    if proof.refused:
        return proof
    others = [r for r in READINGS.values() if r.name not in proof.assume]
    implied = [r.name for r in others if r.weaker and proof.ok]
    tried = [r.name for r in others if r.weaker != proof.ok]
    under = [*implied, *(n for n in tried if holds(kernel, (*proof.assume, n)))]
    also = tuple(r.name for r in others if r.name in under)
    return replace(proof, also=also, not_under=tuple(n for n in tried if n not in under))


def holds(kernel: Kernel, assume: Iterable[str] = ()) -> bool:
    """Whether ``check`` proves ``kernel``, without telling what goes wrong where it does not."""
    try:
        code = _code(kernel, readings(assume))
        sound = not code.faults and not doubts(code)
        return sound and _searched(code, MAX_STATES)[1] is None
    except Refused:
        return False


def _refused(kernel: Kernel, reason: Refused) -> Proof:
    return Proof(False, refused=str(reason), message=f"{kernel.name}: refused: {reason}")


def _constant_rounds(code: Code) -> int:
    """How often the longest of the constant loops runs that were decided as if their trip counts
    were not known; 0 without such loops."""
    return max((x.rounds for x in code.loops if x.long), default=0)


def check_unrolled(
    kernel: Kernel,
    trips: Sequence[Trips],
    assume: Iterable[str] = (),
    limit: int = HAZARD_LIMIT,
) -> Proof:
    """Executes ``kernel`` for these trip counts only, one entry per work item: no normal forms, no
    merging.  A kernel without a loop over work items takes the first entry.  A test that is not
    given holds.  A count below what the shapes guarantee is raised to it.  At most ``limit``
    hazards are looked for.

    Raises:
        InputError: for a reading that does not exist.
    """
    from lowering.hazards.report import described, faulty

    try:
        code = _code(kernel, readings(assume), by_position=False)
    except Refused as reason:
        return _refused(kernel, reason)
    if code.faults:
        return faulty(code)
    log = logged(code, trips, limit) if fails(code, trips) else Log()
    violations, more = described(code, log, ()), len(log.found) >= limit
    counts = [t for t in trips if isinstance(t, int)]
    message = f"{kernel.name}: {'failed' if violations else 'no hazard'} for trips {list(trips)}"
    longest = max(counts, default=0)
    return Proof(not violations, violations, 0, longest, message=message, more=more)


def slots_needed(
    kernel: Kernel, trips: Sequence[Trips], assume: Iterable[str] = ()
) -> dict[str, int] | None:
    """Of every FIFO without free signals the fewest slots with which the run of ``check_unrolled`` has no hazard;
    None if it has one with those that the FIFOs have, or is refused.  The kernel is known to be legal.

    Raises:
        InputError: for a reading that does not exist.
    """
    with suppress(Refused):
        code = compiled(kernel, readings(assume), by_position=False)
        return None if code.faults else fewest_slots(code, trips)
    return None


def smallest_failing(
    kernel: Kernel, limit: int = 12, assume: Iterable[str] = ()
) -> tuple[int, ...] | None:
    """The smallest trip counts up to ``limit``, one per work item, that fail; None if none does.

    One item before two, two before three; among as many items the smallest sum first.
    """
    try:
        code = _code(kernel, readings(assume))
    except Refused:
        return None
    return smallest(code, limit) if not code.faults else ()


def _code(
    kernel: Kernel,
    assume: frozenset[str] = frozenset(),
    by_position: bool = True,
    whole: bool = False,
) -> Code:
    """The compiled kernel; a program that is not legal has a fault that says so, and one with a row
    that does not fit its op has no code but that.

    ``by_position``: stages may not know which item they are in, which a report needs to.
    """
    malformed = _illegal(lambda: check_rows(kernel))
    wellformed = replace(kernel, body=()) if malformed else kernel
    code = compiled(wellformed, assume, by_position, whole)
    if not code.faults:
        code.faults += malformed or _illegal(lambda: verify(kernel, SCHEDULED))
    return code


def _illegal(check: Callable[[], object]) -> list[Fault]:
    """What is not legal, as a fault."""
    try:
        check()
    except PtoError as illegal:
        where = f" (at {illegal.loc})" if illegal.loc else ""
        return [Fault("illegal", f"{illegal.message}{where}")]
    return []
