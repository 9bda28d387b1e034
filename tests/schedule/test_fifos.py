"""Which hand-overs share a FIFO, and what is told when they cannot."""

from __future__ import annotations

import pytest

import pto
from lowering.schedule import options_for, schedule, stages
from pto import ir
from tests.schedule.forms import FORMS


def kernel_of(count: int) -> ir.Kernel:
    """Products, each of a type of its own."""

    @pto.kernel(grid="n", x="bf16[n, 16, 16]", w="bf16[16, 512]", out="f32[n, 16, 512]")
    def products(x, w, out):
        b, at = pto.program_id(0), 0
        t = pto.load(x[b, :, :])
        for k in range(1, count + 1):
            cols = pto.ds(at, 16 * k)
            pto.store(out[b, :, cols], pto.exp(t @ pto.load(w[:, cols])))
            at += 16 * k

    return products.trace()


def test_tiles_of_different_types_cannot_share() -> None:
    assert len(schedule(kernel_of(5)).kernel.fifos) == 5
    with pytest.raises(pto.CapacityError) as told:
        schedule(kernel_of(6))
    text = str(told.value)
    assert "hands 6 tiles from core to core that cannot share a FIFO" in text
    assert "this is number 6" in text and "pto.exp(t @ pto.load(w[:, cols]))" in text


def test_as_few_are_shared_as_it_takes() -> None:
    made = FORMS["decode, four pages of 64"].made.kernel
    assert len(made.fifos) == 5
    shared = [n for n in made.notes if n.endswith("too: flags serve 5 FIFOs")]
    assert len(shared) == 4 and all(n.count("_fifo") == 2 for n in shared)


def test_what_is_popped_is_pushed_in_the_same_order() -> None:
    """Of every FIFO, in the text of a step."""
    traced = FORMS["decode, four pages of 64"].trace()
    passes = dict(stages(traced, options_for()))
    before, made = passes["record"], passes["fifos"]
    rows = list(zip(ir.all_rows(before.body), ir.all_rows(made.body), strict=True))
    for fifo in made.fifos:
        orders = {
            op: [old.queue for old, new in rows if (new.op, new.queue) == (op, fifo.name)]
            for op in ("push_data", "record", "pop")
        }
        assert orders["push_data"] == orders["record"] == orders["pop"]
