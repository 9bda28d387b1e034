"""One meaning of scalars (``docs/scalars.md``) in every stage: what the tracer folds, what the
executors compute row by row, what binding checks for whole columns, JAX, and the emitted C++.

``make test`` takes 200 random expressions with 5 sets of data each, ``make sweep`` 2,000, and some
of them through whole kernels on every executor: ``pytest -m sweep tests/whole/test_scalars.py``.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import pto
from lowering import jax_executor, native
from lowering.ascend.functions import FUNCTIONS, tops_of
from lowering.ascend.names import said
from lowering.ascend.text import Env as Places
from lowering.ascend.text import Place, scalar
from lowering.execute import scheduled, sequential
from lowering.execute.access import compiled
from lowering.execute.inputs import Bound, Lines, bind, validate
from lowering.execute.said import Heard
from lowering.jax_executor.machine import ZERO, Env, Machine
from lowering.native import build
from lowering.schedule import schedule
from lowering.values.unscheduled import unscheduled
from pto.arithmetic import Number
from pto.errors import DTypeError, InputError, PtoError
from pto.ir import (
    Bin,
    Const,
    Expr,
    Kernel,
    Var,
    coefficient,
    coefficients,
    constant,
    distance,
    is_float,
    linear,
    names_in,
    substitute,
)
from pto.legality import verify
from pto.text import expr as expr_text
from pto.text import parse
from tests.judges.random_scalars import DATA, FLOATS, INTS, Value, defined, meaning, same

Rows = list[list[Any]]
"""For each expression its value for each set of ``DATA``."""

NUMBERS: list[dict[str, Number]] = [
    {n: v if isinstance(v, int) else float(v) for n, v in d.items()} for d in DATA
]


def folding(exprs: Sequence[Expr]) -> Rows:
    """Every name replaced by a literal."""
    return [[folded(substitute(e, literals(d))) for d in NUMBERS] for e in exprs]


def simplifying(exprs: Sequence[Expr]) -> Rows:
    """Half of the names replaced by literals, the others later."""

    def value(e: Expr, known: Mapping[str, Number]) -> Number:
        for part in (("x", "m", "q"), tuple(known)):
            e = substitute(e, literals({n: known[n] for n in part}))
        return folded(e)

    return [[value(e, d) for d in NUMBERS] for e in exprs]


def literals(known: Mapping[str, Number]) -> dict[str, Expr]:
    return {n: Const(v) for n, v in known.items()}


def folded(e: Expr) -> Number:
    assert isinstance(e, Const), e
    return constant(e)


def in_rows(exprs: Sequence[Expr]) -> Rows:
    """As the executors sequential and numpy do."""
    return [[compiled(e)(d) for d in NUMBERS] for e in exprs]


def in_columns(exprs: Sequence[Expr]) -> Rows:
    """As binding does: all sets of data are the lines of one table."""
    types = [(n, np.int64 if n in INTS else np.float32) for n in DATA[0]]
    columns = {n: np.array([d[n] for d in DATA], t) for n, t in types}
    lines = Lines(columns, len(DATA), np.zeros(len(DATA), np.int64))
    with np.errstate(all="ignore"):
        return [list(np.broadcast_to(lines.value(e), len(DATA))) for e in exprs]


TINY = """kernel tiny
param x in f32[m, n]
param p scalar i32
param q scalar f32
param s scalar f32
param out out f32[m, 16, 64]
grid m
v: f32[16, 64] = full s
out[pid0, :, :] = store v
"""


def in_jax(exprs: Sequence[Expr]) -> Rows:
    """As the executor jax does, under ``jit``: sizes are known, everything else is an argument."""
    values_of = unscheduled(schedule(parse(TINY)).kernel)
    found: list[list[Any]] = []
    with jax.enable_x64(True):
        for d in DATA:
            machine = Machine(values_of, {n: int(d[n]) for n in ("m", "n")}, Heard().hear)

            def values(scalars: dict[str, Any], machine: Machine = machine) -> list[Any]:
                machine.zero = scalars[ZERO]
                return [machine.scalar(e, Env({}, {}, scalars)) for e in exprs]

            given = {n: v for n, v in d.items() if n not in ("m", "n")} | {ZERO: np.int32(0)}
            found.append([x if isinstance(x, int | float) else np.asarray(x)[()]
                          for x in program(exprs, d, values)(given)])  # fmt: skip
    return [list(row) for row in zip(*found, strict=True)]


PROGRAMS: dict[Any, Any] = {}


def program(exprs: Sequence[Expr], d: Mapping[str, Value], values: Callable[..., Any]) -> Any:
    """Jitted once for each choice of sizes."""
    key = (tuple(exprs), d["m"], d["n"])
    if key not in PROGRAMS:
        PROGRAMS[key] = jax.jit(values)
    return PROGRAMS[key]


def in_cpp(exprs: Sequence[Expr]) -> Rows:
    """The emitted spelling, compiled as the executor native compiles, with every warning an error."""
    places: Places = {
        n: Place(n, n in FLOATS, least=1 if n in ("m", "n") else None) for n in DATA[0]
    }
    lines = []
    for k, e in enumerate(exprs):
        kind = "float" if is_float(e) else "int64_t"
        lines.append(f"static {kind} e{k}([[maybe_unused]] const Data &d)")
        lines.append("{")
        text = scalar(
            e, {n: Place(f"d.{p.text}", p.is_float, least=p.least) for n, p in places.items()}
        )
        lines.append(f"    return {text};")
        lines.append("}")
    tops = [
        line
        for n, text in FUNCTIONS.items()
        if n in tops_of(said(lines), FUNCTIONS)
        for line in text
    ]
    fields = [f"    {'float' if n in FLOATS else 'int64_t'} {n};" for n in DATA[0]]
    rows = [f"    {{{', '.join(literal(v) for v in d.values())}}}," for d in DATA]
    calls = [f"        show(e{k}(d));" for k in range(len(exprs))]
    source = ["#include <cstdint>", "#include <cstdio>", "#include <cstring>", "#define __aicore__",
              *tops, "struct Data {", *fields, "};", *lines,
              "static void show(int64_t v) { std::printf(\"i %lld\\n\", static_cast<long long>(v)); }",
              "static void show(float v) { uint32_t u; std::memcpy(&u, &v, 4); std::printf(\"f %u\\n\", u); }",
              "int main()", "{", "    static volatile Data data[] = {", *rows, "    };",
              "    for (volatile Data &v : data) {",
              f"        const Data d = {{{', '.join(f'v.{n}' for n in DATA[0])}}};",
              *calls, "    }", "}"]  # fmt: skip
    shown = run_cpp("\n".join(source) + "\n").split("\n")[:-1]
    values = [int(w) if kind == "i" else np.uint32(int(w)).view(np.float32)
              for kind, w in (line.split() for line in shown)]  # fmt: skip
    return [values[k :: len(exprs)] for k in range(len(exprs))]


def literal(v: Value) -> str:
    return f"{v}" if isinstance(v, int) else f"{float(v)!r}f"


def run_cpp(source: str) -> str:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        command = [build.compiler(), *build.OPTIONS, "-x", "c++", "-", "-o", str(made)]
        done = subprocess.run(command, input=source, capture_output=True, text=True)
        assert not done.returncode, done.stderr[:3000]
        return subprocess.run([made], capture_output=True, text=True, check=True).stdout


STAGES: dict[str, Callable[[Sequence[Expr]], Rows]] = {
    "folding": folding,
    "simplifying": simplifying,
    "rows": in_rows,
    "columns": in_columns,
    "jax": in_jax,
    "cpp": in_cpp,
}


def disagreements(stage: str, exprs: Sequence[Expr]) -> list[str]:
    found = STAGES[stage](exprs)
    return [
        f"{expr_text(e)} of {d}: {got!r}, means {want!r}"
        for e, row in zip(exprs, found, strict=True)
        for d, got in zip(DATA, row, strict=True)
        if not same(got, want := meaning(e, d))
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_scalars_mean_the_same(stage: str) -> None:
    exprs = list(defined(random.Random(11), 60 if stage == "jax" else 200))
    assert not disagreements(stage, exprs)


@pytest.mark.sweep
@pytest.mark.parametrize("stage", STAGES)
def test_many_scalars_mean_the_same(stage: str) -> None:
    exprs = list(defined(random.Random(1), 2000))
    wrong = [x for k in range(0, 2000, 50) for x in disagreements(stage, exprs[k : k + 50])]
    print(f"\n{stage}: 2000 expressions x {len(DATA)} sets of data, {len(wrong)} wrong")
    assert not wrong, wrong[:5]


# ------------------------------------------------------------------------------- whole kernels


TENSOR = {"f32": "floats", "i32": "ints"}


def kernel_of(exprs: Sequence[Expr]) -> Kernel:
    """A traced kernel that stores what each expression gives; of an integer three parts."""
    rows = [
        ("f32" if is_float(e) else "i32", part)
        for e in exprs
        for part in ([expr_text(e)] if is_float(e) else [f"({expr_text(e)}) {cut}" for cut in CUTS])
    ]
    outs = [f"param {name} out {t}[items, {len(rows)}, 2, 8]" for t, name in TENSOR.items()]
    head = ["kernel scalars", "param t in i32[items, 2]", "param a in f32[m, n]",
            "param p scalar i32", "param s scalar f32", "param q scalar f32", *outs, "grid items",
            "x = read t[pid0, 0]", "y = read t[pid0, 1]"]  # fmt: skip
    body = [
        f"v{k}: {t}[2, 8] = full {text}\n{TENSOR[t]}[pid0, {k}, :, :] = store v{k}"
        for k, (t, text) in enumerate(rows)
    ]
    return parse("\n".join([*head, *body]) + "\n")


CUTS = ("% 1073741824", "// 1073741824 % 1073741824", "// 1152921504606846976")
"""An integer of 64 bits as three of 32."""


def of_kernel(exprs: Sequence[Expr], outputs: Mapping[str, Any]) -> list[Any]:
    """The values again, of work item 0."""
    found: list[Any] = []
    k = 0
    for e in exprs:
        if is_float(e):
            found.append(np.float32(outputs["floats"][0, k, 0, 0]))
            k += 1
        else:
            low, middle, high = (int(outputs["ints"][0, k + j, 0, 0]) for j in range(3))
            found.append(low + (middle << 30) + (high << 60))
            k += 3
    return found


def arrays_of(d: Mapping[str, Value]) -> dict[str, Any]:
    table = np.array([[d["x"], d["y"]]], np.int32)
    a = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (int(d["m"]), 3), (0, 0))
    return {"t": table, "a": a, "p": d["p"], "s": d["s"], "q": d["q"]}


def small() -> list[Expr]:
    """Expressions whose sizes fit into the memory of a test."""
    exprs = list(defined(random.Random(5), 60))
    return [e for e in exprs if "n" not in names_in(e)][:8]


EXECUTORS: dict[str, Callable[[Kernel, Any], Any]] = {
    "sequential": sequential.run,
    "numpy": lambda k, b: scheduled.run(k, b, block_num=2),
    "jax": jax_executor.run,
    "native": lambda k, b: native.run(k, b, block_num=2).outputs,
}


@pytest.mark.parametrize(
    "executor",
    [pytest.param(n, marks=pytest.mark.sweep) if n == "native" else n for n in EXECUTORS],
)
def test_kernels_store_what_scalars_mean(executor: str) -> None:
    exprs = small()
    kernel = kernel_of(exprs)
    if executor != "sequential":
        kernel = schedule(kernel).kernel
    for d in DATA:
        outputs = EXECUTORS[executor](kernel, bind(kernel, arrays_of(d)))
        for e, got in zip(exprs, of_kernel(exprs, outputs), strict=True):
            assert same(got, meaning(e, d)), (expr_text(e), d, got)


# ------------------------------------------------------------------------- what has no value


WITHOUT = (
    ("7 // x", dict(x=0), "7 // x has no value where t[0, 0] = 0: 7 // 0 divides by zero"),
    ("y % (x - 5)", dict(x=5), "y % (x - 5) has no value where t[0, 1] = -5 and t[0, 0] = 5: "),
    ("1.0 / s", dict(s=0.0), "1.0 / s has no value where s = 0.0: 1.0 / 0.0 divides by zero"),
    ("x * x * x", dict(x=-(2**31)), "x * x * x has no value where t[0, 0] = -2147483648: "),
    ("p * p * 4", dict(p=2**31 - 1), "p * p * 4 has no value where p = 2147483647: "),
    ("cdiv(m, x)", dict(x=0), "cdiv(m, x) has no value where t[0, 0] = 0 and m = 4: "),
)


@pytest.mark.parametrize(("text", "change", "message"), WITHOUT)
def test_what_has_no_value_is_told_with_the_data(
    text: str, change: dict[str, Any], message: str
) -> None:
    source = "x = read t[pid0, 0]\ny = read t[pid0, 1]\nv: f32[2, 8] = full " + text
    kernel = parse(HEAD + source + "\nfloats[pid0, 0, :, :] = store v\n")
    arrays = arrays_of({**DATA[0], **change})
    for run in (EXECUTORS["sequential"], lambda k, b: validate(schedule(k).kernel, b)):
        with pytest.raises(InputError) as caught:
            run(kernel, bind(kernel, arrays))
        assert str(caught.value).startswith(message) and caught.value.loc is not None


HEAD = """kernel small
param t in i32[items, 2]
param a in f32[m, n]
param p scalar i32
param s scalar f32
param q scalar f32
param floats out f32[items, 1, 2, 8]
grid items
"""


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "1 // 0", "4611686018427387904 * 2", "1e40"]
)
def test_literals_without_a_value_are_refused(text: str) -> None:
    with pytest.raises(PtoError) as caught:
        verify(parse(HEAD + f"v: f32[2, 8] = full {text}\nfloats[pid0, 0, :, :] = store v\n"))
    assert caught.value.loc is not None and caught.value.loc.line == 9


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_a_scalar_parameter_has_32_bits(dtype: str) -> None:
    with pytest.raises(PtoError, match=f"a scalar cannot be {dtype}"):
        parse(HEAD.replace("param s scalar f32", f"param s scalar {dtype}") + "x = let 1\n")


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (lambda n, s: 2.0, "found the number 2.0", "integers are sizes"),
        (lambda n, s: np.float32(2), "found the number 2.0", "integers are sizes"),
        (lambda n, s: s, "found the float scalar 's'", "integers are sizes"),
        (lambda n, s: n / 2 + s, "found the float scalar 'n / 2 .* s'", "integers are sizes"),
        (lambda n, s: n / 2, "found the float scalar 'n / 2'", "divide with //"),
    ],
)
def test_a_float_where_an_integer_is_meant(value: Any, message: str, hint: str) -> None:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", s="f32", out="f32[n, 16, 64]")
    def kernel(x: Any, s: Any, out: Any) -> None:
        end = pto.cdiv(value(x.shape[0], s), 2)
        tile = pto.load(x[pto.program_id(0), :, :])
        pto.store(out[pto.program_id(0), :, :], tile * end)

    with pytest.raises(DTypeError, match=f"^an operand of cdiv must be an integer, {message}") as e:
        kernel.trace()
    assert e.value.hint.startswith(hint)


ENDLESS = """c = read t[pid0, 0]
v: f32[2, 8] = full 0
for i in 0 .. c * c:
  carry w: f32[2, 8] from v last u
  x: f32[2, 8] = add w, 1
  yield x
floats[pid0, 0, :, :] = store u
"""


def test_more_steps_than_can_be_checked() -> None:
    """Told at its line, before a table of them is made."""
    kernel = parse(HEAD + ENDLESS)
    arrays = arrays_of({**DATA[0], "x": 100000})
    with pytest.raises(InputError, match="loop 'i' has 10000000000 steps in all; ") as caught:
        validate(kernel, bind(kernel, arrays))
    assert caught.value.loc is not None and caught.value.loc.line == 11
    many = kernel_of([Const(1)])
    with pytest.raises(InputError, match="the grid items has 1099511627776 work items; "):
        validate(many, Bound({}, {}, {"items": 1 << 40}, (1 << 40,), {}))


def test_softmax_of_large_logits_in_jax() -> None:
    """``x * s - max(x * s)`` is never positive, and 0 somewhere."""
    kernel = parse(LOGITS)
    x = np.random.default_rng(0).standard_normal((1, 16, 64)).astype(np.float32) * 1e5
    given = bind(kernel, {"x": x, "s": 0.088388346})
    found = jax_executor.run(schedule(kernel).kernel, given)["out"]
    assert found.max() == 0
    assert found.tobytes() == sequential.run(kernel, given)["out"].tobytes()


LOGITS = """kernel logits
param x in f32[n, 16, 64]
param s scalar f32
param out out f32[n, 16, 64]
grid n
a: f32[16, 64] = load x[pid0, :, :]
b: f32[16, 64] = mul a, s
m: f32[16, 1] = row_max b
d: f32[16, 64] = sub b, m
out[pid0, :, :] = store d
"""


def test_a_linear_form_has_the_value_of_its_expression() -> None:
    summed = 0
    for e in defined(random.Random(3), 400):
        if not is_float(e):
            constant, terms = linear(e)
            summed += len(terms) > 1
            for env in DATA:
                assert constant + sum(k * meaning(x, env) for x, k in terms.items()) == meaning(
                    e, env
                )
            assert all(terms.values())
    assert summed > 20


def test_what_is_not_linear_cancels_out() -> None:
    half, i = Bin("//", Var("n"), Const(2)), Var("i")
    moved = Bin("+", half, Bin("*", i, Bin("-", Const(5), Const(1))))
    assert distance(Bin("+", moved, Const(7)), moved) == 7
    assert distance(moved, half) is None
    assert coefficients(moved) is None and coefficients(Bin("-", moved, half)) == {"": 0, "i": 4}
    assert coefficient(moved, "i") == 4 and coefficient(moved, "j") == 0
    assert coefficient(moved, "n") is None
