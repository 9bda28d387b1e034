"""A kernel called like a function: every kind of array, every transform of JAX, the same bits."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import pto
from lowering.call.calls import calls_of
from pto.errors import InputError
from pto.kernels import SHIPPED, gemm, paged_attention, rmsnorm
from tests.call.cases import (
    cached,
    called,
    judged,
    rows,
    scaled,
    summed,
    sums,
    terms,
    times,
)
from tests.judges import foreign_arrays

KERNELS = sorted(SHIPPED)


def same(found: Any, wanted: Any) -> bool:
    return np.array_equal(
        np.asarray(found).astype(np.float32), np.asarray(wanted).astype(np.float32), equal_nan=True
    )


UNIT = 2.0**-24
"""One rounding to float32, relative."""


def near(found: Any, wanted: Any, terms: Any, roundings: int) -> bool:
    """Within ``roundings`` roundings of ``terms``, the sum of the sizes of what is added up."""
    apart = np.abs(np.float64(found) - np.float64(wanted))
    return bool((apart <= roundings * UNIT * np.float64(terms)).all())


# ------------------------------------------------------------------------------ kinds of arrays


@pytest.mark.parametrize("name", KERNELS)
def test_numpy(name: str) -> None:
    given, wanted = called(name)
    out = SHIPPED[name](**given)
    assert type(out) is np.ndarray
    assert (out.shape, out.dtype) == (wanted.shape, wanted.dtype)
    assert judged(name, out)


@pytest.mark.parametrize("name", KERNELS)
def test_jax(name: str) -> None:
    given, _ = called(name)
    out = SHIPPED[name](**{n: jnp.asarray(a) for n, a in given.items()})
    assert isinstance(out, jax.Array)
    assert same(out, SHIPPED[name](**given))


@pytest.mark.parametrize("name", KERNELS)
def test_another_library(name: str) -> None:
    given, _ = called(name)
    arrays = {
        n: foreign_arrays.Array(jnp.asarray(a)) if isinstance(a, np.ndarray) else a
        for n, a in given.items()
    }
    out = SHIPPED[name](**arrays)
    assert type(out) is foreign_arrays.Array
    assert same(out.held, SHIPPED[name](**given))


def test_numpy_beside_jax_is_jax() -> None:
    given, _ = called("gemm")
    a, b, *rest = given.values()
    assert isinstance(gemm(a, jnp.asarray(b), *rest), jax.Array)


def test_positions_are_the_inputs_in_order() -> None:
    given, _ = called("paged_attention")
    *tensors, scale = given.values()
    assert same(paged_attention(*tensors, scale=scale), paged_attention(**given))


def test_statics_are_read_off_shapes_and_types() -> None:
    x = np.ones((40, 256), np.float16)
    out = rmsnorm(x, np.ones(256, np.float32), epsilon=1e-5, tile=32)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert dict(calls_of(rmsnorm).named(rmsnorm, (x,), {})[1].traced.statics) == {
        "dtype": "f16",
        "dim": 256,
        "tile": 16,
    }


def test_a_static_element_type_may_be_that_of_a_library() -> None:
    given, _ = called("rmsnorm")
    assert same(rmsnorm(**given, dtype=jnp.bfloat16, tile=np.int64(16)), rmsnorm(**given))


def test_several_outputs_have_names() -> None:
    x = rows()
    both = scaled(x, 2.0)
    assert type(both).__name__ == "scaled"
    assert both._fields == ("total", "out")
    assert same(both.out, x * 2)
    sizes = np.abs(x * 2).sum(axis=1, keepdims=True)
    assert near(both.total, np.float64(x * 2).sum(axis=1, keepdims=True), sizes, x.shape[1])


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_updated_in_place(make: Any) -> None:
    before = make(np.arange(5 * 16 * 64, dtype=np.float32).reshape(5, 16, 64))
    new = make(np.ones((2, 16, 64), np.float32))
    after = cached(new, cache=before, first=3)
    wanted = np.array(before)
    wanted[3:] = 1
    assert same(after, wanted)
    assert not same(after, before)  # which is as it was


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_what_is_added_to_is_an_input(make: Any) -> None:
    """By its position, and it stays as it was."""
    x, row, start = terms()
    given = x, row, make(start)
    found = summed(*given)
    assert (
        isinstance(found, type(given[2]))
        and same(found, sums(x, row, start))
        and same(given[2], start)
    )
    with pytest.raises(InputError, match=r"sums .* which was not given"):
        summed(x, row)


def test_numbers_and_other_orders_in_memory() -> None:
    x = rows()
    turned = np.asfortranarray(x)
    foreign = x.astype(x.dtype.newbyteorder())
    wanted = times(x, factor=0.5)
    for given in (turned, foreign, x[::-1][::-1]):
        assert same(times(given, factor=np.float64(0.5)), wanted)
    assert same(times(x, factor=jnp.float32(0.5)), wanted)


def test_a_kernel_of_default_statics_that_cannot_be_traced() -> None:
    @pto.kernel(
        grid="rows", x="f32[rows, 16, cols]", out="f32[rows, 16, cols]", static=dict(cols=1 << 20)
    )
    def wide(x: Any, out: Any) -> None:
        i = pto.program_id(0)
        pto.store(out[i, :, :], pto.load(x[i, :, :]))

    x = np.ones((2, 16, 64), np.float32)
    assert same(wide(x), x)


def test_importing_the_language() -> None:
    """Neither JAX nor the lowering is there before the first call."""
    code = (
        "import sys, pto; from pto.kernels import gemm;"
        "sys.exit(bool({'jax', 'lowering', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------------------- transforms


def in_jax(name: str) -> dict[str, Any]:
    return {n: jnp.asarray(a) for n, a in called(name)[0].items()}


@pytest.mark.parametrize("name", KERNELS)
def test_jit(name: str) -> None:
    kernel, given = SHIPPED[name], in_jax(name)
    inside = jax.jit(lambda arrays: kernel(**arrays))
    assert same(inside(given), kernel(**called(name)[0]))
    assert name in str(jax.make_jaxpr(lambda arrays: kernel(**arrays))(given))


def test_16_bit_floats_are_loaded_region_by_region() -> None:
    """Nowhere a whole tensor: its bits are seen where a region is written, which XLA splits over no threads."""
    given = in_jax("paged_attention")
    compiled = jax.jit(lambda arrays: paged_attention(**arrays)).lower(given).compile()
    whole = f"[{','.join(map(str, given['key_cache'].shape))}]"
    made = re.compile(rf" = (?!bf16)\w+{re.escape(whole)}")
    places = [b for b in compiled.as_text().split("\n\n") if made.search(b)]
    assert len(places) >= 2
    assert all(re.search(r"ROOT .* dynamic-update-slice\(", b) for b in places)


@pytest.mark.parametrize("name", KERNELS)
def test_eval_shape(name: str) -> None:
    kernel, given = SHIPPED[name], in_jax(name)
    out = jax.eval_shape(lambda arrays: kernel(**arrays), given)
    wanted = called(name)[1]
    assert (out.shape, out.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "jitted",
    [pytest.param(False, marks=pytest.mark.sweep, id="eager"), pytest.param(True, id="jit")],
)
def test_vmap(name: str, jitted: bool) -> None:
    """One element of the batch after the other, each the bits of a call of its own."""
    kernel, given = SHIPPED[name], in_jax(name)
    first, *_ = given
    batch = jnp.stack([given[first], given[first][::-1]])
    mapped = jax.vmap(lambda x: kernel(**{**given, first: x}))
    found = (jax.jit(mapped) if jitted else mapped)(batch)
    for x, out in zip(batch, found, strict=True):
        assert same(out, kernel(**{**given, first: x}))


def test_vmap_over_several_and_twice() -> None:
    x = jnp.asarray(rows()).reshape(2, 2, 25, 128)
    factors = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    found = jax.vmap(jax.vmap(lambda x, f: times(x, factor=f)))(x, factors)
    assert same(found, x * factors[:, :, None, None])


def test_sums_under_transforms() -> None:
    """Of a batch each has sums of its own, whether or not what they start from is batched."""
    x, row, start = terms()
    want = sums(x, row, start)
    assert same(jax.jit(summed)(x, row, start), want)
    both, starts = np.stack([x, x * 2]), np.stack([start, start * 2])
    assert same(
        jax.vmap(summed, in_axes=(0, None, 0))(both, row, starts), np.stack([want, want * 2])
    )
    found = jax.vmap(summed, in_axes=(0, None, None))(both, row, start)
    assert same(found[1], sums(x * 2, row, start))
    twice, _ = lax.scan(lambda c, y: (summed(y, row, c), None), start, both)
    assert same(twice, sums(x * 2, row, want))


def test_scan_carries_what_is_updated_in_place() -> None:
    new = jnp.arange(3 * 16 * 64, dtype=jnp.float32).reshape(3, 1, 16, 64)

    def step(cache: Any, given: Any) -> Any:
        return cached(given[0], cache=cache, first=given[1]), None

    places = jnp.asarray([4, 0, 4], jnp.int32)
    found, _ = lax.scan(step, jnp.zeros((5, 16, 64)), (new, places))
    assert same(found[4], new[2, 0])
    assert same(found[0], new[1, 0])
    assert not np.asarray(found[1]).any()


def test_donated() -> None:
    step = jax.jit(lambda new, cache: cached(new, cache=cache, first=2), donate_argnums=1)
    before = jnp.zeros((5, 16, 64))
    after = step(jnp.ones((1, 16, 64)), before)
    assert before.is_deleted()
    assert float(after.sum()) == 16 * 64


SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from pto.kernels import SHIPPED
from tests.call.cases import called

SPECS = {
    "paged_attention": (P("x"), P(), P(), P("x"), P("x"), P()),
    "gemm": (P("x"), P(), P()),
    "rmsnorm": (P("x"), P(), P()),
}
mesh = Mesh(np.array(jax.devices()), ("x",))
for name in sys.argv[1:]:
    specs = SPECS[name]
    kernel, (given, _) = SHIPPED[name], called(name)
    spread = jax.shard_map(
        lambda *xs: kernel(**dict(zip(given, xs))), mesh=mesh, in_specs=specs, out_specs=P("x")
    )
    arrays = [jnp.asarray(a) for a in given.values()]
    out = np.asarray(jax.jit(spread)(*arrays)).astype(np.float32)
    wanted = np.asarray(kernel(*arrays) if name == "gemm" else kernel(**given)).astype(np.float32)
    print(name, len(jax.devices()), np.array_equal(out, wanted, equal_nan=True))
"""


@pytest.mark.parametrize(
    "names",
    [("gemm",), pytest.param(("paged_attention", "gemm", "rmsnorm"), marks=pytest.mark.sweep)],
    ids=len,
)
def test_shard_map(names: tuple[str, ...]) -> None:
    """Each device runs the requests, or the rows, that it has; replication is checked, too."""
    from tests.jax_executor.test_jax import child

    found = child(SHARDED, *names, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert found == [f"{n} 2 True" for n in names]


# --------------------------------------------------------------------------------------- grad


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_grad(jitted: bool) -> None:
    x = jnp.asarray(rows())
    loss = jax.grad(lambda x, f: (times(x, factor=f) ** 2).sum(), argnums=(0, 1))
    by_x, by_factor = (jax.jit(loss) if jitted else loss)(x, 3.0)
    wide = np.float64(x)
    assert near(by_x, 18 * wide, np.abs(18 * wide), 3)  # 3 x, twice that, times 3
    total = 6 * (wide * wide).sum()
    assert near(by_factor, total, total, x.size + 3)  # the same, and a sum of all elements


def test_grad_under_vmap() -> None:
    x = jnp.asarray(rows()).reshape(4, 25, 128)
    found = jax.vmap(jax.grad(lambda x: times(x, factor=3.0).sum()))(x)
    assert same(found, np.full(x.shape, 3.0))


def test_grad_of_sums() -> None:
    """With respect to the terms, and to what the sums start from."""
    x, row, start = terms()
    weights = np.arange(64, dtype=np.float32)
    asked = jax.grad(lambda x, s: (summed(x, row, s) * weights).sum(), argnums=(0, 1))
    to_x, to_start = asked(jnp.asarray(x), jnp.asarray(start))
    assert same(to_x, np.broadcast_to(2 * weights, x.shape))
    assert same(to_start, np.broadcast_to(weights, start.shape))


def test_grad_of_what_names_no_backward() -> None:
    given = in_jax("gemm")
    with pytest.raises(InputError, match="gemm has no gradient: it names no backward kernel"):
        jax.grad(lambda a: gemm(**{**given, "a": a}).astype(jnp.float32).sum())(given["a"])


def test_a_gradient_that_is_missing_or_misshapen() -> None:
    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]", f="f32")
    def wrong(x: Any, out: Any, *, f: Any) -> None:
        first = pto.program_id(0) * 32
        here = pto.ds(first, 32, valid=x.shape[0] - first)
        pto.store(out[here, :], pto.load(x[here, :]) * f)

    x = jnp.asarray(rows(32))
    loss = jax.grad(lambda x: wrong(x, f=2.0).sum())
    wrong.backward(lambda d_out: {})
    with pytest.raises(InputError, match="returns no gradient of 'x', which is asked for"):
        loss(x)
    wrong.backward(lambda d_out: {"x": d_out[0]})
    with pytest.raises(InputError, match=r"returns shape \[128\] for 'x', which has \[32, 128\]"):
        loss(x)
    wrong.backward(lambda d_out: {"y": d_out})
    with pytest.raises(InputError, match="returns 'y', which is no input"):
        loss(x)


# ------------------------------------------------------------------------------- later calls


def test_later_calls_trace_and_check_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given, _ = called("paged_attention")
    paged_attention(**given)
    program = calls_of(paged_attention).named(paged_attention, (), given)[1]
    traces, checked = program.executable.traces, []
    monkeypatch.setattr("lowering.call.calls.validate", lambda *args: checked.append(args))
    paged_attention(**given)
    assert program.executable.traces == traces
    assert not checked
    lens = given["context_lens"].copy()
    lens[0] = lens[0] // 2
    paged_attention(**{**given, "context_lens": lens})  # another content is checked
    assert len(checked) == 1


def test_what_was_changed_in_place_is_checked() -> None:
    given = {n: np.array(a) for n, a in called("paged_attention")[0].items()}
    given["context_lens"][:] = 512
    paged_attention(**given)
    given["block_table"][0, 0] = 10_000
    with pytest.raises(InputError, match="key_cache"):
        paged_attention(**given)
