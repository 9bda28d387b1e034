"""Several hardware blocks that share the memory."""

from __future__ import annotations

from math import ceil

import pytest

from lowering.simulate import Setup, simulate
from lowering.simulate.launch import bytes_per_cycle, deal, launch, shares_of_memory
from lowering.simulate.timing import Bandwidth
from pto.kernels import SHIPPED
from pto.text import parse
from tests.simulate.timed import (
    HEADER,
    KEYS,
    check_accounts,
    scheduled,
)


def test_bandwidth_by_hand() -> None:
    """300 bytes from cycle 90: 10 cycles at 10 bytes, the other 200 bytes at 20."""
    steps = Bandwidth(((0, 10.0), (100, 20.0)))
    assert steps.moved(90, 300) == 110
    assert steps.moved(0, 1000) == 100
    assert steps.moved(200.5, 30) == 202
    assert Bandwidth(((0, 10.0), (100, 1.0), (101, 100.0))).moved(99, 111) == 102
    assert Bandwidth().moved(90, 300) == 90


def test_transfers_of_one_block_share_its_part() -> None:
    """Two pipes ask at once for 32 KB each, at 10 bytes a cycle: one after the other."""
    one = parse(
        HEADER + "for w in 0 .. rows:\n  cube 0 MTE2 k = load keys[0:+128, :]\n", "one.ptoir"
    )
    slow = Setup("flat", bandwidth=Bandwidth(((0, 10.0),)))
    size = 128 * 128 * 2
    assert simulate(one, [1, 1], slow).makespan == 1 + ceil(2 * size / 10)
    for name in SHIPPED:
        program = scheduled(name, "best")
        t = simulate(program, [4] * 4, Setup("flat", bandwidth=Bandwidth(((0, 1.0),))))
        assert t.makespan >= t.tensor_bytes, name


def test_shares_by_hand() -> None:
    assert shares_of_memory([300, 100, 300], 60).steps == ((0, 20.0), (100, 30.0))
    assert shares_of_memory([float("inf")] * 3, 60).steps == ((0, 20.0),)
    assert shares_of_memory([0, 50], 60).steps == ((0, 60.0),)
    assert deal([5, 4, 3, 2, 1], 3) == ((5, 2), (4, 1), (3,))
    assert deal([5], 2) == ((5,), ())


LOADS = "for w in 0 .. rows:\n  for i in 0 .. n:\n    cube 0 MTE2 k = load keys[0:+128, :]\n"


def test_a_launch_by_hand() -> None:
    """A 24th of 864.9 bytes per cycle is 36.0: 32768 bytes take 910 cycles instead of 419.  Once
    the 23 short blocks have ended, the long one has more than it can use."""
    program = parse(HEADER + LOADS, "small.ptoir")
    found = launch(program, [3] + [1] * 23, Setup("flat"))
    short = 1 + 910
    assert found.ends == (short + 2 * KEYS, *(short,) * 23)
    assert found.tensor_bytes == 26 * 32768
    assert found.bounds == {"cube MTE2": 3 * KEYS, "HBM": 986}
    assert (found.bound, found.bound_pipe) == (1257, "cube MTE2")
    assert len(found.timings) == 2 and not any(t.spans for t in found.timings.values())


def test_half_way_through_a_transfer_the_share_grows() -> None:
    """Two blocks on two thirds of the chip's rate: 96 of 24 blocks' shares, by a slower memory."""
    program = parse(HEADER + LOADS, "small.ptoir")
    total = 100.0
    ends = (1 + 656, 1 + 656 + KEYS)  # 32768 bytes at 50 per cycle, then at 78.4
    steps = shares_of_memory(ends, total)
    assert steps.steps == ((0, 50.0), (657, 100.0))
    assert simulate(program, [1], Setup("flat", bandwidth=steps)).makespan == ends[0]
    assert simulate(program, [2], Setup("flat", bandwidth=steps)).makespan == ends[1]


@pytest.mark.parametrize("kernel", list(SHIPPED))
@pytest.mark.parametrize(
    ("items", "block_num"),
    [((4,) * 48, 0), ((9, 1, 3, 1, 5, 3, 2, 8, 0, 1), 4), ((6, 2), 3), ((4,) * 120, 0)],
    ids=["even", "uneven", "idle", "many"],
)
def test_the_shares_follow_from_the_ends(
    kernel: str, items: tuple[int, ...], block_num: int
) -> None:
    """Each block by itself, under what the ends of all leave it, ends when the launch says."""
    program = scheduled(kernel, "best")
    setup = Setup("flat", latency=200)
    found = launch(program, items, setup, block_num)
    shares = shares_of_memory(found.ends, bytes_per_cycle(program, setup))
    beside = Setup("flat", latency=200, bandwidth=shares)
    for mine, t in found.timings.items():
        assert simulate(program, mine, beside).makespan == t.makespan
        check_accounts(simulate(program, mine, beside))
    assert found.makespan >= found.bound
    assert found == launch(program, items, setup, block_num)


def test_a_launch_is_no_faster_than_one_block_alone() -> None:
    program = scheduled("paged_attention", "best")
    flat = Setup("flat")
    alone = simulate(program, [16] * 2, flat).makespan
    assert launch(program, [16] * 4, flat, block_num=2).makespan == alone
    full = launch(program, [16] * 48, flat)
    assert full.makespan > 1.5 * alone and full.bound_pipe == "HBM"
