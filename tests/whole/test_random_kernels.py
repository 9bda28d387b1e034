"""Random kernels through the whole scheduler: proven, and the bits of the traced program, in program
order and in adversarial orders of the pipes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pto
from lowering.execute import inputs, scheduled, sequential, watched
from lowering.execute.adversarial import Orders
from lowering.execute.said import Heard, Where
from lowering.hazards.proof import HazardError
from lowering.schedule import LOAD_AT, LOOPS, MOVES, ROWS_AT, Options, options_for, schedule
from pto.ir import Row
from tests.judges.random_kernels import MASKS, WORDS, Words, draw
from tests.lenient import resting_on

NARROW = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
PLANS = (
    options_for("serial"),
    options_for("prefetch"),
    options_for("repair"),
    options_for("best", lookahead=1),
    options_for("best"),
    options_for("best", lookahead=3, prefetch=2, local_depth=3),
)


def any_options(rng: random.Random) -> Options:
    """Options that nobody would choose together, too."""
    return Options(
        lookahead=rng.randint(0, 5),
        prefetch=rng.randint(0, 3),
        load_at=rng.choice(LOAD_AT),
        moves=rng.choice(MOVES),
        record="by_hand" if rng.random() < 0.2 else "with_push",
        local_depth=rng.randint(1, 4),
        l0_depth=rng.randint(1, 2),
        fifo_depth=rng.choice([0, 0, 2, 4, 8]),
        flat=rng.random() < 0.8,
        loops=rng.choice(LOOPS),
        rows_at=rng.choice(ROWS_AT),
    )


def run_one(
    source: int | random.Random,
    plans: tuple[Options, ...],
    seeds: range,
    outside: bool = False,
    words: Words = (),
) -> bool:
    """False if the kernel needs more than the target has, or its proof more states than there may
    be; both must be said."""
    kernel, make = draw(source, outside, words)
    arrays = make(np.random.default_rng(0))
    arrays["pages"] = arrays["pages"].astype(NARROW[str(kernel.statics["dtype"])])
    traced = kernel.trace()
    assert pto.parse(pto.print_kernel(traced)) == traced
    want = bits_of(sequential.run(traced, inputs.bind(traced, arrays)))
    for options in plans:
        try:
            program = schedule(traced, options).kernel
        except pto.CapacityError:
            return False
        except HazardError as error:
            if error.proof.refused.startswith("not closed"):
                return False
            raise
        assert pto.parse(pto.print_kernel(program)) == program
        bound = inputs.bind(program, arrays)
        assert bits_of(scheduled.run(program, bound, block_num=2)) == want, options
        orders = Orders(program, bound, 2, resting_on(program))
        assert not list(orders.differences(seeds)), options
        assert bits_of(orders.outputs) == want, options
    return True


def bits_of(outputs: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: found.tobytes() for name, found in outputs.items()}


@settings(max_examples=8, derandomize=True, deadline=None, database=None)
@given(
    st.randoms(use_true_random=False), st.sampled_from(PLANS), st.integers(0, 100), st.booleans()
)
def test_random_kernels(rng: random.Random, plan: Options, seed: int, outside: bool) -> None:
    run_one(rng, (plan,), range(seed, seed + 3), outside)


@settings(max_examples=6, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 1 << 20), st.randoms(use_true_random=False), st.booleans())
def test_random_options(seed: int, rng: random.Random, outside: bool) -> None:
    run_one(seed, (any_options(rng),), range(1), outside)


@settings(max_examples=6, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 1 << 20), st.sampled_from(PLANS), st.booleans())
def test_random_words(seed: int, plan: Options, outside: bool) -> None:
    """With masks, places, functions, orders and sums of rows."""
    run_one(seed, (plan,), range(2), outside, words=WORDS)


def test_buffers_in_turns_keep_their_slots() -> None:
    """Values of several slots and of one on the same buffer, where UB is full."""
    assert run_one(288, PLANS[4:5], range(1), outside=True)


def test_a_carry_is_not_written_over_what_it_is_made_of() -> None:
    """Its chain of values runs in its own buffer, but for what the last row must not write over."""
    assert run_one(1371, PLANS[3:4], range(1), outside=True, words=MASKS)


def test_rings_of_constant_trips() -> None:
    """Two iterations an item, five steps ahead: several items fill rings of two slots."""
    options = Options(
        lookahead=5, prefetch=2, moves="late", record="with_push", l0_depth=1, fifo_depth=2,
        loops="kept",
    )  # fmt: skip
    assert run_one(760, (options,), range(1), outside=True)


class Values(Heard):
    """What is said as numbers: for each lane what comes in its order, with the work item and the iterations in front."""

    def __init__(self) -> None:
        super().__init__()
        self.of_lanes: dict[int | None, list[tuple[Any, ...]]] = {}

    def hear(self, row: Row, values: Sequence[Any], where: Where = ()) -> None:
        *numbers, tile = values
        at = dict(where)
        lane = at.pop("lane", None)
        found = self.of_lanes.setdefault(lane, [])
        found.append((*at.values(), *map(int, numbers), np.array(tile)))

    def whole(self, cols: int) -> Counter[Any]:
        """The tiles of both lanes together, in any order."""
        found = list(self.of_lanes.get(None, []))
        lanes = (self.of_lanes.get(lane, []) for lane in (0, 1))
        for (*at, upper), (*other, lower) in zip(*lanes, strict=True):
            assert at == other
            halves = [upper, lower]
            found.append((*at, np.concatenate(halves, axis=0 if upper.shape[1] == cols else 1)))
        return Counter((*at, tile.shape, tile.tobytes()) for *at, tile in found)


def say(seed: int, plan: Options, words: Words, orders: int = 2) -> bool:
    """Whether a schedule says what the kernel does as it is written, in other orders of the pipes, too."""
    kernel, make = draw(seed, bool(seed % 2), words)
    arrays = make(np.random.default_rng(0))
    arrays["pages"] = arrays["pages"].astype(NARROW[str(kernel.statics["dtype"])])
    traced = kernel.watched()
    said, heard = Values(), Values()
    watched.run(traced, inputs.bind(traced, arrays), said)
    try:
        program = schedule(traced, plan).kernel
    except pto.CapacityError:  # what is printed takes room
        return False
    except HazardError as error:
        if error.proof.refused.startswith("not closed"):
            return False
        raise
    bound, cols = inputs.bind(program, arrays), int(kernel.statics["cols"])
    scheduled.run(program, bound, block_num=2, heard=heard)
    assert heard.whole(cols) == said.whole(cols)
    assert not list(Orders(program, bound, 2, resting_on(program)).differences(range(orders)))
    return True


def test_random_kernels_that_speak() -> None:
    """Of every tile that a step makes, in loops and beside them."""
    assert all(say(seed, PLANS[seed % len(PLANS)], WORDS) for seed in (2, 7, 8))


@pytest.mark.sweep
@pytest.mark.parametrize("words", [(), WORDS], ids=["plain", "words"])
def test_many_random_kernels_that_speak(words: Words) -> None:
    assert sum(say(seed, PLANS[seed % len(PLANS)], words) for seed in range(60)) > 30


def test_two_pops_of_a_step_into_one_ring() -> None:
    assert run_one(19, PLANS[:1], range(3))


@pytest.mark.sweep
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("first", range(0, 600, 50))
def test_many_random_kernels(first: int, outside: bool) -> None:
    done = sum(run_one(seed, PLANS, range(3), outside) for seed in range(first, first + 50))
    enough = 30 if outside else 40  # more products need more flags than there are
    assert done >= enough


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_many_random_words(first: int) -> None:
    """Each under one plan, chosen by its number."""
    done = 0
    for seed in range(first, first + 100):
        outside = bool(seed % 3 == 0)
        done += run_one(seed, (PLANS[seed % len(PLANS)],), range(2), outside, words=WORDS)
    assert done >= 75


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(600, 1200, 50))
def test_many_random_options(first: int) -> None:
    done = 0
    for seed in range(first, first + 50):
        rng = random.Random(seed)
        done += sum(run_one(seed, (any_options(rng),), range(2), bool(k % 2)) for k in range(4))
    assert done >= 150
