"""What L2 has of a launch: reuse by the order of the items, by pages that items share, by its size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lowering.execute.cases import draw
from lowering.execute.inputs import bind
from lowering.schedule import schedule
from lowering.simulate import Setup, advice, l2
from lowering.simulate.costs import ALONE, Shared, cost_of, view_of
from lowering.simulate.launch import beside, deal, launch
from lowering.simulate.timing import costs_named
from pto.ir import Kernel, Row, Var, all_rows, binary
from pto.kernels import SHIPPED
from pto.targets.a2a3 import DEVICE
from pto.text import parse
from tests.simulate.timed import HEADER, scheduled

TILE = 128 * 128 * 2


def traced(line: str, loop: str = "rows") -> Kernel:
    text = (
        f"for w in 0 .. cdiv(rows - block_idx, block_num):\n  for i in 0 .. {loop}:\n    {line}\n"
    )
    return parse(HEADER + text, "small.ptoir")


def loads(at: str) -> Kernel:
    return traced(f"cube 0 MTE2 k = load keys[{at}:+128, :]")


def moving(kernel: Kernel) -> list[Row]:
    return [r for r in all_rows(kernel.body) if view_of(r)]


def shared(kernel: Kernel, dealt: tuple[l2.Items, ...], capacity: int) -> Shared:
    """Of the one row that moves a tensor, on average."""
    (row,) = moving(kernel)
    return l2.traffic(kernel, l2.Launched(dealt), capacity).on_average(row)


def test_what_fits_is_read_once_and_what_does_not_never_hits() -> None:
    """Four times round eight tiles: with room for them 24 of 32 hit; with room for seven the next one has
    always just been thrown out."""
    round_and_round = loads("i % 8 * 128")
    assert shared(round_and_round, ((32,),), 8 * TILE).hits == 24 / 32
    assert shared(round_and_round, ((32,),), 7 * TILE).hits == 0
    assert shared(loads("i * 128"), ((32,),), 1 << 40).hits == 0


def test_blocks_share_what_they_load_at_once_and_what_one_has_brought_in() -> None:
    """Of six blocks three read the same tile at a time; the others of them have what the first brings."""
    found = shared(loads("(block_idx % 2 * 100 + i) * 128"), ((4,),) * 6, 100 * TILE)
    assert found == Shared(hits=2 / 3, readers=3)
    late = shared(loads("(w + i) * 128"), ((3, 3, 3),), 100 * TILE)
    assert late == Shared(hits=4 / 9, readers=1)  # 0 1 2, 1 2 3, 2 3 4


def test_each_work_item_has_hits_of_its_own() -> None:
    kernel = loads("(w + i) * 128")
    (row,) = moving(kernel)
    found = l2.traffic(kernel, l2.Launched(((3, 3, 3),)), 100 * TILE)
    assert [found.of((3, 3, 3), row, w).hits for w in range(3)] == pytest.approx([0, 2 / 3, 2 / 3])
    assert found.of((3, 3, 3), row, 3) == found.of((1,), row, 0) == ALONE


def test_a_store_stays_until_it_is_thrown_out() -> None:
    """Eight tiles stored, the last three of which fit; stored over each other all of them do."""
    text = "cube 0 FIX out[{}:+16, :] = store s"
    apart, over = (traced(text.format(at)) for at in ("i * 16", "0"))
    size = 16 * 64 * 4
    assert shared(apart, ((8,),), 3 * size).hits == 3 / 8
    assert shared(over, ((8,),), 3 * size).hits == 1
    found = l2.traffic(apart, l2.Launched(((8,),)), 3 * size)
    assert (found.loaded, found.stored) == ((0, 0), (8 * size, 3 * size)) and found.hits == 3 / 8


def test_long_launches_are_looked_at_every_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, dealt = scheduled("gemm", "best"), deal([40] * 48, 24)
    launched = l2.Launched(dealt, l2.assumed(kernel, 48, {}))
    whole = l2.traffic(kernel, launched, DEVICE.l2_bytes)
    monkeypatch.setattr(l2, "MOST", 1000)
    some = l2.traffic(kernel, launched, DEVICE.l2_bytes)
    assert some.loaded == whole.loaded and some.stored == whole.stored
    for row in moving(kernel):
        assert some.on_average(row) == whole.on_average(row)


def test_an_index_that_is_read_is_known_by_its_value_or_its_place() -> None:
    """Two requests with the same two pages, which only their tables say."""
    kernel = scheduled("paged_attention", "best")
    keys = next(r for r in moving(kernel) if "key_cache" in str(view_of(r)))
    dealt = deal([2] * 2, 2)
    for tables, hits in (([[4, 5], [4, 5]], 0.5), ([[4, 5], [6, 7]], 0)):
        launched = l2.Launched(dealt, dict(batch=2), {"block_table": np.array(tables, np.int32)})
        assert l2.traffic(kernel, launched, DEVICE.l2_bytes).on_average(keys).hits == hits
    unknown = l2.Launched(dealt, dict(batch=2))
    assert l2.traffic(kernel, unknown, DEVICE.l2_bytes).on_average(keys).hits == 0


# ------------------------------------------------------------------------------------- whole launches


def test_the_order_of_the_items_counts() -> None:
    """Four rows of 64 tiles and 64 of four: the blocks of a round share a row of the left operand or most
    of the right one.  Without an L2 it is all the same."""
    kernel = scheduled("gemm", "best")
    long, high = dict(m=4 * 128, n=64 * 128), dict(m=64 * 128, n=4 * 128)
    times = [launch(kernel, [16] * 256, Setup("device"), 0, s).makespan for s in (long, high)]
    assert times[0] > 1.2 * times[1]
    same = [launch(kernel, [16] * 256, Setup("flat"), 0, s).makespan for s in (long, high)]
    assert same[0] == same[1]


def test_pages_that_query_tiles_share_come_from_l2() -> None:
    """Four tiles of queries read the pages of a request: three find them there, which shows where signals
    are not what all wait for."""
    table = replace(DEVICE, signal_turn=0)
    kernel = schedule(SHIPPED["paged_attention"].trace(heads=64, q_tile=16), "best").kernel
    found = launch(kernel, [8] * 96, Setup(table))
    assert found.traffic and found.launched and found.launched.sizes == {"batch": 24}
    for row in moving(kernel):
        if "cache" in str(view_of(row)):
            assert found.traffic.on_average(row) == Shared(0.75, 4)
    from_hbm = launch(kernel, [8] * 96, Setup(table, hits=0))
    assert found.makespan < 0.9 * from_hbm.makespan
    assert found.bounds["HBM"] < 0.5 * from_hbm.bounds["HBM"] and not from_hbm.traffic


def test_a_launch_larger_than_l2_does_not_hit() -> None:
    """The same rows in every item; 24 blocks have their own."""
    kernel = loads("(block_idx * 1000 + i) * 128")
    fits, large = (n * TILE * 24 for n in (100, 300))
    assert fits < DEVICE.l2_bytes < large
    hits = []
    for trips in (100, 300):
        found = launch(kernel, [trips] * 48, Setup("device"))
        assert found.traffic
        hits.append(found.traffic.hits)
    assert hits == [0.5, 0]


def test_a_launch_knows_the_values_of_a_case() -> None:
    """The trip counts that a call has, from its arrays."""
    shipped = SHIPPED["paged_attention"]
    kernel = shipped.trace()
    bound = bind(kernel, draw(shipped, kernel, ["batch=9", "context=700"]))
    found = l2.lengths(scheduled("paged_attention", "best"), 9, bound.names, bound.arrays)
    assert found == [-(-int(n) // 128) for n in bound.arrays["context_lens"]]


def test_sizes_that_are_not_given_make_as_many_tiles_each_way() -> None:
    gemm = SHIPPED["gemm"].trace()
    for items, m, n in ((256, 16, 16), (24, 6, 4), (7, 7, 1), (1, 1, 1)):
        assert l2.assumed(gemm, items, {}) == dict(m=m * 128, n=n * 128)
    assert l2.assumed(gemm, 24, dict(n=200)) == dict(m=12 * 128, n=200)
    assert l2.assumed(SHIPPED["rmsnorm"].trace(), 5, {}) == dict(rows=80)
    two = replace(gemm, grid=(gemm.grid[0], binary("+", Var("n"), Var("k"))))
    assert l2.assumed(two, 6, {}) == dict(m=6 * 128) and l2.assumed(two, 6, dict(k=1)) == dict(
        m=3 * 128, n=1, k=1
    )


# ------------------------------------------------------------------------------------- granules and notes


def test_cores_that_load_the_same_granules_wait_for_each_other() -> None:
    table = costs_named(scheduled("gemm", "best"), "device")
    kernel = loads("i * 128")
    (row,) = moving(kernel)
    cycles = [cost_of(row, kernel, table, Shared(1, n)).occupies for n in (1, 12, 24, 48)]
    assert cycles == sorted(cycles) and cycles[0] < cycles[2]
    start = table.transfer["gm", "l1"][0]
    assert cycles[3] == pytest.approx(start + 48 * table.granule_cycles * TILE / 512, abs=1)


def test_another_order_is_told_if_it_is_faster() -> None:
    """And it is, by about as much for the loads; a launch of squares has no note of an order."""
    kernel, trips = scheduled("gemm", "best"), [32] * 256
    found = launch(kernel, trips, Setup("device"), 0, dict(m=4 * 128, n=64 * 128))
    told = list(advice.notes(found))
    assert told[0].startswith("22 cores load the same 512 bytes of a at once, which takes ")
    assert told[-1].startswith("with 2 rows of items at a time") or "column by column" in told[-1]
    assert found.launched
    orders = dict(advice._orders(found, found.launched.sizes))
    best = next(order for name, order in orders.items() if name in told[-1])
    other = l2.traffic(kernel, replace(found.launched, order=best), DEVICE.l2_bytes)
    assert beside(kernel, found.dealt, found.setup, other.of).makespan < 0.9 * found.makespan
    assert not list(advice.notes(launch(kernel, trips, Setup("flat"))))


def test_orders_have_every_item_once() -> None:
    kernel = scheduled("gemm", "best")
    found = launch(kernel, [1] * 60, Setup("device"), 0, dict(m=10 * 128, n=6 * 128))
    assert found.launched
    orders = dict(advice._orders(found, found.launched.sizes))
    assert len(orders) == 4 and all(sorted(x) == list(range(60)) for x in orders.values())
    assert orders["the items column by column"][:12] == [*range(0, 60, 6), 1, 7]
    pairs = orders["4 rows of items at a time, column by column,"][:8]
    assert pairs == [0, 6, 12, 18, 1, 7, 13, 19]
    assert all(a != b for a, b in pairwise(orders.values()))
    ragged = launch(kernel, [1, 2] * 30, Setup("device"), 0, dict(m=10 * 128, n=6 * 128))
    assert ragged.launched and not list(advice._orders(ragged, ragged.launched.sizes))
