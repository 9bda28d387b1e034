"""What the proof finds: the fifteen known mistakes and every rule, by its smallest program."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.hazards.compiler import compiled
from lowering.hazards.proof import HazardError
from pto.errors import PtoError
from pto.text import parse
from tests import HANDWRITTEN
from tests.hazards.refuted import STEP_A, refuted
from tests.judges.small_programs import (
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    LOAD_B,
    OPERANDS,
    PRODUCE,
    USE_B,
    loop,
    small,
)
from tests.judges.sync_bugs import PATTERNS, Pattern
from tests.lenient import check, check_unrolled


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_known_mistake(pattern: Pattern) -> None:
    proof = check(pattern.wrong)
    kinds = [v.kind for v in proof.violations]
    assert pattern.kind in kinds if pattern.kind else proof.ok, proof.report()
    right = check(pattern.right)
    assert right.ok, right.report()
    for trips in ([0], [1], [2], [3], [4], [5], [10], [11]):
        assert check_unrolled(pattern.right, trips).ok


def test_a_row_on_a_pipe_that_the_core_lacks() -> None:
    proof = check(small("", "vector 0 V a = full 0.0\nvector 0 FIX out[0:+8, :] = store a\n"))
    assert "pipe" in [v.kind for v in proof.violations]


RULES = [
    ("uninitialised", "", "vector 0 V c = copy a\n"),
    ("uninitialised", "", loop("vector 0 V a = full 0.0\nvector 0 V barrier\n") + "vector 0 V c = copy a\n"),
    ("RAW", "", "vector 0 V a = full 0.0\nvector 0 V c = copy a\n"),
    ("WAW", "", "vector 0 V a = full 0.0\nvector 0 V a = full 1.0\n"),
    ("overwritten", "buffer vector ub z[1] f32[8, 64] nd at 1024 by 2048\n",
     "vector 0 V a = full 0.0\nvector 0 V barrier\nvector 0 V z = full 1.0\nvector 0 V barrier\n"
     "vector 0 V c = copy a\n"),
    ("leftover", "event vector g V -> MTE2 id 3\n", "vector 0 V sync | set g\n"),
    ("double set", "event vector g V -> MTE2 id 3\n", "vector 0 V sync | set g\nvector 0 V sync | set g\n"
     "vector 0 MTE2 sync | wait g\n"),
    ("wait", "event vector g V -> MTE2 id 3\n", "vector 0 MTE2 sync | wait g\nvector 0 V sync | set g\n"),
    ("event", "event vector g V -> MTE2 id 3\n", "vector 0 MTE3 sync | wait g\n"),
    ("event", "", "vector 0 MTE3 sync | wait nobody\n"),
    ("event", "event vector g V -> V id 3\n", ""),
    ("id", "event vector g V -> MTE2 id 8\n", ""),
    ("id", "event vector g MTE3 -> S id 7\n", ""),
    ("id", "event vector g V -> MTE2 id 1\nevent vector h V -> MTE2 id 1\n", ""),
    ("id", "fifo f c2v [2] f32[16, 64] flag 10\n", ""),
    ("id", "fifo f c2v [2] f32[16, 64] flag 0\nfifo g v2c [2] f32[16, 64] flag 1\n", ""),
    ("capacity", "buffer vector ub z[4] f32[64, 256] nd at 0 by 65536\n", ""),
    ("alignment", "buffer vector ub z[1] f32[8, 64] nd at 12290 by 2048\n", ""),
    ("place", "buffer vector l1 z[1] f32[16, 64] nz at 0 by 4096\n", ""),
    ("input", "", "vector 0 V a = full 0.0\nvector 0 MTE3 src[block_idx * 16 + lane * 8:+8, :] = store a\n"),
    ("undrained", "event vector g V -> MTE3 id 0\n", "vector 0 V a = full 0.0 | set g\n"
     "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a | wait g\n"),
    ("tensor", "", "vector 0 V a = full 0.0\nvector 0 MTE3 out[lane * 8:+8, :] = store a\n"),
    ("tensor", "", "vector 0 V a = full 0.0\nvector 0 MTE3 out[block_idx * 8:+8, :] = store a\n"),
    ("tensor", "", "vector 0 V a = full 0.0\nvector 0 S x = read out[0, 0]\n"
     "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a\n"),
    ("fifo", CUBE, OPERANDS + PRODUCE + ENDS),
    ("deadlock", CUBE, OPERANDS + ENDS + "vector 0 MTE2 a = pop f\n"),
    ("deadlock", CUBE + "buffer vector ub z[1] f32[8, 64] nd at 16384 by 2048\n",
     OPERANDS + PRODUCE + PRODUCE + PRODUCE + ENDS),
    ("index", EVENTS_B, FREE_B + END_B + "vector 0 V c = copy b[u]\n"),
    ("double set", EVENTS_B, FREE_B + loop("vector 0 MTE2 b[u] = load src[0:+8, :] | wait b.free[u]\n"
     "vector 0 V sync | set b.free[u]\n") + END_B),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "declarations", "body"), RULES)
def test_each_rule(kind: str, declarations: str, body: str) -> None:
    proof = check(small(declarations, body or "vector 0 V a = full 0.0\n"))
    assert not proof.ok and kind in [v.kind for v in proof.violations], proof.report()


def test_scalar_rows_order_nothing() -> None:
    rows = "if go:\n  vector 0 S s = let n\n  vector 0 S t = read src[0, 0]\n"
    code = compiled(small("", rows + "vector 0 V a = full 0.0\n"))
    assert len(code.running) == 1 and not code.tests


def test_a_barrier_orders_stores_of_one_pipe() -> None:
    store = "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a\n"
    start = "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
    event, end = "event vector g V -> MTE3 id 0\n", "vector 0 S drain MTE3\n"
    assert [v.kind for v in check(small(event, start + loop(store) + end)).violations] == ["WAW"]
    assert check(small(event, start + loop(store, "vector 0 MTE3 barrier\n") + end)).ok


def test_what_cannot_be_decided_is_refused() -> None:
    proof = check(small("", "vector 0 V b[n] = full 0.0\n"))
    assert not proof.ok and "cannot tell which slot" in proof.refused
    traced = parse("kernel t\nparam x in f32[8, 64]\ngrid 1\nv: f32[8, 64] = load x[0:+8, :]\n")
    assert "not scheduled" in check(traced).refused


def test_too_many_states_are_refused() -> None:
    assert "not closed" in check(parse(HANDWRITTEN.read_text()), max_states=3).refused


def test_error_carries_the_proof() -> None:
    proof = check(small("", "vector 0 V c = copy a\n"))
    error = HazardError(proof)
    assert error.proof is proof and "uninitialised" in str(error)


def test_an_event_of_a_pipe_that_the_core_lacks() -> None:
    refuted(small("event cube g V -> M id 0\n", STEP_A), "illegal", "the cube core has no pipe V")


def test_one_name_stands_for_one_thing() -> None:
    with pytest.raises(PtoError, match="'b' is declared twice"):
        small("event vector b V -> MTE2 id 0 1\n", STEP_A)
    k = small(EVENTS_B, FREE_B + loop(LOAD_B, USE_B, "vector 0 V barrier\n") + END_B)
    twice = replace(k, events=(*k.events, replace(k.events[0], name="b", ids=(4, 5))))
    refuted(twice, "place", "b is declared twice")


def test_accumulation_in_order_is_about_m_alone() -> None:
    body = (
        OPERANDS
        + "cube 0 M acc = matmul x, y | wait acc.free\ncube 0 FIX f = push acc | set acc.free\n"
        "cube 0 M sync | wait acc.free\ncube 0 S drain FIX\nvector 0 MTE2 a = pop f\n"
    )
    k = small(CUBE.replace("event cube acc.full M -> FIX id 0\n", ""), body)
    for assume in ((), ("ordered-accumulation",)):
        assert "RAW" in [v.kind for v in check(k, assume=assume).violations]


def test_a_drain_that_waits_is_complete() -> None:
    rows = "vector 0 V sync | set x\nvector 0 S drain MTE2 | wait x\n"
    assert check(small("event vector x V -> S id 1\n", loop(rows, index="i"))).ok


@pytest.mark.parametrize("trips", [None, [1]])
def test_a_report_tells_twelve_hazards_of_a_run_and_that_there_are_more(
    trips: list[int] | None,
) -> None:
    ring = "buffer vector ub r[16] f32[8, 64] nd at 16384 by 2048\n"
    load = "vector 0 MTE2 r[{s}] = load src[0:+8, :]\nvector 0 V c = copy r[{s}]\n"
    rows = "".join(load.format(s=s) + "vector 0 V barrier\n" for s in range(14))
    for body in (rows, loop(rows, index="i")):
        k = small(ring, body)
        proof = check(k) if trips is None else check_unrolled(k, trips)
        assert len(proof.violations) == 12
        assert proof.report().endswith("\n\nthis run has more hazards; mend these first")
