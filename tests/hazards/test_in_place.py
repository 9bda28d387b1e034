"""Tensors that are loaded and stored: the order that the scheduler puts in, and what happens without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pto
from lowering.ascend import emit
from lowering.execute.adversarial import Orders
from lowering.hazards.proof import HazardError
from lowering.schedule import schedule
from lowering.schedule.options import NAMED
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import Scalar, Tensor, ir
from pto.errors import LegalityError, MemoryAccessError
from pto.legality import verify
from pto.text import parse, print_kernel
from tests.lenient import check
from tests.words.inplace import WORDS

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
