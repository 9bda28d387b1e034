"""A verdict names the readings of the machine under which it holds too, and those under which it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.hazards import check, on_ladder
from lowering.hazards.assumptions import ORDERED_SIGNALS, READINGS
from lowering.schedule import RECORD, options_for, schedule
from lowering.schedule.options import DRAINED
from pto.ir import Kernel
from pto.kernels import SHIPPED
from tests.judges import random_programs
from tests.judges.small_programs import small

WEAKER = [r.name for r in READINGS.values() if r.weaker]


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_each_reading_stands_where_its_own_proof_puts_it(name: str) -> None:
    kernel = schedule(SHIPPED[name].trace(), options_for("best", lookahead=2)).kernel
    proof = on_ladder(kernel, check(kernel))
    assert proof.ok and set(WEAKER) <= set(proof.also)
    assert sorted((*proof.also, *proof.not_under)) == sorted(READINGS)
    for reading in READINGS:
        assert check(kernel, assume=[reading]).ok == (reading in proof.also)
    first, *lines = proof.told.splitlines()
    assert first == proof.message
    assert lines == [
        f"  also under: {', '.join(proof.also)}",
        f"  not under: {', '.join(proof.not_under)}",
    ]


@pytest.mark.parametrize("record", RECORD)
def test_a_schedule_says_what_it_rests_on(record: str) -> None:
    """A push that tells by itself rests on the order of its pipe; without that its data may be read early."""
    done = schedule(
        SHIPPED["paged_attention"].trace(), options_for("best", record=record, lookahead=1)
    )
    drained = record in DRAINED
    assert done.proof.ok and done.proof.assume == (() if drained else (ORDERED_SIGNALS,))
    assert done.proof.message.endswith("explored)" if drained else ", assuming ordered-signals")
    strict = check(done.kernel)
    assert strict.ok == drained
    found = on_ladder(done.kernel, strict)
    if not drained:
        assert found.also == (ORDERED_SIGNALS,)
        assert found.told.splitlines()[1] == "  holds under: ordered-signals"
        assert {v.kind for v in found.violations} == {"RAW"}
        assert all(v.missing.startswith("drain ") for v in found.violations)


def test_what_is_proven_holds_under_the_weaker_readings() -> None:
    proven = [k for k in map(program, range(150)) if check(k).ok]
    assert len(proven) > 20
    for k in proven:
        assert all(check(k, assume=[reading]).ok for reading in WEAKER)


def program(seed: int) -> Kernel:
    return random_programs.draw(seed)[0]


OVER = "vector 0 MTE2 a = load src[0:+8, :]\n"


@pytest.mark.parametrize("between", ["", "vector 0 MTE2 barrier\n"])
def test_copies_over_each_other(between: str) -> None:
    """Two of one pipe may be in flight at once, unless its barrier is between or it completes in order."""
    k = small("", OVER + between + OVER)
    assert check(k).ok == bool(between)
    assert check(k, assume=["ordered-copies"]).ok
    if not between:
        assert on_ladder(k, check(k)).also == ("ordered-copies",)


def test_copies_in_order_are_those_of_one_pipe() -> None:
    k = small("", OVER + "vector 0 V a = full 0.0\n")
    assert not check(k, assume=["ordered-copies"]).ok


def test_nothing_is_asked_of_what_was_refused() -> None:
    kernel = schedule(SHIPPED["paged_attention"].trace(), options_for("best", lookahead=2)).kernel
    refused = check(kernel, max_states=1)
    assert refused.refused and on_ladder(kernel, refused) is refused
    assert replace(refused, also=()).told == refused.message
