"""The hazard checker against brute force, against known mistakes, and against its own limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.hazards import check, check_unrolled
from lowering.hazards.compiler import compiled
from lowering.hazards.proof import HazardError
from pto.errors import PtoError
from pto.ir import Kernel, Ref, all_rows
from pto.text import parse
from tests import HANDWRITTEN
from tests.judges.mutants import with_row
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    HEADER,
    LOAD_B,
    OF_THE_LIBRARY,
    OPERANDS,
    PRODUCE,
    USE_B,
    loop,
    ring_periods,
    small,
)
from tests.judges.sync_bugs import PATTERNS, Pattern


@pytest.fixture(scope="module")
def hand() -> Kernel:
    return parse(HANDWRITTEN.read_text(), str(HANDWRITTEN))


# ---------------------------------------------------------------------- SYNC_BUGS.md, 1 to 15


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


# -------------------------------------------------------------------------------- single rules


@pytest.mark.parametrize(
    ("kind", "declarations", "body"),
    [
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
    ],
)  # fmt: skip
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


def test_stores_of_other_iterations_are_disjoint() -> None:
    store = "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, i * 16:+16] = store z\n"
    start = "vector 0 V z = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
    event, end = "event vector g V -> MTE3 id 0\n", "vector 0 S drain MTE3\n"
    narrow = event + "buffer vector ub z[1] f32[8, 16] nd at 16384 by 512\n"
    assert check(small(narrow, start + loop(store) + end)).ok
    overlapping = store.replace("i * 16:+16", "i * 8:+16")
    assert not check(small(narrow, start + loop(overlapping) + end)).ok


def test_work_items_of_a_grid_with_three_axes_are_disjoint() -> None:
    body = (
        "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
        "for w in 0 .. cdiv(rows * 3 * 4 - block_idx, block_num):\n"
        "  vector 0 S item = let block_idx + w * block_num\n"
        "  vector 0 MTE3 big[item // 12, item % 3 * 16 + lane * 8:+8, item // 3 % 4 * 64:+64] = store a\n"
        "vector 0 S drain MTE3\n"
    )
    header = "event vector g V -> MTE3 id 0\n"
    text = (
        HEADER.replace("param n ", "param big          out    f32[rows, 48, 256]\nparam n ")
        + header
        + body
    )
    assert check(parse(text)).ok
    assert not check(parse(text.replace("item // 3 % 4 * 64", "item // 3 % 4 * 32"))).ok
    assert not check(parse(text.replace("big[item // 12", "big[item // 24"))).ok


# -------------------------------------------------------------------------- loops and branches


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


def test_what_cannot_be_decided_is_refused() -> None:
    proof = check(small("", "vector 0 V b[n] = full 0.0\n"))
    assert not proof.ok and "cannot tell which slot" in proof.refused
    traced = parse("kernel t\nparam x in f32[8, 64]\ngrid 1\nv: f32[8, 64] = load x[0:+8, :]\n")
    assert "not scheduled" in check(traced).refused


def test_too_many_states_are_refused(hand: Kernel) -> None:
    assert "not closed" in check(hand, max_states=3).refused


def test_error_carries_the_proof() -> None:
    proof = check(small("", "vector 0 V c = copy a\n"))
    error = HazardError(proof)
    assert error.proof is proof and "uninitialised" in str(error)


# ------------------------------------------------------------- what an adversarial review found


def refuted(k: Kernel, kind: str, text: str) -> None:
    """``k`` is not proven, for the reason given; kind '' stands for a refusal."""
    for proof in (check(k), check_unrolled(k, [2, 1])):
        assert not proof.ok, proof.report()
        if not kind:
            assert text in proof.refused, proof.report()
        else:
            found = [(v.kind, v.text) for v in proof.violations]
            assert any(kind == a and text in b for a, b in found), proof.report()


DIVERGE = (
    OPERANDS
    + FREE_B
    + "for w in 0 .. rows:\n"
    + "  cube 0 S count = read lens[w]\n  vector 0 S count = read lens[w]\n"
    + "".join("  " + x + "\n" for x in loop(PRODUCE, CONSUME_B, trips="count").splitlines())
    + ENDS
    + END_B
)


def diverge(body: str = DIVERGE, declarations: str = EVENTS_B + CUBE) -> Kernel:
    header = HEADER.replace("param n ", "param lens in i32[m]\nparam n ")
    return parse(header + declarations + body, "diverge.ptoir")


def test_lanes_must_agree_on_what_runs() -> None:
    assert check(diverge()).ok
    reads = DIVERGE.replace(
        "vector 0 S count = read lens[w]", "vector 0 S count = read lens[w + lane]"
    )
    refuted(diverge(reads), "", "the trip count of loop i depends on the lane")
    both = DIVERGE.replace("count = read lens[w]", "count = read lens[w + lane]")
    refuted(diverge(both), "", "the trip count of loop i depends on the lane")
    through = "vector 0 S where = let w + lane\n  vector 0 S count = read lens[where]"
    refuted(
        diverge(DIVERGE.replace("vector 0 S count = read lens[w]", through)),
        "", "the trip count of loop i depends on the lane",
    )  # fmt: skip


@pytest.mark.parametrize("test", ["lane", "g", "h"])
def test_lanes_must_agree_on_branches(test: str) -> None:
    body = (
        "vector 0 S g = read lens[lane]\nvector 0 S h = let g + 1\nvector 0 S j = read lens[0]\n"
        f"if {test} < 1:\n  vector 0 V a = full 0.0\n"
    )
    refuted(diverge(body, ""), "", "a branch depends on the lane")
    assert check(diverge(body.replace(f"if {test} ", "if j "), "")).ok


COLUMN = "buffer vector ub m[1] f32[8, 1] dn at {m} by 32\n"
WIDE = "buffer vector ub z[1] f32[8, 64] nd at {z} by 2048\n"
FILL = "vector 0 V a = full 0.0\nvector 0 V c = full 0.0\nvector 0 V barrier\n"


@pytest.mark.parametrize(
    ("row", "m", "z", "right"),
    [
        ("z = mul a, 2.0", 16384, 32, False),  # shifted by 32 bytes
        ("z = mul a, 2.0", 16384, 0, True),  # the same bytes under another name
        ("a = mul a, 2.0", 16384, 20480, True),
        ("a = add c, a", 16384, 20480, True),
        ("a = where a, n, 0.0", 16384, 20480, True),
        ("a = pad a, n, k", 16384, 20480, True),
        ("m = row_max a, a", 16384, 20480, False),
        ("m = row_max a, m", 16384, 20480, False),
        ("m = row_max a, z", 16384, 20480, True),
        ("m = row_max a, z", 0, 20480, False),  # the result over the source
        ("m = row_max a, z", 20512, 20480, False),  # the result over the scratch
        ("m = row_max a, z", 16384, 32, False),  # the scratch over the source
    ],
)
def test_a_row_over_its_own_operands(row: str, m: int, z: int, right: bool) -> None:
    k = small(COLUMN.format(m=m) + WIDE.format(z=z), FILL + f"vector 0 V {row}\n")
    if right:
        assert check(k).ok, check(k).report()
    else:
        refuted(k, "overlap", "writes")


def test_a_row_over_a_column_or_a_wider_type() -> None:
    start = FILL + "vector 0 V m = row_max a, e\nvector 0 V barrier\n"
    inside = small(
        COLUMN.format(m=20480) + WIDE.format(z=20480), start + "vector 0 V z = sub a, m\n"
    )
    refuted(inside, "overlap", "sub writes z over m, which the same row reads")
    beside = small(
        COLUMN.format(m=16384) + WIDE.format(z=20480), start + "vector 0 V a = sub a, m\n"
    )
    assert check(beside).ok
    half = "buffer vector ub h[1] f16[8, 64] nd at {} by 1024\n"
    cast = FILL + "vector 0 V h = astype a, f16\n"
    refuted(small(half.format(0), cast), "overlap", "astype writes h over a")
    assert check(small(half.format(16384), cast)).ok


def test_slots_of_a_row_over_its_own_operands() -> None:
    ring = "buffer vector ub r[{}] f32[8, 1] dn at 16384 by 32\n"
    fill = "".join(f"vector 0 V r[{s}] = full 0.0\n" for s in (0, 1))
    body = FILL + fill + "vector 0 V barrier\n"
    step = "vector 0 V r[i + 1] = maximum r[i], r[i]\nvector 0 V barrier\n"
    assert check(small(ring.format(2), body + loop(step, index="i"))).ok
    reduce = "vector 0 V r[i + {}] = row_max a, e\nvector 0 V barrier\n"
    assert check(small(ring.format(2), body + loop(reduce.format(1), index="i"))).ok
    wide = "buffer vector ub r[2] f32[8, 64] nd at 16384 by 1024\n"  # slots lie over each other
    start = "vector 0 V r[0] = full 0.0\nvector 0 V barrier\n"
    refuted(
        small(wide, start + "vector 0 V r[1] = exp r[0]\n"), "overlap", "exp writes r[1] over r[0]"
    )


def test_a_product_over_its_accumulator() -> None:
    acc2 = "buffer cube l0c acc2[1] f32[16, 64] nz at {} by 4096\n"
    body = OPERANDS + (
        "cube 0 M acc = matmul x, y | wait acc.free\ncube 0 M barrier\n"
        "cube 0 M {} = matmul x, y, acc | set acc.full\ncube 0 FIX sync | wait acc.full\n"
    )
    assert check(small(CUBE, body.format("acc"))).ok
    refuted(
        small(CUBE + acc2.format(4096), body.format("acc2")), "illegal", "matmul adds in place only"
    )
    refuted(
        small(CUBE + acc2.format(1024), body.format("acc2")),
        "overlap",
        "matmul writes acc2 over acc",
    )


def test_the_local_ring_of_a_fifo() -> None:
    right = small(EVENTS_B + CUBE, OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B)
    assert check(right).ok
    packed = replace(
        right, buffers=tuple(replace(b, stride=2048) if b.name == "b" else b for b in right.buffers)
    )
    refuted(packed, "fifo", "slots of a popped buffer lie 4096 bytes apart")
    pops = "vector 0 MTE2 a = pop f | set s\n" + "vector 0 MTE2 {} = pop f\n"
    body = OPERANDS + PRODUCE + PRODUCE + ENDS + "vector 0 MTE2 sync | wait r\n"
    event = "event vector s MTE2 -> V id 5\nevent vector r V -> MTE2 id 5\n"
    two = small(CUBE + event, body.replace("wait r", "wait r") + pops.format("d"))
    refuted(two, "fifo", "fifo f is popped into a and d; it has one local ring")


def stored(grid: str, view: str, loops: tuple[str, ...] = (), extra: str = "") -> Kernel:
    """A kernel that stores one tile per work item, inside ``loops``."""
    lines = ["vector 0 S item = let block_idx + w * block_num\n", extra]
    inner = f"vector 0 MTE3 out[{view}, :] = store a\n"
    for n, trips in reversed(list(enumerate(loops))):
        inner = loop(inner, trips=trips, index=f"j{n}")
    body = loop(*lines, inner, trips=f"cdiv({grid} - block_idx, block_num)", index="w")
    start = "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
    event, end = "event vector g V -> MTE3 id 0\n", "vector 0 S drain MTE3\n"
    return small(event, start + body + end)


@pytest.mark.parametrize(
    ("grid", "view", "loops", "right"),
    [
        ("1", "lane * 8:+8", (), True),
        ("1", "item * 16 + lane * 8:+8", (), True),
        ("1", "0:+8", (), False),  # both lanes
        ("2", "lane * 8:+8", (), False),
        ("rows", "lane * 8:+8", (), False),
        ("1", "j0 * 16 + lane * 8:+8", ("n",), True),
        ("1", "j0 * 8 + lane * 8:+8", ("n",), False),
        ("2", "j0 * 16 + lane * 8:+8", ("n",), False),
        ("4", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), True),
        ("5", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), False),
        ("rows", "(j0 * 4 + item) * 16 + lane * 8:+8", ("n",), False),
        ("8", "(j0 * 4 + item // 2) * 32 + item % 2 * 16 + lane * 8:+8", ("n",), True),
        ("rows", "(item * 3 + j0) * 16 + lane * 8:+8", ("3",), True),
        ("rows", "(item * 3 + j0) * 16 + lane * 8:+8", ("4",), False),
        ("rows", "(item * 6 + j0 * 2 + j1) * 16 + lane * 8:+8", ("3", "2"), True),
    ],
)
def test_work_items_of_a_constant_grid(
    grid: str, view: str, loops: tuple[str, ...], right: bool
) -> None:
    k = stored(grid, view, loops)
    if right:
        assert check(k).ok, check(k).report()
    else:
        assert not check(k).ok
        assert {v.kind for v in check(k).violations} <= {"tensor", "WAW"}


def test_a_bound_by_a_value_read_is_no_bound() -> None:
    """``3 - some`` elements are more than three where ``some`` is negative."""
    body = (
        "vector 0 V a = full 0.0 | set g\nvector 0 MTE3 sync | wait g\n"
        + loop(
            "vector 0 S some = read lens[w]\n",
            "vector 0 MTE3 out[w * 6 + lane * 3:+8<{}, :] = store a\n",
            trips="cdiv(1 - block_idx, block_num)", index="w",
        )
        + "vector 0 S drain MTE3\n"
    )  # fmt: skip
    event = "event vector g V -> MTE3 id 0\n"
    assert check(diverge(body.format("3"), event)).ok
    assert check(diverge(body.format("3 - w"), event)).ok
    refuted(diverge(body.format("3 - some"), event), "tensor", "the two vector lanes")


@pytest.mark.parametrize("depth", [3, 4, 5, 6, 7, 9])
def test_rings_of_an_odd_depth(depth: int) -> None:
    """The library frees half of a ring at a time, rounded down: from five slots on the last slot
    of an odd ring is written again before anything says that it was read."""
    cube = CUBE.replace("[2] f32[16, 64] flag", f"[{depth}] f32[16, 64] flag")
    k = small(EVENTS_B + cube, OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B)
    with ring_periods(OF_THE_LIBRARY):
        proof = check(k)
    if depth in (5, 7, 9):
        assert "WAR" in {v.kind for v in proof.violations}, proof.report()
        assert {(v.buffer, v.space) for v in proof.violations} == {("fifo f", "gm")}
        assert proof.failing == (depth + 1,)
        assert not check(k).ok
    else:
        assert proof.ok and check(k).ok, proof.report()


FILL_A = "vector 0 V a = full 0.0\nvector 0 V barrier\n"
OTHER_CORE = DIVERGE.replace("  cube 0 S count = read lens[w]\n", "")


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("'zzz' is not a buffer", "vector 0 V zzz = full 0.0\n"),
        ("'zzz' is not a scalar known here on the vector core", loop(FILL_A, trips="zzz")),
        ("'count' is not a scalar known here on the cube core", OTHER_CORE),
        ("'g' is not a scalar known here on the cube core",
         "vector 0 S g = read lens[0]\nif g:\n  vector 0 V a = full 0.0\n  cube 0 M barrier\n"),
        ("'g' is not a scalar known here", "if g:\n  vector 0 V a = full 0.0\nvector 0 S g = read lens[0]\n"),
        ("'t' is not a scalar known here",  # before it is defined
         loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 S t = let i * 8\n")),
        ("'t' is not a scalar known here",  # one step before it is defined
         loop("vector 0 S t = let i * 8\nvector +1 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is not a scalar known here",
         loop("vector -1 S t = let i * 8\nif go:\n  vector 0 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is not a scalar known here",
         loop("vector -1 S t = let i * 8\nif t:\n  vector 0 V a = full 0.0\n")),
        ("'t' is not a scalar known here",  # behind the loop that defines it
         loop("vector 0 S t = let i * 8\n", FILL_A) + "vector 0 MTE2 a = load src[t:+8, :]\n"),
        ("'t' is not a scalar known here",  # behind the branch that defines it
         "if go:\n  vector 0 S t = let 8\n  vector 0 V d = full 0.0\nvector 0 MTE2 a = load src[t:+8, :]\n"),
        ("'t' is not a scalar known here",
         "if go:\n  vector 0 S t = let 8\n  vector 0 V d = full 0.0\n"
         + loop("if go:\n  vector 0 MTE2 a = load src[t:+8, :]\n")),
        ("'t' is defined twice on the vector core", "vector 0 S t = let 8\nvector 0 S t = let 9\n" + FILL_A),
        ("'n' is defined twice on the vector core", "vector 0 S n = let 8\n" + FILL_A),
        ("a loop inside runs at shift 0, all rows beside it at others",
         loop("vector +1 S t = read lens[i]\n", loop(FILL_A, index="j", trips="t"), index="i")),
        ("'lane' is not a scalar known here on the cube core", "cube 0 S t = let lane\n" + FILL_A),
        ("the cube core has no pipe V", FILL_A + "cube 0 V barrier\n"),
        ("the vector core has no pipe M", FILL_A + "vector 0 M sync\n"),
        ("drain: the vector core has no pipe FIX", FILL_A + "vector 0 S drain FIX\n"),
    ],
)  # fmt: skip
def test_what_is_not_legal_is_not_proven(text: str, body: str) -> None:
    declared = EVENTS_B + CUBE if "pop" in body else ""
    refuted(diverge(body, declared), "illegal", text)


@pytest.mark.parametrize(
    "body",
    [
        loop("vector 0 S t = let i * 8\nvector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\n"),
        loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\nvector +1 S t = let i * 8\n"),
        loop("vector +1 S t = let i * 8\nif go:\n  vector 0 MTE2 a = load src[t:+8, :]\n  vector 0 MTE2 barrier\n"),
        "if go:\n  vector 0 S t = let 8\n  vector 0 MTE2 a = load src[t:+8, :]\n"
        "else:\n  vector 0 S t = let 9\n  vector 0 MTE2 a = load src[t:+8, :]\n",
        "if go:\n  vector 0 S t = let 8\n"
        + "".join("  " + x + "\n" for x in loop("vector 0 MTE2 a = load src[t:+8, :]\nvector 0 MTE2 barrier\n").splitlines()),
        "cube 0 S t = let 8\nvector 0 S t = let 9\n" + FILL_A,
        loop("vector 0 S t = let i\n", FILL_A) + loop("vector 0 S t = let i\n", FILL_A),
    ],
)  # fmt: skip
def test_scalars_of_an_iteration(body: str) -> None:
    proof = check(diverge(body, ""))
    assert proof.ok, proof.report()


def test_an_event_of_a_pipe_that_the_core_lacks() -> None:
    refuted(small("event cube g V -> M id 0\n", FILL_A), "illegal", "the cube core has no pipe V")


def test_a_trip_count_defined_in_an_earlier_step() -> None:
    """The scalar's row stands behind the loop that it bounds: each iteration has its own count."""
    fill = "for j in 0 .. t:\n  vector 0 V a = full 0.0\n  vector 0 V barrier\n"
    read = fill.replace("j in", "k2 in").replace("a = full 0.0", "c = copy a")
    later = "vector 0 V barrier\nvector +1 S t = read lens[i]\n"
    assert check(diverge(loop(fill, read, later, index="i"), "")).ok
    assert not check(diverge(loop(read, fill, later, index="i"), "")).ok


# --------------------------------------------------------------- what a second review found

STEP_A = "vector 0 V a = full 0.0\nvector 0 V barrier\n"
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


SHARED = HEADER.replace(
    "param n ", "param big inout f32[8, 8, 64, 64]\nparam mark in i32[8]\nparam n "
)
P_TILE = (
    "buffer vector ub p[1] f32[8, 64] nd at 16384 by 2048\nevent vector w.full V -> MTE3 id 0\n"
)
P_FULL = "vector 0 V p = full 1.0 | set w.full\nvector 0 MTE3 sync | wait w.full\n"


def test_a_core_that_lags_behind_still_meets_old_accesses() -> None:
    """The cube reads all of ``big`` before the vector core, held up by a pop, writes it."""
    declared = CUBE + P_TILE + "buffer cube l1 zl[1] f32[16, 64] nz at 32768 by 4096\n"
    start = OPERANDS + "cube 0 M acc = matmul x, y | wait acc.free | set acc.full\n" + P_FULL
    body = (
        "cube 0 MTE2 zl = load big[block_idx, i, 0:+16, :]\ncube 0 MTE2 barrier\n"
        "if i == 1:\n  vector 0 MTE2 b[0] = pop f\n"
        "vector 0 MTE3 big[block_idx, i, lane * 8:+8, :] = store p\n"
    )
    end = (
        "{}cube 0 FIX f = push acc | wait acc.full | set acc.free\ncube 0 M sync | wait acc.free\n"
        "cube 0 S drain FIX\nvector 0 S drain MTE3\n"
    )
    text = SHARED + declared + start + loop(body, trips="4", index="i")
    for trips in ("4", "40"):
        program = text.replace(".. 4:", f".. {trips}:")
        racy = parse(program + end.format("cube 0 S drain MTE2\n"))
        assert not check(racy).ok and not check_unrolled(racy, []).ok


def test_a_quotient_and_a_remainder_need_one_divisor() -> None:
    body = (
        "vector 0 S by = read mark[i]\n"
        "vector 0 MTE3 big[block_idx, i // {0}, i % {0} * 16 + lane * 8:+8, :] = store p\n"
    )
    for divisor, right in (("by", False), ("4", True)):
        text = SHARED + P_TILE + P_FULL + loop(body.format(divisor), index="i")
        proof = check(parse(text + "vector 0 S drain MTE3\n"))
        assert proof.ok == right, proof.report()
        assert right or {v.kind for v in proof.violations} == {"WAW"}, proof.report()


def test_both_lanes_push_a_tile_each_their_half() -> None:
    fifo = "fifo g v2c [2] f32[16, 64] flag 0\nbuffer cube l1 r[1] f32[{1}, 64] nz at 0 by 16384\n"
    tile = "buffer vector ub w[1] f32[{0}, 64] nd at 16384 by 8192\nevent vector w.full V -> MTE3 id 0\n"
    body = "vector 0 V w = full 1.0 | set w.full\nvector 0 MTE3 g = push w | wait w.full\nvector 0 S drain MTE3\n"
    for rows, popped, right in ((8, 16, True), (16, 16, False), (8, 32, False), (32, 64, False)):
        k = small((fifo + tile).format(rows, popped), body + "cube 0 MTE2 r = pop g\n")
        if right:
            assert check(k).ok, check(k).report()
        else:
            refuted(k, "fifo", "fifo g holds f32[16, 64]")


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


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("division by zero", loop(STEP_A, trips="n // 0", index="i")),
        ("division by zero", loop(STEP_A, trips="4 // 0", index="i")),
        ("division by zero", loop("if i % 0 == 0:\n  vector 0 V a = full 0.0\n", index="i")),
        ("a trip count is an integer, found a fraction", loop(STEP_A, trips="2.5", index="i")),
    ],
)
def test_numbers_that_make_no_sense(text: str, body: str) -> None:
    refuted(small("", body), "illegal", text)


def test_work_items_without_a_row() -> None:
    body = "for w in 0 .. cdiv(rows - block_idx, block_num):\n  vector 0 S t = let w\n"
    assert not check(small("", body + loop("vector 0 V a = full 0.0\n", index="i"))).ok
    assert check(small("", body + loop(STEP_A, index="i"))).ok


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
