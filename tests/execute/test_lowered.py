"""What ``kernel.lower()`` gives to run: cases, schedules of one's own, orders of the pipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pto
from lowering.lowered import OrdersDiffer
from pto.errors import InputError
from pto.kernels import SHIPPED
from tests import ROOT

PAGED = SHIPPED["paged_attention"]
ORIGINAL = ROOT / "tests" / "programs" / "original"


def published(name: str) -> Any:
    """The kernel with a schedule written by hand."""
    text = (ORIGINAL / f"{name}.ptoir").read_text()
    return PAGED.lower(schedule=pto.parse(text, f"{name}.ptoir"))


def test_a_case_is_drawn_in_the_types_of_the_parameters() -> None:
    lowered = PAGED.lower()
    case = lowered.case(batch=3, context=200)
    assert case["query"].shape == (3, 16, 128) and case["query"].dtype.name == "bfloat16"
    assert np.array_equal(case["query"], lowered.case(0, batch=3, context=200)["query"])
    assert not np.array_equal(case["query"], lowered.case(1, batch=3, context=200)["query"])
    assert PAGED(**case).shape == (3, 16, 128)
    with pytest.raises(InputError, match="the case of paged_attention has no option 'contexts'"):
        lowered.case(contexts=200)


def test_a_schedule_of_ones_own_is_judged_as_it_is() -> None:
    drain, lowered = published("drain"), PAGED.lower()
    assert not drain.proof.ok and drain.proof.failing == (1,)
    assert drain.simulate(64).makespan > lowered.simulate(64).makespan
    case = lowered.case(batch=2, context=200)
    here, there = (k.run(**case, executor="numpy") for k in (lowered, drain))
    # P is rounded to bf16 by both (2^-9 relative) before it meets unit-scale V; the sum stays below this
    assert np.abs(here - there).max() < 3e-3


def test_what_is_no_schedule_of_the_kernel_is_refused() -> None:
    text = (ORIGINAL / "drain.ptoir").read_text()
    other = pto.parse(text.replace("f32[batch, 16, 128]", "f32[batch, 16, 64]"))
    cases = {
        "paged_attention is not scheduled": {"schedule": PAGED.trace()},
        "given twice": {"schedule": pto.parse(text), "lookahead": 2},
        "paged_attention and the schedule differ in parameter 'out'": {"schedule": other},
    }
    for message, given in cases.items():
        with pytest.raises(InputError, match=message):
            PAGED.lower(**given)


def test_orders_that_differ_are_told_without_a_rate() -> None:
    case = PAGED.lower().case(batch=2, context=400)
    with pytest.raises(OrdersDiffer) as caught:
        published("no_drain").run(**case, executor="adversarial", seeds=6)
    first, *rest = str(caught.value).splitlines()
    assert first.endswith(" of 6 seeds go wrong") and rest
    assert "a second" not in str(caught.value) and "--seed" not in str(caught.value)
