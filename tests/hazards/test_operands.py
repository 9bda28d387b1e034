"""Operands that lie over each other, and the rings of FIFOs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.hazards.refuted import refuted
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    OF_THE_LIBRARY,
    OPERANDS,
    PRODUCE,
    loop,
    ring_periods,
    round_trip,
    small,
)
from tests.lenient import check

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


@pytest.mark.parametrize("depth", range(1, 16))
def test_a_ring_without_credit_has_any_depth(depth: int) -> None:
    """As many slots as the way back takes steps are enough, one less is not."""
    assert check(round_trip(depth, depth - 1)).ok
    proof = check(round_trip(depth, depth))
    assert {(v.kind, v.buffer) for v in proof.violations} == {("WAR", "fifo f"), ("WAR", "fifo g")}
    assert proof.failing == (0,) * (depth + 1), "the first push that meets a slot again"


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
