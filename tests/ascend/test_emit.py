"""The emitter: deterministic, complete over the op table, and whole files that a reader can judge.

No compiler is needed here; that the text compiles and computes is checked where one is at hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from lowering.ascend import emit
from lowering.ascend.blocks import live
from lowering.ascend.orchestration import arguments
from lowering.ascend.rows import EMITTERS
from lowering.ascend.text import Place, at_least, modulo, scalar
from pto.arithmetic import BINARY
from pto.errors import CapacityError, ScheduleError, ShapeError
from pto.ir import Const, Expr, Flag, Kernel, Scalar, Var, all_rows
from pto.ops import OPS
from pto.text import Parser, logical_lines, parse, print_kernel
from tests import HANDWRITTEN, PROGRAMS, ROOT
from tests.conftest import Golden
from tests.judges.small_programs import round_trip

PROGRAMS = {
    "paged_attention": HANDWRITTEN,
    **{p.stem: p for p in sorted((PROGRAMS / "emit").glob("*.ptoir"))},
}


def program(name: str) -> Kernel:
    return parse(PROGRAMS[name].read_text(), PROGRAMS[name].name)


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - {"paged_attention"}))
def test_whole_files(name: str, golden: Golden) -> None:
    files = emit(program(name))
    assert parse(files.pop(f"{name}.ptoir")) == program(name)
    for file, text in files.items():
        golden(f"emit/{name}/{file}", text)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_lines_are_tidy(name: str) -> None:
    for file, text in emit(program(name)).items():
        assert text.endswith("\n") and not text.endswith("\n\n")
        assert not [line for line in text.splitlines() if line != line.rstrip()], file


def test_every_op_has_one_emitter() -> None:
    assert list(EMITTERS) == list(OPS)


def test_every_scalar_operator_has_a_spelling() -> None:
    env = {"a": Place("a"), "b": Place("b")}
    for op in BINARY:
        text = scalar(parsed(f"{op}(a, b)" if op.isalpha() else f"a {op} b"), env)
        assert "a" in text and "b" in text


def parsed(text: str) -> Expr:
    reader = Parser("", "<test>")
    reader.floats.add("x")
    (line,) = logical_lines(text, "<test>")
    return reader.expression(line)


@pytest.mark.parametrize(
    ("source", "cpp"),
    [
        ("cdiv(n, 128)", "(n + 127) / 128"),
        ("cdiv(n - i, m)", "ceil_div(n - i, m)"),
        ("(a - 300) // 128", "floor_div(a - 300, 128)"),
        ("(a - b) % 128", "floor_mod(a - b, 128)"),
        ("max(a - b, 0) // 128", "max_of(a - b, 0) / 128"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a + b) * c // 2 % m", "(a + b) * c / 2 % m"),
        ("min(a, max(b, c)) + 1", "min_of(a, max_of(b, c)) + 1"),
        ("(a < b) == c", "int64_t{a < b} == c"),
        ("(a < b) * (b < c)", "int64_t{a < b} * int64_t{b < c}"),
        ("(a != b) // 2 < c", "int64_t{a != b} / 2 < c"),
        ("(a == a) + (b < b)", "1"),
        ("(64 + 1) * 33554432 + a", "2181038080 + a"),
        ("x * 0.5", "x * 0.5f"),
        ("-0.5 - x", "(-0.5f) - x"),
        ("0.5 - -1.5 * x", "0.5f - (-1.5f) * x"),
        ("x * -1.5", "x * (-1.5f)"),
        ("a < -1", "a < (-1)"),
        ("a == -9223372036854775808", "a == (-9223372036854775807 - 1)"),
        ("a - -9223372036854775808", "a - (-9223372036854775807 - 1)"),
        ("x - inf", "x - INF"),
        ("x - -inf", "x - (-INF)"),
        ("-1.5", "-1.5f"),
        ("a / b", "static_cast<float>(a) / b"),
    ],
)
def test_scalars(source: str, cpp: str) -> None:
    env = {name: Place(name, name == "x", least=1) for name in "abcinmx"}
    assert scalar(parsed(source), env) == cpp


@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("a", 1),
        ("z", None),
        ("7", 7),
        ("z < a", 0),
        ("max(z, 3)", 3),
        ("max(3, z)", 3),
        ("max(a, 3)", 3),
        ("max(z, z)", None),
        ("min(a, 3)", 1),
        ("min(z, 3)", None),
        ("(a + 9) // 4", 2),
        ("cdiv(a + 9, 4)", 3),
        ("(a - 9) // 4", -2),
        ("z // 4", None),
        ("a // b", 0),
        ("a // (b - 1)", None),
        ("(a - 2) // b", -1),
        ("cdiv(a, b)", 1),
        ("z % 4", 0),
        ("z % a", 0),
        ("z % z", None),
        ("z % (a - 1)", None),
        ("a - 3", -2),
        ("a - b", None),
        ("a + b", 2),
        ("a + z", None),
        ("(a + 1) * (b + 2)", 6),
        ("(a - 1) * b", 0),
        ("(a - 2) * b", None),
        ("a * (b - 2)", None),
    ],
)
def test_least(source: str, bound: int | None) -> None:
    assert at_least(parsed(source), {name: Place(name, least=1) for name in "ab"}) == bound


@pytest.mark.parametrize(
    ("index", "count", "cpp"),
    [
        ("u", 2, "u % 2"),
        ("u + 1", 2, "(u + 1) % 2"),
        ("u - 1", 3, "(u + 2) % 3"),
        ("u + 4", 2, "u % 2"),
        ("u + 1 - 3", 2, "u % 2"),
        ("5", 3, "2"),
        ("u // 2", 2, "u / 2 % 2"),
    ],
)
def test_ring_positions_never_go_below_zero(index: str, count: int, cpp: str) -> None:
    assert modulo(parsed(index), count, {"u": Place("u", least=0)}) == cpp


def test_text_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys\n"
        "from lowering.ascend import emit\n"
        "from pto.text import parse\n"
        "files = emit(parse(open(sys.argv[1]).read()))\n"
        "print([(name, text) for name, text in files.items()])\n"
    )
    texts = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(HANDWRITTEN)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        texts.append(done.stdout)
    assert texts[0] == texts[1]


def test_emitting_does_not_import_jax() -> None:
    code = "import sys, lowering.ascend; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_manifest_numbers_the_arguments_like_the_kernel(name: str) -> None:
    kernel = program(name)
    files = emit(kernel)
    listed = json.loads(files["manifest.json"])["args"]
    assert [a["name"] for a in listed] == [a.name for a in arguments(kernel)]
    for k, a in enumerate(listed):
        if a["kind"] == "tensor":
            assert f" *{a['name']} = " not in files[f"{kernel.name}.cpp"] or (
                f"(args[{k}]);" in files[f"{kernel.name}.cpp"]
            )


def test_schedule_text_comes_back() -> None:
    kernel = program("paged_attention")
    assert parse(emit(kernel)["paged_attention.ptoir"]) == kernel


def changed(old: str, new: str) -> Kernel:
    text = HANDWRITTEN.read_text()
    assert old in text
    return parse(text.replace(old, new))


def test_slots_of_a_popped_ring_must_be_a_fifo_slot_apart() -> None:
    with pytest.raises(ScheduleError) as caught:
        emit(changed("nd  at 0      by 8192", "nd  at 0      by 4096"))
    assert str(caught.value) == (
        "buffer s has slots 4096 bytes apart, but the library pops fifo sij into "
        "slots 8192 bytes apart"
    )


def test_rows_of_a_vector_tile_must_be_whole_blocks() -> None:
    with pytest.raises(ShapeError) as caught:
        emit(changed("tmp[1]         f32[8, 128]", "tmp[1]         f32[8, 129]"))
    assert str(caught.value) == ("a row of tmp: f32[8, 129] is not a multiple of 32 bytes")


def test_fills_need_a_constant() -> None:
    with pytest.raises(ScheduleError) as caught:
        emit(changed("left, -inf", "left, scale"))
    assert caught.value.message == "where fills with a constant, scale is none"
    assert caught.value.loc is not None


def test_more_scalars_than_the_runtime_passes() -> None:
    more = "\n".join(f"param s{k} scalar i32" for k in range(16))
    with pytest.raises(CapacityError) as caught:
        emit(changed("param scale          scalar f32", f"param scale scalar f32\n{more}"))
    assert caught.value.message == "paged_attention passes 20 scalars, the runtime takes 16"
    assert caught.value.loc is not None


def test_constant_index_names_the_event_id() -> None:
    assert modulo(Const(3), 2, {}) == "1"
    assert modulo(Var("u"), 2, {"u": Place("u", least=0)}) == "u % 2"


def test_what_nothing_reads_is_not_declared() -> None:
    """Scalars, arguments and tiles that a core does not need: in front of a loop, in it, behind it."""
    row = "  vector  0  S     b = let block_idx + w * block_num\n"
    dead = (
        "  vector  0  S     dead = let b + 1\n"
        "  vector  0  S     dead2 = read block_table[dead, 0]\n"
        "  vector  0  S     dead3 = let dead2 * width\n"
    )
    unused = "buffer vector ub  unused[1] f32[8, 128] nd at 49152 by 4096\nfifo "
    kernel = changed(row, row + dead)
    text = print_kernel(kernel).replace("fifo ", unused, 1)
    source = emit(parse(text))["paged_attention.cpp"]
    assert source == emit(program("paged_attention"))["paged_attention.cpp"]


def test_a_fifo_without_credit() -> None:
    """Both ends switch their signals off; the end that pushes has counted nothing when it is over."""
    source = emit(round_trip(5, 4))["round_trip.cpp"]
    cube, vector = source.split("#ifdef __DAV_CUBE__")[1].split("#ifdef __DAV_VEC__")[:2]
    assert "TPipe<0, Direction::DIR_C2V, 4096, 5, 1>" in source
    for core, mine, other in ((cube, "f", "g"), (vector, "g", "f")):
        assert "without_credit(f, 0);" in core and "without_credit(g, 0);" in core
        lines = core.split("\n}\n")[0].splitlines()
        assert lines[-1].strip() == f"{mine}.prod.setTileId(0, 0);"
        assert f"{other}.prod.setTileId" not in core
    assert "without_credit" not in emit(program("paged_attention"))["paged_attention.cpp"]


def test_the_flags_of_a_scalar_stay() -> None:
    kernel = program("paged_attention")
    row = next(r for r in all_rows(kernel.body) if r.op == "let" and r.core == "vector")
    flagged = replace(row, out=Scalar("dead"), set=(Flag("s.full"),))
    (kept,) = live((flagged,), "vector")
    assert kept == replace(flagged, op="sync", out=None, args=())
    assert live((replace(flagged, set=()),), "vector") == ()
    assert live((flagged,), "cube") == (flagged,)


@pytest.mark.parametrize(
    ("count", "cpp"),
    [
        ("128", "// s[u] = where s[u], 128, -inf\n                pipe_barrier(PIPE_V);"),
        ("300", "// s[u] = where s[u], 300, -inf\n                pipe_barrier(PIPE_V);"),
        ("0", "TEXPANDS(s[u % 2], -INF);  // s[u] = where s[u], 0, -inf"),
        ("-3", "TEXPANDS(s[u % 2], -INF);  // s[u] = where s[u], -3, -inf"),
        ("5", "where s[u], 5, -inf\n                Ub<float, 8, 128, 8, 5> s_part;"),
        ("left", "if (left <= 0) {"),
    ],
)
def test_a_fill_of_a_constant_count_asks_nothing(count: str, cpp: str) -> None:
    source = emit(changed("where s[u], left, -inf", f"where s[u], {count}, -inf"))
    text = source["paged_attention.cpp"]
    assert cpp in text
    assert ("TFILLPAD_INPLACE(s_whole, s_part);" in text) == (count in ("5", "left"))
