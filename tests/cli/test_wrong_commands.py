"""Wrong commands: every option of every verb with every wrong kind of value, kernels and files that are
none, options without effect.  Each gives one message and status 2, and changes nothing on disk."""

from __future__ import annotations

import io
import math
import os
import pickle
import sys
import zipfile
from argparse import BooleanOptionalAction
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lowering.cli import COMMANDS, USAGE, _parsers, main, verb_of
from lowering.files import NPZ
from pto.kernels import SHIPPED

HEAD = """
import functools
import math
import numpy as np
import pto

"""
KERNEL = """
@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, dim]", out="f32[rows, dim]",
            static=dict(dim=64, factor=2.0))
def double(x, out, *, factor):
    r = pto.program_id(0) * 32
    here = pto.ds(r, 32, valid=x.shape[0] - r)
    BODY
    pto.store(out[here, :], pto.load(x[here, :]) * factor)
"""
CASE = """
@double.case
def draw(rng, *, rows=40, dim):
    return {"x": rng.standard_normal((rows, dim), "float32")}
"""
REFERENCE = """
@double.reference
def oracle(x, factor):
    return {"out": x * factor}
"""


def mine(body: str = "pass", case: str = CASE, reference: str = REFERENCE) -> str:
    return HEAD + KERNEL.replace("BODY", body) + case + reference


Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs a command in a folder with files of all kinds; nothing in it may change."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    x = np.ones((40, 64), np.float32)
    Path("mine.py").write_text(mine())
    Path("link.py").symlink_to("mine.py")
    Path("notes.txt").write_text("notes")
    Path("package.json").write_text('{\n  "name": "another"\n}\n')
    Path("empty").touch()
    Path("deep.json").write_text("[" * 100_000)
    Path("bytes.ptoir").write_bytes(b"\xff\xfe\x00")
    np.savez("case.npz", x=x)
    np.save("one.npy", x)
    np.savez("objects.npz", x=np.array([None, {}], object))
    Path("pickle.npz").write_bytes(pickle.dumps({"x": 1}))
    Path("cut.npz").write_bytes(Path("case.npz").read_bytes()[:300])
    with zipfile.ZipFile("texts.npz", "w") as archive:
        archive.writestr("x.txt", "text")
    with zipfile.ZipFile("broken.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', ")

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(argv)
        except SystemExit as stop:
            status = int(str(stop.code))
        return status, *capsys.readouterr()

    yield run
    for name in [n for n in sys.modules if n in ("mine", "link", "wrong")]:
        del sys.modules[name]


def contents() -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path().rglob("*"))}


def refused(say: Say, *argv: str) -> str:
    """The one message of a command that must not do anything."""
    before = contents()
    status, out, err = say(*argv)
    told = f"pto {' '.join(argv)}\n{out}{err}"
    assert (status, out) == (USAGE, ""), told
    assert err.startswith("error: ") and err.count("error: ") == 1, told
    assert "Traceback" not in err and str(os.getpid()) not in err, told
    assert contents() == before, told
    return err.removeprefix("error: ").rstrip("\n")


# ------------------------------------------------------------------ every option, every wrong value

NUMBER = ("-1", "1.5", "x", "", "99999999999999999999", "0x10", "²")
WORD = ("", "nonsense", "BEST", " ")
OUTPUT = (".", "nowhere/file", "mine.py/file", "mine.py", "./link.py", "notes.txt", "package.json")
TABLE = ("nowhere.json", "deep.json", ".", "mine.py", "empty", "case.npz", "package.json")
WRONG: dict[str, tuple[str, ...]] = {
    "-D": (
        *("factor", "=3", "", "factor=wide", "no=1", "factor=2,factor=3", "dim=0", "dim=1.5"),
        *("dim=6_4", "dim= 64", "dim=6\uff14", "factor=1_0"),
    ),
    "--schedule": WORD,
    "--tuned": TABLE,
    "--lookahead": NUMBER,
    "--prefetch": NUMBER,
    "--load-at": WORD,
    "--loops": WORD,
    "--rows-at": WORD,
    "--moves": WORD,
    "--record": WORD,
    "--fence": WORD,
    "--credit": WORD,
    "--local-depth": (*NUMBER, "0", "99999999"),
    "--l0-depth": (*NUMBER, "0", "99999999"),
    "--fifo-depth": NUMBER,
    "--stage": WORD,
    "--assume": (*WORD, "each,each"),
    "--memory": OUTPUT,
    "--svg": OUTPUT,
    "--trace": OUTPUT,
    "--out": (*OUTPUT, "", "case.npz"),
    "--dump": (*WORD, "x", "double"),
    "--dump-to": (*OUTPUT, "", "case.npz"),
    "--output": OUTPUT,
    "--save": OUTPUT,
    "-o": ("", "mine.py", "mine.py/x", "empty"),
    "--executor": WORD,
    "--pto-isa": ("nowhere", "mine.py", "."),
    "--inputs": (
        *(
            "nowhere.npz",
            ".",
            "mine.py",
            "empty",
            "one.npy",
            "objects.npz",
            "pickle.npz",
            "cut.npz",
        ),
        *("texts.npz", "broken.npz", "package.json"),
    ),
    "--case": ("rows", "=3", "", "rows=x", "no=3", "rows=3,rows=4", "seed=x", "seed=-1", "rows=-2"),
    "--rtol": (*WORD, "-1", "nan", "inf"),
    "--atol": (*WORD, "-1", "nan", "inf"),
    "--seed": NUMBER,
    "--seeds": (*NUMBER, "0"),
    "--order": WORD,
    "--bundle": WORD,
    "--blocks": (*NUMBER, "1,", ",", "1,x", "1000001"),
    "--items": (*NUMBER, "0", "1000001"),
    "--cross-core-latency": NUMBER,
    "--costs": WORD[1:],
    "--queue-depth": (*NUMBER, "0"),
    "--holds": (*NUMBER, "101"),
    "--steps": (*NUMBER, "0", "few"),
    "--top": (*NUMBER, "0", "few"),
    "--rounds": (*NUMBER, "0"),
    "--against": TABLE,
}
BASE: dict[str, tuple[str, ...]] = {
    "show": ("mine.py",),
    "check": ("mine.py",),
    "run": ("mine.py", "--executor", "numpy"),
    "emit": ("mine.py", "-o", "made"),
    "simulate": ("mine.py",),
    "tune": ("mine.py",),
    "bench": ("mine.py",),
}
"""The shortest right command of a verb that takes a kernel."""

INSTEAD: dict[tuple[str, str], tuple[str, ...]] = {
    ("run", "--inputs"): ("mine.py", "--executor", "numpy"),
    ("run", "--out"): ("mine.py", "--executor", "numpy", "--inputs", "case.npz"),
    ("run", "--dump-to"): (
        *("mine.py", "--executor", "numpy", "--inputs", "case.npz", "--dump", "x_tile"),
    ),
    ("run", "--executor"): ("mine.py",),
    ("run", "--pto-isa"): ("mine.py", "--executor", "pto-isa"),
    ("run", "--order"): ("mine.py", "--executor", "native"),
    ("emit", "-o"): ("mine.py",),
    ("emit", "--case"): ("mine.py", "-o", "made", "--bundle", "simpler"),
    ("simulate", "--steps"): ("mine.py", "--svg", "new.svg"),
    ("bench", "--costs"): ("--schedules", "mine.py"),
    ("bench", "--schedule"): ("mine.py", "--no-jax"),
    ("bench", "--case"): ("mine.py", "--rounds", "1"),
    ("bench", "--save"): ("mine.py", "--no-jax"),
    ("bench", "--against"): ("mine.py", "--no-jax"),
}
"""What gives an option its effect, where the shortest command does not."""


def options() -> Iterator[tuple[str, str]]:
    """Every (verb, option that takes a value)."""
    for verb, parser in _parsers()[1].items():
        for action in parser._actions:
            if action.option_strings and action.nargs != 0:
                if not isinstance(action, BooleanOptionalAction):
                    yield verb, action.option_strings[-1]


@pytest.mark.parametrize(("verb", "flag"), list(options()))
def test_every_option_with_every_wrong_value(say: Say, verb: str, flag: str) -> None:
    for value in WRONG[flag]:
        refused(say, verb, *INSTEAD.get((verb, flag), BASE[verb]), flag, value)


def test_the_walk_is_complete() -> None:
    assert {flag for _, flag in options()} == set(WRONG)
    assert sum(len(WRONG[flag]) for _, flag in options()) > 450
    assert set(BASE) == set(COMMANDS) - {"list"}


@pytest.mark.parametrize("verb", [v for v in COMMANDS if v != "list"])
def test_an_option_comes_once(say: Say, verb: str) -> None:
    flags = ("-o", "x") if verb == "emit" else ("--stage", "traced") * 2 if verb == "show" else ()
    flags = (
        flags or {"run": ("--out", "x"), "tune": ("--top", "3")}.get(verb, ("--costs", "flat")) * 2
    )
    if verb == "check":
        flags = ("--svg", "x", "--svg", "y")
    assert "is given twice" in refused(say, verb, *BASE[verb], *flags)


# ------------------------------------------------------------------------- options without effect

IDLE = [
    "check mine.py --all --fifo-depth 9",
    "check mine.py --all --schedule best",
    "check mine.py --all --svg new.svg",
    "check mine.py --all --assume early-sets",
    "check mine.py --assume each --svg new.svg",
    "show mine.py --stage source --lookahead 7",
    "show mine.py --stage source -D factor=3.0",
    "show mine.py --stage traced --schedule serial",
    "show mine.py --stage persist --lookahead 2",
    "show mine.py --stage skew --fifo-depth 3",
    "show mine.py --stage skew --record at_push",
    "show mine.py --stage sync --credit needed",
    "show mine.py --stage unnest --lookahead 2",
    "show mine.py --stage hoist --flat",
    "show mine.py --stage assign --flat",
    "show mine.py --stage fifos --l0-depth 2",
    "show mine.py --stage drain --fifo-depth 4 --credit needed",
    "run mine.py --executor sequential --no-flat",
    "run mine.py --executor numpy --seed 1",
    "run mine.py --executor jax --seeds 2",
    "run mine.py --executor adversarial --order worst",
    "run mine.py --executor native --order program --seeds 3",
    "run mine.py --executor adversarial --seed 1 --seeds 3",
    "run mine.py --executor numpy --pto-isa .",
    "run mine.py --executor numpy --inputs case.npz --case rows=3",
    "run mine.py --executor numpy --dump-to new.npz",
    "emit mine.py -o made --case rows=3",
    "simulate mine.py --steps 3",
    "simulate mine.py --launch --svg new.svg",
    "simulate mine.py --launch --memory new.svg",
    "simulate mine.py --launch --trace new.json",
    "tune mine.py --top 3 --json",
    "bench mine.py --costs flat",
    "bench mine.py --json",
    "bench mine.py --no-launch",
    "bench mine.py --no-jax --case rows=3",
    "bench --launches --costs flat",
    "bench --gallery --rounds 3",
    "bench --gallery --launches",
    "bench --budgets --json",
    "bench --budgets --lookahead 2",
    "bench mine.py --schedules --rounds 3",
    "bench mine.py --schedules --save new.json",
]


@pytest.mark.parametrize("command", IDLE)
def test_an_option_without_effect_is_an_error(say: Say, command: str) -> None:
    assert " has no effect " in refused(say, *command.split())


def test_every_row_of_the_tables_is_tried() -> None:
    """A row is a pair of verb and options."""
    for verb in COMMANDS:
        tried = [c for c in IDLE if c.startswith(f"{verb} ")]
        assert len(tried) >= len(verb_of(verb).idle) - 3 * (verb == "show"), verb


def test_what_is_written_twice(say: Say) -> None:
    both = ("simulate", "mine.py", "--svg", "new", "--trace", "./new")
    assert refused(say, *both) == "--svg and --trace both name new" or "both name" in refused(
        say, *both
    )


# ------------------------------------------------------------------- kernels that are none, or wrong

KERNELS: dict[str, tuple[str, str]] = {
    "no_kernel": ("x = 3\n", "has no kernel"),
    "two": (
        mine() + KERNEL.replace("BODY", "pass").replace("def double", "def other"),
        "2 kernels",
    ),
    "partial": (HEAD + "k = pto.kernel(grid='1')(functools.partial(print))\n", "found a partial"),
    "lambda": (HEAD + "k = pto.kernel(grid='1')(lambda: None)\n", "found a lambda"),
    "class": (HEAD + "@pto.kernel(grid='1')\nclass K: ...\n", "found a type"),
    "builtin": (HEAD + "k = pto.kernel(grid='1')(print)\n", "found a builtin_function_or_method"),
    "twice": (mine() + "k = pto.kernel(grid='1')(double)\n", "found a Kernel"),
    "number": (HEAD + "k = pto.kernel(grid='1')(3)\n", "found the number 3"),
    "bare": (HEAD + "@pto.kernel\ndef k(x): ...\n", "needs a grid"),
    "generator": (HEAD + "@pto.kernel(grid='1')\ndef k():\n    yield 1\n", "generator"),
    "arguments": (HEAD + "@pto.kernel(grid='1')\ndef k(*a): ...\n", "*args"),
    "recursion": (mine("def f(): return f()\n    f()"), "calls itself without end"),
    "recursive_import": (HEAD + "def f(): return f()\nf()\n", "calls itself without end"),
    "exits": (HEAD + "raise SystemExit(3)\n", "ends the program"),
    "exits_inside": (mine("exit()"), "ends the program"),
    "raises": (mine("1 / 0"), "ZeroDivisionError"),
    "raises_many_lines": (mine("raise ValueError('a' + chr(10) + 'b')"), "ValueError: a b"),
    "raises_nothing": (mine("raise KeyError"), "KeyError"),
    "asserts": (mine("assert False, 'mine'"), "AssertionError: mine"),
    "syntax": ("def f(:\n", "invalid"),
    "tabs": ("if 1:\n\tx = 1\n        y = 2\n", ""),
    "null": ("x = 1\0\n", ""),
    "import": ("import no_such_package\n", "no_such_package"),
    "stores_nothing": (
        mine().replace("pto.store(out[here, :], pto.load(x[here, :]) * factor)", "pass"),
        "stores nothing",
    ),
    "bad_type": (mine().replace('"f32[rows, dim]"', '"f99[rows, dim]"'), "f99"),
    "bad_grid": (mine().replace("cdiv(rows, 32)", "cdiv(rows"), "grid"),
    "case_waits": (mine(case="@double.case\nasync def draw(rng): ...\n"), "coroutine"),
    "case_yields": (mine(case="@double.case\ndef draw(rng):\n    yield 1\n"), "generator"),
    "case_is_none": (mine(case="double.case(3)\n"), "a case must be a function"),
    "where_of_numbers": (mine("t = pto.where(pto.iota(1) < 3, 1.0, 2.0)"), "pto.full("),
    "row_mean": (mine("pto.row_mean(pto.load(x[here, :]))"), "pto.row_sum"),
}


ENDINGS = {
    "class End(BaseException): pass\nraise End('now')\n": "End: now",
    "raise GeneratorExit\n": "GeneratorExit",
    "x = 1\0\n": "source code string cannot contain null bytes",
}


@pytest.mark.parametrize("text", ENDINGS)
def test_a_file_that_ends_in_an_unusual_way(say: Say, text: str) -> None:
    Path("wrong.py").write_text(text)
    message = refused(say, "check", "wrong.py")
    assert ENDINGS[text] in message and "?" not in message


def test_a_file_that_closes_the_output(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    Path("wrong.py").write_text("import sys\nsys.stdout.close()\n" + mine())
    assert refused(say, "check", "wrong.py").startswith("standard output was closed")


def test_a_file_of_a_package(say: Say) -> None:
    """By its path, too, it may import what lies beside it and above it."""
    for place in ("wrong_package", "wrong_package/deep"):
        Path(place).mkdir()
        Path(place, "__init__.py").touch()
    Path("wrong_package/above.py").touch()
    Path("wrong_package/deep/beside.py").touch()
    both = "from .. import above\nfrom . import beside\n"
    Path("wrong_package/deep/mine.py").write_text(both + mine())
    assert say("check", "wrong_package/deep/mine.py")[0] == 0
    assert say("check", "wrong_package.deep.mine:double")[0] == 0


def test_a_verb_tells_of_its_own_options(say: Say) -> None:
    assert "pto check --help" in refused(say, "check", "mine.py", "--frobnicate")
    assert "pto list --help" in refused(say, "list", "mine.py")


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_is_none(say: Say, name: str) -> None:
    text, told = KERNELS[name]
    Path("wrong.py").write_text(text)
    for verb in ("check", "show") if name != "two" else BASE:
        message = refused(say, verb, "wrong.py", *BASE[verb][1:])
        assert told in message, message


NAMES = {
    "": "argument KERNEL: nothing is given",
    "paged_atention": "did you mean 'paged_attention'?",
    "mine.py:": "",
    "mine.py:duble": "did you mean 'double'?",
    "mine.py:draw": "'draw' is not a kernel",
    "nowhere.py": "there is no file 'nowhere.py'",
    "nowhere:f": "there is no module 'nowhere'",
    ".py": "there is no file '.py'",
    ".": "no shipped kernel",
    ":double": "there is no module ''",
    "..mine:double": "there is no module '..mine'",
    "mine:nothing": "mine has no kernel 'nothing'",
    "json:loads": "'loads' is not a kernel",
    "nowhere.ptoir": "nowhere.ptoir: No such file or directory",
    "bytes.ptoir": "bytes.ptoir is no text in UTF-8",
    "notes.txt": "no shipped kernel is called 'notes.txt'",
    "case.npz": "no shipped kernel",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_no_kernel(say: Say, name: str) -> None:
    if name == "mine.py:":
        assert say("check", name)[0] == 0
        return
    for verb, base in BASE.items():
        assert NAMES[name] in refused(say, verb, name, *base[1:])


# --------------------------------------------------------------------- cases, references, arrays

CASES = {
    "return None": "returns None",
    "return [1]": "the case of double returns a list",
    "return {3: 1}": "a dict whose keys are no names",
    "return {'x': 'text'}": "for 'x', which is no array of numbers",
    "return {'x': None}": "returns None for 'x'",
    "return {'x': [[1], [1, 2]]}": "returns a list for 'x', which is no array of numbers",
    "return {'x': np.ones((3, 3), complex)}": "no array of numbers",
    "return {'x': np.array(['a'])}": "no array of numbers",
    "return {'x': 3.0}": "x is one number, but array x f32[rows, 64] is expected",
    "return {'x': np.ones((3, 3))}": "dimension 1 is 3, but 64 is expected",
    "return {'y': 3.0}": "double has no parameter 'y'",
    "return {}": "double needs array x f32[rows, 64], which was not given",
    "raise ValueError('bad')": "drawing a case of double: ValueError: bad",
    "return draw(rng, rows=rows, dim=dim)": "calls itself without end",
}


@pytest.mark.parametrize("body", CASES)
def test_a_case_that_is_none(say: Say, body: str) -> None:
    text = CASE.replace('return {"x": rng.standard_normal((rows, dim), "float32")}', body)
    Path("wrong.py").write_text(mine(case=text))
    told = CASES[body].replace("returns None", "returns None" if "'x'" in body else "returns")
    argv = ("wrong.py", "--executor", "numpy", "--out", "new.npz")
    before = contents()
    status, out, err = say("run", *argv)
    assert (status, out, contents()) == (USAGE, "", before), err
    assert err.count("error: ") == 1 and told in err


def test_integers_of_a_case_are_held_as_they_are(say: Say) -> None:
    counted = mine().replace('x="f32[rows, dim]"', 'x="f32[rows, dim]", n="i32[rows]"')
    counted = counted.replace("double(x, out", "double(x, n, out").replace("pass", "n[r]")
    for value, told in ((2.5, "2.5"), (math.nan, "nan"), (3e9, "3000000000.0")):
        case = 'return {"n": np.full(rows, float("VALUE")), "x"'.replace("VALUE", repr(value))
        Path("wrong.py").write_text(counted.replace('return {"x"', case, 1))
        message = refused(say, "run", "wrong.py", "--executor", "numpy")
        assert f"the case of double returns {told} in 'n', which int32 does not hold" in message


def test_a_reference_may_write_to_what_it_is_given(say: Say) -> None:
    Path("mine.py").write_text(
        HEAD
        + """
@pto.kernel(grid="b", x="f32[b, 32, 64]", n="i32[b]", out="f32[b, 32, 64]")
def times(x, n, out):
    p = pto.program_id(0)
    t = pto.load(x[p, :, :])
    pto.store(out[p, :, :], pto.fori_loop(0, n[p], lambda i, a: a + t, pto.zeros((32, 64))))

@times.case
def draw(rng):
    return {"x": rng.standard_normal((3, 32, 64)), "n": [0, 1, 2]}

@times.reference
def oracle(x, n):
    y = x * n[:, None, None]
    n[:] = 0
    return {"out": y}
"""
    )
    assert say("run", "mine.py", "--executor", "numpy")[0] == 0


REFERENCES = {
    "def oracle(y):\n    return {}": "the reference of double has a parameter 'y', which nothing",
    "def oracle(x, factors):\n    return {}": "did you mean 'factor'?",
    "def oracle(x):\n    return {'ot': x}": "returns 'ot', which is no output",
    "def oracle(x):\n    return {'out': 'text'}": "no array of numbers",
    "def oracle(x):\n    return {'out': x[0]}": "returns shape [64] for 'out', which has [",
    "def oracle(x):\n    return {'out': x * 1j}": "complex numbers (complex128) for 'out'",
    "def oracle(x):\n    return {}": "the reference of double returns no output",
    "def oracle(x, /):\n    return {'out': x}": "is called with (x=...)",
    "def oracle(x):\n    return {3: x}": "a dict whose keys are no names",
    "def oracle(x):\n    return 1 / 0": "ZeroDivisionError",
}


@pytest.mark.parametrize("text", REFERENCES)
def test_a_reference_that_is_none(say: Say, text: str) -> None:
    Path("wrong.py").write_text(mine(reference=f"@double.reference\n{text}\n"))
    message = refused(say, "run", "wrong.py", "--executor", "numpy", "--out", "new.npz")
    assert REFERENCES[text] in message


ARRAYS = {
    "text": (np.array([["a"] * 64] * 4), "x holds text (<U1), but array x f32[rows, 64] is"),
    "bytes": (np.array([[b"a"] * 64] * 4), "x holds text"),
    "complex": (np.ones((4, 64), complex), "x holds complex numbers (complex128)"),
    "dates": (np.zeros((4, 64), "datetime64[s]"), "x holds dates"),
    "f64": (np.ones((4, 64)), "x holds float64, but f32 (float32) is expected"),
    "records": (np.ones((4, 64), [("a", "f4")]), "x holds records or bytes"),
    "raw": (np.zeros((4, 64), "V4"), "x holds records or bytes"),
    "bool": (np.ones((4, 64), bool), "x holds bool"),
    "one_number": (np.float32(3), "x is one number, but array x f32[rows, 64] is expected"),
    "rank": (np.ones((4, 64, 1), np.float32), "2 dimensions are expected"),
    "empty": (np.ones((0, 64), np.float32), ""),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit(say: Say, name: str) -> None:
    array, told = ARRAYS[name]
    np.savez("wrong.npz", x=array)
    argv = ("run", "mine.py", "--executor", "numpy", "--inputs", "wrong.npz", "--out", "new.npz")
    if name == "empty":
        assert say(*argv)[0] in (0, 1)
        return
    assert told in refused(say, *argv)


def test_a_case_without_a_generator_of_numbers(say: Say) -> None:
    Path("wrong.py").write_text(mine(case="@double.case\ndef draw():\n    return {}\n"))
    message = refused(say, "run", "wrong.py", "--executor", "numpy")
    assert "the case of double is called with (rng): too many positional arguments" in message


def test_arrays_of_the_other_byte_order_are_taken(say: Say) -> None:
    x = np.arange(4 * 64, dtype=np.float32).reshape(4, 64)
    np.savez("big.npz", x=x.astype(">f4"))
    argv = ("run", "mine.py", "--executor", "numpy", "--inputs", "big.npz", "--out", "new.npz")
    assert say(*argv)[0] == 0
    np.testing.assert_array_equal(np.load("new.npz")["out"], x * 2)


def test_all_missing_arrays_are_told_at_once(say: Say) -> None:
    message = refused(say, "run", "gemm", "--inputs", "case.npz", "--executor", "numpy")
    assert "gemm has no parameter 'x'" in message
    np.savez("none.npz", a=np.ones((16, 16), np.float16))
    message = refused(say, "run", "gemm", "--inputs", "none.npz", "--executor", "numpy")
    assert "array b " in message and "array bias " in message and "which were not given" in message


# ---------------------------------------------------------------------------------------- files


def test_a_file_that_is_read_is_not_written(say: Say) -> None:
    """Whatever way leads to it: a link, a path around, another spelling."""
    Path("deep").mkdir()
    os.link("case.npz", "hard.npz")
    Path("soft.npz").symlink_to("case.npz")
    for way in ("case.npz", "./case.npz", "deep/../case.npz", "hard.npz", "soft.npz"):
        argv = ("run", "mine.py", "--executor", "numpy", "--inputs", "case.npz", "--out", way)
        assert "is read by this command" in refused(say, *argv)
    status, text, _ = say("show", "mine.py")
    assert status == 0
    Path("k.ptoir").write_text(text)
    assert say("emit", "mine.py", "-o", "made")[0] == 0
    Path("made/double.ptoir").write_text(f"# changed by hand\n{text}")
    for argv in (
        ("simulate", "k.ptoir", "--svg", "k.ptoir"),
        ("check", "k.ptoir", "--svg", "k.ptoir"),
        ("emit", "made/double.ptoir", "-o", "made"),
    ):
        assert "is read by this command" in refused(say, *argv)


def test_emitted_files_replace_their_own_kind_only(say: Say) -> None:
    assert say("emit", "mine.py", "-o", "made")[0] == 0
    assert say("emit", "mine.py", "-o", "made")[0] == 0
    Path("made/manifest.json").write_text('{"name": "of a web page"}')
    assert "made/manifest.json is a file of another kind" in refused(
        say, "emit", "mine.py", "-o", "made"
    )
    Path("theirs").mkdir()
    Path("theirs/double.ptoir").write_text("# written by hand\n")
    assert "theirs/double.ptoir" in refused(say, "emit", "mine.py", "-o", "theirs")


def test_what_is_no_plain_file_is_written_to(say: Say) -> None:
    argv = ("run", "mine.py", "--executor", "numpy", "--out", os.devnull)
    assert say(*argv)[0] == 0 and not Path(os.devnull).is_file()


def test_a_link_stays_one(say: Say) -> None:
    Path("real.npz").write_bytes(NPZ)
    Path("link.npz").symlink_to("real.npz")
    argv = ("run", "mine.py", "--executor", "numpy", "--out", "link.npz")
    assert say(*argv)[0] == 0 and Path("link.npz").is_symlink()
    assert np.load("real.npz")["out"].shape == (40, 64)


def test_a_file_that_may_not_be_written_stays(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("old.npz").write_bytes(NPZ)
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, m: access(p, m) and str(p) != "old.npz")
    argv = ("run", "mine.py", "--executor", "numpy", "--out", "old.npz")
    assert refused(say, *argv) == "old.npz: Permission denied"


def test_an_error_of_the_disk_names_the_file_of_the_user(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    for argv, name in (
        (("run", "mine.py", "--executor", "numpy", "--out", "new.npz"), "new.npz"),
        (("simulate", "mine.py", "--svg", "new.svg"), "new.svg"),
        (("emit", "mine.py", "-o", "new/folder"), "new/folder/double.cpp"),
    ):
        assert refused(say, *argv) == f"{name}: No space left on device"


def test_help_names_the_true_defaults(say: Say) -> None:
    shown = " ".join(say("run", "--help")[1].split())
    assert "native, pto-isa (default jax)" in shown
    assert say("--version")[1].startswith("pto 0.")
    assert list(SHIPPED)
