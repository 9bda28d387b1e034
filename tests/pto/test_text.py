"""The text form: what is printed reads back as itself, and what cannot be read says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, currently_in_test_context, given, note, settings
from hypothesis import strategies as st

import pto
from lowering.schedule import NAMED, Options, stages
from pto import ir, types
from pto.arithmetic import BINARY
from pto.errors import ParseError
from pto.kernels import SHIPPED
from pto.ops import OPS
from pto.targets import PIPES, SPACES
from pto.text import WIDTH, expr, parse, print_kernel
from pto.tracer import GRAMMAR_WORDS
from pto.types import DTYPE_BYTES, LAYOUTS, SCALAR_DTYPES, TileType
from tests import HANDWRITTEN, TESTS
from tests.conftest import Golden

STATICS: list[tuple[str, dict[str, Any]]] = [
    ("paged_attention", {}),
    ("paged_attention", dict(heads=64, q_tile=64, block=64)),
    ("paged_attention", dict(heads=32, kv_heads=8, dtype="f16", dim=64, block=32)),
    ("gemm", {}),
    ("gemm", dict(activation="silu", dtype="f16")),
    ("rmsnorm", {}),
    ("rmsnorm", dict(dtype="f32", dim=256)),
]


def reads_back(kernel: ir.Kernel) -> str:
    text = print_kernel(kernel)
    if currently_in_test_context():
        note(text)
    again = parse(text)
    assert again == kernel
    assert print_kernel(again) == text
    return text


@pytest.mark.parametrize(("name", "statics"), STATICS)
@pytest.mark.parametrize("schedule", NAMED)
def test_every_stage_of_the_shipped_kernels_reads_back(
    name: str, statics: dict[str, Any], schedule: str
) -> None:
    kernel = SHIPPED[name].trace(**statics)
    for _, stage in [("traced", kernel), *stages(kernel, NAMED[schedule])]:
        text = reads_back(stage)
        assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("lookahead", [1, 2, 3])
def test_deeper_schedules_read_back(lookahead: int) -> None:
    for _, stage in stages(SHIPPED["paged_attention"].trace(), Options(lookahead=lookahead)):
        reads_back(stage)


DEMANDING = """
kernel demanding
param x   in  f32[n, 32]
param out out f32[n, 32]
grid 1
require n % 16 == 0 "whole tiles"

x_tile: f32[16, 32] = load x[0:+16, :]
out[0:+16, :] = store x_tile
"""


def test_the_place_in_a_file_is_no_part_of_a_program() -> None:
    """Neither programs nor what is printed of them in a debugger differ by it."""
    traced = [print_kernel(SHIPPED["paged_attention"].trace()), DEMANDING]
    for text in (*traced, *(p.read_text() for p in sorted(TESTS.rglob("*.ptoir")))):
        once, below = parse(text, "once"), parse(f"\n\n{text}", "below")
        assert once == below
        assert repr(once) == repr(below)
        assert eval(repr(once), {**vars(ir), **vars(types), "inf": math.inf}) == once


def test_the_handwritten_schedule_reads_back() -> None:
    reads_back(parse(HANDWRITTEN.read_text(), str(HANDWRITTEN)))


@pytest.mark.parametrize("name", SHIPPED)
def test_traced_text(name: str, golden: Golden) -> None:
    golden(f"text/{name}.ptoir", print_kernel(SHIPPED[name].trace()))


# --------------------------------------------------------------------------------- random programs

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,24}", fullmatch=True).filter(
    lambda n: n not in GRAMMAR_WORDS and n not in OPS
)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(width=32)
EXPRESSIONS = st.recursive(
    st.builds(ir.Const, NUMBERS) | st.sampled_from(["n", "i", "batch", "lane"]).map(ir.Var),
    lambda inner: st.builds(ir.Bin, st.sampled_from(list(BINARY)), inner, inner),
    max_leaves=8,
)
TYPES = st.builds(
    TileType, st.sampled_from(list(DTYPE_BYTES)), st.integers(1, 256), st.integers(1, 4096)
)
VECTOR_OPS = [
    n for n, op in OPS.items() if op.kind in ("unary", "binary", "cube") and n != "astype"
]


@given(EXPRESSIONS)
def test_expressions_read_back(e: ir.Expr) -> None:
    line = pto.text.Line("<text>", 1, 0, expr(e))
    line.tokens = pto.text.tokens_of(line)
    assert pto.text.Parser("", "").expression(line) == e
    line.end()


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a + (b * c)", "a + b * c"),
        ("(a + b) * c", "(a + b) * c"),
        ("a * (b // c)", "a * (b // c)"),
        ("(a * b) // c % d", "a * b // c % d"),
        ("(a + 1) < (b - 1)", "a + 1 < b - 1"),
        ("(a < b) == c", "a < b == c"),
        ("a < (b == c)", "a < (b == c)"),
        ("a > b", "b < a"),
        ("a >= b", "b <= a"),
        ("(-1) < a", "-1 < a"),
        ("a < -1", "a < (-1)"),
        ("a * -1", "a * (-1)"),
        ("-1 + a", "(-1) + a"),
        ("max((a), (b + c))", "max(a, b + c)"),
        ("max(-1, a)", "max(-1, a)"),
        ("a * 2.0", "a * 2.0"),
        ("a * inf", "a * inf"),
        ("a * -inf", "a * (-inf)"),
    ],
)
def test_expressions_have_no_more_parentheses_than_they_need(text: str, least: str) -> None:
    line = pto.text.Line("<text>", 1, 0, text)
    line.tokens = pto.text.tokens_of(line)
    assert expr(pto.text.Parser("", "").expression(line)) == least


QUICK, MANY = (
    settings(
        max_examples=n,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    for n in (15, 200)
)
"""Without shrinking: a failure prints the program as it is."""


@st.composite
def views(draw: st.DrawFn, param: ir.Param) -> ir.View:
    items: list[ir.Expr | ir.Span] = []
    for dim in param.shape or ():
        kind = draw(st.sampled_from(["index", "span", "whole"]))
        if kind == "whole" and isinstance(dim, int):
            items.append(ir.Span(ir.Const(0), dim))
        elif kind == "index":
            items.append(draw(EXPRESSIONS))
        else:
            valid = draw(st.none() | EXPRESSIONS)
            step = draw(st.just(1) | st.integers(1, 9))
            items.append(ir.Span(draw(EXPRESSIONS), draw(st.integers(1, 512)), valid, step))
    return ir.View(param.name, tuple(items))


@st.composite
def headers(draw: st.DrawFn, fresh: Callable[[], str]) -> tuple[ir.Param, ...]:
    dims = st.integers(1, 4096) | st.sampled_from(["batch", "n"])
    shapes = st.lists(dims, min_size=1, max_size=4).map(tuple)
    directions = st.sampled_from(["in", "out", "inout"])
    dtypes = st.sampled_from(list(DTYPE_BYTES))
    tensors = draw(st.lists(st.tuples(directions, dtypes, shapes), min_size=1, max_size=3))
    scalars = draw(st.lists(st.sampled_from(SCALAR_DTYPES), max_size=2))
    found = [ir.Param(fresh(), d, t, s) for d, t, s in tensors]
    return (*found, *(ir.Param(fresh(), "scalar", t) for t in scalars))


@st.composite
def kernels(draw: st.DrawFn, scheduled: bool) -> ir.Kernel:
    """Any program of the grammar, whether it makes sense or not."""
    numbers = count()
    words = draw(st.lists(NAMES, min_size=3, max_size=8))

    def fresh() -> str:
        k = next(numbers)
        return f"{words[k % len(words)]}{k}"

    params = draw(headers(fresh))
    tensors = [p for p in params if p.shape is not None]
    buffers, fifos, events = _placement(draw, fresh) if scheduled else ((), (), ())
    rings = [
        st.builds(ir.Ref, st.just(b.name), st.none() | EXPRESSIONS, st.booleans()) for b in buffers
    ]
    flag = [st.builds(ir.Flag, st.just(e.name), st.none() | EXPRESSIONS) for e in events]

    def row(tiles: list[str]) -> ir.Row:
        refs = [*rings, *(st.builds(ir.Ref, st.just(t), st.none(), st.booleans()) for t in tiles)]
        tile = st.one_of(refs) if refs else EXPRESSIONS
        kind = draw(
            st.sampled_from(["vector", "load", "store", "read", "let", "astype", "drain", "push"])
        )
        args: list[Any] = []
        out: Any = None
        op = kind
        if kind == "vector":
            op, args = (
                draw(st.sampled_from(VECTOR_OPS)),
                draw(st.lists(tile | EXPRESSIONS, max_size=4)),
            )
        elif kind == "astype":
            args = [draw(tile), ir.Word(draw(st.sampled_from(list(DTYPE_BYTES))))]
        elif kind in ("load", "read"):
            args = [draw(views(draw(st.sampled_from(tensors))))]
        elif kind == "store":
            update = draw(st.sampled_from([[], [ir.ADD]]))
            out, args = draw(views(draw(st.sampled_from(tensors)))), [draw(tile), *update]
        elif kind == "drain":
            args = [ir.Word(draw(st.sampled_from(PIPES)))]
        elif kind == "push" and fifos:
            out, args = ir.Queue(fifos[0].name), [draw(tile)]
        else:
            value = draw(EXPRESSIONS)
            op, out, args = "let", ir.Scalar(fresh(), ir.is_float(value)), [value]
        if kind == "read":
            of = next(p for p in tensors if p.name == args[0].tensor)
            out = ir.Scalar(fresh(), of.dtype != "i32")
        elif kind in ("vector", "astype", "load"):
            out = draw(st.one_of(rings)) if rings else ir.Define(fresh(), draw(TYPES))
            if isinstance(out, ir.Ref) and out.transposed:
                out = ir.Ref(out.name, out.index)
        if isinstance(out, ir.Define):
            tiles.append(out.name)
        if not scheduled:
            return ir.Row(op, out, tuple(args))
        flags = st.lists(st.one_of(flag), max_size=9).map(tuple) if flag else st.just(())
        core, pipe = draw(st.sampled_from(ir.CORES)), draw(st.sampled_from(PIPES))
        return ir.Row(
            op, out, tuple(args), core, pipe, draw(st.integers(-3, 3)), draw(flags), draw(flags)
        )

    def block(depth: int, tiles: list[str]) -> tuple[ir.Node, ...]:
        nodes: list[ir.Node] = []
        for _ in range(draw(st.integers(1, 4))):
            kind = (
                draw(st.sampled_from(["row", "row", "row", "loop", "if"])) if depth < 3 else "row"
            )
            if kind == "row":
                nodes.append(row(tiles))
            elif kind == "if":
                orelse = block(depth + 1, list(tiles)) if draw(st.booleans()) else ()
                nodes.append(ir.Branch(draw(EXPRESSIONS), block(depth + 1, list(tiles)), orelse))
            else:
                carries = [
                    ir.Carry(fresh(), draw(TYPES), ir.Ref(draw(st.sampled_from(tiles))), fresh())
                    for _ in range(draw(st.integers(0, 3)) if tiles else 0)
                ]
                inside = [*tiles, *(c.name for c in carries)]
                total = fresh() if draw(st.booleans()) else ""
                body = block(depth + 1, inside)
                result = tuple(ir.Ref(draw(st.sampled_from(inside))) for _ in carries)
                nodes.append(
                    ir.Loop(fresh(), draw(EXPRESSIONS), body, total, tuple(carries), result)
                )
                tiles += [c.last for c in carries]
        return tuple(nodes)

    texts = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1)
    notes = draw(st.lists(st.lists(texts, min_size=1, max_size=40).map(" ".join), max_size=2))
    return ir.Kernel(
        fresh(),
        params,
        tuple(draw(st.lists(EXPRESSIONS, min_size=1, max_size=3))),
        block(0, []),
        tuple(
            (fresh(), v)
            for v in draw(st.lists(NUMBERS.filter(lambda x: x == x) | st.just("bf16"), max_size=3))
        ),
        "a2a3" if scheduled else "",
        buffers,
        fifos,
        events,
        tuple(notes),
    )


def _placement(draw: st.DrawFn, fresh: Callable[[], str]) -> tuple[Any, Any, Any]:
    sizes = st.integers(0, 2**20)
    cores, pipes = st.sampled_from(ir.CORES), st.sampled_from(PIPES)
    ids = st.lists(st.integers(0, 7), min_size=1, max_size=8).map(tuple)
    buffers = tuple(
        ir.Buffer(
            draw(cores), draw(st.sampled_from(SPACES)), fresh(), draw(st.integers(1, 8)), draw(TYPES),
            draw(st.sampled_from(LAYOUTS)), draw(sizes), draw(sizes),
        )
        for _ in range(draw(st.integers(1, 5)))
    )  # fmt: skip
    fifos = tuple(
        ir.Fifo(
            fresh(),
            draw(st.sampled_from(["c2v", "v2c"])),
            draw(st.integers(1, 8)),
            draw(TYPES),
            2 * k,
            draw(st.booleans()),
        )
        for k in range(draw(st.integers(0, 2)))
    )
    events = tuple(
        ir.Event(draw(cores), f"{fresh()}.{end}", draw(pipes), draw(pipes), draw(ids))
        for end in draw(st.lists(st.sampled_from(["full", "free"]), max_size=4))
    )
    return buffers, fifos, events


HANDS_ON = """kernel hands_on
param x   in     f32[16, 64]
param n   scalar i32
param out out    f32[16, 64]
grid 1

a: f32[16, 64] = load x[:, :]
zero: f32[16, 64] = full 0.0
for i in 0 .. n:
  carry acc: f32[16, 64] from zero last y
  yield a
out[:, :] = store y
"""


def test_a_loop_that_only_hands_on_reads_back() -> None:
    """It has no rows, and yet a meaning: one tile if it runs, the other if not."""
    assert reads_back(parse(HANDS_ON)) == HANDS_ON


@QUICK
@given(kernels(scheduled=False))
def test_any_traced_program_reads_back(kernel: ir.Kernel) -> None:
    reads_back(kernel)


@QUICK
@given(kernels(scheduled=True))
def test_any_scheduled_program_reads_back(kernel: ir.Kernel) -> None:
    reads_back(kernel)


@pytest.mark.sweep
@MANY
@given(kernels(scheduled=False) | kernels(scheduled=True))
def test_many_programs_read_back(kernel: ir.Kernel) -> None:
    reads_back(kernel)


@pytest.mark.parametrize(("length", "lines"), [(WIDTH, 2), (WIDTH + 1, 3)])
def test_flags_share_a_line_as_long_as_they_fit(length: int, lines: int) -> None:
    margin = " " * len("vector  0  V       ")
    name = "x" * (length - len(margin) - len("| wait w | set "))
    row = ir.Row("barrier", core="vector", pipe="V", wait=(ir.Flag("w"),), set=(ir.Flag(name),))
    program = ir.Kernel("k", (), (ir.Const(1),), (row,))
    printed = print_kernel(program).splitlines()
    assert len(printed[printed.index("# core it  pipe  statement") + 1 :]) == lines


def test_long_statements_wrap() -> None:
    """Continuation lines start with a bar; all stay within the width."""
    index = ir.Bin(
        "+", ir.Bin("*", ir.Var("the_first_name"), ir.Var("the_second_name")), ir.Const(1)
    )
    view = ir.View("some_long_tensor_name", tuple(ir.Span(index, 16, index) for _ in range(2)))
    flags = tuple(
        ir.Flag(f"a_long_event_name_{k}.full", ir.Var("the_first_name")) for k in range(6)
    )
    kernel = ir.Kernel(
        "wide",
        (ir.Param("some_long_tensor_name", "in", "f32", ("rows", "columns")),),
        (ir.Const(1),),
        (ir.Row("load", ir.Ref("tile"), (view,), "vector", "MTE2", 0, flags, flags),),
        (),
        "a2a3",
        (ir.Buffer("vector", "ub", "tile", 1, TileType("f32", 16, 16), "nd", 0, 1024),),
    )
    text = reads_back(kernel)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len([line for line in text.splitlines() if line.lstrip().startswith("| wait")]) > 1


# ------------------------------------------------------------------------------------------ errors

HEAD = "kernel k\nparam x in f32[rows, 128]\nparam y out f32[rows, 128]\ngrid cdiv(rows, 16)\n\n"
BAD = {
    "empty": "",
    "no_kernel": "param x in f32[4]\n",
    "unknown_dtype": "kernel k\nparam x in float32[rows, 128]\ngrid 1\n",
    "scalar_with_shape": "kernel k\nparam x scalar f32[4]\ngrid 1\n",
    "unreadable_character": HEAD + "a: f32[16, 128] = full $1\n",
    "missing_comma": HEAD + "a: f32[16 128] = full 1.0\n",
    "ends_early": HEAD + "a: f32[16, 128] =\n",
    "too_much": HEAD + "for i in 0 .. 4: a\n",
    "wrong_indent": HEAD
    + "for i in 0 .. 4:\n  a: f32[16, 1] = full 1.0\n    b: f32[16, 1] = exp a\n",
    "dimensions": HEAD + "a: f32[16, 128] = load x[0:+16]\n",
    "symbolic_whole": HEAD + "a: f32[16, 128] = load x[:, :]\n",
    "loop_from_one": HEAD + "for i in 1 .. 4:\n  a: f32[16, 1] = full 1.0\n",
    "yield_count": HEAD
    + "a: f32[16, 1] = full 1.0\nfor i in 0 .. 4:\n  carry b: f32[16, 1] from a last c\n  d: f32[16, 1] = exp b\n",
    "minus_name": HEAD + "n = let -rows\n",
    "unknown_pipe": HEAD + "cube 0 MTE9 barrier\n",
    "unknown_column": HEAD + "cube 0 MTE1 sync | waits q.free\n",
    "name_of_nothing": HEAD + "cube 0 MTE1 sync | as x\n",
    "unknown_word": HEAD + "a: f32[16, 1] = full 1.0\nb: f16[16, 1] = astype a, half\n",
    "two_kernels": HEAD + "a: f32[16, 1] = full 1.0\n\nkernel other\n",
    "declared_twice": "kernel k\nparam x in f32[4]\nparam x in f32[4]\ngrid 1\n",
    "continued": HEAD + "a: f32[16, 128] = load\n    | x[0:+16,\n    | 0:+128<]\n",
}


def test_errors_show_no_line_of_a_text_before() -> None:
    with pytest.raises(ParseError):
        parse("kernel first\nnonsense\n")
    with pytest.raises(ParseError) as caught:
        parse("")
    assert "kernel first" not in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_parse_error(name: str, golden: Golden) -> None:
    with pytest.raises(ParseError) as caught:
        parse(BAD[name])
    golden(f"errors/text_{name}.txt", f"{type(caught.value).__name__}: {caught.value}\n")
