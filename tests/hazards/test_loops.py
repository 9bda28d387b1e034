"""Loops and branches: which counts and tests go together, and what stands behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pto
from lowering.schedule import options_for, schedule
from pto.ir import Kernel, Ref, all_rows
from pto.text import parse
from tests import HANDWRITTEN
from tests.hazards.refuted import STEP_A, diverge, refuted
from tests.judges.mutants import with_row
from tests.judges.small_programs import (
    CUBE,
    END_B,
    EVENTS_B,
    FREE_B,
    LOAD_B,
    OPERANDS,
    USE_B,
    loop,
    small,
)
from tests.lenient import check, check_unrolled


@pytest.fixture(scope="module")
def hand() -> Kernel:
    return parse(HANDWRITTEN.read_text(), str(HANDWRITTEN))


def test_nested_loops() -> None:
    inner = loop(LOAD_B, USE_B, "vector 0 V barrier\n")
    twice = loop(inner, inner.replace("i, u", "j, u"), trips="k", index="w")
    for body in (twice, loop(loop(inner, trips="3", index="j"), trips="k", index="w")):
        k = small(EVENTS_B, FREE_B + body + END_B)
        assert check(k).ok and check_unrolled(k, [4]).ok
    restarts = loop(
        loop(LOAD_B, USE_B, "vector 0 V barrier\n").replace("[u]", "[i]"), trips="k", index="j"
    )
    assert check(small(EVENTS_B, FREE_B + restarts + END_B)).ok
    unguarded = restarts.replace(" | wait b.free[i]", "")
    assert not check(small(EVENTS_B, FREE_B + unguarded + END_B)).ok


def test_a_hazard_that_needs_several_work_items(hand: Kernel) -> None:
    """A loop entered again from a slot that the last entry left behind."""
    rows = list(all_rows(hand.body))
    n = next(n for n, r in enumerate(rows) if r.op == "load" and r.out == Ref("q"))
    racy = with_row(hand, n, replace(rows[n], wait=()))
    proof = check(racy)
    assert proof.failing is not None and not check_unrolled(racy, proof.failing).ok


def test_loops_with_one_trip_count_run_together() -> None:
    fill = loop("vector 0 V a = full 0.0\nvector 0 V barrier\n", index="i")
    read = loop("vector 0 V c = copy a\nvector 0 V barrier\n", index="j")
    assert check(small("", fill + read)).ok
    assert not check(small("", fill + read.replace(".. n", ".. k"))).ok


def test_tests_with_one_value_go_one_way() -> None:
    fill = "if go:\n  vector 0 V a = full 0.0\n"
    read = "vector 0 V barrier\nif go:\n  vector 0 V c = copy a\n"
    assert check(small("", fill + read)).ok
    proof = check(small("", fill.replace("if go", "if n < 3") + read))
    assert not proof.ok and proof.violations[0].kind == "uninitialised"


NEXT = "  vector 0 MTE2 b[i + 1] = load src[0:+8, :] | wait b.free[i + 1] | set b.full[i + 1]\n"

FIRST = "  vector 0 MTE2 b[0] = load src[0:+8, :] | wait b.free[0] | set b.full[0]\n"

USE_I = "vector 0 V c = copy b[i] | wait b.full[i] | set b.free[i]\nvector 0 V barrier\n"


@pytest.mark.parametrize(
    ("some", "more", "failing"),
    [
        ("n > 0", "i + 1 < n", None),
        ("0 < n", "i < n - 1", None),
        ("n >= 1", "i != n - 1", None),
        ("n != 0", "n - i > 1", None),
        ("n > 0", "i + 1 <= n", 1),
        ("n > 0", "i + 2 < n", 2),
        ("n > 0", "i < 2", 1),
        ("n > 1", "i + 1 < n", 1),
        ("n >= 0", "i + 1 < n", 0),
        ("n != 3", "i + 1 < n", 0),
        ("n == 1", "i + 1 < n", 2),
        ("go", "i + 1 < n", 0),
    ],
)
def test_a_prefetch_as_a_person_writes_it(some: str, more: str, failing: int | None) -> None:
    """A first load in front of the loop, and inside of it the next one if there is a next one."""
    inner = f"if {some}:\n{FIRST}" + loop(f"if {more}:\n{NEXT}", USE_I, index="i")
    nested = "".join(f"  {line}\n" for line in inner.splitlines())
    for body in (inner, f"for j in 0 .. k:\n{nested}"):
        k = small(EVENTS_B, FREE_B + body + END_B)
        proof = check(k)
        assert proof.ok == (failing is None), proof.report()
        if failing is not None and body == inner:
            assert proof.failing == (failing,), proof.report()
        if some != "go":
            runs = [check_unrolled(k, [{"n": n, "k": 2}]).ok for n in range(6)]
            assert all(runs) == (failing is None)


EPILOGUE = (
    f"if n > 0:\n{FIRST}"
    + "".join(f"  {x}\n" for x in loop(NEXT.lstrip(), USE_I, trips="n - 1", index="i").splitlines())
    + "  vector 0 V d = copy b[{0}] | wait b.full[{0}] | set b.free[{0}]\n"
)


@pytest.mark.parametrize(("slot", "right"), [("n - 1", True), ("n", False), ("n + 1", True)])
def test_an_epilogue_names_its_slot_by_the_trip_count(slot: str, right: bool) -> None:
    body = EPILOGUE.format(slot)
    nested = "for j in 0 .. k:\n" + "".join(f"  {line}\n" for line in body.splitlines())
    for text in (body, nested):
        k = small(EVENTS_B, FREE_B + text + END_B)
        assert check(k).ok == right, check(k).report()
        runs = [check_unrolled(k, [{"n - 1": n - 1, "n": n, "k": 3}]).ok for n in range(1, 6)]
        assert all(runs) == right


def test_a_slot_of_another_branch_has_no_trip_count() -> None:
    """The loop may not have run where its count is used."""
    body = "if go:\n" + "".join(f"  {x}\n" for x in loop(LOAD_B, USE_B).splitlines())
    k = small(EVENTS_B, FREE_B + body + "vector 0 V d = copy b[n]\n" + END_B)
    assert "cannot tell which slot" in check(k).refused


def test_a_test_that_keeps_a_count_from_being_negative() -> None:
    """``n - 1`` is -1 where the branch is not taken: that run exists, too."""
    fill = (
        f"if n > 0:\n{FIRST}"
        + "  for i in 0 .. n - 1:\n    vector 0 V d = full 0.0\n    vector 0 V barrier\n"
    )
    k = small(
        EVENTS_B,
        FREE_B + fill + "vector 0 V c = copy b[0] | wait b.full[0] | set b.free[0]\n" + END_B,
    )
    assert not check(k).ok and "wait" in [v.kind for v in check(k).violations]


def test_tests_on_counters_are_exact() -> None:
    first = "if i == 0:\n  vector 0 V a = full 0.0\nelse:\n  vector 0 V a = copy a\nvector 0 V barrier\n"
    assert check(small("", loop(first, index="i"))).ok
    assert not check(small("", loop(first.replace("i == 0", "i == 1"), index="i"))).ok
    parity = "if i % 2 == 0:\n  vector 0 V a = full 0.0\nelse:\n  vector 0 V c = copy a\nvector 0 V barrier\n"
    assert check(small("", loop(parity, index="i"))).ok


def test_constant_trip_counts_are_exact() -> None:
    body = "vector 0 V a = full 0.0\nvector 0 V barrier\n"
    for trips in ("1", "31", "100", "1000"):
        k = small("", loop(body, trips=trips, index="i") + "vector 0 V c = copy a\n")
        assert check(k).ok, trips
    assert not check(small("", loop(body, trips="0", index="i") + "vector 0 V c = copy a\n")).ok


def test_dimensions_are_at_least_one() -> None:
    body = loop("vector 0 V a = full 0.0\nvector 0 V barrier\n", trips="cdiv(rows, 8)", index="i")
    assert check(small("", body + "vector 0 V c = copy a\n")).ok


def test_cube_alone_in_a_loop_then_one_push() -> None:
    """The vector core has no row in the loop and skips it."""
    body = (
        OPERANDS + "cube 0 M sync | wait acc.free\n"
        + loop("cube 0 M barrier\ncube 0 M acc = matmul x, y, acc, i\n", trips="rows", index="i")
        + "cube 0 M sync | set acc.full\ncube 0 FIX f = push acc | wait acc.full\ncube 0 S drain FIX\n"
        "vector 0 MTE2 a = pop f\n"
    )  # fmt: skip
    proof = check(small(CUBE, body))
    assert proof.ok, proof.report()
    no_barrier = check(small(CUBE, body.replace("  cube 0 M barrier\n", "")))
    assert {"RAW", "WAW"} <= {v.kind for v in no_barrier.violations}


def test_a_trip_count_defined_in_an_earlier_step() -> None:
    """The scalar's row stands behind the loop that it bounds: each iteration has its own count."""
    fill = "for j in 0 .. t:\n  vector 0 V a = full 0.0\n  vector 0 V barrier\n"
    read = fill.replace("j in", "k2 in").replace("a = full 0.0", "c = copy a")
    later = "vector 0 V barrier\nvector +1 S t = read lens[i]\n"
    assert check(diverge(loop(fill, read, later, index="i"), "")).ok
    assert not check(diverge(loop(read, fill, later, index="i"), "")).ok


LATE = "vector 0 MTE2 a = load src[0:+8, :]\n"


@pytest.mark.parametrize(
    "trips", ["31", "33", "40", "max(n, 2)", "max(n, 3)", "rows + 1", "rows * 2"]
)
def test_what_stands_behind_a_loop_of_several_iterations_is_examined(trips: str) -> None:
    """A form must tell steps apart as long as the ways to go on differ."""
    body = loop(STEP_A, trips=trips, index="i") + LATE
    refuted(small("", body), "WAW", "overwritten before the first write is complete")
    assert check(
        small("", loop(STEP_A, trips=trips, index="i") + "vector 0 ALL barrier\n" + LATE)
    ).ok


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_what_stands_behind_a_loop_that_a_test_tells_apart_is_examined(limit: int) -> None:
    inner = loop(STEP_A, index="i") + LATE
    body = f"if {limit} < n:\n" + "".join(f"  {x}\n" for x in inner.splitlines())
    proof = check(small("", body))
    assert proof.failing == (limit + 1,), proof.report()


def test_tests_late_in_a_long_constant_loop_are_met() -> None:
    event = "event vector x V -> MTE2 id 1\n"
    for trips, right in ((50, True), (41, True), (40, False)):
        body = loop("if i == 40:\n  vector 0 V a = full 0.0 | set x\n", trips=str(trips), index="i")
        proof = check(small(event, body + "vector 0 MTE2 sync | wait x\n"))
        assert proof.ok == right, proof.report()
    assert check(small("", loop(STEP_A, trips="40", index="i"))).message.endswith("explored)")
    assert check(small("", loop(STEP_A, trips="40", index="i") + LATE)).message == (
        "small: failed, in every run of it"
    )


def test_many_rounds_of_constant_loops_end() -> None:
    """Run while that is cheap, refused when it is not; never endless."""
    body = STEP_A
    for level in "vwx":
        body = loop(body, trips="32", index=level)
    assert check(small("", body)).ok and not check(small("", body + LATE)).ok
    for level in "yz":
        body = loop(body, trips="32", index=level)
    assert "not closed" in check(small("", body)).refused


def test_work_items_without_a_row() -> None:
    body = "for w in 0 .. cdiv(rows - block_idx, block_num):\n  vector 0 S t = let w\n"
    assert not check(small("", body + loop("vector 0 V a = full 0.0\n", index="i"))).ok
    assert check(small("", body + loop(STEP_A, index="i"))).ok


IN_A_ROW = 4


@pto.kernel(
    grid="tiles",
    x="bf16[tiles, 32, 64]",
    b="bf16[64, 64]",
    steps="i32[tiles, 8]",
    out="f32[tiles, 32, 64]",
)
def in_a_row(x: pto.Tensor, b: pto.Tensor, steps: pto.Tensor, out: pto.Tensor) -> None:
    """Loops in sequence, whose products cross to the vector core."""
    i, total = pto.program_id(0), pto.zeros((32, 64))

    def step(_: pto.Scalar, acc: pto.Tile) -> pto.Tile:
        return pto.exp(acc - pto.row_max(acc)) + pto.load(x[i, :, :]) @ pto.load(b[:, :])

    for n in range(IN_A_ROW):
        total = pto.fori_loop(0, steps[i, n], step, total)
    pto.store(out[i, :, :], total)


@pytest.mark.parametrize("record", ["at_push", "next_step"])
@pytest.mark.parametrize("name", ["serial", "best"])
def test_loops_in_sequence_take_few_states(name: str, record: str) -> None:
    """What one has left in its FIFO is not told apart in all the others.  An event of several ids that loops
    share is, by where each of them has stopped: rings of one slot have none."""
    for depth, most in ((1, 60), (2, 450)):
        given = dict(record=record, lookahead=3, credit="always", local_depth=depth)
        proof = check(schedule(in_a_row.trace(), options_for(name, **given)).kernel)
        assert proof.ok and proof.states < most, proof.message
