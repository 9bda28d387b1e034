"""Orders and sums along rows: what they are of special numbers, what is refused, what they take.

In kernels, on every executor, they run in ``tests/words``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pto
from lowering import native
from lowering.execute import adversarial, scheduled, sequential
from lowering.execute.inputs import bind
from lowering.jax_executor import executor as jax_executor
from lowering.schedule import schedule
from lowering.schedule.passes.persist import persist
from lowering.simulate.costs import cost_of
from lowering.values.equivalence import difference
from pto import Tensor, Tile
from pto.errors import LegalityError
from pto.ir import all_rows
from pto.legality import verify
from pto.targets.a2a3 import A2A3
from pto.text import parse, print_kernel
from tests.schedule.test_fills import with_less
from tests.words.sorting import WORDS

U = 2.0**-24
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("name", WORDS)
def test_no_rounding_changes_an_order_that_is_judged(name: str) -> None:
    """Then an index is right or wrong, and nothing in between."""
    limits = {e.name: e.limit for e in WORDS[name].expected if e.dtype == "i32"}
    assert limits and not any(limit.any() for limit in limits.values())


# ----------------------------------------------------------------------------------- special numbers


@pto.kernel(
    grid="1",
    x="f32[16, 32]",
    values="f32[16, 32]",
    indices="i32[16, 32]",
    places="i32[2, 16, 1]",
)
def special(x: Tensor, values: Tensor, indices: Tensor, places: Tensor) -> None:
    tile = pto.load(x[:, :])
    first, second = pto.sort(tile)
    pto.store(values[:, :], first)
    pto.store(indices[:, :], second)
    pto.store(places[0, :, :], pto.row_argmax(tile))
    pto.store(places[1, :, :], pto.row_argmin(tile))


def numbers() -> Any:
    x = np.zeros((16, 32), np.float32)
    x[0, :8] = NAN, 1.0, -INF, NAN, INF, -0.0, 0.0, 1.0
    x[1] = NAN
    x[2] = -INF
    x[3, ::2] = -0.0
    x[4, 5], x[4, 9] = INF, INF
    return x


EXECUTORS = {
    "sequential": lambda traced, program, x: sequential.run(traced, bind(traced, x)),
    "scheduled": lambda traced, program, x: scheduled.run(program, bind(program, x)),
    "adversarial": lambda traced, program, x: adversarial.run(
        program, bind(program, x), seeds=range(2)
    ),
    "jax": lambda traced, program, x: jax_executor.run(program, bind(program, x)),
    "native": lambda traced, program, x: native.run(program, bind(program, x)).outputs,
}  # fmt: skip


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(n, marks=pytest.mark.sweep) if n == "native" else n for n in EXECUTORS
    ],
)  # fmt: skip
def test_nan_comes_last_and_equal_numbers_stay(executor: str) -> None:
    traced, x = special.trace(), numbers()
    found = EXECUTORS[executor](traced, schedule(traced).kernel, {"x": x})
    values, indices = (np.asarray(found[n]) for n in ("values", "indices"))
    want = np.argsort(-x, axis=1, kind="stable")
    np.testing.assert_array_equal(indices, want)
    assert values.tobytes() == np.take_along_axis(x, want, axis=1).tobytes()
    assert list(indices[0, :4]) == [4, 1, 7, 5] and set(indices[0, -2:]) == {0, 3}
    assert (indices[[1, 2, 3]] == np.arange(32)).all()
    places = np.asarray(found["places"])[:, :, 0]
    assert ((places >= 0) & (places < 32)).all()
    sure = ~np.isnan(x).any(axis=1)
    np.testing.assert_array_equal(places[:, sure], [x[sure].argmax(axis=1), x[sure].argmin(axis=1)])


# ---------------------------------------------------------------------------------- by its own numbers


def made(
    function: Callable[[Tile], Tile], x: Any, dtype: str = "f32", out: str = ""
) -> np.ndarray[Any, Any]:
    rows, cols = x.shape

    @pto.kernel(grid="1", x=f"{dtype}[{rows}, {cols}]", out=out or f"{dtype}[{rows}, {cols}]")
    def kernel(x: Tensor, out: Tensor) -> None:
        pto.store(out[:, :], function(pto.load(x[:, :])))

    traced = kernel.trace()
    return sequential.run(traced, bind(traced, {"x": x}))["out"]


@pytest.mark.parametrize("cols", [16, 48, 128, 1024])
def test_a_sum_is_as_near_as_it_says(cols: int) -> None:
    x = np.random.default_rng(cols).standard_normal((16, cols)).astype(np.float32)
    want = np.cumsum(x.astype(np.float64), axis=1)
    allowed = U * math.ceil(math.log2(cols)) * np.cumsum(np.abs(x.astype(np.float64)), axis=1)
    assert (np.abs(made(pto.cumsum, x) - want) <= allowed).all()


def test_integers_are_summed_exactly() -> None:
    n = np.random.default_rng(0).integers(-(2**24), 2**24, (16, 64)).astype(np.int32)
    np.testing.assert_array_equal(made(pto.cumsum, n, "i32"), np.cumsum(n, axis=1))


def test_places_of_integers_and_of_one_column() -> None:
    n = np.random.default_rng(0).integers(-3, 3, (16, 40)).astype(np.int32)
    for function, want in ((pto.row_argmax, n.argmax(axis=1)), (pto.row_argmin, n.argmin(axis=1))):
        np.testing.assert_array_equal(made(function, n, "i32", "i32[16, 1]")[:, 0], want)
        assert not made(function, n[:, :1], "i32", "i32[16, 1]").any()


def test_what_the_hint_of_other_widths_says() -> None:
    """40 columns as 64, and the six largest of eight."""

    @pto.kernel(grid="1", x="f32[16, 40]", out="f32[16, 8]", where="i32[16, 8]")
    def kernel(x: Tensor, out: Tensor, where: Tensor) -> None:
        tile = pto.load(x[:, pto.ds(0, 64, valid=40)])
        best, places = pto.top_k(pto.where(pto.iota(1) < 40, tile, -math.inf), 8)
        pto.store(out[:, :], pto.where(pto.iota(1) < 6, best, 0.0))
        pto.store(where[:, :], places)

    x = -np.random.default_rng(0).uniform(1, 2, (16, 40)).astype(np.float32)
    traced = kernel.trace()
    for program, run in ((traced, sequential.run), (schedule(traced).kernel, scheduled.run)):
        found = run(program, bind(program, {"x": x}))
        order = np.argsort(-x, axis=1, kind="stable")[:, :8]
        np.testing.assert_array_equal(found["where"], order)
        want = np.where(np.arange(8) < 6, np.take_along_axis(x, order, axis=1), 0)
        np.testing.assert_array_equal(found["out"], want)


# -------------------------------------------------------------------------------------- what is missing

RAGGED: dict[str, Callable[[Tile], Tile]] = {
    "sort": lambda x: pto.sort(x)[0],
    "top_k": lambda x: pto.top_k(x, 64)[1].astype("f32"),
    "cumsum": pto.cumsum,
}


@pytest.mark.parametrize("name", RAGGED)
def test_an_order_needs_the_zeros_of_a_partial_row_and_a_sum_does_not(name: str) -> None:
    """Zeros come in front of what is negative; what is behind a column adds nothing to it."""

    @pto.kernel(grid="1", x="f32[32, n]", out="f32[32, n]")
    def kernel(x: Tensor, out: Tensor) -> None:
        cols = pto.ds(0, 64, valid=x.shape[1])
        pto.store(out[:, cols], RAGGED[name](pto.load(x[:, cols])))

    traced = kernel.trace()
    program = schedule(traced, "serial").kernel
    x = {"x": -np.random.default_rng(0).uniform(1, 2, (32, 50)).astype(np.float32)}
    want = sequential.run(traced, bind(traced, x))["out"]
    assert scheduled.run(program, bind(program, x))["out"].tobytes() == want.tobytes()
    bare = list(with_less(program))
    assert bool(bare) == (name != "cumsum")
    for less in bare:
        assert difference(persist(traced), less) is not None
        assert scheduled.run(less, bind(less, x))["out"].tobytes() != want.tobytes()


# --------------------------------------------------------------------------------------------- rows


def test_both_results_have_their_names() -> None:
    @pto.kernel(grid="1", x="f16[16, 32]", out="f16[16, 16]", where="i32[16, 16]")
    def kernel(x: Tensor, out: Tensor, where: Tensor) -> None:
        best, chosen = pto.top_k(pto.load(x[:, :]), 16)
        pto.store(out[:, :], best)
        pto.store(where[:, :], chosen)

    text = print_kernel(kernel.trace())
    for line in (
        "chosen: i32[16, 16] = largest astype, columns",
        "best_take: f32[16, 16] = take astype, chosen",
        "best: f16[16, 16] = astype best_take, f16",
    ):
        assert line in text.splitlines(), text


TEXT = """kernel t
param x in f32[16, 64]
param out out f32[16, 64]
grid 1

a: f32[16, 64] = load x[:, :]
n: i32[1, 64] = iota 0
{0}
out[:, :] = store a
"""


@pytest.mark.parametrize(
    ("row", "told"),
    {
        "p: i32[16, 12] = largest a, n": "the result has its rows, a multiple of 8",
        "p: i32[16, 72] = largest a, n": "the result has its rows, a multiple of 8",
        "p: i32[8, 64] = largest a, n": "the result has its rows, a multiple of 8",
        "p: f32[16, 64] = largest a, n": "the result has its rows, a multiple of 8",
        "p: i32[16, 64] = largest a, a": "the numbers are one row of i32",
        "m: f32[16, 1] = row_max a\np: i32[16, 8] = largest m, n": "it orders rows of f32",
        "p: f32[16, 64] = take a, a": "the places are i32",
        "p: f32[1, 64] = take a, n": "the places are i32",
        "p: f32[16, 1] = cumsum a": "the result is a tile like the operand",
        "m: f32[16, 1] = row_max a\np: f32[16, 1] = cumsum m": "rows of a multiple of 16",
        "p: f32[16, 64] = largest a": "largest takes a tile, a tile, found 1 operands",
    }.items(),
)
def test_a_text_is_refused(row: str, told: str) -> None:
    with pytest.raises(LegalityError) as caught:
        verify(parse(TEXT.format(row), "t.ptoir"))
    assert told in str(caught.value)


def test_cycles_by_hand() -> None:
    """The generic 6 + 2 of every instruction: docs/machine.md 11.2."""

    @pto.kernel(grid="1", x="f32[32, 64]", out="f32[32, 64]", where="i32[32, 8]")
    def kernel(x: Tensor, out: Tensor, where: Tensor) -> None:
        best, places = pto.top_k(pto.load(x[:, :]), 8)
        pto.store(out[:, :], pto.cumsum(pto.load(x[:, :]) + pto.row_max(best)))
        pto.store(where[:, :], places)

    program = schedule(kernel.trace()).kernel
    cycles = {
        row.op: cost_of(row, program, A2A3.costs["flat"]).latency for row in all_rows(program.body)
    }
    # on a lane 16 rows: runs of 512 bytes; a merge of 2 x 8 pairs and its copy; the numbers
    assert cycles["largest"] == 16 * (4 * 6 + (2 + 2 + 1) * 2)
    assert cycles["take"] == 16 * (2 * 6 + 2 * 2)
    # 8 + 2 instructions of transposes, 2 copies, 6 rounds of two; 16 repeats in a tile
    assert cycles["cumsum"] == (8 + 2 + 2 + 12) * 6 + (4 + 6) * 16 * 2
