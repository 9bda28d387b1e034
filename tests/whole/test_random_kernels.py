"""Random kernels through the whole scheduler: proven, and the bits of the traced program, in program
order and in adversarial orders of the pipes."""

from __future__ import annotations

import random
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pto
from lowering.execute import inputs, scheduled, sequential
from lowering.execute.adversarial import Orders
from lowering.hazards.proof import HazardError
from lowering.schedule import LOAD_AT, LOOPS, MOVES, Options, options_for, schedule
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
    rng = random.Random(760)
    *_, options = [any_options(rng) for _ in range(4)]
    assert options.fifo_depth == 2 and options.lookahead == 5
    assert run_one(760, (options,), range(1), outside=True)


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
