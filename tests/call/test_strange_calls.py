"""Calls that are right and strange: constants under JAX's transforms, arrays of odd kinds, names, threads, copies."""

from __future__ import annotations

import copy
import gc
import linecache
import pickle
import sys
import threading
import traceback
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import pto
from lowering.call.calls import calls_of
from lowering.hazards.proof import HazardError
from lowering.jax_executor import executor as executors
from pto.errors import InputError
from pto.kernels import SHIPPED, rmsnorm
from tests.call.cases import called, rows, scaled, times
from tests.judges import foreign_arrays

X = rows()


def same(found: Any, wanted: Any) -> bool:
    a, b = np.ascontiguousarray(found), np.ascontiguousarray(wanted)
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def fresh() -> Any:
    """``times`` again, that nobody has called."""

    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]", factor="f32")
    def again(x: Any, out: Any, *, factor: Any) -> None:
        first = pto.program_id(0) * 32
        here = pto.ds(first, 32, valid=x.shape[0] - first)
        pto.store(out[here, :], pto.load(x[here, :]) * factor)

    return again


# ------------------------------------------------------------------- what JAX does not trace


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize("around", ["jit", "vmap", "grad", "scan"])
def test_constants_under_a_transform(make: Any, around: str) -> None:
    """16-bit floats, too: their bits are made outside of the program."""
    given = {n: make(a) if np.ndim(a) else a for n, a in called("rmsnorm")[0].items()}
    wanted = np.float32(rmsnorm(**given))

    def plus(y: Any) -> Any:
        out = rmsnorm(**given)
        assert isinstance(out, np.ndarray | jax.Array)
        return jnp.asarray(out).astype(jnp.float32) + y

    if around == "grad":
        assert float(jax.grad(lambda y: plus(y).sum())(0.0)) == wanted.size
        return
    found = {
        "jit": lambda: jax.jit(plus)(0.0),
        "vmap": lambda: jax.vmap(plus)(jnp.zeros(2))[1],
        "scan": lambda: lax.scan(lambda c, y: (plus(y), None), jnp.asarray(wanted), jnp.zeros(2))[
            0
        ],
    }[around]()
    assert same(found, wanted)


SETTINGS = {
    "jax_disable_jit": True,
    "jax_debug_nans": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow",
    "jax_enable_x64": True,
}


@pytest.mark.sweep
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_caller_of_a_long_kernel(name: str) -> None:
    means_the_same("paged_attention", name)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_caller(name: str) -> None:
    means_the_same("rmsnorm", name)


def means_the_same(kernel: str, name: str) -> None:
    """They are about his own operations; programs that are compiled already have no part in this."""
    run, (given, _) = SHIPPED[kernel], called(kernel)
    arrays = {n: jnp.asarray(a) for n, a in given.items()}
    wanted = run(**given)
    before = getattr(jax.config, name)
    vars(run).pop("_calls")
    executors.compile.cache_clear()
    jax.config.update(name, SETTINGS[name])
    try:
        found = [run(**given), run(**arrays), jax.jit(lambda a: run(**a))(arrays)]
    finally:
        jax.config.update(name, before)
    for out in found:
        assert same(out, wanted)


MESHES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from tests.call.cases import rows, times
x, zeros = rows(), jnp.zeros((100, 128))
mesh = Mesh(np.array(jax.devices()), ("x",))
for make in (np.asarray, jnp.asarray):
    given = make(x)
    plus = jax.shard_map(
        lambda y: y + times(given, factor=2.0), mesh=mesh, in_specs=P(), out_specs=P()
    )
    with jax.set_mesh(mesh):
        inside = times(given, factor=2.0), jax.jit(lambda: jnp.asarray(times(given, factor=2.0)))()
    for out in (*inside, plus(zeros), jax.jit(plus)(zeros)):
        print(np.array_equal(out, x * 2))
"""


def test_constants_where_the_caller_has_a_mesh() -> None:
    from tests.jax_executor.test_jax import child

    found = child(MESHES, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert found == ["True"] * 8


def test_another_library_in_a_trace() -> None:
    seen, x = [], foreign_arrays.Array(jnp.asarray(X))
    jax.jit(lambda y: seen.append(times(x, factor=2.0)))(0)
    assert same(seen[0].held, X * 2)


def test_what_a_batch_does_not_change() -> None:
    """Forward mode is JAX's to refuse."""
    with pytest.raises(TypeError, match="forward-mode"):
        jax.hessian(lambda f: times(jnp.asarray(X), factor=f).sum())(2.0)


def test_branches_of_one_kernel_fit_together() -> None:
    """Several results are of one type, whatever the static parameters are."""
    ways = [lambda x, n=n: scaled(x, 2.0, tile=n) for n in (16, 32)]
    assert same(lax.switch(1, ways, jnp.asarray(X)).out, X * 2)


def test_scalars_of_16_bits() -> None:
    for factor in (jnp.bfloat16(2), jnp.float16(2)):
        assert same(times(X, factor=factor), X * 2)
        assert same(jax.jit(lambda f: times(X, factor=f))(factor), X * 2)


# ------------------------------------------------------------------------- arrays of odd kinds


def test_results_in_numpy_can_be_written() -> None:
    out = times(X, factor=2.0)
    out += 1
    assert same(out, X * 2 + 1)


def test_arrays_that_change_behind_a_call() -> None:
    """numpy's beside JAX's: the result is of what they held."""
    x = np.ones((100_000, 128), np.float32)
    for _ in range(3):
        x[:] = 1
        out = times(x, factor=jnp.float32(2))
        x[:] = 7
        assert float(out.min()) == float(out.max()) == 2


def test_views_of_another_library() -> None:
    """JAX shares compact memory only; torch's ``contiguous`` makes it so."""

    class Strided(foreign_arrays.Array):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("only compact striding")

        def contiguous(self) -> foreign_arrays.Array:
            return foreign_arrays.Array(self.held)

    assert same(times(Strided(jnp.asarray(X)), factor=2.0).held, X * 2)


def test_another_byte_order_beside_jax() -> None:
    given = called("rmsnorm")[0]
    x, gamma = np.asarray(given["x"]).view(np.uint16), jnp.asarray(given["gamma"])
    found = rmsnorm(x.astype(x.dtype.newbyteorder()), gamma, epsilon=given["epsilon"])
    assert same(found, rmsnorm(**given))


@pytest.mark.parametrize("executor", ["sequential", "numpy", "jax"])
def test_runs_of_a_schedule_of_ones_own(executor: str) -> None:
    k = times.lower(schedule=pto.parse(times.lower(schedule="serial").show()))
    assert same(k.run(X, factor=2.0, executor=executor), X * 2)


def test_runs_take_every_kind_of_arrays() -> None:
    given = called("rmsnorm")[0]
    arrays = {
        n: foreign_arrays.Array(jnp.asarray(a)) if np.ndim(a) else a for n, a in given.items()
    }
    k = rmsnorm.lower()
    assert same(k.run(**arrays, executor="numpy"), k.run(**given, executor="numpy"))


def test_static_parameters_that_are_equal_but_not_the_same() -> None:
    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]", static=dict(c=1.0))
    def over(x: Any, out: Any, *, c: float) -> None:
        first = pto.program_id(0) * 32
        here = pto.ds(first, 32, valid=x.shape[0] - first)
        pto.store(out[here, :], pto.load(x[here, :]) * c)

    ones = np.ones((4, 128), np.float32)
    assert same(over(ones, c=0.0), ones * 0)
    assert same(over(ones, c=-0.0), ones * -0.0)
    assert same(over(ones, c=2), ones * 2)
    assert len(calls_of(over).programs) == 4  # and the default, which tells what the outputs are
    over(ones, c=np.float32(2))
    assert len(calls_of(over).programs) == 4


# --------------------------------------------------------------------------------------- names

SOURCE = """
@pto.kernel(grid="cdiv(rows, {s})", {x}="f32[rows, 128]", {o}="f32[rows, 128]", {f}="f32", static=dict({s}=32))
def k({x}, {o}, *, {f}, {s}):
    first = pto.program_id(0) * {s}
    here = pto.ds(first, {s}, valid={x}.shape[0] - first)
    pto.store({o}[here, :], pto.load({x}[here, :]) * {f})
"""


NAMES = ("self", "schedule", "executor", "seeds", "lookahead", "kwargs", "_x", "count", "seed")
SLOTS = "xofs"


@pytest.mark.parametrize(("name", "slot"), [(n, SLOTS[k % 4]) for k, n in enumerate(NAMES)])
def test_no_name_means_anything(name: str, slot: str) -> None:
    means_nothing(name, slot)


@pytest.mark.sweep
def test_no_name_means_anything_anywhere() -> None:
    for name in NAMES:
        for slot in SLOTS:
            means_nothing(name, slot)


def means_nothing(name: str, slot: str) -> None:
    names = {"x": "x", "o": "out", "f": "factor", "s": "tile"} | {slot: name}
    text, file = SOURCE.format(**names), f"<{name} as {slot}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file
    space: dict[str, Any] = {"pto": pto}
    exec(compile(text, file, "exec"), space)
    kernel, tile = space["k"], {names["s"]: 16}
    given = {names["x"]: X, names["f"]: 2.0}
    assert same(kernel(**given, **tile), X * 2)
    assert same(kernel(X, **{names["f"]: 2.0}), X * 2)
    lowered = kernel.lower(**given, **tile)
    assert dict(lowered.traced.statics) == tile
    assert same(lowered.run(**given, **tile), X * 2)


def test_a_run_with_another_static_parameter() -> None:
    with pytest.raises(InputError, match="tile=32 is given, but this is for tile=16"):
        scaled.lower(tile=16).run(X, 2.0, tile=32)


# ----------------------------------------------------------------- threads, copies, what is kept


def test_threads_that_trace_at_the_same_time() -> None:
    """In a kernel that one thread traces, another is not."""
    inside, done = threading.Event(), threading.Event()

    @pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, 128]", out="f32[rows, 128]")
    def slow(x: Any, out: Any) -> None:
        inside.set()
        done.wait(60)
        first = pto.program_id(0) * 32
        here = pto.ds(first, 32, valid=x.shape[0] - first)
        pto.store(out[here, :], pto.load(x[here, :]) + 1.0)

    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(slow(X)))
    other.start()
    inside.wait(60)
    try:
        assert same(fresh()(X, factor=2.0), X * 2)
    finally:
        done.set()
        other.join()
    assert same(found[0], X + 1)


def test_many_threads_call_for_the_first_time() -> None:
    kernel, found = fresh(), []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [
            threading.Thread(target=lambda n=n: found.append(same(kernel(X, factor=n), X * n)))
            for n in np.arange(8, dtype=np.float32)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert found == [True] * 8


def test_copies_and_pickles() -> None:
    """A kernel is like a function: a copy is the same one, a pickle is its name."""
    both = scaled(X, 2.0)
    assert copy.deepcopy(scaled) is copy.copy(scaled) is scaled
    assert pickle.loads(pickle.dumps(scaled)) is scaled
    again = pickle.loads(pickle.dumps(both))
    assert type(again) is type(both)
    assert same(again.out, both.out)


def test_a_kernel_that_is_gone_leaves_nothing() -> None:
    """As one that is written anew in a notebook (what JAX itself keeps of ``jit`` is JAX's)."""

    def used() -> weakref.ref[Any]:
        kernel = fresh()
        kernel(X, factor=2.0)
        kernel(jnp.asarray(X), factor=2.0)
        assert kernel.lower().proof.ok
        return weakref.ref(kernel)

    seen = used()
    gc.collect()
    assert seen() is None


# -------------------------------------------------------------------------------------- proofs


def test_a_proof_that_fails_is_one_message() -> None:
    @pto.kernel(grid="n", t="i32[n]", x="f32[n, 16, 128]", out="f32[n, 16, 128]")
    def scatter(t: Any, x: Any, out: Any) -> None:
        i = pto.program_id(0)
        pto.store(out[t[i], :, :], pto.load(x[i, :, :]) * 2.0)

    with pytest.raises(HazardError, match="scatter: not proven") as told:
        scatter(np.arange(4, dtype=np.int32), np.ones((4, 16, 128), np.float32))
    assert not told.value.proof.ok
    frames = [f.name for f in traceback.extract_tb(told.value.__traceback__)]
    assert "scheduled_with" not in frames
    assert isinstance(pickle.loads(pickle.dumps(told.value)), HazardError)
