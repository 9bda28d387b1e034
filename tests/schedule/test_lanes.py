"""How the lanes share tiles: what ties them, what is halved, what is said where both hold all of one."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import pytest

import pto
from lowering.schedule.passes.lanes import Choice, Worth
from lowering.schedule.scheduler import behind, options_for
from pto import ir
from pto.errors import LegalityError
from tests.words.all import WORDS

STATE = dict(g="f32[heads, 16, 32]", state="f32[heads, 32, 64]")


@pto.kernel(grid="heads", **STATE)
def by_one(g: Any, state: Any) -> None:
    h = pto.program_id(0)
    pto.store(state[h, :, :], pto.load(state[h, :, :]) * pto.sum(pto.load(g[h, :, :])))


@pto.kernel(grid="heads", **STATE)
def by_one_of_a_row(g: Any, state: Any) -> None:
    h = pto.program_id(0)
    pto.store(state[h, :, :], pto.load(state[h, :, :]) * pto.min(pto.load(g[h, 0, :])))


@pto.kernel(grid="heads", **STATE)
def by_one_spread(g: Any, state: Any) -> None:
    h = pto.program_id(0)
    by = pto.broadcast_to(pto.max(pto.load(g[h, :, :])), (32, 64))
    pto.store(state[h, :, :], pto.load(state[h, :, :]) * by)


@pto.kernel(grid="heads", out="f32[heads, 32, 64]", **STATE)
def elsewhere(g: Any, state: Any, out: Any) -> None:
    h = pto.program_id(0)
    pto.store(out[h, :, :], pto.load(state[h, :, :]) * pto.max(pto.load(g[h, :, :])))


def assigned(kernel: Any) -> ir.Kernel:
    return behind("assign", kernel.trace(), options_for())


def share(kernel: ir.Kernel, tensor: str) -> str:
    """What a lane has of the tiles that are loaded from a tensor."""
    loads = [r for r in ir.all_rows(kernel.body) if r.op == "load"]
    (found,) = {
        r.result(ir.Define).type.share for r in loads if r.operand(ir.View).tensor == tensor
    }
    return found


@pytest.mark.parametrize("kernel", [by_one, by_one_spread, elsewhere], ids=lambda k: k.name)
def test_one_number_does_not_tie_what_it_scales(kernel: Any) -> None:
    made = assigned(kernel)
    assert (share(made, "g"), share(made, "state")) == ("both", "rows")
    (note,) = made.notes
    assert note.startswith("both lanes hold all of g_tile: col_")
    assert kernel.lower().proof.ok


def test_one_number_of_a_row() -> None:
    made = assigned(by_one_of_a_row)
    assert share(made, "state") == "rows" and not made.notes


def test_a_column_of_both_lanes_ties_rows_only() -> None:
    made = behind("assign", WORDS["gradients beside sums of columns"].traced, options_for())
    assert (share(made, "dx"), made.notes != ()) == ("cols", True)


@pto.kernel(grid="heads", state="f32[heads, 32, 64]")
def by_itself(state: Any) -> None:
    s = pto.load(state[pto.program_id(0), :, :])
    pto.store(state[pto.program_id(0), :, :], s / pto.max(s))


@pto.kernel(grid="heads", state="f32[heads, 32, 64]")
def loaded_again(state: Any) -> None:
    h = pto.program_id(0)
    most = pto.max(pto.load(state[h, :, :]))
    pto.store(state[h, :, :], pto.load(state[h, :, :]) / most)


@pto.kernel(grid="heads", state="f32[heads, 128]")
def row_by_itself(state: Any) -> None:
    s = pto.load(state[pto.program_id(0), :])
    pto.store(state[pto.program_id(0), :], s / pto.row_sum(s))


@pto.kernel(grid="heads", state="f32[heads, 32, 32]")
def turned(state: Any) -> None:
    s = pto.load(state[pto.program_id(0), :, :])
    pto.store(state[pto.program_id(0), :, :], s + s.T)


@pto.kernel(grid="heads", state="f32[heads, 8]")
def counted(state: Any) -> None:
    s = pto.load(state[pto.program_id(0), :])
    pto.store(state[pto.program_id(0), :], s + 1.0)


WHOLE = {
    by_itself: r"as col_max at \S+:\d+ joins its rows and row_max at \S+:\d+ joins its columns,",
    loaded_again: r"both vector lanes load all of 'state_tile', as col_max at",
    row_by_itself: r"as it has one row and row_sum at \S+:\d+ joins its columns,",
    turned: "as it meets a transpose,",
    counted: "as it has one row and half of its columns are no whole units of 32 bytes,",
}


@pytest.mark.parametrize("kernel", WHOLE, ids=lambda k: k.name)
def test_what_both_lanes_hold_is_not_updated_in_place(kernel: Any) -> None:
    with pytest.raises(LegalityError, match=WHOLE[kernel]) as caught:
        assigned(kernel)
    assert "pto.store" in str(caught.value) and "two kernels" in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_the_halves_are_worth_the_most(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randrange(1, 9)
    worth = [Worth(rng.random() < 0.2, *(rng.randrange(4) for _ in range(3))) for _ in range(n)]
    pairs = [p for p in combinations(range(n), 2) if rng.random() < 0.3]
    beside = [{a + b - k for a, b in pairs if k in (a, b)} for k in range(n)]

    def total(chosen: tuple[int, ...]) -> Worth:
        return Worth(*(sum(worth[k][i] for k in chosen) for i in range(len(Worth()))))

    apart = [
        c
        for size in range(n + 1)
        for c in combinations(range(n), size)
        if not any(p in pairs for p in combinations(c, 2))
    ]
    best, chosen = Choice(worth, beside).of(frozenset(range(n)))
    assert best == total(tuple(sorted(chosen))) == max(map(total, apart))
    assert tuple(sorted(chosen)) in apart


def test_a_long_chain_of_sides_takes_no_time() -> None:
    beside = [{j for j in (k - 1, k + 1) if 0 <= j < 150} for k in range(150)]
    best, _ = Choice([Worth(0, 1)] * 150, beside).of(frozenset(range(150)))
    assert best.spared == 75
