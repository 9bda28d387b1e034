"""The JAX executor: the right numbers for every length, one trace per shape, no collectives."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import jax_executor
from lowering.bench import executors as bench
from lowering.execute import cases, sequential
from lowering.execute.inputs import bind
from lowering.execute.said import Heard
from lowering.jax_executor import balance, executor
from lowering.jax_executor import machine as jax_machine
from lowering.jax_executor.pages import ALIGNMENT, LARGE, in_large_pages
from lowering.schedule import options_for, stages
from lowering.values.tokens import ALIASES, SILENT
from lowering.values.unscheduled import unscheduled
from pto.errors import ScheduleError
from pto.ir import Branch, Kernel, Loop, Row
from pto.kernels import SHIPPED, baselines
from pto.kernels import paged_attention as paged_attention_kernel
from pto.kernels.baselines import BASELINES
from pto.ops import DEBUG, OPS
from pto.text import parse
from tests import HANDWRITTEN, ROOT
from tests.judges.oracles import paged_attention, paged_case
from tests.judges.random_kernels import draw
from tests.words.word import Word

RAGGED = (0, 1, 127, 128, 129, 255, 256, 257, 384, 1000, 513)
TOLERANCE = 3e-3
"""P is rounded to bf16 (2^-9 relative) before it meets unit-scale V; the sum stays below this."""


def paged(text: str = "") -> Kernel:
    return parse(text or HANDWRITTEN.read_text(), str(HANDWRITTEN))


def lowered(kernel: Kernel, arrays: dict[str, Any]) -> Any:
    """The program of a call before XLA (a ``jax.stages.Lowered``)."""
    placed = jax_executor.compile(kernel).place(arrays)
    call: Any = placed.program.call
    with jax.enable_x64(True):
        return call.lower(*(x for x in (placed.arrays, placed.table) if x is not None))


# ------------------------------------------------------------------------------- numerics


@pytest.mark.parametrize(
    "lengths",
    [
        *(RAGGED, (0,)),
        *(
            pytest.param(x, marks=pytest.mark.sweep)
            for x in ((0, 0, 300), (1,), (128,), (640, 0, 0))
        ),
    ],
)
def test_paged_attention(lengths: tuple[int, ...]) -> None:
    """Unused pages, unused table entries and the tails of last pages are NaN in the case."""
    case = paged_case(lengths, seed=len(lengths))
    out = jax_executor.run(paged(), case)["out"]
    np.testing.assert_allclose(out, paged_attention(case), atol=TOLERANCE, rtol=0)


GEMM = """kernel gemm on a2a3
param a    in  {t}[m, k]
param b    in  {t}[k, n]
param bias in  f32[n]
param out  out f32[m, n]
grid cdiv(m, 32), cdiv(n, 64)
buffer cube   l1  ta[2]  {t}[32, 16]  nz at 0    by 2048
buffer cube   l1  tb[2]  {t}[16, 64]  nz at 4096 by 4096
buffer cube   l0a la[2]  {t}[32, 16]  zz at 0    by 2048
buffer cube   l0b lb[2]  {t}[16, 64]  zn at 0    by 4096
buffer cube   l0c c[1]   f32[32, 64]  nz at 0    by 8192
buffer vector ub  x[1]   f32[16, 64]  nd at 0    by 4096
buffer vector ub  bs[1]  f32[1, 64]   nd at 4096 by 256
fifo tot c2v [2] f32[32, 64] flag 0

for w in 0 .. cdiv(cdiv(m, 32) * cdiv(n, 64) - block_idx, block_num):
  cube    0  S     r = let (block_idx + w * block_num) // cdiv(n, 64) * 32
  cube    0  S     s = let (block_idx + w * block_num) % cdiv(n, 64) * 64
  vector  0  S     r = let (block_idx + w * block_num) // cdiv(n, 64) * 32
  vector  0  S     s = let (block_idx + w * block_num) % cdiv(n, 64) * 64
  for i, u in 0 .. cdiv(k, 16):
    cube   +1  MTE2  ta[u] = load a[r:+32<m - r, i * 16:+16<k - i * 16]
    cube   +1  MTE2  tb[u] = load b[i * 16:+16<k - i * 16, s:+64<n - s]
    cube    0  MTE1  la[u] = move ta[u]
    cube    0  MTE1  lb[u] = move tb[u]
    cube    0  M     c = matmul la[u], lb[u], c, {test}
  cube    0  FIX   tot = push_data c
  cube    0  FIX   record tot
  vector  0  MTE2  bs = load bias[s:+64<n - s]
  vector  0  MTE2  x = pop tot
  vector  0  V     x = add x, bs
  vector  0  MTE3  out[r + lane * 16:+16<m - r - lane * 16, s:+64<n - s] = store x
"""


@pytest.mark.parametrize(
    ("size", "test"),
    [
        ((64, 64, 64), "i"),
        ((70, 100, 50), "i != 0"),
        ((5, 7, 3), "0 < i"),
        ((33, 200, 16), "min(i, 1)"),
        ((70, 100, 50), "min(i, 1)"),
    ],
)
def test_gemm_accumulates_in_l0c(size: tuple[int, int, int], test: str) -> None:
    """Sizes that do not fit the tiles, replicated bias row, symbolic everything."""
    m, n, k = size
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n)) / np.sqrt(k)
    bias = rng.standard_normal(n).astype(np.float32)
    case = {"a": a.astype(np.float32), "b": b.astype(np.float32), "bias": bias}
    out = jax_executor.run(parse(GEMM.format(t="f32", test=test)), case)["out"]
    np.testing.assert_allclose(out, a @ b + bias, atol=1e-5, rtol=0)


def test_accumulator_that_starts_at_zero_needs_no_test() -> None:
    """The accumulator is carried from nothing, and the matmul just adds."""
    values = unscheduled(parse(GEMM.format(t="bf16", test="i")))
    (items,) = [n for n in values.body if isinstance(n, Loop)]
    (inner,) = [n for n in items.body if isinstance(n, Loop)]
    (carry,) = inner.carry
    (product,) = [n for n in inner.body if isinstance(n, Row) and n.op == "matmul"]
    assert carry.init is None
    assert len(product.args) == 3


RMSNORM = """kernel rmsnorm on a2a3
param x     in     bf16[rows, 64]
param gamma in     f32[64]
param out   out    bf16[rows, 64]
param eps   scalar f32
grid cdiv(rows, 16)
buffer vector ub h[2]  bf16[8, 64] nd at 0    by 1024
buffer vector ub v[2]  f32[8, 64]  nd at 2048 by 2048
buffer vector ub q[1]  f32[8, 64]  nd at 6144 by 2048
buffer vector ub t[1]  f32[8, 64]  nd at 8192 by 2048
buffer vector ub g[1]  f32[1, 64]  nd at 10240 by 256
buffer vector ub s[1]  f32[8, 1]   dn at 10496 by 32

vector  0  MTE2  g = load gamma[:]
for w, u in 0 .. cdiv(cdiv(rows, 16) - block_idx, block_num):
  vector +1  S     r = let (block_idx + w * block_num) * 16
  vector +1  MTE2  h[u] = load x[r + lane * 8:+8<rows - r - lane * 8, :]
  vector  0  V     v[u] = astype h[u], f32
  vector  0  V     q = mul v[u], v[u]
  vector  0  V     s = row_sum q, t
  vector  0  V     s = mul s, 0.015625
  vector  0  V     s = add s, eps
  vector  0  V     s = sqrt s
  vector  0  V     v[u] = div v[u], s
  vector  0  V     v[u] = mul v[u], g
  vector  0  V     h[u] = astype v[u], bf16
  vector  0  MTE3  out[r + lane * 8:+8<rows - r - lane * 8, :] = store h[u]
"""


@pytest.mark.parametrize("rows", [1, 8, 16, 17, 40, 64])
def test_rmsnorm_on_the_vector_core_only(rows: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, 64)).astype(ml_dtypes.bfloat16)
    gamma = rng.standard_normal(64).astype(np.float32)
    out = jax_executor.run(parse(RMSNORM), {"x": x, "gamma": gamma, "eps": 1e-5})["out"]
    v = x.astype(np.float64)
    want = v / np.sqrt((v * v).mean(axis=1, keepdims=True) + 1e-5) * gamma
    np.testing.assert_allclose(out.astype(np.float64), want, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize(("rows", "loops", "masks"), [(64, 1, False), (72, 2, True), (8, 1, True)])
def test_a_loop_is_cut_where_its_views_become_partial(rows: int, loops: int, masks: bool) -> None:
    """Only iterations with a partial view pay for masks; parts without iterations vanish."""
    kernel = parse(RMSNORM)
    case = {
        "x": np.zeros((rows, 64), np.uint16),
        "gamma": np.zeros(64, np.float32),
        "eps": np.float32(1),
    }
    machine = jax_machine.Machine(unscheduled(kernel), {"rows": rows}, Heard().hear)
    room = (max(rows, 16), 64)
    case["x"] = np.zeros(room, np.uint16)
    out = {"out": jnp.zeros(room, jnp.uint16)}
    with jax.enable_x64(True):
        text = str(jax.make_jaxpr(lambda a: machine.run(a, out))(case))
    assert text.count("scan[") == loops
    assert ("iota" in text) == masks


BRANCHES = """kernel branches on a2a3
param x   in     f32[rows, 32]
param out out    f32[rows, 32]
param sel in     i32[rows]
grid rows
buffer vector ub v[1]  f32[1, 32] nd at 0   by 128
buffer vector ub a[1]  f32[1, 32] nd at 128 by 128

for w in 0 .. cdiv(rows - block_idx, block_num):
  vector  0  S     b = let block_idx + w * block_num
  vector  0  S     s = read sel[b]
  vector  0  MTE2  v = load x[b, :]
  vector  0  V     a = full 0.0
  if s < 2:
    vector  0  V     v = mul v, 2.0
    for j in 0 .. 3:
      vector  0  V     a = add a, v
  else:
    for j in 0 .. s:
      if j == 1:
        vector  0  V     a = add a, v
      vector  0  V     a = sub a, 1.0
  vector  0  MTE3  out[b, :] = store a
"""


def test_branches_and_loops_of_every_length() -> None:
    rng = np.random.default_rng(2)
    x, sel = rng.standard_normal((6, 32)).astype(np.float32), np.array([0, 1, 2, 3, 7, 1], np.int32)
    out = jax_executor.run(parse(BRANCHES), {"x": x, "sel": sel})["out"]
    want = np.where(sel[:, None] < 2, 6 * x, x - sel[:, None])
    np.testing.assert_allclose(out, want, atol=1e-5)


RELAY = """kernel relay on a2a3
param x   in     f32[16, 32]
param out out    f32[16, 32]
param n   scalar i32
param eye in     bf16[16, 16]
grid 1
buffer vector ub v[1]  f32[8, 32]  nd at 0    by 1024
buffer vector ub h[1]  bf16[8, 32] nd at 2048 by 512
buffer cube   l1 c[1]  bf16[16, 32] nz at 0   by 1024
buffer cube   l1 d[1]  bf16[16, 16] nz at 1024 by 512
buffer cube   l0a ca[1] bf16[16, 16] zz at 0  by 512
buffer cube   l0b cb[1] bf16[16, 32] zn at 0  by 1024
buffer cube   l0c cc[1] f32[16, 32]  nz at 0  by 2048
fifo there v2c [2] bf16[16, 32] flag 0
fifo back  c2v [2] f32[16, 32] flag 2

for w in 0 .. cdiv(1 - block_idx, block_num):
  cube    0  MTE2  d = load eye[:, :]
  cube    0  MTE1  ca = move d
  vector  0  MTE2  v = load x[lane * 8:+8, :]
  vector  0  V     h = astype v, bf16
  vector  0  MTE3  there = push h
  for i in 0 .. n:
    cube    0  MTE2  c = pop there
    cube    0  MTE1  cb = move c
    cube    0  M     cc = matmul ca, cb
    cube    0  FIX   back = push cc
    vector  0  MTE2  v = pop back
    vector  0  V     v = add v, 1.0
    vector  0  V     h = astype v, bf16
    vector  0  MTE3  there = push h
  cube    0  MTE2  c = pop there
  cube    0  MTE1  cb = move c
  cube    0  M     cc = matmul ca, cb
  cube    0  FIX   back = push cc
  vector  0  MTE2  v = pop back
  vector  0  MTE3  out[lane * 8:+8, :] = store v
"""


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_fifo_that_is_not_empty_when_its_loop_starts(n: int) -> None:
    """What waits in it is carried: pushed by one iteration, popped by the next."""
    x = np.arange(512, dtype=np.float32).reshape(16, 32) % 64
    case = {"x": x, "n": n, "eye": np.eye(16, dtype=ml_dtypes.bfloat16)}
    out = jax_executor.run(parse(RELAY), case)["out"]
    np.testing.assert_array_equal(out, x + n)


def test_unwritten_elements_are_poisoned() -> None:
    text = RMSNORM.replace("rows - r - lane * 8, :] = store", "rows - r - lane * 8 - 1, :] = store")
    out = jax_executor.run(
        parse(text),
        {"x": np.zeros((16, 64), np.uint16), "gamma": np.ones(64, np.float32), "eps": 1.0},
    )["out"]
    assert np.isnan(out[15].astype(np.float32)).all()
    assert not np.isnan(out[:15].astype(np.float32)).any()


# ------------------------------------------------------------------ without slots, and bugs


def test_the_skew_leaves_no_carries() -> None:
    """K, V, S, P and O live in slots and FIFOs across steps; the values carry only m, l and acc."""
    values = unscheduled(paged())
    (items,) = [n for n in values.body if isinstance(n, Loop)]
    (blocks,) = [n for n in items.body if isinstance(n, Loop)]
    assert sorted(str(c.type) for c in blocks.carry) == [
        "f32[16, 128]",
        "f32[16, 1]",
        "f32[16, 1]",
    ]
    assert not items.carry
    assert not any(isinstance(n, Branch) for n in blocks.body)


@pytest.mark.parametrize(
    ("before", "after", "row"),
    [
        # K is loaded one iteration ahead, so one slot does not hold both
        ("l1   k[2] ", "l1   k[1] ", "s_c = matmul q_a, k_b"),
        # the factor of iteration i is used one step later
        ("ub   a[2] ", "ub   a[1] ", "acc = mul acc, a[u]"),
        ("m[i + 1] = maximum m[i], rm", "m[i] = maximum m[i], rm", ""),
        ("v_b = move v[u]", "v_b = move v[u + 1]", ""),
    ],
)
def test_a_slot_that_holds_another_iteration(before: str, after: str, row: str) -> None:
    """What a schedule clobbers is found, not computed."""
    text = HANDWRITTEN.read_text()
    assert before in text
    with pytest.raises(ScheduleError) as error:
        unscheduled(paged(text.replace(before, after)))
    assert row in str(error.value)


def test_a_fifo_that_waits_for_later_pushes() -> None:
    text = HANDWRITTEN.read_text().replace(
        "vector  0  MTE3  pij = push", "vector -2  MTE3  pij = push"
    )
    with pytest.raises(ScheduleError):
        unscheduled(paged(text))


# ---------------------------------------------------------------- what the scheduler makes


def scheduled(kernel: pto.Kernel, name: str, **statics: Any) -> Kernel:
    return list(stages(kernel.trace(**statics), options_for(name)))[-1][1]


def typed(kernel: Kernel, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays in the element types of the parameters."""
    halves = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
    types = {p.name: halves.get(p.dtype) for p in kernel.params}
    return {n: a.astype(types[n]) if types[n] else a for n, a in arrays.items()}


@pytest.mark.parametrize(
    "name",
    ["best", *(pytest.param(n, marks=pytest.mark.sweep) for n in ("serial", "prefetch", "repair"))],
)
def test_every_schedule_of_paged_attention(name: str) -> None:
    """Grouped queries: two heads of keys, a tile that is not full, every named schedule."""
    kernel = scheduled(paged_attention_kernel, name, heads=40, kv_heads=2, dim=64)
    case = paged_case((0, 1, 127, 300), heads=40, dim=64)
    pages = {n: np.repeat(case[n], 2, axis=2) for n in ("key_cache", "value_cache")}
    out = jax_executor.run(kernel, {**case, **pages})["out"]
    np.testing.assert_allclose(out, paged_attention(case), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "seed", [0, 4, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in (1, 2, 3, 5))]
)
def test_random_kernels(seed: int) -> None:
    """Against the traced program in numpy: the same up to the order of sums and bf16 ties."""
    kernel, inputs = draw(seed)
    for name in ("serial", "best"):
        done = scheduled(kernel, name)
        arrays = typed(done, inputs(np.random.default_rng(seed)))
        want = sequential.run(kernel.trace(), bind(done, arrays))["out"]
        np.testing.assert_allclose(jax_executor.run(done, arrays)["out"], want, atol=1e-2)


# ------------------------------------------------------------------------------ the table


def test_every_op_has_a_rule() -> None:
    """Computed, handed on, silent, cut, or one of those that touch memory or names."""
    own = {"read", "let", "fold", "load", "gather", "part", "store"}
    known = {*jax_machine.COMPUTE, *ALIASES, *SILENT, *DEBUG, *own}
    assert known == set(OPS)
    assert not set(jax_machine.COMPUTE) & ({*ALIASES, *SILENT} | own)


# ------------------------------------------------------------------ bits and the compiler


def by_halves(x: Any) -> Any:
    """Sums of rows: halves onto each other, the last columns of odd widths at the end."""
    odd = []
    while x.shape[1] > 1:
        half = x.shape[1] // 2
        if x.shape[1] % 2:
            odd.append(x[:, -1:])
        x = x[:, :half] + x[:, half : 2 * half]
    return sum(odd, x)


@pytest.mark.parametrize(
    "width",
    [
        *(1, 2, 7, 8, 33),
        *(
            pytest.param(n, marks=pytest.mark.sweep)
            for n in (3, 24, 31, 32, 100, 104, 128, 1000, 1024)
        ),
    ],
)
def test_the_order_of_a_sum_is_written_out(width: int) -> None:
    """Eagerly, compiled, and compiled behind what makes the row: the bits of the same order in numpy."""
    x = np.random.default_rng(width).standard_normal((16, width), np.float32)
    row_sum = functools.partial(jax_machine.COMPUTE["row_sum"], None)
    fused = jax.jit(lambda x: row_sum(jnp.abs(x)), compiler_options=executor.options("cpu"))
    np.testing.assert_array_equal(row_sum(jnp.asarray(x)), by_halves(x))
    np.testing.assert_array_equal(jax.jit(row_sum)(x), by_halves(x))
    np.testing.assert_array_equal(fused(x), by_halves(np.abs(x)))


WIDTHS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("rmsnorm", {"dim": 160, "dtype": "f16"}, ["rows=70"]),
    ("paged_attention", {}, ["context=700"]),
    ("gemm", {"dtype": "f32", "tile_m": 16, "tile_n": 32, "tile_k": 16}, ["m=40", "k=70"]),
]
MORE_WIDTHS: list[tuple[str, dict[str, Any], list[str]]] = [
    *(("rmsnorm", {"dim": n}, ["rows=100"]) for n in (32, 96, 112, 128, 1024)),
    ("paged_attention", {"heads": 8, "dim": 64}, ["context=300"]),
    ("gemm", {"activation": "silu"}, []),
]


@pytest.mark.parametrize(
    ("name", "statics", "case"),
    [*WIDTHS, *(pytest.param(*x, marks=pytest.mark.sweep) for x in MORE_WIDTHS)],
)
def test_the_width_of_vectors_changes_no_bits(
    name: str, statics: dict[str, Any], case: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs of our own have options, those under a caller's ``jax.jit`` have not."""
    kernel = scheduled(SHIPPED[name], "best", **statics)
    bound = bind(kernel, cases.draw(SHIPPED[name], SHIPPED[name].trace(**statics), case))
    found = []
    for wide in (executor.WIDE, None):
        monkeypatch.setattr(executor, "options", lambda backend, wide=wide: wide)
        found.append(executor.executed(executor.Executable(kernel), bound, devices=1)["out"])
    np.testing.assert_array_equal(*(x.view(f"u{x.dtype.itemsize}") for x in found))


def test_options_that_xla_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    known = executor.options.__wrapped__
    assert known("cpu") == executor.WIDE
    assert known("gpu") is None
    monkeypatch.setattr(executor, "WIDE", {"xla_cpu_no_such_option": 512})
    assert known("cpu") is None


# ------------------------------------------------------------------------ programs, devices


def test_one_trace_per_shape() -> None:
    kernel = parse(RMSNORM.replace("kernel rmsnorm", "kernel once"))
    executable = jax_executor.compile(kernel)
    for rows, traces in ((16, 1), (16, 1), (32, 2), (16, 2)):
        case = {"x": np.zeros((rows, 64), np.uint16), "gamma": np.ones(64, np.float32), "eps": 1.0}
        jax_executor.run(kernel, case)
        assert executable.traces == traces
    assert (
        jax_executor.compile(parse(RMSNORM.replace("kernel rmsnorm", "kernel once"))) is executable
    )


CHILD = """
import sys
import ml_dtypes
import numpy as np
from lowering import jax_executor
from tests.judges.oracles import paged_attention, paged_case
from tests import HANDWRITTEN
from tests.jax_executor.test_jax import GEMM, RMSNORM, lowered, paged
from pto.text import parse
case = paged_case([int(x) for x in sys.argv[1].split(",")], width=8)
text = lowered(paged(), case).compile().as_text()
out = jax_executor.run(paged(), case)["out"]
a, b = np.ones((100, 16), np.float32), np.ones((16, 64), np.float32)
g = {"a": a, "b": b, "bias": np.zeros(64, np.float32)}
product = jax_executor.run(parse(GEMM.format(t="f32", test="i")), g)["out"]
kinds = ("all-gather", "all-reduce", "all-to-all", "collective", "reduce-scatter")
print(any(k in text for k in kinds), "partition-id" in text or "num_partitions" in text)
print(float(abs(out - paged_attention(case)).max()), jax_executor.reason(paged(), case) == "")
reason = jax_executor.reason(parse(GEMM.format(t="f32", test="i")), g)
print(product.shape, (product == 16).all(), reason)
n = {"x": np.ones((40, 64), ml_dtypes.bfloat16), "gamma": np.ones(64, np.float32), "eps": 0.0}
rows = jax_executor.run(parse(RMSNORM), n)["out"]
print((rows == 1).all(), jax_executor.reason(parse(RMSNORM), n))
"""


def child(code: str, *args: str, **environ: str) -> list[str]:
    env = {**os.environ, **environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *args]
    found = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize(
    "lengths",
    ["0,300,129", pytest.param("0,1,127,128,129,1000", marks=pytest.mark.sweep)],
)
def test_two_devices_without_collectives(lengths: str) -> None:
    """An uneven batch; the sweep takes a longer even one."""
    lines = child(CHILD, lengths, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    collective, spread = lines[0].split()
    error, no_reason = lines[1].split()
    assert (collective, spread, no_reason) == ("False", "True", "True")
    assert float(error) < TOLERANCE
    assert lines[2].strip() == "(100, 64) True"
    assert lines[3].strip() == "True"


@pytest.mark.parametrize("start", [None, [5.0, -2.0, np.nan, 0.0]])
def test_what_the_devices_made_is_joined(start: Any) -> None:
    """Any bits may be written: zeros, NaN, what was there before."""
    start = None if start is None else np.array(start, np.float32)
    before = np.full(4, -1, np.int32).view(np.float32) if start is None else start
    first, second = np.array([0.0, np.nan], np.float32), np.array([-0.0, 0.0], np.float32)
    parts = [np.concatenate(x) for x in ((first, before[2:]), (before[:2], second))]
    found = executor.joined(parts, start)
    np.testing.assert_array_equal(found.view(np.int32), np.append(first, second).view(np.int32))


def test_items_are_dealt_by_their_work() -> None:
    """The largest first, to whom has least; each item once, in ascending order, from the host."""
    lengths = [8, 0, 1, 5, 7, 2, 0, 3]
    case = paged_case([128 * n for n in lengths])
    dims = dict.fromkeys(paged().dims, 1) | {"batch": len(lengths)}
    items = balance.items_of(unscheduled(paged()), dims)
    assert isinstance(items, balance.Items)
    table = items.table(case, 2)
    mine = [line[1 : 1 + line[0]].tolist() for line in table]
    assert sorted(mine[0] + mine[1]) == list(range(len(lengths)))
    assert mine == [sorted(m) for m in mine]
    assert [sum(lengths[i] for i in m) for m in mine] == [13, 13]
    np.testing.assert_array_equal(items.table(case, 2), table)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("out   out    bf16[rows", "out   inout  bf16[rows", "keeps what it held"),
        ("cdiv(rows, 16) - block_idx", "2 - block_idx", ""),
        (
            "vector  0  MTE3  out",
            "vector  0  V     g = mul g, 2.0\n  vector  0  MTE3  out",
            "hands",
        ),
    ],
)
def test_why_one_device_runs_all_items(before: str, after: str, reason: str) -> None:
    assert before in RMSNORM
    found = balance.items_of(unscheduled(parse(RMSNORM.replace(before, after))), {"rows": 40})
    assert (reason in found) if isinstance(found, str) else not reason


SAME = """
import hashlib
import numpy as np
from lowering import jax_executor
from tests.judges.oracles import paged_case
from tests.jax_executor.test_jax import lowered, paged
text = lowered(paged(), paged_case([5, 300])).as_text()
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_the_program_does_not_depend_on_the_hash_seed() -> None:
    text = lowered(paged(), paged_case([5, 300])).as_text()
    mine = hashlib.sha256(text.encode()).hexdigest()
    assert child(SAME, PYTHONHASHSEED="1") == [mine], "this process has a random seed"


def test_both_cores_store_to_one_tensor() -> None:
    """Rows of their own, each in the iteration that its core is in: in whichever order."""

    @pto.kernel(grid="n", x="bf16[n, 4, 32, 64]", w="bf16[64, 64]", out="f32[n, 8, 32, 64]")
    def scores(x, w, out):
        b, ws = pto.program_id(0), pto.load(w[:, :])

        def body(i):
            p = pto.load(x[b, i, :, :]) @ ws
            pto.store(out[b, 2 * i, :, :], p)
            pto.store(out[b, 2 * i + 1, :, :], pto.exp(p * 0.1))

        pto.fori_loop(0, 4, body)

    word = Word(scores, some_rows, scored)
    word.judged(jax_executor.run(word.scheduled, word.bound(word.scheduled)))


def some_rows(rng: np.random.Generator) -> dict[str, Any]:
    shapes = {"x": (2, 4, 32, 64), "w": (64, 64)}
    return {n: rng.standard_normal(s).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}


def scored(x: Any, w: Any) -> dict[str, Any]:
    return {"out": np.stack([x @ w, np.exp(x @ w * 0.1)], axis=2).reshape(2, 8, 32, 64)}


def test_inputs_may_be_bound_arrays() -> None:
    """bf16 as values and as bits, and as what ``bind`` returns."""
    case: dict[str, Any] = paged_case([200, 3])
    bits = {n: a.view(np.uint16) if a.dtype == ml_dtypes.bfloat16 else a for n, a in case.items()}
    results = [jax_executor.run(paged(), c)["out"] for c in (case, bits, bind(paged(), case))]
    for r in results[1:]:
        np.testing.assert_array_equal(r, results[0])


@pytest.mark.parametrize("size", [0, 3, LARGE // 2 - 1, LARGE // 2, LARGE])
def test_large_arrays_start_where_jax_takes_them_over(size: int) -> None:
    """Equal, of nobody else, and not copied once more; small ones stay what they are."""
    a = np.arange(size, dtype=np.uint16).reshape(-1, 1)
    found = in_large_pages(a)
    np.testing.assert_array_equal(found, a)
    assert (found is a) == (a.nbytes < LARGE)
    if found is not a:
        assert not np.shares_memory(found, a)
        assert found.ctypes.data % ALIGNMENT == 0
        held: Any = jax.device_put(found, jax.devices("cpu")[0])
        assert held.unsafe_buffer_pointer() == found.ctypes.data


# -------------------------------------------------------------------------------- bench


def test_hand_written_opponents_compute_the_same() -> None:
    """Each against the oracle: pages per step that do not divide, requests in another order."""
    drawn = paged_case((0, 1, 128, 300))
    case = {n: bench.finite(a) for n, a in drawn.items()}
    case["query"] = case["query"].view(ml_dtypes.bfloat16)
    want = paged_attention(drawn)
    np.testing.assert_allclose(jax_executor.run(paged(), case)["out"], want, atol=TOLERANCE)
    for name, prepare in BASELINES["paged_attention"].items():
        found = np.asarray(prepare(case, 1)())
        np.testing.assert_allclose(found, want, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_requests_are_dealt_by_hand_as_evenly_as_by_us(devices: int) -> None:
    lengths = np.array([8, 0, 1, 5, 7, 2, 0, 3])
    order = baselines._dealt(lengths, devices)
    assert sorted(order.tolist()) == list(range(8))
    loads = lengths[order].reshape(devices, -1).sum(axis=1)
    assert loads.max() - loads.min() <= max(lengths) // 2


def test_tables_show_before_after_and_delta() -> None:
    table = bench.Table(
        "t", (bench.Line("a", 0.002, 0.001), bench.Line("long name", None, 2.5e-6)), 7, ("note",)
    )
    assert str(table) == (
        "t (median of 7 rounds)\n"
        "               before       after     delta\n"
        "a             2.00 ms     1.00 ms     -50 %\n"
        "long name           -      2.5 us         -\n"
        "note"
    )


def test_measure_goes_round_by_round() -> None:
    order: list[str] = []
    times = bench.measure({n: lambda n=n: order.append(n) for n in "ab"}, rounds=3)
    assert "".join(order) == "abababab"
    assert [len(t) for t in times.values()] == [3, 3]


def test_against_hand() -> None:
    case = paged_case((3, 200))
    table = bench.against_hand(paged(), "tiny", case, BASELINES["paged_attention"], rounds=1)
    assert table.title == "paged_attention, tiny"
    assert table.lines[-1].name.startswith("best ")
    assert all(line.ratio for line in table.lines)
