"""Events where the ids of a pair of pipes are short: which handovers one of them stands for."""

from __future__ import annotations

import math
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering.execute import adversarial, inputs, sequential
from lowering.schedule import options_for, schedule, stages
from lowering.schedule.passes.budget import as_one, in_turns, within_ids
from lowering.schedule.passes.handovers import Handover, all_handovers, without_implied
from lowering.schedule.scheduler import stops_all
from lowering.simulate import Setup, simulate
from pto.ir import Const, Kernel, Var, binary
from tests.schedule.forms import FORMS


@pto.kernel(
    grid="batch, heads // q_tile, 512 // dv",
    static=dict(heads=128, q_tile=32, block=32, dv=256),
    query="bf16[batch, heads, 512]",
    rope="bf16[batch, heads, 64]",
    cache="bf16[pages, block, 576]",
    block_table="i32[batch, width]",
    context_lens="i32[batch]",
    out="f32[batch, heads, 512]",
    scale="f32",
)
def latent(query, rope, cache, block_table, context_lens, out, *, scale, heads, q_tile, block, dv):
    """Decode over a latent cache: scores of 512 latent and 64 rotated columns, values of the latent ones."""
    b, rows = pto.program_id(0), pto.ds(pto.program_id(1) * q_tile, q_tile)
    cols = pto.ds(pto.program_id(2) * dv, dv)
    qn, qr = pto.load(query[b, rows, :]), pto.load(rope[b, rows, :])
    context = context_lens[b]

    def one_page(i, carry):
        m, l, acc = carry
        page, left = block_table[b, i], context - i * block
        c, kr = pto.load(cache[page, :, 0:512]), pto.load(cache[page, :, 512:576])
        s = pto.where(pto.iota(1) < left, (qn @ c.T + qr @ kr.T) * scale, -math.inf)
        m_new = pto.maximum(m, pto.row_max(s))
        alpha, p = pto.exp(m - m_new), pto.exp(s - m_new)
        v = pto.load(cache[page, pto.ds(0, block, valid=left), cols])
        return m_new, l * alpha + pto.row_sum(p), acc * alpha + p.astype("bf16") @ v

    start = pto.full((q_tile, 1), -math.inf), pto.zeros((q_tile, 1)), pto.zeros((q_tile, dv))
    _, l, acc = pto.fori_loop(0, pto.cdiv(context, block), one_page, start)
    pto.store(out[b, rows, cols], acc / pto.maximum(l, 1e-30))


def needed(kernel: Kernel) -> list[Handover]:
    """What needs an event, before ids are counted."""
    placed = dict(stages(kernel, options_for()))["place"]
    return without_implied(list(all_handovers(placed)))[0]


def test_neighbours_are_joined_as_far_as_ids_ask_for() -> None:
    found = needed(latent.trace())
    assert max(ids_of(within_ids(found, 99)).values()) == 12
    joined = within_ids(found, 8)
    assert max(ids_of(joined).values()) == 8
    shared = {tuple(h.name for h in x.those) for x in joined if len(x.those) > 1}
    assert shared == {
        ("qn.full", "qr.full"), ("qn.free", "qr.free"), ("c.full", "kr.full"), ("c.free", "kr.free"),
    }  # fmt: skip
    assert sorted(h.name for x in joined for h in x.those) == sorted(h.name for h in found)


def test_places_of_a_step_are_not_one_slot() -> None:
    """What two pops of a step bring lies in one ring, in slots of its own: neither waits for the other's event."""
    placed = dict(stages(FORMS["decode, four pages of 64"].trace(), options_for()))["place"]
    joined = in_turns(without_implied(list(all_handovers(placed)))[0])
    assert len({h.buffer.at for x in joined for h in x.those if h.buffer.name == "qk_v"}) == 2
    assert all(len({h.buffer.at for h in x.those}) == 1 for x in joined)


def ids_of(joined: list) -> dict[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for x in joined:
        counts[x.pair] = counts.get(x.pair, 0) + x.turns
    return counts


def test_what_is_joined_covers_both_and_is_set_before_it_is_waited_for() -> None:
    for x in within_ids(needed(latent.trace()), 8):
        (event,) = x.in_turns
        for h in x.those:
            assert h.first.end.surely_before(event.first.end)
            assert event.then.begin.surely_before(h.then.begin)
            assert event.first.end.surely_before(event.then.begin, h.distance)


def test_what_turns_otherwise_is_not_joined() -> None:
    found = {h.name: h for h in needed(latent.trace())}
    c, kr = found["c.full"], found["kr.full"]
    both = as_one(c, kr)
    assert both is not None and (both.first, both.then) == (kr.first, c.then)
    assert as_one(kr, c) == replace(both, buffer=kr.buffer)
    assert as_one(c, found["c.free"]) is None  # the way back
    assert as_one(c, found["qn.full"]) is None  # of another block
    assert as_one(c, found["v.full"]) is None  # loaded when c is used already
    turned = replace(kr.first, index=binary("+", Var("u"), Const(1)))
    assert as_one(c, replace(kr, first=turned)) is None
    assert as_one(c, replace(kr, turns=3)) is None


@pytest.mark.parametrize("latency", [0, 500, 1000])
def test_decode_over_a_latent_cache_is_close_to_its_busiest_pipe(latency: int) -> None:
    done = schedule(latent.trace())
    assert done.proof.ok and not stops_all(done.kernel)
    timing = simulate(done.kernel, [128], Setup("flat", latency))
    assert timing.makespan < 1.15 * timing.bound


def test_it_computes_the_same_in_every_order() -> None:
    traced = latent.trace(heads=32)
    rng, width = np.random.default_rng(0), 3
    drawn = {
        "query": (2, 32, 512), "rope": (2, 32, 64), "cache": (2 * width, 32, 576),
    }  # fmt: skip
    arrays = {
        n: (rng.standard_normal(shape, np.float32) * 0.1).astype(ml_dtypes.bfloat16)
        for n, shape in drawn.items()
    }
    table = rng.permutation(2 * width).astype(np.int32).reshape(2, width)
    lens = np.array([70, 0], np.int32)
    given = {**arrays, "block_table": table, "context_lens": lens, "scale": 0.1}
    given["out"] = np.zeros((2, 32, 512), np.float32)
    kernel = schedule(traced).kernel
    want = sequential.run(traced, inputs.bind(traced, given))["out"]
    got = adversarial.run(kernel, inputs.bind(kernel, given), seeds=range(4), block_num=2)["out"]
    assert got.tobytes() == want.tobytes()
