"""The exploration against itself in other orders, and against plain runs.

Which states the proof merges depends on the order in which it meets them; a merge that is wrong
hides a hazard in one order and not in another.  ``make test`` takes some programs, the
sweep thousands, and prints what they were.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from lowering.hazards.assumptions import READINGS, readings
from lowering.hazards.compiler import compiled
from lowering.hazards.exploration import Exploration
from lowering.hazards.instructions import Refused
from lowering.hazards.uncoupled import uncouple
from pto.ir import Kernel
from tests.judges import random_programs, random_stages
from tests.judges.agreement import first_failing
from tests.lenient import check, resting_on

MAX_STATES = 600


def runs(most_items: int, most_steps: int) -> list[tuple[int, ...]]:
    """Trip counts of a few short work items, all that there are."""
    counts = range(most_steps + 1)
    found = (r for n in range(1, most_items + 1) for r in itertools.product(counts, repeat=n))
    return [r for r in found if sum(r) <= most_steps]


SHORT = runs(3, 7)


def stages(seed: int) -> Kernel:
    return random_stages.draw(seed)


def written(seed: int) -> Kernel:
    return random_stages.draw_written(seed)


def programs(seed: int) -> Kernel:
    return random_programs.draw(seed)[0]


def compared(draw: Callable[[int], Kernel], orders: int, plain: bool, seed: int) -> Counter[str]:
    """Verdicts on one program; 'DISAGREE' must not come.

    Every third program is judged under another reading of the machine.  ``plain``: a proven program
    is also run with every few short items.
    """
    k, found = draw(seed), Counter[str]()
    reading = () if seed % 3 else (list(READINGS)[seed // 3 % len(READINGS)],)
    assume = (*reading, *resting_on(k))
    proof = check(k, max_states=MAX_STATES, assume=assume)
    if proof.refused:
        return Counter(refused=1)
    long = proof.failing is not None and sum(proof.failing) > 1
    found["proven" if proof.ok else "fails only for long runs" if long else "fails"] = 1
    for order in range(orders):
        other = check(k, max_states=4 * MAX_STATES, assume=assume, order=random.Random(order))
        if other.ok != proof.ok and not other.refused:
            found["DISAGREE"] += 1
            print(
                f"{draw.__name__}({seed}) {assume}: {proof.message}, in order {order}: {other.message}"
            )
    found += alone(k, assume, proof.ok)
    run = first_failing(k, SHORT, assume) if plain and proof.ok else None
    if run is not None:
        found["DISAGREE"] += 1
        print(f"{draw.__name__}({seed}) {assume}: proven, and fails for {run}")
    return found


def alone(k: Kernel, assume: Sequence[str], ok: bool) -> Counter[str]:
    """The same without stages that decide for themselves, which only ever have more hazards."""
    code = compiled(k, readings(assume))
    if code.faults or not uncouple(code):
        return Counter()
    try:
        exact = Exploration(compiled(k, readings(assume)), 4 * MAX_STATES).search() is None
        more = Exploration(code, 4 * MAX_STATES).search() is None
    except Refused:
        return Counter({"uncoupled: refused": 1})
    wrong = exact != ok or more > exact
    return Counter({"DISAGREE": wrong, "uncoupled: proven" if more else "uncoupled: not": 1})


def table(judge: Callable[[int], Counter[str]], seeds: range, workers: int = 1) -> Counter[str]:
    """All programs of ``seeds``, printed by verdict."""
    total: Counter[str] = Counter()
    if workers == 1:
        for seed in seeds:
            total += judge(seed)
    else:
        with ProcessPoolExecutor(workers) as pool:
            for found in pool.map(judge, seeds, chunksize=50):
                total += found
    print("\nthe proof in other orders")
    for kind, count in total.most_common():
        print(f"  {count:>9}  {kind}")
    return total


@pytest.mark.parametrize(("draw", "count"), [(stages, 18), (programs, 60)])
def test_every_order_of_exploration_has_one_verdict(
    draw: Callable[[int], Kernel], count: int
) -> None:
    found = table(partial(compared, draw, 2, draw is stages), range(count))
    assert not found["DISAGREE"]
    assert found["proven"] > count // 6


@pytest.mark.sweep
@pytest.mark.parametrize(("draw", "count"), [(stages, 10_000), (written, 2_000), (programs, 3_000)])
def test_every_order_of_exploration_has_one_verdict_for_thousands(
    draw: Callable[[int], Kernel], count: int
) -> None:
    found = table(partial(compared, draw, 4, draw is not programs), range(count), workers=2)
    assert not found["DISAGREE"]
    assert found["refused"] < count // 20
    assert draw is not stages or found["fails only for long runs"] > count // 10
