"""Orders that others have published, as the device table has them; what stands for a kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.bench import crosscore, published
from lowering.bench.attention import paged, stepped
from lowering.bench.measured import TASK, Measured
from lowering.schedule.options import NAMED
from lowering.simulate import simulate
from lowering.simulate.timing import Setup
from pto.ir import Kernel, all_rows
from pto.targets.a2a3 import DEVICE
from tests.simulate.timed import check_accounts


def micros(row: str, case: str = "") -> float:
    """Of the one row of this number and case."""
    (found,) = (r for r in crosscore.ROWS if r.row == row and case in r.what)
    return told(found)


def told(row: Measured) -> float:
    return published.predicted(row, DEVICE)[TASK]


CASES = ("case 1", "case 2")


@pytest.mark.parametrize("case", CASES)
def test_credits_make_a_kernel_slower(case: str) -> None:
    """Row 1 beside rows 2 and 4: published 1.93 and 1.92 times, of the whole kernel."""
    assert 1.6 < micros("1", case) / micros("4", case) < 2.3
    assert micros("2", case) == micros("4", case)


@pytest.mark.parametrize("case", CASES)
def test_the_history_of_a_kernel(case: str) -> None:
    """Slower to faster: serial, repaired, prefetched; steps of several pages are faster than all of them."""
    (row,) = (r for r in crosscore.ROWS if r.row == "5" and case in r.what)
    q, block = (16, 128) if case == "case 1" else (64, 64)
    prefetched = told(replace(row, kernel=paged(NAMED["prefetch"], q, block, 2)))
    assert micros("4", case) > 1.05 * micros("5", case)
    assert micros("5", case) > 0.995 * prefetched > micros("6", case) * 1.05


def test_the_order_of_what_was_measured_is_the_order_of_what_is_told() -> None:
    """Of the attention of rows 1, 2, 4, 5, 6, case by case."""
    for case in CASES:
        rows = [r for r in crosscore.ROWS if case in r.what and r.row in "12456"]
        measured = sorted(rows, key=lambda r: -r.micros[TASK])
        found = [round(told(r)) for r in measured]
        assert found == sorted(found, reverse=True)


def test_a_deep_ring_is_not_slower() -> None:
    """Rows 56 and 58, and one of them with the ring of the other."""
    one, four = crosscore.FUSED
    assert told(one) > 1.2 * told(four)
    for row in crosscore.FUSED:
        shallow, deep = (told(replace(row, kernel=_of_depth(row.kernel, n))) for n in (1, 4))
        assert shallow >= deep


def _of_depth(kernel: Kernel, depth: int) -> Kernel:
    return replace(kernel, fifos=tuple(replace(f, depth=depth) for f in kernel.fifos))


def test_a_step_has_one_signal_for_all_its_pages() -> None:
    """Scores, weights of both lanes, sums; and every fourth of them a free signal, if at all."""
    for parts in (1, 2, 4):
        bare = simulate(stepped(16, 128, parts), [8], Setup(DEVICE))
        free = simulate(stepped(16, 128, parts, credit=True), [8], Setup(DEVICE))
        assert bare.signals == 4 * 8 and free.signals == 4 * 8 + 2 * 5
        ops = [r.op for r in all_rows(bare.kernel.body)]
        assert ops.count("push") == ops.count("pop") == 3 and ops.count("matmul") == 2 * parts
        check_accounts(free)


@pytest.mark.parametrize("row", crosscore.ROWS, ids=lambda r: f"{r.row} {r.what}")
def test_what_stands_for_a_kernel_fits_into_its_memories(row: Measured) -> None:
    """Slots are where they are said to be, and behind them the next buffer begins."""
    space = {"l1": 512 << 10, "l0a": 64 << 10, "l0b": 64 << 10, "l0c": 128 << 10, "ub": 192 << 10}
    for b in row.kernel.buffers:
        assert b.at + b.depth * b.stride <= space[b.space], b.name
