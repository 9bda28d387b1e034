"""What is known of the published kernel."""

from __future__ import annotations

import pytest

from lowering.simulate import Setup, simulate
from tests.simulate.timed import (
    check_accounts,
    original,
)


@pytest.mark.parametrize(
    ("name", "wide", "blocks", "replayed"),
    [
        ("drain", False, 64, 62_115),
        ("repair", False, 64, 88_394),
        ("drain", True, 128, 173_618),
        ("repair", True, 128, 200_042),
    ],
)
def test_the_published_kernel_takes_what_another_model_says(
    name: str, wide: bool, blocks: int, replayed: int
) -> None:
    """docs/machine.md 11.4: columns prefetch (704) and repair (708)."""
    t = simulate(original(name, wide), [blocks], Setup("published"))
    assert t.makespan == pytest.approx(replayed, rel=0.10)
    check_accounts(t)


def test_the_busiest_pipe_of_the_published_kernel() -> None:
    t = simulate(original("drain"), [64], Setup("published"))
    assert t.bound_pipe == "cube MTE2" and t.bound == pytest.approx(56_884, rel=0.01)
    t = simulate(original("drain", wide=True), [128], Setup("published"))
    assert t.bound_pipe == "vector0 V"  # its rows are ours, not the published ones: no figure
