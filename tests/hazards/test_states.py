"""How many states a proof takes: by rows, loops and lookahead."""

from __future__ import annotations

import time

import pytest

from lowering.hazards import check
from lowering.schedule import options_for, schedule
from pto import ir
from pto.kernels import SHIPPED
from tests.schedule.forms import FORMS

WIDE = dict(heads=64, q_tile=64, block=64)


def proven(kernel: ir.Kernel, ahead: int | None = None) -> tuple[int, int, int, float]:
    """Rows, loops, states and seconds of the proof of a schedule."""
    made = schedule(kernel, options_for(lookahead=ahead)).kernel
    start = time.perf_counter()
    proof = check(made)
    seconds = time.perf_counter() - start
    assert proof.ok
    rows, loops = list(ir.all_rows(made.body)), list(ir.loops_of(made.body))
    return len(rows), len(loops), proof.states, seconds


def test_states_grow_with_the_lookahead_and_not_as_two_to_its_power() -> None:
    """Each step of lookahead adds about as many as the one before."""
    kernel = SHIPPED["paged_attention"].trace(**WIDE)
    states = [proven(kernel, ahead)[2] for ahead in (2, 4, 6)]
    assert states == sorted(states) and states[2] - states[1] < 2 * (states[1] - states[0])


@pytest.mark.sweep
def test_the_table_of_states() -> None:
    one = SHIPPED["paged_attention"].trace(**WIDE)
    cases: dict[str, tuple[ir.Kernel, int | None]] = {
        **{f"paged attention, lookahead {n}": (one, n) for n in range(1, 9)},
        **{
            name: (FORMS[name].trace(), None)
            for name in (
                "decode, two pages of 64",
                "decode, four pages of 64",
                "latent, by one loop",
                "two loops of both cores",
                "three loops of both cores",
                "four loops of both cores",
            )
        },
    }
    print(f"\n{'':36}{'rows':>8}{'loops':>8}{'states':>8}{'seconds':>9}")
    for name, (kernel, ahead) in cases.items():
        rows, loops, states, seconds = proven(kernel, ahead)
        print(f"{name:36}{rows:>8}{loops:>8}{states:>8}{seconds:>9.2f}")
