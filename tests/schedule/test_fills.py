"""Zeros of partial loads: written where they count, and nowhere else.

What is not filled is NaN in every executor, so a missing fill shows in what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

import pto
from lowering import native
from lowering.ascend import emit
from lowering.execute import inputs, scheduled, sequential
from lowering.execute.adversarial import Orders
from lowering.native import build
from lowering.schedule import schedule
from lowering.schedule.passes.persist import persist
from lowering.values.equivalence import difference
from pto import ir
from pto.errors import InputError
from pto.kernels import SHIPPED
from tests.lenient import check, resting_on

Kernel = pto.Kernel
GRID = "cdiv(m, 32)"


def spans(m: Any, k: Any, n: Any, i: Any = 0) -> tuple[Any, Any, Any]:
    """The rows of this item, the inner dimension of step ``i``, all columns: partial, all of them."""
    first = pto.program_id(0) * 32
    return (
        pto.ds(first, 32, valid=m - first),
        pto.ds(i * 32, 32, valid=k - i * 32),
        pto.ds(0, 64, valid=n),
    )


@pto.kernel(grid=GRID, a="bf16[m, k]", b="bf16[n, k]", out="f32[m, n]")
def turned(a: Any, b: Any, out: Any) -> None:
    """A transposed right operand: its columns are summed over, its rows are columns of the result."""
    rows, inner, cols = spans(*a.shape, b.shape[0])
    pto.store(out[rows, cols], pto.load(a[rows, inner]) @ pto.load(b[cols, inner]).T)


@pto.kernel(grid=GRID, a="bf16[m, k]", b="bf16[k, k]", c="bf16[k, n]", out="f32[m, n]")
def chain(a: Any, b: Any, c: Any, out: Any) -> None:
    """What is summed over by the second product only."""
    rows, inner, cols = spans(*a.shape, c.shape[1])
    h = pto.maximum(pto.load(a[rows, inner]) @ pto.load(b[inner, inner]), 0.0)
    pto.store(out[rows, cols], h.astype("bf16") @ pto.load(c[inner, cols]))


@pto.kernel(grid=GRID, a="f32[m, n]", out="f32[m, n]")
def reduction(a: Any, out: Any) -> None:
    """Columns are compared and added up, unless a ``where`` has taken away what is missing."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])
    x = pto.load(a[rows, cols])
    masked = pto.where(pto.iota(1) < a.shape[1], x, -np.inf)
    e = pto.exp(masked - pto.row_max(masked))
    pto.store(out[rows, cols], e / pto.row_sum(e))


@pto.kernel(grid=GRID, a="f32[m, n]", out="f32[m, n]")
def bare_reduction(a: Any, out: Any) -> None:
    """As ``reduction``, but nothing takes away what is missing."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])
    x = pto.load(a[rows, cols])
    pto.store(out[rows, cols], x * pto.row_sum(x))


@pto.kernel(grid=GRID, a="f32[m, n]", b="f32[p, n]", out="f32[p, n]")
def longer(a: Any, b: Any, out: Any) -> None:
    """Stores more rows than it loads of one operand."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=out.shape[0] - first)
    pto.store(out[here, cols], pto.load(a[rows, cols]) + pto.load(b[here, cols]))


@pto.kernel(grid=GRID, a="f32[m, n]", out="f32[m, n]")
def carried(a: Any, out: Any) -> None:
    """A sum over steps, each with columns of its own that are missing."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])

    def step(i: Any, acc: Any) -> Any:
        part = pto.ds(i * 64, 64, valid=a.shape[1] - i * 64)
        return acc + pto.load(a[rows, part])

    pto.store(out[rows, cols], pto.fori_loop(0, 2, step, pto.zeros((32, 64))))


@pto.kernel(grid=GRID, a="f32[m, n]", bias="f32[n]", out="f32[m, n]")
def repeated(a: Any, bias: Any, out: Any) -> None:
    """A partial row that is repeated along rows keeps its columns."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])
    pto.store(out[rows, cols], pto.load(a[rows, cols]) + pto.load(bias[cols]))


@pto.kernel(grid="cdiv(m, 32) + 2", a="f32[m, n]", b="f32[n]", out="f32[m, n]")
def beyond(a: Any, b: Any, out: Any) -> None:
    """Lanes and work items without any row."""
    rows, _, cols = spans(a.shape[0], 1, a.shape[1])
    pto.store(out[rows, cols], pto.load(a[rows, cols]) + pto.load(b[cols]))


ONE: dict[str, tuple[Kernel, dict[str, str], dict[str, int]]] = {
    "turned": (turned, {"a": "fill_cols", "b": "fill_cols"}, {}),
    "chain": (chain, {"a": "fill_cols", "b": "", "c": "fill_rows"}, {}),
    "reduction": (reduction, {"a": "no_fill"}, {}),
    "bare_reduction": (bare_reduction, {"a": "fill_cols"}, {}),
    "longer": (longer, {"a": "fill_rows", "b": "no_fill"}, {"p": 60}),
    "carried": (carried, {"a": "fill_cols"}, {}),
    "beyond": (beyond, {"a": "no_fill", "b": "no_fill"}, {}),
    "repeated": (repeated, {"a": "no_fill", "bias": "no_fill"}, {}),
}
"""Kernel, by the tensor what a load of it fills ('': rows and columns), sizes besides m, k, n."""
SIZES = {"m": 41, "k": 19, "n": 50}


def drawn(kernel: Kernel, more: dict[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    import ml_dtypes

    sizes, rng = SIZES | more, np.random.default_rng(0)
    arrays = {}
    for p in kernel.trace().params:
        if p.name != "out":
            shape = [sizes[d] if isinstance(d, str) else d for d in p.shape or ()]
            dtype = ml_dtypes.bfloat16 if p.dtype == "bf16" else np.float32
            arrays[p.name] = rng.standard_normal(shape).astype(dtype)
    return arrays


def fills_of(program: ir.Kernel) -> dict[str, str]:
    """By tensor: what becomes zero, by the load itself or by a padding of the same slot."""
    rows = [r for r in ir.all_rows(program.body) if r.op in ("load", "pad")]
    found, tensor = {}, {}
    for r in rows:
        if r.op == "load":
            name = r.operand(ir.View).tensor
            tensor[r.result(ir.Ref).name] = name
            told = r.operand(ir.Word, 1).name if len(r.args) > 1 else ""
            found[name] = told if r.core == "cube" else "no_fill"
        else:
            name, sizes = r.operand(ir.Ref).name, [isinstance(a, ir.Const) for a in r.args[1:]]
            words = {(True, False): "fill_cols", (False, True): "fill_rows", (False, False): ""}
            found[tensor[name]] = words[sizes[0], sizes[1]]
    return found


@pytest.mark.parametrize("name", ONE)
def test_zeros_are_written_where_they_count(name: str) -> None:
    kernel, want, _ = ONE[name]
    assert fills_of(schedule(kernel.trace()).kernel) == want


def test_shipped_kernels() -> None:
    """Of paged attention only the rows of V, of a product only the inner dimension."""
    attention = schedule(SHIPPED["paged_attention"].trace(heads=40)).kernel
    assert fills_of(attention) == {"query": "no_fill", "key_cache": "", "value_cache": ""}
    fills = [ln for ln in emit(attention)["paged_attention.cpp"].splitlines() if "TEXPANDS(v" in ln]
    assert len(fills) == 1 and "TEXPANDS(q[" not in emit(attention)["paged_attention.cpp"]
    gemm = fills_of(schedule(SHIPPED["gemm"].trace()).kernel)
    assert gemm == {"a": "fill_cols", "b": "fill_rows", "bias": "no_fill"}
    assert fills_of(schedule(SHIPPED["rmsnorm"].trace()).kernel)["x"] == "no_fill"


@pytest.mark.parametrize("plan", ["serial", "best"])
@pytest.mark.parametrize("name", ONE)
def test_what_is_missing_never_shows(name: str, plan: str) -> None:
    kernel, _, more = ONE[name]
    traced = kernel.trace()
    arrays = drawn(kernel, more)
    want = sequential.run(traced, inputs.bind(traced, arrays))["out"]
    assert np.isfinite(want).all()
    program = schedule(traced, plan).kernel
    bound = inputs.bind(program, arrays)
    assert scheduled.run(program, bound, block_num=2)["out"].tobytes() == want.tobytes()
    assert not list(Orders(program, bound, 2, resting_on(program)).differences(range(3)))


def with_less(program: ir.Kernel) -> Iterator[ir.Kernel]:
    """Each with one dimension of one load, or one padding, left as it is."""
    for row in ir.all_rows(program.body):
        if row.op == "pad":
            sizes = [ir.Const(size) for size in (1 << 12, 1 << 12)]
            yield with_row(program, row, replace(row, args=(row.args[0], *sizes)))
        partial = row.op == "load" and any(s.valid for s in row.operand(ir.View).spans)
        if row.core == "cube" and partial:
            told = row.operand(ir.Word, 1).name if len(row.args) > 1 else ""
            for less in {"": ("fill_rows", "fill_cols"), "no_fill": ()}.get(told, ("no_fill",)):
                yield with_row(program, row, replace(row, args=(row.args[0], ir.Word(less))))


def with_row(program: ir.Kernel, old: ir.Row, new: ir.Row) -> ir.Kernel:
    def changed(block: ir.Block) -> ir.Block:
        return tuple(
            replace(n, body=changed(n.body)) if isinstance(n, ir.Loop) else new if n is old else n
            for n in block
        )

    return replace(program, body=changed(program.body))


FILLED = [name for name, (_, fills, _) in ONE.items() if set(fills.values()) != {"no_fill"}]


@pytest.mark.parametrize("name", FILLED)
def test_a_fill_that_is_missing_is_nan_in_the_result(name: str) -> None:
    """No judge of order sees it; the judge of values does, and both executors."""
    kernel, _, more = ONE[name]
    traced = kernel.trace()
    arrays = drawn(kernel, more)
    programs = list(with_less(schedule(traced, "serial").kernel))
    assert programs
    for program in programs:
        assert check(program).ok
        assert difference(persist(traced), program) is not None
        out = scheduled.run(program, inputs.bind(program, arrays), block_num=2)["out"]
        assert np.isnan(out).any()


@pytest.mark.parametrize(
    ("name", "most"),
    [("turned", 1), ("beyond", 1), pytest.param("turned", None, marks=pytest.mark.sweep)],
)
def test_the_emitted_text_without_a_fill_gives_nan(name: str, most: int | None) -> None:
    """Every fill is needed, and ``most`` are tried; a lane or a work item that loads nothing is no mistake."""
    try:
        build.compiler()
    except InputError as missing:
        pytest.skip(str(missing))
    kernel, _, more = ONE[name]
    program = schedule(kernel.trace()).kernel
    bound = inputs.bind(program, drawn(kernel, more))
    whole = native.run(program, bound, seeds=range(5), block_num=2, assume=resting_on(program))
    assert whole.good and np.isfinite(whole.outputs["out"]).all()
    for wrong in islice(with_less(program), most):
        assert np.isnan(native.run(wrong, bound, block_num=2).outputs["out"]).any()
