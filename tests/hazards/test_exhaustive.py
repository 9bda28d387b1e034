"""The checker against every interleaving: random programs, the known mistakes, single rules.

``make test`` takes 300 random programs, ``make sweep`` 10,000 and prints what they were.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest

from lowering.execute import inputs
from lowering.execute.instructions import Blocks
from pto.errors import PtoError
from pto.ir import Kernel
from tests.judges.exhaustive import TooLarge, Verdict, explore, one_lane
from tests.judges.random_programs import arguments, draw, runs
from tests.judges.small_programs import HEADER, loop, small
from tests.judges.sync_bugs import PATTERNS, Pattern
from tests.lenient import check, check_unrolled, resting_on

NOT_ABOUT_ORDER = {
    "overwritten", "uninitialised", "id", "capacity", "place", "fifo", "overlap", "event", "tensor",
    "illegal", "alignment", "index", "pipe",
}  # fmt: skip
"""What the checker finds and no order of the pipes can show."""

TRIPS = range(5)
MAX_STATES = 20_000


def every_order(k: Kernel, trips: int, lanes: int = 1, most: int = MAX_STATES) -> Verdict:
    """All orders of the first block of a random program."""
    program = next(iter(Blocks(k, arguments(k, trips), 1)))
    return explore(program if lanes > 1 else one_lane(program), most, resting_on(k))


def compared(seed: int, together: bool = False) -> Counter[str]:
    """Verdicts of checker and enumeration on one random program; 'DISAGREE' must not come."""
    k, what = draw(seed, together)
    proof, found = check(k), Counter[str]()
    found["programs"] = 1
    found["proven for all trip counts"] = int(proof.ok)
    for trips in TRIPS:
        plain = check_unrolled(k, runs(k, trips))
        try:
            orders = every_order(k, trips)
        except TooLarge:
            found["too large"] += 1
            continue
        except PtoError:  # an access outside a tensor: nothing to interleave
            found["cannot run"] += 1
            assert not plain.ok, f"{seed} {what}"
            continue
        found["states"] += orders.states
        kinds = {v.kind for v in plain.violations}
        if proof.ok and not orders.ok:
            found["DISAGREE"] += 1
            print(f"{seed} ({what}) is proven, but for {trips}: {orders}")
        elif plain.ok == orders.ok:
            found[f"agree: {orders.kind or 'right'}"] += 1
        elif orders.ok and (kinds <= NOT_ABOUT_ORDER or plain.refused):
            found["not about order"] += 1
        else:
            found["DISAGREE"] += 1
            print(f"{seed} ({what}) for {trips}: {plain.report()} against {orders}")
    return found


def table(seeds: range, workers: int, together: bool = False) -> Counter[str]:
    """All random programs of ``seeds``, printed by verdict."""
    total: Counter[str] = Counter()
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            for found in pool.map(partial(compared, together=together), seeds, chunksize=100):
                total += found
    else:
        for seed in seeds:
            total += compared(seed, together)
    print(f"\nchecker against all interleavings, {len(TRIPS)} trip counts each")
    for kind, count in total.most_common():
        print(f"  {count:>9}  {kind}")
    return total


def test_checker_agrees_on_random_programs() -> None:
    found = table(range(60), 1)
    assert not found["DISAGREE"]
    assert found["agree: right"] > 60 and found["agree: race"] > 24
    assert found["proven for all trip counts"] > 12


@pytest.mark.sweep
def test_checker_agrees_on_ten_thousand_random_programs() -> None:
    found = table(range(10_000), 2)
    assert not found["DISAGREE"] and found["programs"] == 10_000
    assert found["too large"] < found["programs"] // 100


def test_checker_agrees_where_one_signal_tells_of_several_tiles() -> None:
    found = table(range(40), 1, together=True)
    assert not found["DISAGREE"]
    assert found["agree: right"] > 10 and found["agree: race"] > 10 and found["agree: early"] > 0


@pytest.mark.sweep
def test_checker_agrees_on_three_thousand_such_programs() -> None:
    found = table(range(3_000), 2, together=True)
    assert not found["DISAGREE"] and found["programs"] == 3_000


@pytest.mark.parametrize(
    "start", [0, *(pytest.param(n, marks=pytest.mark.sweep) for n in (12, 24))]
)
def test_one_lane_stands_for_both(start: int) -> None:
    """The lanes run the same rows on their own halves: with both, nothing else goes wrong."""
    for seed in range(start, start + 12):
        k, what = draw(seed)
        for trips in (1, 2):
            try:
                one, both = (every_order(k, trips, lanes, 5_000) for lanes in (1, 2))
            except (TooLarge, PtoError):
                continue
            assert one.ok == both.ok, f"{seed} ({what}): {one} {both}"


def bound(k: Kernel, trips: int) -> inputs.Bound:
    """A program under ``HEADER`` with ``n`` = ``k`` = trips, and the branch taken."""
    src = np.ones((64, 64), np.float32)
    return inputs.bind(k, {"src": src, "n": trips, "k": trips, "go": 1})


def orders_of(k: Kernel, trips: int) -> Verdict:
    return explore(one_lane(next(iter(Blocks(k, bound(k, trips), 1)))), assume=resting_on(k))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_known_mistakes_go_wrong_in_some_order(pattern: Pattern) -> None:
    if pattern.kind and pattern.kind not in NOT_ABOUT_ORDER:
        wrong = [orders_of(pattern.wrong, trips) for trips in range(5)]
        assert any(not v.ok for v in wrong)
    assert all(orders_of(pattern.right, trips).ok for trips in range(4))


RULES = [
    ("race", "", "vector 0 V a = full 0.0\nvector 0 V c = copy a\n"),
    ("race", "", "vector 0 V a = full 0.0\nvector 0 V a = full 1.0\n"),
    ("", "", "vector 0 V a = full 0.0\nvector 0 V barrier\nvector 0 V c = copy a\nvector 0 V a = full 1.0\n"),
    ("double set", "event vector g V -> MTE2 id 3\n",
     "vector 0 V sync | set g\nvector 0 MTE2 sync | wait g\nvector 0 V sync | set g\nvector 0 MTE2 sync | wait g\n"),
    ("leftover", "event vector g V -> MTE2 id 3\n", "vector 0 V sync | set g\n"),
    ("wait", "event vector g V -> MTE2 id 3\n", "vector 0 MTE2 sync | wait g\nvector 0 V sync | set g\n"),
    ("undrained", "event vector g V -> MTE3 id 0\n", "vector 0 V a = full 0.0 | set g\n"
     "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a | wait g\n"),
    ("", "event vector g V -> MTE3 id 0\n", "vector 0 V a = full 0.0 | set g\n"
     "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a | wait g\nvector 0 S drain MTE3\n"),
    ("", "event vector g V -> S id 3\nevent vector h S -> MTE2 id 3\n",
     "vector 0 V a = full 0.0 | set g\nvector 0 S sync | wait g | set h\n"
     "vector 0 MTE2 a = load src[0:+8, :] | wait h\n"),
    ("", "", "vector 0 V a = full 0.0\nvector 0 ALL barrier\nvector 0 MTE2 a = load src[0:+8, :]\n"),
    ("race", "", "vector 0 V a = full 0.0\nvector 0 V barrier\nvector 0 MTE2 a = load src[0:+8, :]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "declarations", "body"), RULES)
def test_each_rule(kind: str, declarations: str, body: str) -> None:
    k = small(declarations, body)
    assert orders_of(k, 1).kind == kind
    assert check(k).ok == (not kind)


def test_the_states_of_independent_rows_are_their_combinations() -> None:
    """Two loads and a fill that do not meet: each is in flight or done."""
    k = small(
        "",
        "vector 0 MTE2 a = load src[0:+8, :]\nvector 0 V c = full 0.0\nvector 0 MTE2 d = load src[0:+8, :]\n",
    )
    assert orders_of(k, 1) == Verdict("", "", 8)


def test_a_race_names_both_rows() -> None:
    k = small("", loop("vector 0 V a = full 0.0\n", index="i"))
    message = orders_of(k, 2).message
    assert "vector lane 0 V: a = full 0.0   (i = 0)\n  may still run when this starts" in message
    assert "(i = 1)" in message and HEADER
