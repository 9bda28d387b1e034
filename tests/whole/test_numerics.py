"""Every executor against the float64 oracles: one test body, executors and shapes as parameters.

Tolerances.  Paged attention: 3e-3 absolute for unit-scale inputs; the probabilities are rounded to
bf16 (relative 2^-8 at most) and average unit-scale values.  gemm: products of 16-bit inputs are exact
in float32, so only the float32 sums round: k 2^-24 of the sum of magnitudes, which is below
4 sqrt(k) here.  rmsnorm: one rounding to the 16-bit output, plus float32 noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lowering.execute import inputs, scheduled, sequential
from lowering.schedule import NAMED, options_for, schedule, stages
from pto.ir import Kernel as Program
from pto.kernel import Kernel
from pto.kernels import SHIPPED
from tests.axes import some

Outputs = Mapping[str, Any]
NARROW = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
HALF_STEP = {"bf16": 2.0**-8, "f16": 2.0**-11}


def run_jax(program: Program, bound: inputs.Bound) -> Outputs:
    from lowering import jax_executor

    return {n: np.asarray(a) for n, a in jax_executor.run(program, bound).items()}


EXECUTORS: dict[str, Callable[[Program, inputs.Bound], Outputs]] = {
    "numpy": scheduled.run,
    "jax": run_jax,
}


def draw(kernel: Kernel, seed: int, statics: Mapping[str, Any], **case: Any) -> dict[str, Any]:
    """A random case, rounded to the kernel's element type."""
    assert kernel.draw_case is not None
    values = {**kernel.with_statics(statics), **case}
    arrays = kernel.draw_case(np.random.default_rng(seed), **values)
    narrow = [p.name for p in kernel.params(values) if p.dtype in NARROW]
    return {
        n: a.astype(NARROW[str(values["dtype"])]) if n in narrow else a for n, a in arrays.items()
    }


def oracle(kernel: Kernel, arrays: Mapping[str, Any], statics: Mapping[str, Any]) -> Outputs:
    """The kernel's float64 reference on the rounded inputs."""
    assert kernel.oracle is not None
    wide = {n: a if a.dtype.kind == "i" else a.astype(np.float64) for n, a in arrays.items()}
    options = {n: v for n, v in kernel.with_statics(statics).items() if n == "activation"}
    return kernel.oracle(**wide, **options)


def judge(
    name: str,
    statics: Mapping[str, Any],
    tolerance: Callable[[Any], Any],
    plan: str = "best",
    executors: Iterable[str] = EXECUTORS,
    **case: Any,
) -> None:
    """Sequential within tolerance; every executor of the plan too; numpy bit-identical."""
    kernel = SHIPPED[name]
    arrays = draw(kernel, 0, statics, **case)
    want = oracle(kernel, arrays, statics)["out"]
    traced = kernel.trace(**statics)
    reference = sequential.run(traced, inputs.bind(traced, arrays))["out"]
    assert np.all(np.abs(reference.astype(np.float64) - want) <= tolerance(want))
    program = schedule(traced, plan).kernel
    bound = inputs.bind(program, arrays)
    for executor in executors:
        got = EXECUTORS[executor](program, bound)["out"]
        error = np.abs(got.astype(np.float64) - want)
        assert np.all(error <= tolerance(want)), (executor, error.max())
        if executor == "numpy":
            assert got.tobytes() == reference.tobytes()


@pytest.mark.parametrize(
    ("q_tile", "block", "dtype"),
    some(
        [(16, 64, "bf16"), (64, 64, "f16"), (16, 128, "f16"), (64, 128, "bf16")],
        (16, 64), (64, 128), ("bf16", "f16"),
    ),
)  # fmt: skip
def test_paged_attention(q_tile: int, block: int, dtype: str) -> None:
    """Contexts 0, 1, block - 1, block, block + 1, random, 33 blocks; pages permuted, NaN around."""
    statics = dict(q_tile=q_tile, block=block, heads=q_tile, dtype=dtype)
    judge("paged_attention", statics, lambda want: 3e-3, batch=8, context=33 * block - 5)


@pytest.mark.parametrize(
    ("plan", "executor"),
    some(
        [("serial", "jax"), ("prefetch", "numpy"), ("repair", "numpy"), ("best", "jax")],
        NAMED, EXECUTORS,
    ),
)  # fmt: skip
def test_paged_attention_under_every_named_schedule(plan: str, executor: str) -> None:
    judge("paged_attention", {}, lambda want: 3e-3, plan, (executor,), batch=7, context=700)


@pytest.mark.parametrize(
    ("group", "kv_heads", "executor"),
    some(
        [
            (1, 2, "jax"), (4, 1, "numpy"), (8, 2, "numpy"), (16, 1, "numpy"),
            (32, 2, "numpy"), (64, 1, "jax"), (128, 1, "numpy"),
        ],
        (1, 4, 8, 16, 32, 64, 128), (1, 2), EXECUTORS,
    ),
)  # fmt: skip
def test_heads_per_key_value_head(group: int, kv_heads: int, executor: str) -> None:
    """Fewer heads than a tile are padded, more become several tiles."""
    statics = dict(heads=group * kv_heads, kv_heads=kv_heads, dim=64, block=16)
    judge("paged_attention", statics, lambda want: 3e-3, executors=(executor,), batch=6, context=75)


SHAPES = ((1, 5, 1), (128, 128, 64), (130, 129, 70), (200, 300, 256))


@pytest.mark.parametrize(
    ("shape", "activation", "plan"),
    some(
        list(zip(SHAPES, ("none", "relu", "silu", "none"), NAMED, strict=True)),
        SHAPES, ("none", "relu", "silu"), NAMED,
    ),
)  # fmt: skip
def test_gemm(shape: tuple[int, int, int], activation: str, plan: str) -> None:
    m, n, k = shape
    bound = 4 * np.sqrt(k) * k * 2.0**-24 + 1e-6
    judge("gemm", dict(activation=activation), lambda want: bound, plan, m=m, n=n, k=k)


@pytest.mark.parametrize(
    ("rows", "dtype", "plan"),
    some(
        list(zip((1, 16, 100, 100), ("bf16", "f16", "bf16", "f16"), NAMED, strict=True)),
        (1, 16, 100), ("bf16", "f16"), NAMED,
    ),
)  # fmt: skip
def test_rmsnorm(rows: int, dtype: str, plan: str) -> None:
    judge(
        "rmsnorm",
        dict(dtype=dtype),
        lambda want: HALF_STEP[dtype] * np.abs(want) + 1e-5,
        plan,
        rows=rows,
    )


@pytest.mark.sweep
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_every_shape_of_paged_attention(name: str, lookahead: int) -> None:
    """Bits of the scheduled program for all shapes; several hardware blocks."""
    kernel = SHIPPED["paged_attention"]
    for group in (1, 4, 8, 16, 32, 64, 128):
        for dim in (64, 128):
            for block in (16, 64, 128):
                for q_tile in (16, 64):
                    statics = dict(heads=group, dim=dim, block=block, q_tile=q_tile)
                    arrays = draw(kernel, 1, statics, batch=5, context=6 * block)
                    traced = kernel.trace(**statics)
                    want = sequential.run(traced, inputs.bind(traced, arrays))["out"]
                    *_, (_, program) = stages(traced, options_for(name, lookahead=lookahead))
                    for block_num in (1, 2, 24):
                        bound = inputs.bind(program, arrays)
                        got = scheduled.run(program, bound, block_num=block_num)["out"]
                        assert got.tobytes() == want.tobytes(), (statics, block_num)


@pytest.mark.parametrize(("context", "width"), [(0, 1), (1, 1), (128, 1), (129, 2)])
def test_a_case_has_a_table_for_its_longest_context(context: int, width: int) -> None:
    kernel = SHIPPED["paged_attention"]
    assert kernel.draw_case is not None
    drawn = kernel.draw_case(np.random.default_rng(0), batch=2, context=context, **kernel.statics)
    assert drawn["block_table"].shape == (2, width)


@pytest.mark.parametrize("context", [0, 1, 3, 200])
def test_a_case_has_contexts_up_to_its_longest(context: int) -> None:
    kernel = SHIPPED["paged_attention"]
    assert kernel.draw_case is not None
    rng = np.random.default_rng(0)
    lens = kernel.draw_case(rng, batch=2000, context=context, **kernel.statics)["context_lens"]
    assert set(lens) == set(range(context + 1))
