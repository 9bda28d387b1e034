"""Random kernels through the whole scheduler: proven, and the bits of the traced program."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from random_kernels import draw

import pto
from lowering import inputs, scheduled, sequential
from lowering.schedule import Options, options_for, schedule

NARROW = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
PLANS = (
    options_for("serial"),
    options_for("prefetch"),
    options_for("repair"),
    options_for("best", lookahead=1),
    options_for("best"),
    options_for("best", lookahead=3, prefetch=2, local_depth=3),
)


def run_one(seed: int, plans: tuple[Options, ...]) -> bool:
    """False if the kernel needs more than the target has, which must be said."""
    kernel, make = draw(seed)
    arrays = make(np.random.default_rng(seed))
    arrays["pages"] = arrays["pages"].astype(NARROW[str(kernel.statics["dtype"])])
    traced = kernel.trace()
    assert pto.parse(pto.print_kernel(traced)) == traced
    want = sequential.run(traced, inputs.bind(traced, arrays))["out"]
    for options in plans:
        try:
            program = schedule(traced, options).kernel
        except pto.CapacityError:
            return False
        assert pto.parse(pto.print_kernel(program)) == program
        got = scheduled.run(program, inputs.bind(program, arrays), block_num=2)["out"]
        assert got.tobytes() == want.tobytes(), (seed, options)
    return True


def test_random_kernels() -> None:
    done = sum(run_one(seed, (PLANS[seed % len(PLANS)],)) for seed in range(60))
    assert done >= 50


@pytest.mark.sweep
@pytest.mark.parametrize("first", range(0, 600, 50))
def test_many_random_kernels(first: int) -> None:
    done = sum(run_one(seed, PLANS) for seed in range(first, first + 50))
    assert done >= 40
