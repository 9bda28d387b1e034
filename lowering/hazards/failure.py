"""From decisions that lead to a hazard to a proof that shows it by the smallest run that has it.

*No false alarm from merging.*  The decisions are replayed as concrete trip counts, which are made
smaller as long as they fail.  Only if no run with such trip counts fails is the violation told of the
decisions themselves, with that reservation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lowering.hazards.code import Code
from lowering.hazards.concrete import fails, logged, shrunk, smallest
from lowering.hazards.exploration import Exploration, Path
from lowering.hazards.happens_before import Hit
from lowering.hazards.log import Log
from lowering.hazards.proof import Proof, verdict
from lowering.hazards.report import described
from lowering.hazards.run import Run
from lowering.hazards.state import State
from lowering.hazards.trips import Replay, Trips, items_loop


def failed(explored: Exploration, path: Path, by_item: Callable[[], Code]) -> Proof:
    """The proof that ends in a hazard.  ``by_item``: the code whose stages all know their item, which
    a report needs."""
    code, states, longest = explored.code, explored.states, explored.longest
    trips, log = _replayed(code, path)
    failing = _small_run(code, trips)
    shown = by_item()
    confirmed = logged(shown, failing)
    if not confirmed.found:
        violations = described(code, log, ())
        message = f"{code.kernel.name}: failed, if these decisions can go together: {trips}"
        return Proof(False, violations, states, longest, None, "", message)
    run = tuple(t if isinstance(t, int) else max(t.values(), default=0) for t in failing)
    violations = described(shown, confirmed, run)
    message = f"{code.kernel.name}: {verdict(violations)}{_when(code, failing)}"
    exact = run if fails(code, run) else None
    more = len(confirmed.found) >= confirmed.limit
    return Proof(False, violations, states, longest, exact, "", message, more)


def _small_run(code: Code, trips: Sequence[dict[str, int]]) -> tuple[Trips, ...]:
    """The smallest run of one work item that fails, or a small one like ``trips``."""
    counts = [max(t.values(), default=0) for t in trips]
    highest = sum(counts) if code.flat else max(counts, default=0)
    found = smallest(code, max(highest, 2), 1)
    return found if found is not None else shrunk(code, trips)


def _when(code: Code, failing: Sequence[Trips]) -> str:
    """Which runs of the kernel fail, as far as it is known."""
    if any(x.constant is None for x in code.loops):
        return f"; smallest failing trip counts, one per work item: {_short(failing)}"
    shown = "".join(
        f"; shown with {code.shown(x)} instead of {x.constant} steps of {x.node.index}"
        for x in code.loops
        if x.long
    )
    return ("" if code.tests else ", in every run of it") + shown


def _short(trips: Sequence[Trips]) -> list[object]:
    """Work items with a single count as that count."""
    return [
        next(iter(t.values()), 0) if not isinstance(t, int) and len(t) < 2 else t for t in trips
    ]


def _replayed(code: Code, path: Path) -> tuple[list[dict[str, int]], Log]:
    """The same decisions with a log; per work item the trip counts and tests by name."""
    log, state = Log(), State(code)
    run, replay = Run(code, state, log), Replay(code, items_loop(code))
    try:
        for choice in path:
            need = run.advance()
            if need is None:
                break
            need.note(replay, state, choice)
            need.decide(code, state, choice)
        run.advance()
    except Hit:
        pass
    return replay.trips(state), log
