"""Sums of stores that add: the same bits in every order, and a judge whose limit holds for all of them."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering.execute import judge, sequential
from lowering.execute.access import DTYPES, Array
from lowering.execute.inputs import Bound, bind
from lowering.execute.roundings import roundings
from lowering.execute.sums import Sums
from pto import Tensor, ir

ROW = (slice(0, 1), slice(None))


def terms(rng: np.random.Generator, dtype: str, count: int) -> list[Array]:
    """Of many sizes, and of either sign; every second one cancels the one before nearly."""
    found: list[Array] = []
    for k in range(count):
        sizes = 10.0 ** rng.uniform(-3, 3, (1, 64))
        x = found[-1].astype(np.float64) * -0.999 if k % 2 else rng.choice((-1, 1)) * sizes
        found.append(x.astype(DTYPES[dtype]))
    return found


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_the_sum_is_exact_and_rounded_once(dtype: str) -> None:
    rng = np.random.default_rng(0)
    given = terms(rng, dtype, 9)
    for order in (given, given[::-1], [given[k] for k in rng.permutation(9)]):
        sums = Sums(np.zeros((2, 64), DTYPES[dtype]))
        for x in order:
            sums.add(ROW, x)
        exact = [float(sum(Fraction(float(x[0, c])) for x in given)) for c in range(64)]
        assert (sums.tensor[0] == np.array(exact).astype(DTYPES[dtype])).all()
        assert not sums.tensor[1].any()


@np.errstate(all="ignore")
def test_a_store_ends_a_sum() -> None:
    sums = Sums(np.full((1, 2), 1.0, np.float32))
    sums.add(ROW, np.float32([[2.0**-30, np.inf]]))
    assert sums.tensor.tolist() == [[1.0, np.inf]]
    sums.add(ROW, np.float32([[-1.0, -np.inf]]))
    assert sums.tensor[0, 0] == 2.0**-30 and np.isnan(sums.tensor[0, 1])
    sums.put(ROW, np.float32([[5.0, 6.0]]))
    sums.add(ROW, np.float32([[1.0, 1.0]]))
    assert sums.tensor.tolist() == [[6.0, 7.0]]


@np.errstate(all="ignore")
def test_overflow_and_not_a_number_have_no_order() -> None:
    """3e38 three times and -3e38 twice is 3e38; two kinds of NaN are one."""
    given = [np.float32([[x]]) for x in (3e38, 3e38, -3e38, 3e38, -3e38)]
    strange = [np.uint32([[n]]).view(np.float32) for n in (0xFFC00001, 0x7FC00002)]
    for order in itertools.permutations(given):
        sums = Sums(np.zeros((1, 1), np.float32))
        for x in order:
            sums.add(ROW, x)
        assert sums.tensor[0, 0] == np.float32(3e38)
    found = set()
    for order in itertools.permutations([*strange, *given[:1]]):
        sums = Sums(np.zeros((1, 1), np.float32))
        for x in order:
            sums.add(ROW, x)
        found.add(sums.tensor.tobytes())
    assert len(found) == 1


# ------------------------------------------------------------------------------------ the judge


def traced(dtype: str) -> ir.Kernel:
    @pto.kernel(grid="parts", x=f"{dtype}[parts, 16, 64]", out=f"{dtype}[16, 64]")
    def summed(x: Tensor, out: Tensor) -> None:
        pto.store(out[:, :], pto.load(x[pto.program_id(0), :, :]), add=True)

    return summed.trace()


def call(dtype: str, parts: int = 7) -> tuple[ir.Kernel, Bound]:
    rng, kernel = np.random.default_rng(1), traced(dtype)
    x = np.stack([np.repeat(t, 16, axis=0) for t in terms(rng, dtype, parts)])
    start = rng.standard_normal((16, 64)).astype(DTYPES[dtype])
    return kernel, bind(kernel, dict(x=x, out=start))


def rounded_at_every_term(bound: Bound, order: Any) -> Array:
    """As a machine sums: element by element in its type."""
    out = bound.arrays["out"].copy()
    for k in order:
        wide = out.astype(np.float32) + bound.arrays["x"][k].astype(np.float32)
        out = wide.astype(out.dtype)
    return out


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_every_order_is_right_and_a_lost_term_is_not(dtype: str) -> None:
    kernel, bound = call(dtype)
    exact = bound.arrays["out"].astype(np.float64) + bound.arrays["x"].astype(np.float64).sum(
        axis=0
    )
    wanted = judge.expected(kernel, bound, {"out": exact}, {})
    largest, rng = 0.0, np.random.default_rng(2)
    for order in [range(7), range(6, -1, -1), *(rng.permutation(7) for _ in range(60))]:
        got = rounded_at_every_term(bound, order)
        (found,) = judge.compare({"out": got}, wanted)
        assert found.ok, found.told("the exact sum")
        part = np.abs(got.astype(np.float64) - exact) / wanted[0].limit
        largest = max(largest, float(part.max()))
    assert largest > 0.1  # no order comes near a looser one
    for wrong in ([0, 1, 2, 3, 4, 5], [*range(7), 3]):
        (found,) = judge.compare({"out": rounded_at_every_term(bound, wrong)}, wanted)
        assert not found.ok


def test_what_is_not_added_to_is_exact() -> None:
    """Elements that no term reaches hold what they held, to the bit."""

    @pto.kernel(grid="2", x="f32[2, 16, 64]", out="f32[40, 64]")
    def upper(x: Tensor, out: Tensor) -> None:
        rows = pto.ds(0, 16, valid=out.shape[0] - 32)
        pto.store(out[rows, :], pto.load(x[pto.program_id(0), :, :]), add=True)

    kernel = upper.trace()
    rng = np.random.default_rng(0)
    start = rng.standard_normal((40, 64)).astype(np.float32)
    x = rng.standard_normal((2, 16, 64)).astype(np.float32)
    bound = bind(kernel, dict(x=x, out=start))
    (wanted,) = judge.expected(kernel, bound, None, {})
    assert (wanted.limit[8:] <= 2 * 2.0**-24 * np.abs(start[8:])).all()
    got = sequential.run(kernel, bound)["out"]
    assert (got[8:] == start[8:]).all() and (got[:8] != start[:8]).all()
    assert (bound.arrays["out"] == start).all()


def test_integers_are_exact_and_wrap_around() -> None:
    kernel = traced("i32")
    x = np.full((3, 16, 64), 2**30, np.int32)
    start = np.full((16, 64), -5, np.int32)
    bound = bind(kernel, dict(x=x[:1], out=start))
    assert judge.expected(kernel, bound, None, {})[0].limit.max() == 0
    got = sequential.run(kernel, bind(kernel, dict(x=x, out=start)))["out"]
    assert (got == np.int32(3 * 2**30 - 5 - 2**32)).all()


def test_where_partial_sums_overflow_nothing_is_known() -> None:
    kernel = traced("f16")
    x = np.stack([np.full((16, 64), v, np.float16) for v in (6e4, 6e4, -6e4, -6e4)])
    bound = bind(kernel, dict(x=x, out=np.ones((16, 64), np.float16)))
    (wanted,) = judge.expected(kernel, bound, None, {})
    assert np.isinf(wanted.limit).all()


def test_bf16_terms_are_rounded_themselves() -> None:
    """A term that is computed is rounded to the type before it is added, as by every executor."""

    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="bf16[16, 64]")
    def narrow(x: Tensor, out: Tensor) -> None:
        made = (pto.load(x[pto.program_id(0), :, :]) * 1.001).astype("bf16")
        pto.store(out[:, :], made, add=True)

    kernel = narrow.trace()
    x = np.random.default_rng(0).standard_normal((5, 16, 64)).astype(np.float32)
    bound = bind(kernel, dict(x=x, out=np.zeros((16, 64), ml_dtypes.bfloat16)))
    wanted = judge.expected(kernel, bound, {"out": (x * 1.001).sum(axis=0)}, {})
    (found,) = judge.compare(sequential.run(kernel, bound), wanted)
    assert found.ok, found.told("the float64 reference")


def test_partial_sums_are_as_large_as_their_terms_can_be() -> None:
    """Terms that are 0 but for their roundings: what these add up to is rounded at every term, too."""

    def error(dtype: str) -> Array:
        @pto.kernel(grid="n", x="f32[n, 16, 64]", out=f"{dtype}[16, 64]")
        def kernel(x: Tensor, out: Tensor) -> None:
            made = pto.load(x[pto.program_id(0), :, :]) * 3.0 - 3e4
            pto.store(out[:, :], made.astype(dtype), add=True)

        program = kernel.trace()
        x = np.full((64, 16, 64), 1e4, np.float32)
        bound = bind(program, dict(x=x, out=np.zeros((16, 64), DTYPES[dtype])))
        return roundings(program, bound).error["out"]

    assert np.median(error("bf16")) > 1.2 * np.median(error("f32"))
