"""Tensors that are loaded and stored: the order that the scheduler puts in, and what happens without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pto
from lowering.ascend import emit
from lowering.execute import adversarial, sequential
from lowering.execute.adversarial import Orders
from lowering.execute.inputs import bind
from lowering.hazards.proof import HazardError
from lowering.schedule import options_for, schedule
from lowering.schedule.options import NAMED
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import Scalar, Tensor, ir
from pto.errors import LegalityError, MemoryAccessError
from pto.legality import verify
from pto.text import parse, print_kernel
from tests.lenient import check
from tests.words.inplace import WORDS, bf16

AGAIN = WORDS["stored and loaded again"]


def without(kernel: ir.Kernel, event: str) -> ir.Kernel:
    """No row waits for it or sets it."""

    def bare(row: ir.Row) -> ir.Row:
        kept = [tuple(f for f in flags if f.name != event) for flags in (row.wait, row.set)]
        return replace(row, wait=kept[0], set=kept[1])

    events = tuple(e for e in kernel.events if e.name != event)
    return replace(kernel, body=ir.map_rows(kernel.body, bare), events=events)


def test_the_order_of_memory_is_asked_for_and_seen() -> None:
    """Without the event of a tensor the proof fails, and in some order a load sees what was there before."""
    racy = without(AGAIN.scheduled, "x.full")
    assert {v.kind for v in check(racy).violations} == {"RAW"}
    found = Orders(racy, AGAIN.bound(racy), 2).differences(range(20))
    assert any(d.kind == "bits" for d in found)
    assert not list(Orders(AGAIN.scheduled, AGAIN.bound(racy), 2).differences(range(20)))


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("word", ["stored and loaded again", "norm in place"])
def test_every_named_schedule_keeps_it(name: str, word: str) -> None:
    assert schedule(WORDS[word].traced, name).proof.ok


def test_a_load_in_front_of_its_store_is_another_value() -> None:
    """Whatever the order of the pipes: the value check compares with the program as traced."""
    before, made = persist(AGAIN.traced), AGAIN.scheduled
    assert difference(before, made) is None
    (loop,) = (n for n in made.body if isinstance(n, ir.Loop))
    (again,) = (
        r for r in loop.body if isinstance(r, ir.Row) and r.value == "" and "x.full" in str(r.wait)
    )
    front = (loop.body[0], again, *(r for r in loop.body[1:] if r is not again))
    assert difference(before, replace(made, body=(replace(loop, body=front), *made.body[1:])))


ACROSS = ["a page appended, then attended to", "scores in memory"]
"""Words in which one core loads what the other one has stored."""


def telling(kernel: ir.Kernel) -> set[str]:
    """FIFOs of tiles that nobody reads: what their signals tell of is behind a store."""
    rows = list(ir.all_rows(kernel.body))
    read = {a.name for r in rows for a in r.args if isinstance(a, ir.Ref)}
    return {r.queue for r in rows if r.op == "pop" and r.result(ir.Ref).name not in read}


@pytest.mark.parametrize("word", ACROSS)
def test_a_load_waits_for_the_store_of_the_other_core(word: str) -> None:
    """By the signal of what is pushed behind it: without it the proof fails, and in some order the load sees what was
    there."""
    program = WORDS[word].scheduled
    found = telling(program)
    assert found
    body = ir.map_rows(program.body, lambda r: () if r.op == "record" and r.queue in found else r)
    fifos = tuple(replace(f, signal=f.name not in found, credit=False) for f in program.fifos)
    racy = replace(program, body=body, fifos=fifos)
    assert {"RAW", "WAR"} & {v.kind for v in check(racy).violations}
    assert any(Orders(racy, WORDS[word].bound(racy), 2).differences(range(20)))
    assert difference(persist(WORDS[word].traced), program) is None


@pytest.mark.parametrize(("record", "lookahead"), [("next_step_each", 3), ("at_push", 1)])
def test_it_waits_in_every_schedule(record: str, lookahead: int) -> None:
    traced = WORDS["scores in memory"].traced
    assert schedule(
        traced, options_for("best", traced, record=record, lookahead=lookahead)
    ).proof.ok


SIGNATURE: dict[str, Any] = dict(
    grid="n", x="bf16[n, 16, 64]", y="bf16[n, 16, 64]", w="bf16[64, 64]", out="f32[n, 16, 64]"
)


@pto.kernel(**SIGNATURE)
def updated_twice(x: Tensor, y: Tensor, w: Tensor, out: Tensor) -> None:
    """Loads in front of a store that they lead to, and behind it, where the cores answer each other."""
    b, ws = pto.program_id(0), pto.load(w[:, :])
    pto.store(y[b, :, :], pto.exp(pto.load(y[b, :, :]) @ ws).astype("bf16"))
    pto.store(out[b, :, :], pto.load(y[b, :, :]) @ ws + pto.load(x[b, :, :]).astype("f32"))


@pto.kernel(**SIGNATURE)
def loaded_by_both(x: Tensor, y: Tensor, w: Tensor, out: Tensor) -> None:
    """A load of both cores behind a store of one of them."""
    b = pto.program_id(0)
    pto.store(y[b, :, :], pto.exp(pto.load(x[b, :, :]).astype("f32")).astype("bf16"))
    tile = pto.load(y[b, :, :])
    pto.store(out[b, :, :], tile @ pto.load(w[:, :]) + tile.astype("f32"))


@pytest.mark.parametrize("kernel", [updated_twice, loaded_by_both], ids=lambda k: k.name)
def test_no_pass_moves_a_load_over_what_tells_of_a_store(kernel: pto.Kernel) -> None:
    rng = np.random.default_rng(0)
    shapes = dict(x=(5, 16, 64), y=(5, 16, 64), w=(64, 64), out=(5, 16, 64))
    arrays = {n: rng.standard_normal(shape) * 0.1 for n, shape in shapes.items()}
    given = {n: a.astype("float32" if n == "out" else bf16) for n, a in arrays.items()}
    traced, made = kernel.trace(), schedule(kernel.trace()).kernel
    want = sequential.run(traced, bind(traced, given))
    got = adversarial.run(made, bind(made, given), seeds=range(4), block_num=2)
    assert {n: a.tobytes() for n, a in got.items()} == {n: a.tobytes() for n, a in want.items()}


def test_the_two_ways_of_a_choice_need_no_order() -> None:
    """One stores on the vector core what the other loads on the cube core."""

    @pto.kernel(
        grid="n", x="f32[n, 16, 64]", y="bf16[n, 16, 64]", w="bf16[64, 64]", c="i32[n]",
        out="f32[n, 16, 64]",
    )  # fmt: skip
    def either(x: Tensor, y: Tensor, w: Tensor, c: Tensor, out: Tensor) -> None:
        b = pto.program_id(0)

        def store() -> None:
            pto.store(y[b, :, :], pto.load(x[b, :, :]).astype("bf16"))

        def load() -> None:
            pto.store(out[b, :, :], pto.load(y[b, :, :]) @ pto.load(w[:, :]))

        pto.when(c[b] > 0, store, otherwise=load)

    assert not schedule(either.trace()).kernel.fifos


def test_what_is_loaded_counts_before() -> None:
    text = print_kernel(AGAIN.traced).replace("param x   inout", "param x   out")
    with pytest.raises(LegalityError, match="what it holds before counts"):
        verify(parse(text))


def test_the_manifest_says_what_is_updated() -> None:
    """Said where no row shows it: a cache of which each item stores a part."""
    ways = {p.name: p.direction for p in WORDS["cache by slots"].traced.params}
    assert ways == {"key": "in", "slot": "in", "cache": "inout"}
    sources = emit(WORDS["cache by slots"].scheduled)
    assert any("add_inout" in text and "cache" in text for text in sources.values())


def test_a_call_gives_the_updated_array() -> None:
    """The one of the caller stays as it was; what nothing stores to is kept."""
    word = WORDS["cache by slots"]
    given = word.arrays(np.random.default_rng(1))
    before = given["cache"].copy()
    after = word.kernel(*given.values())
    assert (given["cache"] == before).all()
    others = np.setdiff1d(np.arange(len(before)), given["slot"])
    assert (after[others] == before[others]).all() and (after[given["slot"]] == given["key"]).all()


STEPS = {
    "whole chunks": (lambda n: n, lambda n: n, True),
    "with a gap": (lambda n: n, lambda n: n + 1, True),
    "twice as far": (lambda n: n, lambda n: 2 * n, True),
    "one row of the next": (lambda n: n + 1, lambda n: n, False),
    "half as far": (lambda n: n, lambda n: n // 2, False),
    "backwards, some": (lambda n: n, lambda n: n - 1, False),
    "one row of the next, of some": (lambda n: n + (n == 13), lambda n: n, False),
}
"""How many rows of a chunk exist, how far the next one is, and whether they lie apart."""


@pytest.mark.parametrize("name", STEPS)
def test_chunks_at_carried_sums(name: str) -> None:
    """In place where they lie apart; what does not is told while tracing, or not proven."""
    valid, step, apart = STEPS[name]

    @pto.kernel(grid="items", x="f32[items, rows, 64]", lens="i32[items, most] in 0 .. 17")
    def kernel(x: Tensor, lens: Tensor) -> None:
        b = pto.program_id(0)

        def chunk(i: Scalar, at: Scalar) -> Scalar:
            n = lens[b, i]
            here = x[b, pto.ds(at, 16, valid=valid(n)), :]
            pto.store(here, pto.load(here) * 2.0)
            return at + step(n)

        pto.fori_loop(0, lens.shape[1], chunk, 0)

    if apart:
        assert schedule(kernel.trace()).proof.ok
        return
    with pytest.raises((HazardError, MemoryAccessError), match=r"may have|not proven"):
        schedule(kernel.trace())
