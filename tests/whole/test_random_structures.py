"""Random structures, loops and choices in each other: proven, and the bits of the traced program."""

from __future__ import annotations

import pytest

import pto
from lowering import native
from lowering.execute import inputs, scheduled, sequential
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule
from pto.ir import Kernel
from tests.judges.random_structures import draw


def program_of(traced: Kernel) -> Kernel | None:
    """None if it needs more than the target has, or its proof more states than there may be; both must be said."""
    try:
        return schedule(traced, options_for("best")).kernel
    except pto.CapacityError:
        return None
    except HazardError as error:
        if error.proof.refused.startswith("not closed"):
            return None
        raise


def is_right(
    seed: int, depth: int, products: bool, stores: bool = False, compiled: bool = False
) -> bool:
    """False if there is no program; ``compiled``: emitted and run on the asynchronous machine, too, where there are no
    products, whose last bits may differ."""
    kernel, arrays = draw(seed, depth, products, stores)
    traced = kernel.trace()
    program = program_of(traced)
    if program is None:
        return False
    want = sequential.run(traced, inputs.bind(traced, arrays))
    found = [scheduled.run(program, inputs.bind(program, arrays), block_num=2)]
    if compiled:
        ran = native.run(program, inputs.bind(program, arrays), seeds=range(3))
        assert not ran.reports and not ran.differences
        found.append(ran.outputs)
    for got in found:
        assert {n: a.tobytes() for n, a in got.items()} == {n: a.tobytes() for n, a in want.items()}
    return True


@pytest.mark.parametrize("seed", [3, 20, 24, 46, 51])
def test_some_structures(seed: int) -> None:
    assert is_right(seed, 3, products=False)


@pytest.mark.parametrize("seed", range(12))
def test_some_stores_under_tests(seed: int) -> None:
    """Tiles stored by choices side by side, and by choices in choices, of every kind of test."""
    assert is_right(seed, 2, products=False, stores=True, compiled=seed == 8)


def test_choices_with_products_are_left_out_as_a_whole() -> None:
    """Side by side and in each other: as rows they would lose what a choice around them starts from."""
    assert is_right(192, 2, products=True, stores=True)


@pytest.mark.sweep
@pytest.mark.parametrize("products", [False, True], ids=["vector", "both cores"])
@pytest.mark.parametrize("first", range(0, 300, 50))
def test_many_stores_under_tests(first: int, products: bool) -> None:
    done = 0
    for seed in range(first, first + 50):
        compiled = seed % 10 == 0 and not products
        done += is_right(seed, 2, products, stores=True, compiled=compiled)
    assert done >= 35


@pytest.mark.sweep
@pytest.mark.parametrize("products", [False, True], ids=["vector", "both cores"])
@pytest.mark.parametrize("first", range(0, 300, 50))
def test_many_structures(first: int, products: bool) -> None:
    done = sum(is_right(seed, 3, products) for seed in range(first, first + 50))
    assert done >= 35
