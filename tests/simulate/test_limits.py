"""How far from the best possible: the steady state, and the roof."""

from __future__ import annotations

import pytest

from lowering.schedule import schedule
from lowering.simulate import Setup, simulate
from lowering.simulate.limits import once, roof, steady
from pto.ir import Ref
from pto.kernels import SHIPPED
from pto.targets import GM
from tests.schedule.forms import FORMS

FLAT = Setup("flat", 0)


def test_a_serial_schedule_is_far_from_its_busiest_pipe() -> None:
    kernel = schedule(SHIPPED["paged_attention"].trace(), "serial").kernel
    assert steady(simulate(kernel, (16,), FLAT)).over > 1


def test_the_roof_counts_each_region_once() -> None:
    """A block of a matrix product loads what it multiplies; its bias comes once for each column of tiles."""
    kernel = schedule(SHIPPED["gemm"].trace()).kernel
    timing = simulate(kernel, (4, 4), FLAT)
    loads = [r for r in once(timing) if r.pipe == "MTE2" and r.core == "cube"]
    assert len(loads) == 2 * 4 + 2 * 4
    rate = timing.costs.transfer[GM, "l1"][1]
    bytes_ = sum(kernel.buffer(r.result(Ref).name).type.size_bytes for r in loads)
    assert roof(timing)["cube MTE2"] == pytest.approx(rate * bytes_, rel=0.01)


def test_what_is_loaded_again_does_not_raise_the_roof() -> None:
    """Two loops over the same row, which lies in no memory: the second time is not compulsory."""
    timing = simulate(FORMS["two loops"].made.kernel, (8,), FLAT)
    assert roof(timing)["vector0 MTE2"] < 0.6 * timing.pipes["vector0 MTE2"].busy
