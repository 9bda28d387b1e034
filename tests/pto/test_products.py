"""Products larger than the cube's memories, sums over nothing, parts of tiles: what is traced, and that every
executor computes it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import executors
from lowering.execute.inputs import bind
from lowering.execute.judge import compare, expected
from lowering.schedule import schedule
from pto import Scalar, Tensor, Tile, ds, ir
from pto.products import Corner, corners, inner_parts
from pto.targets import TARGETS
from pto.types import TileType
from tests.schedule.forms import FORMS

A2A3 = TARGETS["a2a3"]


def ops(kernel: ir.Kernel, *wanted: str) -> list[ir.Row]:
    return [r for r in ir.all_rows(kernel.body) if r.op in wanted]


def drawn(*shape: int) -> Any:
    values = np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)
    return values.astype(ml_dtypes.bfloat16)


def executors_of(kernel: Any) -> tuple[str, ...]:
    """All for one kernel, whose C++ has parts of both sides, whole and turned."""
    return ("jax", "adversarial", "native") if kernel is turned else ("jax", "adversarial")


def agree(kernel: Any, right: np.ndarray[Any, Any], **arrays: Any) -> np.ndarray[Any, Any]:
    """The output, which the scheduled executor has bit for bit; every one within the judge's tolerance of
    what is ``right`` in float64."""
    traced = kernel.trace()
    bound = bind(traced, arrays)
    made, wanted = schedule(traced).kernel, expected(traced, bound, {"out": right}, {})
    first = executors.execute("sequential", traced, bound).outputs["out"]
    assert np.array_equal(executors.execute("numpy", made, bound).outputs["out"], first)
    for name in executors_of(kernel):
        orders = executors.Orders(range(2)) if name in executors.SEVERAL else None
        ran = executors.execute(name, made, bound, orders)
        assert not ran.differences
        assert all(c.ok for c in compare(ran.outputs, wanted))
    found: np.ndarray[Any, Any] = first
    return found


@pto.kernel(grid="cdiv(m, 64)", a="bf16[m, 576]", b="bf16[256, 576]", out="f32[m, 256]")
def turned(a: Tensor, b: Tensor, out: Tensor) -> None:
    """a @ b.T, of which neither fits L0 twice."""
    rows = ds(pto.program_id(0) * 64, 64)
    pto.store(out[rows, :], pto.load(a[rows, :]) @ pto.load(b[:, :]).T)


@pto.kernel(grid="cdiv(m, 64)", a="bf16[m, 256]", b="bf16[256, 128]", out="f32[m, 128]")
def sliced(a: Tensor, b: Tensor, out: Tensor) -> None:
    """exp of a product, as a person would cut it; parts of parts and of a transpose, too."""
    rows = ds(pto.program_id(0) * 64, 64)
    x, y = pto.load(a[rows, :]), pto.load(b[:, :])
    low, high = x[:, 0:128], x[:, 128:]
    total = low @ y[:128] + high[:, 0:64] @ y[128:192, :] + high[:, 64:] @ y[192:]
    pto.store(out[rows, :], pto.exp(total * 0.01))


@pto.kernel(grid="n", a="bf16[n, 64, 128]", b="bf16[128, 128]", out="f32[n, 64, 64]")
def of_a_transpose(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Columns 64 to 128 of b.T, which are rows of b; the left side comes from the vector core."""
    x = pto.exp(pto.load(a[pto.program_id(0), :, :]).astype("f32") * 0.1).astype("bf16")
    y = pto.load(b[:, :]).T
    pto.store(out[pto.program_id(0), :, :], x[:, 64:] @ y[64:, 64:])


def test_an_inner_dimension_is_cut_to_what_l0_holds_twice() -> None:
    whole = TileType("bf16", 64, 576)
    parts = inner_parts(whole, 256, A2A3)
    assert sum(size for _, size in parts) == 576 and len({size for _, size in parts[:-1]}) == 1
    for _, size in parts:
        assert 2 * 2 * size * 256 <= A2A3.spaces["l0b"].capacity_bytes
    assert inner_parts(TileType("bf16", 128, 128), 128, A2A3) == [(0, 128)]
    assert inner_parts(TileType("f32", 16, 32), 16, A2A3) == [(0, 32)]


def test_results_are_cut_to_half_of_l0c() -> None:
    half = A2A3.spaces["l0c"].capacity_bytes // 2
    assert corners(TileType("f32", 128, 128), half) == [Corner(0, 0, 128, 128)]
    assert [c.col for c in corners(TileType("f32", 128, 256), half)] == [0, 128]
    assert len(corners(TileType("f32", 256, 256), half)) == 4


@pytest.mark.parametrize("kernel", [turned, sliced, of_a_transpose], ids=lambda k: k.name)
def test_every_executor_has_the_parts(kernel: Any) -> None:
    a, b = {
        "turned": (drawn(128, 576), drawn(256, 576)),
        "sliced": (drawn(128, 256), drawn(256, 128)),
        "of_a_transpose": (drawn(2, 64, 128), drawn(128, 128)),
    }[kernel.name]
    x, y = a.astype(np.float64), b.astype(np.float64)
    right = {
        "turned": lambda: x @ y.T,
        "sliced": lambda: np.exp(x @ y * 0.01),
        "of_a_transpose": lambda: np.exp(x * 0.1)[:, :, 64:] @ y.T[64:, 64:],
    }[kernel.name]()
    agree(kernel, right, a=a, b=b)


def test_a_part_of_all_is_the_tile_and_a_part_of_a_part_is_one_of_the_tile() -> None:
    rows = ops(sliced.trace(), "part")
    assert {r.operand(ir.Ref).name for r in rows} == {"x", "y"}
    places = [tuple(ir.constant(e) for e in r.args[1:] if isinstance(e, ir.Const)) for r in rows]
    assert (0, 192) in places and (192, 0) in places and (128, 0) in places


def test_what_is_added_begins_with_the_sum() -> None:
    """One sum over all parts, as L0C makes it: nothing is added on the vector core."""
    for name in ("gemm, tiles cut to L0", "gemm, 256 x 256 x 256", "gemm, k from data"):
        made = FORMS[name].made.kernel
        assert not made.fifos and not ops(made, "add", "full")
    traced = FORMS["gemm, tiles cut to L0"].trace()
    (loop,) = ir.loops_of(traced.body)
    products = ops(traced, "matmul")
    assert products[0].args[2] == ir.Ref(loop.carry[0].name)
    assert [p.args[2] for p in products[1:]] == [
        ir.Ref(p.result(ir.Define).name) for p in products[:-1]
    ]


@pytest.mark.parametrize("name", ["gemm, tiles cut to L0", "gemm, 256 x 256 x 256"])
def test_cut_products_are_the_product(name: str) -> None:
    """All executors run what was cut, so none of them would notice a part in the wrong place."""
    form = FORMS[name]
    traced, arrays = form.trace(), form.arrays()
    bound = bind(traced, arrays)
    right = arrays["a"].astype(np.float64) @ arrays["b"].astype(np.float64)
    found = executors.execute("sequential", traced, bound).outputs
    assert all(c.ok for c in compare(found, expected(traced, bound, {"out": right}, {})))


def test_a_result_that_is_only_stored_comes_in_blocks() -> None:
    """Each is stored before the next but one begins."""
    made = FORMS["gemm, 256 x 256 x 256"].made.kernel
    order = [r.op for r in ops(made, "matmul", "store")]
    assert order == ["matmul", "matmul", "store"] * 4
    stores = ops(made, "store")
    assert len({r.operand(ir.Ref).name for r in stores}) == 2


def test_every_block_of_a_result_is_added() -> None:
    @pto.kernel(grid="n", a="bf16[n, 128, 64]", b="bf16[n, 64, 256]", out="f32[128, 256]")
    def kernel(a: Tensor, b: Tensor, out: Tensor) -> None:
        n = pto.program_id(0)
        pto.store(out[:, :], pto.load(a[n, :, :]) @ pto.load(b[n, :, :]), add=True)

    made = schedule(kernel.trace())
    assert made.proof.ok and [r.adds for r in ops(made.kernel, "store")] == [True, True]


def test_a_result_that_is_read_is_not_cut() -> None:
    @pto.kernel(grid="n", a="bf16[n, 128, 64]", b="bf16[64, 256]", out="f32[n, 128, 256]")
    def kernel(a: Tensor, b: Tensor, out: Tensor) -> None:
        x = pto.load(a[pto.program_id(0), :, :]) @ pto.load(b[:, :])
        pto.store(out[pto.program_id(0), :, :], pto.exp(x))

    assert [r.result(ir.Define).type.cols for r in ops(kernel.trace(), "matmul")] == [256]


@pto.kernel(
    grid="n",
    a="bf16[n, 128, 64]",
    b="bf16[64, 256]",
    out="f32[n, 2, 128, 256]",
    static=dict(how="loop"),
)
def twice(a: Tensor, b: Tensor, out: Tensor, *, how: str) -> None:
    """A product stored in a loop behind it; or two that begin with the same zeros."""
    w = pto.program_id(0)
    x, y, zero = pto.load(a[w, :, :]), pto.load(b[:, :]), pto.zeros((128, 256))
    if how == "loop":
        made = x @ y
        pto.fori_loop(0, 2, lambda i: pto.store(out[w, i, :, :], made))
    else:
        pto.store(out[w, 0, :, :], zero + x @ y)
        pto.store(out[w, 1, :, :], zero + x @ y)


@pytest.mark.parametrize("how", ["loop", "zeros"])
def test_what_is_stored_elsewhere_or_begins_like_another_is_whole(how: str) -> None:
    traced = twice.trace(how=how)
    assert {r.result(ir.Define).type.cols for r in ops(traced, "matmul")} == {256}


# --------------------------------------------------------------------------------- sums over nothing


def test_a_loop_that_may_be_empty_is_one_over_zeros() -> None:
    traced = FORMS["gemm, k from data"].trace()
    (loop,) = ir.loops_of(traced.body)
    assert isinstance(loop.trips, ir.Bin)
    assert (loop.trips.op, loop.trips.b) == ("max", ir.Const(1))


@pto.kernel(
    grid="n", a="bf16[n, 64, k]", b="bf16[k, 64]", count="i32[n]", out="f32[n, 64, 64]",
    static=dict(reads=0),
)  # fmt: skip
def counted(a: Tensor, b: Tensor, count: Tensor, out: Tensor, *, reads: int) -> None:
    """The trip count is what an array says; the loads are whole."""
    w = pto.program_id(0)

    def step(i: Scalar, total: Tile) -> Tile:
        at = ds((count[w] if reads else i) * 64, 64)
        return total + pto.load(a[w, :, at]) @ pto.load(b[at, :])

    pto.store(out[w, :, :], pto.fori_loop(0, count[w], step, pto.zeros((64, 64))))


def test_no_iteration_gives_zeros() -> None:
    a, b, count = drawn(3, 64, 192), drawn(192, 64), np.array([0, 3, 1], np.int32)
    x, y = a.astype(np.float64), b.astype(np.float64)
    right = np.stack([x[w, :, : 64 * n] @ y[: 64 * n] for w, n in enumerate(count)])
    assert not agree(counted, right, a=a, b=b, count=count)[0].any()


def test_a_loop_that_reads_indices_stays_as_it_is() -> None:
    """There may be none to read."""
    (loop,) = ir.loops_of(counted.trace(reads=1).body)
    assert not isinstance(loop.trips, ir.Bin)
