"""Random structures, loops and choices in each other: proven, and the bits of the traced program."""

from __future__ import annotations

import pytest

import pto
from lowering.execute import inputs, scheduled, sequential
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule
from tests.judges.random_structures import draw


def is_right(seed: int, depth: int, products: bool) -> bool:
    """False if it needs more than the target has, or its proof more states than there may be; both must be said."""
    kernel, arrays = draw(seed, depth, products)
    traced = kernel.trace()
    try:
        program = schedule(traced, options_for("best")).kernel
    except pto.CapacityError:
        return False
    except HazardError as error:
        if error.proof.refused.startswith("not closed"):
            return False
        raise
    want = sequential.run(traced, inputs.bind(traced, arrays))
    got = scheduled.run(program, inputs.bind(program, arrays), block_num=2)
    assert {n: a.tobytes() for n, a in got.items()} == {n: a.tobytes() for n, a in want.items()}
    return True


@pytest.mark.parametrize("seed", [3, 20, 24, 46, 51])
def test_some_structures(seed: int) -> None:
    assert is_right(seed, 3, products=False)


@pytest.mark.sweep
@pytest.mark.parametrize("products", [False, True], ids=["vector", "both cores"])
@pytest.mark.parametrize("first", range(0, 300, 50))
def test_many_structures(first: int, products: bool) -> None:
    done = sum(is_right(seed, 3, products) for seed in range(first, first + 50))
    assert done >= 35
