"""The numpy executors: what they compute, and what they refuse.

``sequential`` defines the meaning and is compared with an independent oracle; ``scheduled`` must
give the same bits for a good schedule, and must catch every bad one below.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lowering import jax_executor
from lowering.execute import access, said, scalars, scheduled, sequential
from lowering.execute.inputs import Bound, bind, validate
from pto.arithmetic import BINARY, DIVIDING
from pto.errors import InputError, MemoryAccessError, PtoError, ScheduleError, ShapeError
from pto.ir import Bin, Const, Kernel, Var, evaluate, is_scheduled
from pto.ops import DEBUG, OPS
from pto.targets.a2a3 import A2A3
from pto.text import parse
from pto.types import TileType
from tests import HANDWRITTEN
from tests.judges import oracles
from tests.judges.small_programs import round_trip

SCHEDULE = HANDWRITTEN.read_text()
TRACED = """
kernel paged_attention
param query          in     bf16[batch, 16, 128]
param key_cache      in     bf16[pages, 128, 1, 128]
param value_cache    in     bf16[pages, 128, 1, 128]
param block_table    in     i32[batch, width]
param context_lens   in     i32[batch]
param out            out    f32[batch, 16, 128]
param scale          scalar f32
grid batch, 1, 1

ctx = read context_lens[pid0]
n = let cdiv(ctx, 128)
q: bf16[16, 128] = load query[pid0, :, :]
m0: f32[16, 1] = full -inf
l0: f32[16, 1] = full 0.0
acc0: f32[16, 128] = full 0.0
for i in 0 .. n:
  carry m: f32[16, 1] from m0 last m_end
  carry l: f32[16, 1] from l0 last l_end
  carry acc: f32[16, 128] from acc0 last acc_end
  page = read block_table[pid0, i]
  left = let ctx - i * 128
  k: bf16[128, 128] = load key_cache[page, :, 0, :]
  v: bf16[128, 128] = load value_cache[page, 0:+128<left, 0, :]
  s: f32[16, 128] = matmul q, k.T
  s1: f32[16, 128] = mul s, scale
  s2: f32[16, 128] = where s1, left, -inf
  rm: f32[16, 1] = row_max s2
  m1: f32[16, 1] = maximum m, rm
  s3: f32[16, 128] = sub s2, m1
  a: f32[16, 1] = sub m, m1
  s4: f32[16, 128] = exp s3
  a1: f32[16, 1] = exp a
  p: bf16[16, 128] = astype s4, bf16
  rs: f32[16, 1] = row_sum s4
  l1: f32[16, 1] = mul l, a1
  l2: f32[16, 1] = add l1, rs
  o: f32[16, 128] = matmul p, v
  acc1: f32[16, 128] = mul acc, a1
  acc2: f32[16, 128] = add acc1, o
  yield m1, l2, acc2
l3: f32[16, 1] = maximum l_end, 1e-30
y: f32[16, 128] = div acc_end, l3
out[pid0, :, :] = store y
"""
EDGES = [0, 1, 127, 128, 129, 255, 256, 257, 513]


def traced() -> Kernel:
    return parse(TRACED, "traced")


def handwritten(*changes: tuple[str, str]) -> Kernel:
    """The handwritten schedule, with pieces of its text replaced."""
    text = SCHEDULE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse(text, "handwritten")


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)


# --------------------------------------------------------------------------------- completeness

SCHEDULE_ONLY = {
    "move",
    "scales",
    "push",
    "push_data",
    "record",
    "pop",
    "sync",
    "barrier",
    "drain",
    "fence",
}


def test_every_op_has_a_rule_in_each_executor() -> None:
    assert set(scheduled.RULES) == set(OPS)
    assert set(sequential.RULES) == set(OPS) - SCHEDULE_ONLY
    assert set(said.RULES) == set(DEBUG)


def test_scalar_operators_mean_the_same_everywhere() -> None:
    numbers = [-5, -1, 0, 1, 3, 128, 2.5]
    for op in BINARY:
        for a in numbers:
            for b in numbers:
                if b == 0 and op in DIVIDING or op == "cdiv" and 2.5 in (a, b):
                    continue
                e = Bin(op, Var("a"), Const(b))
                want = evaluate(e, {"a": a}.__getitem__)
                got = access.compiled(e)({"a": a})
                assert (got, type(got)) == (want, type(want)), (op, a, b)
                column = np.array([a], np.float32 if isinstance(a, float) else np.int64)
                assert scalars.apply(np, op, column, b)[0] == want, (op, a, b)


def test_compiled_scalars_keep_one_apart_from_one_point_zero() -> None:
    assert type(access.compiled(Const(1))({})) is int
    assert type(access.compiled(Const(1.0))({})) is float


# -------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("seed", [0, 1])
def test_paged_attention_against_the_oracle(seed: int) -> None:
    case = oracles.paged_case(EDGES, seed=seed)
    out = sequential.run(traced(), bind(traced(), case))["out"]
    want = oracles.paged_attention(case)
    assert np.abs(out - want).max() <= oracles.paged_tolerance(case)
    assert not out[0].any(), "an empty context gives zeros"


@pytest.mark.parametrize("block_num", [1, 2, 24])
def test_handwritten_schedule_gives_the_bits_of_the_traced_program(block_num: int) -> None:
    case = oracles.paged_case(EDGES)
    want = sequential.run(traced(), bind(traced(), case))
    kernel = handwritten()
    assert same(want, scheduled.run(kernel, bind(kernel, case), block_num=block_num))


@pytest.mark.parametrize("name", ["paged_attention", "gemm", "rmsnorm"])
@pytest.mark.parametrize("options", ["serial", "prefetch", "repair", "best"])
def test_shipped_kernels_give_the_same_bits_scheduled(name: str, options: str) -> None:
    pytest.importorskip("lowering.hazards")
    from lowering.schedule import options_for, stages

    shipped = getattr(import_module(f"pto.kernels.{name}"), name)
    kernel = shipped.trace()
    drawn = shipped.draw_case(np.random.default_rng(0), **dict(kernel.statics))
    case = {n: np.asarray(v).astype(access.DTYPES[kernel.param(n).dtype]) for n, v in drawn.items()}
    *_, (_, done) = stages(kernel, options_for(options))
    bound = bind(done, case)
    validate(done, bound)
    assert same(sequential.run(kernel, bind(kernel, case)), scheduled.run(done, bound))


@pytest.mark.parametrize("op", ["exp", "log", "sqrt", "reciprocal", "row_sum", "row_max"])
def test_half_of_the_rows_gives_the_same_bits(op: str) -> None:
    """What lets the two lanes be compared with the traced program bit by bit."""
    rng = np.random.default_rng(0)
    for cols in (1, 8, 64, 100, 128, 256):
        x = rng.standard_normal((16, cols)).astype(np.float32) * 20
        rule = sequential.COMPUTE[op]
        whole = rule(TileType("f32", 16, cols), np.abs(x))
        halves = [rule(TileType("f32", 8, cols), np.abs(h).copy()) for h in (x[:8], x[8:])]
        assert whole.tobytes() == b"".join(h.tobytes() for h in halves), cols


def calls_of(action: Callable[[], object]) -> int:
    """How many Python functions are called; a measure of work that no noise moves."""
    found = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal found
        found += event == "call"

    gc.disable()  # JAX is called when rubbish is collected
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


@pytest.mark.parametrize("kernel", [traced(), handwritten()], ids=["traced", "handwritten"])
def test_work_of_validate_does_not_grow_with_the_items(kernel: Kernel) -> None:
    def work(items: int) -> int:
        case = oracles.paged_case([8192])
        case |= {
            "query": np.zeros((items, 16, 128), ml_dtypes.bfloat16),
            "context_lens": np.full(items, 8192, np.int32),
            "block_table": np.repeat(case["block_table"], items, axis=0),
        }
        bound = bind(kernel, case)
        return calls_of(lambda: validate(kernel, bound))

    work(4)
    assert work(256) == work(4)


# ------------------------------------------------------------------------- what the arrays hold

Check = Callable[[Kernel, Bound], Any]


def content(name: str, at: tuple[int, ...], value: int) -> dict[str, Any]:
    case = oracles.paged_case([5, 128, 130, 257], width=4)
    case[name] = case[name].copy()
    case[name][at] = value
    return case


BAD_CONTENT = [
    (
        ("block_table", (3, 1), 99),
        "block_table[3, 1] = 99, but key_cache has 10 pages (dimension 0)",
    ),
    (
        ("block_table", (2, 0), -1),
        "block_table[2, 0] = -1, but key_cache has 10 pages (dimension 0)",
    ),
    (
        ("context_lens", (2,), 9000),
        "context_lens[2] = 9000 needs block_table[2, 70], but its dimension 1 (width) is 4",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_CONTENT)
@pytest.mark.parametrize(
    ("kernel", "check"),
    [(traced, validate), (traced, sequential.run), (handwritten, validate)],
    ids=["validate", "sequential", "validate-scheduled"],
)
def test_bad_content_is_named(
    kernel: Callable[[], Kernel], check: Check, change: Any, message: str
) -> None:
    case = content(*change)
    with pytest.raises(InputError) as caught:
        check(kernel(), bind(kernel(), case))
    assert caught.value.message == message


@pytest.mark.parametrize(("change", "message"), BAD_CONTENT)
def test_the_scheduled_executor_catches_bad_content_by_itself(change: Any, message: str) -> None:
    """At the first access that leaves a tensor, so with the first index instead of the last."""
    with pytest.raises(PtoError) as caught:
        scheduled.run(handwritten(), bind(handwritten(), content(*change)))
    assert caught.value.message == message.replace("block_table[2, 70]", "block_table[2, 4]")


def test_table_entries_behind_the_context_are_never_looked_at() -> None:
    case = content("block_table", (0, 1), 12345)
    validate(traced(), bind(traced(), case))
    kernel = handwritten()
    assert same(
        sequential.run(traced(), bind(traced(), case)), scheduled.run(kernel, bind(kernel, case))
    )


# ---------------------------------------------------------------------------------- binding


def changed(**changes: Any) -> dict[str, Any]:
    case = oracles.paged_case([5, 300], width=4) | changes
    return {name: value for name, value in case.items() if value is not None}


BAD_INPUTS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"query": None},
        "paged_attention needs array query bf16[batch, 16, 128], which was not given",
        "",
    ),
    (
        {"scale": None},
        "paged_attention needs scalar scale f32, which was not given",
        "",
    ),
    (
        {"querry": np.zeros(3)},
        "paged_attention has no parameter 'querry'",
        "did you mean 'query'?",
    ),
    (
        {"block_table": np.zeros(4, np.int32)},
        "block_table has shape [4], but 2 dimensions are expected: "
        "array block_table i32[batch, width]",
        "",
    ),
    (
        {"query": np.zeros((2, 16, 64), ml_dtypes.bfloat16)},
        "query has shape [2, 16, 64]: dimension 2 is 64, but 128 is expected",
        "",
    ),
    (
        {"context_lens": np.zeros(3, np.int32)},
        "context_lens has shape [3]: dimension 0 (batch) is 3, but query has batch = 2",
        "",
    ),
    (
        {"context_lens": np.zeros(2, np.int64)},
        "context_lens holds int64, but i32 (int32) is expected",
        "convert it: context_lens.astype(np.int32)",
    ),
    (
        {"query": np.zeros((2, 16, 128), np.float32)},
        "query holds float32, but bf16 (bfloat16, or its bits as uint16) is expected",
        "convert it: query.astype(ml_dtypes.bfloat16)",
    ),
    ({"scale": np.nan}, "scale = nan, but a finite number is expected", ""),
    ({"scale": np.inf}, "scale = inf, but a finite number is expected", ""),
    ({"scale": np.ones(2)}, "scale is float64[2], but one f32 number is expected", ""),
    ({"scale": "half"}, "scale is the text 'half', but one f32 number is expected", ""),
    (
        {"out": np.zeros((2, 16, 128), np.float16)},
        "out holds float16, but f32 (float32) is expected",
        "convert it: out.astype(np.float32)",
    ),
]


@pytest.mark.parametrize(("changes", "message", "hint"), BAD_INPUTS)
def test_bad_inputs_are_named(changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        bind(traced(), changed(**changes))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def counted(value: Any) -> Bound:
    text = "kernel k\nparam n scalar i32\nparam x out f32[8]\ngrid 1\n"
    return bind(parse(text + "t: f32[1, 8] = full 0.0\nx[:] = store t\n"), {"n": value})


@pytest.mark.parametrize("value", [-1, 1.5, 1 << 31])
def test_integer_scalars_count_something(value: Any) -> None:
    assert counted(7).scalars == {"n": 7}
    with pytest.raises(InputError) as caught:
        counted(value)
    assert caught.value.message == f"n = {value}, but an integer from 0 to 2147483647 is expected"


def test_a_dimension_that_only_an_absent_output_has() -> None:
    text = "kernel k\nparam x out f32[n]\ngrid n\nt: f32[1, 1] = full 0.0\nx[pid0:+1] = store t\n"
    with pytest.raises(InputError) as caught:
        bind(parse(text), {})
    assert caught.value.message == "x was not given, and no other array has its dimension 'n'"
    assert sequential.run(parse(text), bind(parse(text), {"x": np.ones(3, np.float32)}))[
        "x"
    ].tolist() == [0.0, 0.0, 0.0]


def test_bound_numbers_and_bf16_bits() -> None:
    case = oracles.paged_case([5, 300], width=4)
    bits = {n: v.view(np.uint16) if v.dtype == ml_dtypes.bfloat16 else v for n, v in case.items()}
    a, b = bind(traced(), case), bind(traced(), bits)
    assert a.dims == {"batch": 2, "pages": 7, "width": 4}
    assert (a.grid, a.items) == ((2, 1, 1), 2)
    assert a.scalars["scale"] == float(np.float32(1 / np.sqrt(128)))
    assert all(b.arrays[n].dtype == a.arrays[n].dtype for n in a.arrays)
    assert same(sequential.run(traced(), a), sequential.run(traced(), b))
    assert "out" not in case, "the caller's mapping is left alone"


def test_no_work_items() -> None:
    case = oracles.paged_case([1]) | {"query": np.zeros((0, 16, 128), ml_dtypes.bfloat16)}
    case |= {"context_lens": np.zeros(0, np.int32), "block_table": np.zeros((0, 4), np.int32)}
    kernel = handwritten()
    for k in (traced(), kernel):
        validate(k, bind(k, case))
    assert sequential.run(traced(), bind(traced(), case))["out"].shape == (0, 16, 128)
    assert scheduled.run(kernel, bind(kernel, case))["out"].shape == (0, 16, 128)


# ------------------------------------------------------------------------- schedules gone wrong

RAISES: list[tuple[str, tuple[str, str], type[PtoError], str]] = [
    (
        "prefetch beyond the end",
        ("read block_table[b, i]", "read block_table[b, i + 1]"),
        MemoryAccessError,
        "needs block_table[0, 3], but its dimension 1 (width) is 3",
    ),
    (
        "scalar of a later iteration",
        ("cube   +1  S     page", "cube    0  S     page"),
        MemoryAccessError,
        "scalar 'page' is used before it has a value",
    ),
    (
        "accumulator never set",
        ("  vector  0  V     acc = full 0.0\n", ""),
        MemoryAccessError,
        "vector lane 0: acc = mul acc, a[u]\nreads acc[0] of ub, which was never written",
    ),
    (
        "scratch that lies on the scores",
        ("tmp[1]         f32[8, 128]     nd  at 40960", "tmp[1] f32[8, 128] nd at 0"),
        MemoryAccessError,
        "reads s[0] of ub, which was never written (4096 of its 4096 bytes, the first at [0, 0]; "
        "i = 0, u = 0",
    ),
    (
        "push that nothing records",
        ("pij = push pb[u]", "pij = push_data pb[u]"),
        ScheduleError,
        "cube waits at: p[u] = pop pij",
    ),
    (
        "tiles left in a FIFO",
        ("  cube    0  M     sync | set q_a.free", "  cube 0 FIX oi = push o_c"),
        ScheduleError,
        "FIFO: oi [2]: [4] pushed, [4] recorded, [3, 3] popped",
    ),
    (
        "store beyond the rows",
        ("out[b, lane * 8:+8, :]", "out[b, lane * 8 + 1:+8, :]"),
        MemoryAccessError,
        "the kernel needs out[0, 9:17, 0:128], but its dimension 1 is 16",
    ),
    (
        "store to an input",
        ("param out            out ", "param out            in "),
        MemoryAccessError,
        "out[b, lane * 8:+8, :] = store y: out is an input",
    ),
    (
        "buffer of the other core",
        ("pij = push pb[u]", "pij = push p[u]"),
        ScheduleError,
        "the vector core has no buffer 'p'",
    ),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), [r[1:] for r in RAISES], ids=[r[0] for r in RAISES]
)
def test_a_bad_schedule_raises(change: Any, error: type[PtoError], message: str) -> None:
    case = oracles.paged_case([257, 0])
    if "out is an input" in message:
        case["out"] = np.zeros((2, 16, 128), np.float32)
    kernel = handwritten(change)
    bound = bind(kernel, case)
    with pytest.raises(error) as caught:
        scheduled.run(kernel, bound, block_num=2)
    assert message in caught.value.message


CORRUPTS = {
    "ring of one slot": ("k[2]           bf16[128, 128]", "k[1] bf16[128, 128]"),
    "wrong slot": ("move k[u].T", "move k[u + 1].T"),
    "buffers that overlap": ("zn  at 4096   by 32768", "zn  at 40960  by 32768"),
    "slots that overlap": ("zn  at 4096   by 32768", "zn  at 4096   by 16384"),
    "values of the wrong page": ("cube   +1  MTE2  k[u]", "cube   +1  MTE2  k[u + 1]"),
    "old maximum": ("sub s[u], m[i + 1]", "sub s[u], m[i]"),
    "rescaled too late": ("acc = mul acc, a[u]", "acc = mul acc, a[u + 1]"),
}


@pytest.mark.parametrize("change", CORRUPTS.values(), ids=CORRUPTS.keys())
def test_a_bad_schedule_raises_or_gives_other_bits(change: tuple[str, str]) -> None:
    case = oracles.paged_case([400, 257])
    want = sequential.run(traced(), bind(traced(), case))
    kernel = handwritten(change)
    with suppress(MemoryAccessError):
        assert not same(want, scheduled.run(kernel, bind(kernel, case)))


# ----------------------------------------------------------------------------- small programs


def ran(text: str, **arrays: Any) -> dict[str, Any]:
    kernel = parse(text)
    run = scheduled.run if is_scheduled(kernel) else sequential.run
    return run(kernel, bind(kernel, arrays))


HEAD = "kernel k\nparam x in f32[rows, 8]\nparam y out f32[rows, 8]\ngrid cdiv(rows, 4)\n"


def test_partial_views_fill_with_zero_and_skip() -> None:
    text = (
        HEAD
        + """
t: f32[4, 8] = load x[pid0 * 4:+4<rows - pid0 * 4, :]
s: f32[4, 1] = row_sum t
u: f32[4, 8] = add t, s
y[pid0 * 4:+4<rows - pid0 * 4, :] = store u
"""
    )
    x = np.arange(48, dtype=np.float32).reshape(6, 8)
    assert (ran(text, x=x)["y"] == x + x.sum(axis=1, keepdims=True)).all()


def test_what_is_not_stored_stays_poisoned() -> None:
    """Unless the output is given: then it starts from that."""
    text = HEAD + "t: f32[4, 8] = load x[0:+4, :]\ny[0:+4<2, :] = store t\n"
    ones = np.ones((4, 8), np.float32)
    y = ran(text, x=ones)["y"]
    assert (y[:2] == 1).all() and np.isnan(y[2:]).all()
    given = ones * 7
    y = ran(text, x=ones, y=given)["y"]
    assert (y[:2] == 1).all() and (y[2:] == 7).all() and (given == 7).all()


def test_carries_change_places() -> None:
    text = (
        HEAD
        + """
a0: f32[4, 8] = full 1.0
b0: f32[4, 8] = full 2.0
for i in 0 .. 3:
  carry a: f32[4, 8] from a0 last a1
  carry b: f32[4, 8] from b0 last b1
  c: f32[4, 8] = add a, i
  yield b, c
d: f32[4, 8] = mul a1, 10
e: f32[4, 8] = add d, b1
y[0:+4, :] = store e
"""
    )
    # (1, 2) -> (2, 1+0) -> (1, 2+1) -> (3, 1+2)
    assert (ran(text, x=np.ones((4, 8), np.float32))["y"] == 33).all()


def test_branches_and_both_ways_of_rounding() -> None:
    text = """
kernel k
param x in f32[2, 4]
param y out i32[2, 4]
param z out bf16[2, 4]
grid 2
t: f32[1, 4] = load x[pid0:+1, :]
if pid0 == 0:
  i: i32[1, 4] = astype t, i32
  y[pid0:+1, :] = store i
else:
  u: f32[1, 4] = mul t, 2.0
  j: i32[1, 4] = astype u, i32
  y[pid0:+1, :] = store j
b: bf16[1, 4] = astype t, bf16
z[pid0:+1, :] = store b
"""
    x = np.array([[0.5, 1.5, -2.5, 3e9], [0.25, 0.75, 1 + 2**-8, 1 + 3 * 2**-8]], np.float32)
    out = ran(text, x=x)
    assert out["y"].tolist() == [[0, 2, -2, 2147483647], [0, 2, 2, 2]]
    assert out["z"][1].astype(float).tolist() == [0.25, 0.75, 1.0, 1 + 2**-6]


def test_a_result_of_the_wrong_shape_is_refused() -> None:
    text = HEAD + "t: f32[4, 8] = load x[0:+4, :]\ns: f32[4, 8] = row_max t\n"
    with pytest.raises(ShapeError) as caught:
        ran(text, x=np.ones((4, 8), np.float32))
    assert caught.value.message == "row_max gives [4, 1], but its result is declared as f32[4, 8]"


def test_a_scheduled_row_in_a_traced_program_is_refused() -> None:
    text = HEAD + "t: f32[4, 8] = load x[0:+4, :]\ns: f32[4, 8] = move t\n"
    with pytest.raises(InputError, match="move belongs to a scheduled program"):
        ran(text, x=np.ones((4, 8), np.float32))


VECTOR_HEAD = """
kernel k on a2a3
param x in f32[rows, 8]
param y out f32[16, 8]
grid 1
buffer vector ub t[1] f32[8, 8] nd at 0 by 256
buffer vector ub u[1] f32[8, 8] nd at 256 by 256
vector 0 MTE2 t = load x[lane * 8:+8<rows - lane * 8, :]
"""
VECTOR_TAIL = """
if block_idx == 0:
  vector 0 MTE3 y[lane * 8:+8, :] = store u
"""


@pytest.mark.parametrize(
    ("op", "rest"),
    [("add t, 1.0", np.nan), ("pad t, rows - lane * 8, 8", 0), ("pad t, 8, 8", np.nan)],
)
def test_the_rest_of_a_partly_loaded_vector_slot_can_be_anything(op: str, rest: float) -> None:
    """Which is poison here, unless it is padded."""
    x = np.ones((11, 8), np.float32)
    y = ran(VECTOR_HEAD + f"vector 0 V u = {op}" + VECTOR_TAIL, x=x)["y"]
    assert (y[:11] == (2 if op.startswith("add") else 1)).all()
    assert np.array_equal(y[11:], np.full_like(y[11:], rest), equal_nan=True)


CUBE = """
kernel k on a2a3
param a in bf16[16, k]
param b in bf16[k, 16]
param y out f32[16, 16]
grid 1
buffer cube l1  at[2] bf16[16, 32] nz at 0 by 1024
buffer cube l1  bt[2] bf16[32, 16] nz at 4096 by 1024
buffer cube l0a aa[2] bf16[16, 32] zz at 0 by 1024
buffer cube l0b bb[2] bf16[32, 16] zn at 0 by 1024
buffer cube l0c c[1]  f32[16, 16]  nz at 0 by 1024
for i, u in 0 .. cdiv(k, 32):
  cube +1 MTE2 at[u] = load a[:, i * 32:+32<k - i * 32]
  cube +1 MTE2 bt[u] = load b[i * 32:+32<k - i * 32, :]
  cube  0 MTE1 aa[u] = move at[u]
  cube  0 MTE1 bb[u] = move bt[u]
  cube  0 M    c = matmul aa[u], bb[u], c, i
cube 0 FIX y[:, :] = store c
"""


@pytest.mark.parametrize("k", [32, 70, 96])
def test_accumulation_starts_over_where_the_test_is_zero(k: int) -> None:
    rng = np.random.default_rng(k)
    a, b = (rng.standard_normal(s).astype(ml_dtypes.bfloat16) for s in ((16, k), (k, 16)))
    want = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(ran(CUBE, a=a, b=b)["y"] - want).max() < 1e-4


FIFO = """
kernel k on a2a3
param x in f32[16, 16]
param y out f32[16, 16]
param n scalar i32
grid 1
buffer vector ub t[1] f32[8, 16]  nd at 0 by 512
buffer cube   l1 u[1] f32[16, 16] nz at 0 by 1024
buffer cube   l1 w[1] f32[16, 16] nz at 1024 by 1024
fifo f v2c [4] f32[16, 16] flag 0
vector 0 MTE2 t = load x[lane * 8:+8, :]
for i in 0 .. n:
  if i % 2 == 0:
    vector +2 MTE3 f = push_data t
    vector +1 MTE3 record f
    cube   0 MTE2 u = pop f
    cube   0 MTE1 w = move u
cube 0 MTE3 y[:, :] = store w
"""


def test_push_then_record_under_a_branch_in_a_pipelined_loop() -> None:
    x = np.arange(256, dtype=np.float32).reshape(16, 16)
    for n in (1, 2, 9, 20):
        assert (ran(FIFO, x=x, n=n)["y"] == x).all()
    early = FIFO.replace("+1 MTE3 record", "+3 MTE3 record")
    with pytest.raises(ScheduleError, match="record f without a push before it"):
        ran(early, x=x, n=4)


def test_credits_come_in_batches() -> None:
    """docs/machine.md 5.3: a ring of 4 signals every second pop, so push 4 waits for two pops."""
    fifo = parse(FIFO).fifo("f")
    ring = scheduled.Ring(fifo, A2A3)
    ring.pushed, ring.popped = [4, 4], [1]
    assert not ring.may_push(0)
    ring.popped = [2]
    assert ring.may_push(0)


def test_rings_without_credit_have_any_depth() -> None:
    """13 tiles through rings of five slots and back."""
    k = round_trip(5, 4)
    given = {"src": np.ones((64, 64), np.float32), "out": np.zeros((13, 16, 64), np.float32)}
    want = np.broadcast_to(64.0 * np.arange(1, 14)[:, None, None], (13, 16, 64))
    out = scheduled.run(k, bind(k, given), block_num=1)["out"]
    assert np.array_equal(out, want) and np.array_equal(
        jax_executor.run(k, bind(k, given))["out"], want
    )
    k = round_trip(4, 4)
    with pytest.raises(ScheduleError, match="f has no credit, and push 4 overwrites a tile"):
        scheduled.run(k, bind(k, given), block_num=1)
