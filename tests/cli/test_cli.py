"""The command line: what it prints, what it writes, how it fails, and what it must not import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lowering import files
from lowering.cli import FAILED, GOOD, USAGE, main
from lowering.execute import cases
from lowering.schedule import NAMED, PASSES
from pto.kernels import SHIPPED
from pto.text import parse, print_kernel
from tests import ROOT
from tests.axes import some

Golden = Callable[[str, str], None]

DOUBLE = """
import pto

@pto.kernel(grid="cdiv(rows, 32)", x="f32[rows, dim]", out="f32[rows, dim]",
            static=dict(dim=128, factor=2.0))
def double(x, out, *, factor):
    r = pto.program_id(0) * 32
    here = pto.ds(r, 32, valid=x.shape[0] - r)
    pto.store(out[here, :], pto.load(x[here, :]) * factor)

@double.case
def draw(rng, *, rows=40, dim):
    return {"x": rng.standard_normal((rows, dim), "float32")}

not_a_kernel = 3
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs in an empty folder, so that messages can name relative paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line; gives the exit status, standard output and standard error."""

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(argv)
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        out, err = capsys.readouterr()
        return status, out, err

    return run


Say = Callable[..., tuple[int, str, str]]


def case(name: str = "paged_attention", **options: Any) -> dict[str, Any]:
    """A small case of a shipped kernel as ``pto run --inputs`` takes it."""
    kernel = SHIPPED[name]
    arrays = cases.draw(kernel, kernel.trace(), [f"{n}={v}" for n, v in options.items()])
    bits = {n: a.view(np.uint16) for n, a in arrays.items() if a.dtype == ml_dtypes.bfloat16}
    return arrays | bits


def save(path: str, **arrays: Any) -> None:
    np.savez(path, **arrays)


# ---------------------------------------------------------------------------------- good runs


def test_list(say: Say, golden: Golden) -> None:
    status, out, err = say("list")
    assert (status, err) == (GOOD, "")
    golden("cli/list.txt", out)


def test_list_for_machines(say: Say) -> None:
    found = json.loads(say("list", "--json")[1])
    assert [k["name"] for k in found["kernels"]] == list(SHIPPED)
    assert list(found["schedules"]) == list(NAMED)


@pytest.mark.parametrize("stage", ["traced", *PASSES, "scheduled"])
def test_show_prints_what_can_be_read_back(say: Say, stage: str) -> None:
    status, out, err = say("show", "gemm", "--stage", stage)
    assert (status, err) == (GOOD, "")
    assert print_kernel(parse(out)).strip() == out.strip()


def test_show_source(say: Say) -> None:
    out = say("show", "rmsnorm", "--stage", "source")[1]
    assert out.startswith("@pto.kernel(") and "def rmsnorm(" in out


def test_show_takes_options(say: Say) -> None:
    default = say("show", "paged_attention")[1]
    deeper = say("show", "paged_attention", "--fifo-depth", "8", "-D", "block=64")[1]
    assert "c2v [8]" in deeper and "c2v [8]" not in default
    assert "static block = 64" in deeper


@pytest.mark.parametrize("name", list(SHIPPED))
def test_check(say: Say, name: str) -> None:
    status, out, err = say("check", name)
    assert (status, err) == (GOOD, "")
    assert out.startswith(f"{name}: proven for every trip count")
    found = json.loads(say("check", name, "--json")[1])
    assert found["proven"] is True and found["kernel"] == name


def test_check_all_has_a_line_per_schedule(say: Say) -> None:
    status, out, _ = say("check", "rmsnorm", "--all")
    lines = out.splitlines()[1:]
    assert [x.split()[0] for x in lines] == [name for name in NAMED for _ in (1, 2, 3)]
    assert (status == GOOD) == all(" proven " in x for x in lines)
    found = json.loads(say("check", "rmsnorm", "--all", "--json")[1])
    assert [x["proven"] for x in found] == [" proven " in x for x in lines]


def test_check_a_program_of_text(say: Say) -> None:
    Path("r.ptoir").write_text(say("show", "rmsnorm")[1])
    assert say("check", "r.ptoir")[0] == GOOD
    Path("t.ptoir").write_text(say("show", "rmsnorm", "--stage", "traced")[1])
    assert say("check", "t.ptoir", "--schedule", "serial")[0] == GOOD


def test_check_refuses_a_program_that_lost_its_events(say: Say) -> None:
    """Without any wait and set the loads and stores of a work item race."""
    lines = say("show", "rmsnorm")[1].splitlines()
    kept = [x.split(" | ")[0] for x in lines if not x.lstrip().startswith("|")]
    kept = [x for x in kept if x.split()[:1] != ["event"]]
    Path("r.ptoir").write_text("\n".join(kept) + "\n")
    status, out, err = say("check", "r.ptoir")
    assert (status, err) == (FAILED, "")
    assert out.startswith("rmsnorm: failed; smallest failing trip counts")
    status, _, err = say("emit", "r.ptoir", "-o", "out")
    assert status == FAILED and err.startswith("error: rmsnorm: failed")
    assert not Path("out").exists()


RUNS = (
    "paged_attention --case batch=3,context=300",
    "paged_attention -D dtype=f16 -D heads=4 --case batch=2,seed=7",
    "gemm --case m=33,n=70,k=100 -D activation=silu",
    "rmsnorm --case rows=5",
)


@pytest.mark.parametrize(
    ("argv", "executor"),
    some(
        [
            *((run, "numpy") for run in RUNS),
            (RUNS[0], "jax"), (RUNS[1], "adversarial"), (RUNS[2], "jax"), (RUNS[3], "sequential"),
        ],
        RUNS, ("sequential", "numpy", "adversarial", "jax"),
    ),
)  # fmt: skip
def test_run_agrees_with_the_oracle(say: Say, argv: str, executor: str) -> None:
    status, out, err = say("run", *argv.split(), "--executor", executor, "--json")
    assert (status, err) == (GOOD, "")
    found = json.loads(out)
    assert [c["ok"] for c in found["comparisons"]] == [True]
    assert found["comparisons"][0]["max_abs_error"] <= found["comparisons"][0]["tolerance"]


def test_many_orders_of_a_right_and_of_a_wrong_schedule(say: Say) -> None:
    """Without the event that guards a slot of ``k``, some seeds go wrong; one can be replayed."""
    assert say("run", "paged_attention", "--executor", "adversarial", "--seeds", "4")[0] == GOOD
    text = say("show", "paged_attention")[1]
    lines = [x.replace(" k.free[u]", "") for x in text.splitlines() if "cube   k.free" not in x]
    lines = [x.replace(" k.free[0] k.free[1]", "") for x in lines]
    Path("racy.ptoir").write_text("\n".join(lines).replace("| wait | set", "| set") + "\n")
    save("case.npz", **case(batch=1, context=640, ragged=False))
    argv = ("run", "racy.ptoir", "--inputs", "case.npz", "--executor", "adversarial")
    status, out, err = say(*argv, "--seeds", "40", "--json")
    found = json.loads(out)["orders"]
    assert (status, err, found["seeds"]) == (FAILED, "", [0, 40])
    seed, kinds = found["differences"][0]["seed"], {d["kind"] for d in found["differences"]}
    assert "bits" in kinds and found["interleavings"] == 40
    status, out, err = say(*argv, "--seed", str(seed))
    assert (status, err) == (FAILED, "")
    assert f"1 of 1 seeds go wrong; replay one with --seed {seed}" in out
    good = next(s for s in range(40) if s not in {d["seed"] for d in found["differences"]})
    assert say(*argv, "--seed", str(good))[0] == GOOD


def test_what_holds_under_other_readings_of_the_machine(say: Say, golden: Golden) -> None:
    status, out, err = say("check", "paged_attention", "--assume", "each")
    assert (status, err) == (GOOD, "")
    golden("cli/assume_each.txt", out)
    status, out, _ = say("check", "paged_attention", "--assume", "source-flags")
    assert status == FAILED and "double set" in out
    both = ("--assume", "counting-flags", "--assume", "ordered-accumulation")
    assert say("check", "gemm", *both)[0] == GOOD
    facts = json.loads(say("check", "rmsnorm", "--assume", "each", "--json")[1])
    assert facts["as assumed"]["proven"] is True
    assert {r["name"]: r["proven"] for r in facts["readings"]}["early-sets"] is False


def test_the_tolerance_of_paged_attention_is_within_the_promise(say: Say) -> None:
    out = say("run", "paged_attention", "--executor", "numpy", "--json")[1]
    assert json.loads(out)["comparisons"][0]["tolerance"] <= 3e-3


def test_run_on_arrays(say: Say) -> None:
    """The static parameters are read off the arrays; every executor writes the same numbers."""
    arrays = case(batch=3, context=200)
    save("case.npz", **arrays)
    for executor in ("sequential", "numpy", "jax"):
        argv = ("--inputs", "case.npz", "--executor", executor, "--out", f"{executor}.npz")
        status, out, err = say("run", "paged_attention", *argv)
        assert (status, err) == (GOOD, "")
        assert f"wrote {executor}.npz" in out
    found = {e: np.load(f"{e}.npz")["out"] for e in ("sequential", "numpy", "jax")}
    np.testing.assert_array_equal(found["sequential"], found["numpy"])
    np.testing.assert_allclose(found["jax"], found["numpy"], atol=3e-3)


def test_static_parameters_are_read_off_the_arrays(say: Say) -> None:
    a, b = np.ones((8, 48), np.float16), np.ones((48, 16), np.float16)
    save("gemm.npz", a=a, b=b, bias=np.zeros(16, np.float32))
    assert (
        say("run", "gemm", "--inputs", "gemm.npz", "--executor", "numpy", "--out", "o.npz")[0]
        == GOOD
    )
    np.testing.assert_array_equal(np.load("o.npz")["out"], 48)
    save(
        "norm.npz",
        x=np.ones((4, 256), np.uint16) * 0x3F80,
        gamma=np.ones(256, np.float32),
        epsilon=0.0,
    )
    assert (
        say("run", "rmsnorm", "--inputs", "norm.npz", "--executor", "numpy", "--out", "o.npz")[0]
        == GOOD
    )
    assert np.load("o.npz")["out"].dtype == np.uint16
    np.testing.assert_array_equal(np.load("o.npz")["out"], 0x3F80)


def test_run_a_program_of_text(say: Say) -> None:
    """Scheduled and traced text, with bf16 as its own type: .npz keeps its bits without a name."""
    arrays = cases.draw(SHIPPED["rmsnorm"], SHIPPED["rmsnorm"].trace(), ["rows=7", "seed=3"])
    save("norm.npz", **arrays)
    for stage in ("traced", "scheduled"):
        Path("norm.ptoir").write_text(say("show", "rmsnorm", "--stage", stage)[1])
        for executor in ("numpy", "jax"):
            argv = ("--inputs", "norm.npz", "--executor", executor, "--out", f"{stage}.{executor}")
            assert say("run", "norm.ptoir", *argv)[0] == GOOD
    want = np.load("traced.numpy")["out"]
    for other in ("traced.jax", "scheduled.numpy", "scheduled.jax"):
        np.testing.assert_array_equal(np.load(other)["out"], want)


def test_a_kernel_of_ones_own(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    Path("mine.py").write_text(DOUBLE)
    for what in ("mine.py", "mine.py:double", "mine:double"):
        assert say("check", what)[0] == GOOD
    status, out, _ = say("run", "mine.py", "--executor", "numpy", "-D", "factor=3.0")
    assert status == GOOD and "agrees with the executor sequential: max abs error 0.00e+00" in out
    assert say("emit", "mine.py:double", "-o", "out")[0] == GOOD
    monkeypatch.delitem(sys.modules, "mine")


DUMPED = """
import pto

@pto.kernel(grid="batch", x="f32[batch, rows, 64]", lens="i32[batch]", out="f32[batch, 16, 64]")
def sums(x, lens, out):
    b = pto.program_id(0)
    length = lens[b]

    def add(i, acc):
        x_tile = pto.load(x[b, pto.ds(i * 16, 16, valid=length - i * 16), :])
        return acc + x_tile

    acc = pto.fori_loop(0, pto.cdiv(length, 16), add, pto.full((16, 64), 0.0))
    pto.store(out[b, :, :], acc)
"""


def dumped_case() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arrays of ``DUMPED``, and what it holds of them: a step of every 16 rows, zeros behind the last."""
    x = np.random.default_rng(3).standard_normal((3, 48, 64), np.float32)
    lens = np.array([40, 0, 16], np.int32)
    wanted: dict[str, np.ndarray] = {}
    for b, length in enumerate(lens.tolist()):
        acc = np.zeros((16, 64), np.float32)
        wanted[f"length[pid0={b}]"] = np.asarray(length)
        for i in range(-(-length // 16)):
            tile = np.zeros((16, 64), np.float32)
            tile[: length - i * 16] = x[b, i * 16 : min(i * 16 + 16, length)]
            wanted[f"x_tile[pid0={b}, i={i}]"] = tile
            wanted[f"acc[pid0={b}, i={i}]"] = acc
            acc = acc + tile
    return {"x": x, "lens": lens}, wanted


def test_a_dump_has_every_value_of_a_name(say: Say, golden: Golden) -> None:
    """Of each work item and iteration: of carried tiles, what an iteration starts with; of scalars, numbers."""
    Path("sums.py").write_text(DUMPED)
    arrays, wanted = dumped_case()
    save("case.npz", **arrays)
    dump = [word for name in ("x_tile", "acc", "length") for word in ("--dump", name)]
    argv = ("sums.py", "--inputs", "case.npz", "--executor", "numpy", *dump)
    status, out, err = say("run", *argv, "--dump-to", "held.npz")
    assert status == GOOD, err
    golden("cli/dump.txt", out)
    with np.load("held.npz") as held:
        assert set(held) == set(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(held[name], array, name)
    told = json.loads(say("run", *argv, "--json")[1])["dumped"]
    assert [v["at"] for v in told["x_tile"]] == [
        *({"pid0": 0, "i": i} for i in range(3)),
        {"pid0": 2, "i": 0},
    ]
    assert told["x_tile"][1]["least"] == float(wanted["x_tile[pid0=0, i=1]"].min())


def test_a_dump_of_what_never_ran(say: Say) -> None:
    Path("sums.py").write_text(DUMPED)
    save("case.npz", x=np.ones((2, 16, 64), np.float32), lens=np.zeros(2, np.int32))
    argv = ("run", "sums.py", "--inputs", "case.npz", "--executor", "numpy")
    status, out, _ = say(*argv, "--dump", "x_tile", "--dump-to", "held.npz")
    assert status == GOOD
    assert "x_tile of the traced program: never computed for these inputs" in out
    assert "wrote" not in out
    assert not Path("held.npz").exists()


def test_a_dump_of_what_is_not_there_writes_nothing(say: Say) -> None:
    Path("sums.py").write_text(DUMPED)
    save("case.npz", **dumped_case()[0])
    argv = (
        "--inputs",
        "case.npz",
        "--executor",
        "numpy",
        "--dump-to",
        "held.npz",
        "--out",
        "o.npz",
    )
    status, out, err = say("run", "sums.py", *argv, "--dump", "acc", "--dump", "x_tiles")
    assert (status, out) == (USAGE, "")
    assert "no value of the traced program is called 'x_tiles'" in err
    assert "did you mean 'x_tile'?" in err
    Path("done.ptoir").write_text(say("show", "sums.py")[1])
    status, _, err = say("run", "done.ptoir", *argv, "--dump", "acc")
    assert status == USAGE
    assert "done.ptoir is scheduled; --dump is of values of a traced program" in err
    assert not Path("held.npz").exists()
    assert not Path("o.npz").exists()


def test_a_dump_and_the_outputs_are_written_both_or_none(say: Say) -> None:
    Path("sums.py").write_text(DUMPED)
    save("case.npz", **dumped_case()[0])
    argv = ("run", "sums.py", "--inputs", "case.npz", "--executor", "sequential", "--dump", "acc")
    assert say(*argv, "--dump-to", "held.npz", "--out", "o.npz")[0] == GOOD
    assert Path("held.npz").exists()
    assert Path("o.npz").exists()
    assert "both name same.npz" in say(*argv, "--dump-to", "same.npz", "--out", "same.npz")[2]
    assert not Path("same.npz").exists()


SAYS = DUMPED.replace(
    "        return acc",
    """        pto.debug_check(abs(x_tile) < 3.9, "small")
        pto.debug_print("{} rows: {} and {}", length, pto.max(x_tile), x_tile[0:1, 0:8])
        return acc""",
)


def test_what_a_kernel_prints_and_checks(say: Say, golden: Golden) -> None:
    """On whatever executor; a check that does not hold fails the run, whose outputs are written all the same."""
    Path("says.py").write_text(SAYS)
    save("case.npz", **dumped_case()[0])
    argv = ("run", "says.py", "--inputs", "case.npz", "--executor", "numpy", "--out", "o.npz")
    status, out, err = say(*argv)
    assert (status, err) == (FAILED, "")
    golden("cli/says.txt", plain(out))
    assert Path("o.npz").exists()
    told = json.loads(say(*argv, "--json")[1])
    assert [s["at"] for s in told["printed"]] == [
        *({"pid0": 0, "i": i} for i in range(3)),
        {"pid0": 2, "i": 0},
    ]
    assert told["checks_failed"] == [{"at": {"pid0": 0, "i": 1}, "text": "small"}]
    Path("says.py").write_text(SAYS.replace("3.9", "9.9"))
    assert say(*argv)[0] == GOOD
    Path("sums.py").write_text(DUMPED)
    said, silent = say("show", "says.py")[1], say("show", "sums.py")[1]
    assert said == silent != ""
    assert "debug" not in "".join(say("show", "says.py", "--stage", s)[1] for s in PASSES)


def test_what_a_schedule_says_itself(say: Say, golden: Golden) -> None:
    """With --watch, in program order; every stage has it, and it is as legal and proven as any."""
    Path("says.py").write_text(SAYS)
    Path("sums.py").write_text(DUMPED)
    save("case.npz", **dumped_case()[0])
    argv = ("run", "says.py", "--inputs", "case.npz", "--watch", "--executor")
    status, out, err = say(*argv, "adversarial", "--seeds", "3")
    assert (status, err) == (FAILED, "")
    golden("cli/says_itself.txt", re.sub(r"\d+ a second", "N a second", plain(out)))
    told = json.loads(say(*argv, "numpy", "--json")[1])
    assert told["checks_failed"] == [{"at": {}, "text": "pid0=0, i=1: small"}]
    for stage in ("traced", *PASSES):
        assert "debug_check" in say("show", "says.py", "--watch", "--stage", stage)[1]
    assert say("check", "says.py", "--watch")[0] == GOOD
    assert say("emit", "says.py", "--watch", "-o", "with")[0] == GOOD
    assert say("emit", "says.py", "-o", "without")[0] == GOOD
    assert say("emit", "sums.py", "-o", "silent")[0] == GOOD
    silent = Path("silent/sums.cpp").read_text()
    assert Path("without/sums.cpp").read_text() == silent
    text = Path("with/sums.cpp").read_text()
    assert "TPRINT(" in text and "cce::printf(" in text and "-D_DEBUG" in text
    assert say("emit", "with/sums.ptoir", "-o", "again")[0] == GOOD
    assert Path("again/sums.cpp").read_text() == text
    scheduled = ("run", "with/sums.ptoir", "--inputs", "case.npz", "--executor", "numpy")
    assert "pid0=0, i=1: small" in say(*scheduled)[1]
    assert "says nothing of itself" in say("check", "sums.py", "--watch")[2]
    assert "which always says it" in say(*argv, "sequential")[2]


def test_a_file_is_read_as_it_stands(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed in the second in which it was written; and nothing is left beside it."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    file = Path("halves.py")
    for factor in ("2.5", "3.5"):
        file.write_text(DOUBLE.replace("factor=2.0", f"factor={factor}"))
        os.utime(file, (1, 1))
        assert f"mul x_tile, {factor}" in say("show", "halves.py", "--stage", "traced")[1]
    assert [p.name for p in Path().iterdir()] == ["halves.py"]


def test_a_wrong_result_fails(say: Say) -> None:
    wrong = "\n@double.reference\ndef wrong(x, *, factor):\n    return {'out': x * factor + 1e-3}\n"
    Path("mine.py").write_text(DOUBLE + wrong)
    status, out, _ = say("run", "mine.py", "--executor", "numpy", "--out", "o.npz")
    assert status == FAILED and "DIFFERS from its float64 reference: max abs error 1.00e-03" in out


def test_emit_writes_all_files(say: Say) -> None:
    status, out, err = say("emit", "gemm", "-o", "new/folder")
    assert (status, err) == (GOOD, "")
    written = sorted(p.name for p in Path("new/folder").iterdir())
    assert written == ["gemm.cpp", "gemm.ptoir", "gemm_orchestration.cpp", "manifest.json"]
    assert all(f"new/folder/{name}" in out for name in written)


def test_emit_of_text_equals_emit_of_the_kernel(say: Say) -> None:
    say("emit", "gemm", "-o", "a")
    assert say("emit", "a/gemm.ptoir", "-o", "b")[0] == GOOD
    for path in Path("a").iterdir():
        assert path.read_text() == (Path("b") / path.name).read_text()


def test_bench(say: Say) -> None:
    status, out, _ = say("bench", "rmsnorm", "--no-jax", "--rounds", "1", "--save", "t.json")
    assert status == GOOD and "median of 1 rounds" in out
    assert list(json.loads(Path("t.json").read_text())["seconds"]) == [
        f"rmsnorm {stage}"
        for stage in (
            *("trace", "schedule", "values", "check", "check of 4096 iterations", "emit"),
            "20 interleavings",
        )
    ]
    out = say("bench", "rmsnorm", "--no-jax", "--rounds", "1", "--against", "t.json")[1]
    assert "before: t.json" in out


# ------------------------------------------------------------------------------------ mistakes

BAD_COMMANDS = {
    "no_command": (),
    "unknown_command": ("chek", "gemm"),
    "unknown_kernel": ("check", "paged_atention"),
    "unknown_static": ("check", "gemm", "-D", "tile=64"),
    "static_type": ("check", "gemm", "-D", "tile_m=wide"),
    "static_form": ("check", "gemm", "-D", "tile_m"),
    "static_twice": ("check", "gemm", "-D", "tile_m=64", "-D", "tile_m=32"),
    "unknown_schedule": ("check", "gemm", "--schedule", "prefech"),
    "unknown_stage": ("show", "gemm", "--stage", "scew"),
    "negative_lookahead": ("check", "gemm", "--lookahead", "-1"),
    "lookahead_type": ("check", "gemm", "--lookahead", "two"),
    "one_order_only": ("run", "gemm", "--executor", "numpy", "--seeds", "4"),
    "seed_and_seeds": ("run", "gemm", "--executor", "adversarial", "--seed", "1", "--seeds", "4"),
    "unknown_reading": ("check", "gemm", "--assume", "magic"),
    "all_and_assume": ("check", "gemm", "--all", "--assume", "early-sets"),
    "each_is_alone": ("check", "gemm", "--assume", "each", "--assume", "early-sets"),
    "unknown_executor": ("run", "gemm", "--executor", "torch"),
    "unknown_case_option": ("run", "gemm", "--case", "rows=3"),
    "no_module": ("check", "nowhere.at_all:f"),
    "no_file": ("check", "nowhere.py:f"),
    "no_text": ("check", "nowhere.ptoir"),
    "no_inputs": ("run", "gemm", "--inputs", "nowhere.npz"),
    "no_folder": ("run", "gemm", "--out", "nowhere/out.npz"),
    "no_output": ("emit", "gemm"),
    "file_is_no_folder": ("emit", "gemm", "-o", "mine.py"),
    "no_such_function": ("check", "mine.py:duble"),
    "not_a_kernel": ("check", "mine.py:not_a_kernel"),
    "two_kernels": ("check", "two.py"),
    "syntax_error": ("check", "syntax.py"),
    "import_error": ("check", "imports.py"),
    "user_exception": ("check", "raises.py"),
    "bad_text": ("check", "bad.ptoir"),
    "text_with_statics": ("check", "done.ptoir", "-D", "dim=64"),
    "text_with_schedule": ("check", "done.ptoir", "--schedule", "best"),
    "text_without_inputs": ("run", "done.ptoir"),
    "text_on_sequential": ("run", "done.ptoir", "--inputs", "norm.npz", "--executor", "sequential"),
    "not_npz": ("run", "gemm", "--inputs", "mine.py"),
    "inputs_and_case": ("run", "gemm", "--inputs", "norm.npz", "--case", "m=3"),
    "no_case": ("run", "no_case.py"),
    "unknown_place_of_loads": ("check", "gemm", "--load-at", "last"),
    "reference_of_no_output": ("run", "reference.py", "--executor", "numpy"),
    "times_file": ("bench", "gemm", "--no-jax", "--against", "mine.py"),
}


@pytest.fixture
def bad_files(say: Say) -> None:
    """The files that the wrong commands name."""
    Path("mine.py").write_text(DOUBLE)
    Path("two.py").write_text(DOUBLE + "\n@pto.kernel(grid='1', x='f32[4]')\ndef other(x): ...\n")
    Path("syntax.py").write_text("import pto\n\ndef f(:\n")
    Path("imports.py").write_text("import pto\nimport no_such_package\n")
    silent = DOUBLE.split("@double.case")[0]
    result = "\n@double.reference\ndef wrong(x):\n    return {'ot': x}\n"
    Path("reference.py").write_text(DOUBLE + result)
    Path("no_case.py").write_text(silent)
    Path("raises.py").write_text(silent.replace("    r = ", "    1 / 0\n    r = "))
    Path("bad.ptoir").write_text("kernel k on a2a3\nparam x sideways f32[4]\n")
    Path("done.ptoir").write_text(say("show", "rmsnorm")[1])
    save("norm.npz", **case("rmsnorm", rows=3))


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("name", list(BAD_COMMANDS))
def test_a_bad_command_gives_one_message(say: Say, golden: Golden, name: str) -> None:
    before = sorted(Path().rglob("*"))
    status, out, err = say(*BAD_COMMANDS[name])
    assert (status, out) == (USAGE, "")
    assert sorted(p for p in Path().rglob("*") if "__pycache__" not in str(p)) == before
    golden(f"cli/errors/{name}.txt", plain(err))


def plain(text: str) -> str:
    """Without the folders of this machine."""
    return text.replace(f"{Path.cwd()}/", "").replace(f"{ROOT}/", "")


BAD_INPUTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "missing_array": lambda a: a.pop("value_cache"),
    "unknown_array": lambda a: a.update(block_tables=a.pop("block_table")),
    "rank": lambda a: a.update(query=a["query"][0]),
    "shape": lambda a: a.update(value_cache=a["value_cache"][:, :64]),
    "batch": lambda a: a.update(block_table=a["block_table"][:2]),
    "empty_dimension": lambda a: a.update(query=a["query"][:, :, :0]),
    "float32": lambda a: a.update(query=np.zeros(a["query"].shape, np.float32)),
    "mixed_types": lambda a: a.update(query=np.zeros(a["query"].shape, np.float16)),
    "int64_table": lambda a: a.update(block_table=a["block_table"].astype(np.int64)),
    "block_id_too_large": lambda a: a["block_table"].__setitem__((1, 0), 99),
    "block_id_negative": lambda a: a["block_table"].__setitem__((1, 0), -3),
    "context_too_long": lambda a: a["context_lens"].__setitem__(2, 5000),
    "scale_is_an_array": lambda a: a.update(scale=np.zeros(3, np.float32)),
    "scale_is_nan": lambda a: a.update(scale=np.float32("nan")),
    "unfit_for_the_target": lambda a: a.update(
        query=np.zeros((3, 16, 40), np.uint16),
        key_cache=np.zeros((4, 128, 1, 40), np.uint16),
        value_cache=np.zeros((4, 128, 1, 40), np.uint16),
    ),
}


@pytest.mark.parametrize("name", list(BAD_INPUTS))
def test_a_bad_input_gives_one_message_and_writes_nothing(
    say: Say, golden: Golden, name: str
) -> None:
    arrays = case(batch=3, context=300)
    arrays["context_lens"][:] = (300, 130, 7)
    arrays["block_table"] = np.arange(9, dtype=np.int32).reshape(3, 3) % len(arrays["key_cache"])
    BAD_INPUTS[name](arrays)
    save("case.npz", **arrays)
    argv = ("--inputs", "case.npz", "--executor", "jax", "--out", "out.npz")
    status, out, err = say("run", "paged_attention", *argv)
    assert (status, out) == (USAGE, "")
    assert [p.name for p in Path().iterdir()] == ["case.npz"]
    golden(f"cli/inputs/{name}.txt", plain(err))


def test_static_parameters_must_agree_with_the_arrays(say: Say, golden: Golden) -> None:
    save("case.npz", **case(batch=1, context=10))
    status, _, err = say("run", "paged_attention", "--inputs", "case.npz", "-D", "dim=64")
    assert status == USAGE
    golden("cli/inputs/static_disagrees.txt", err)


def test_debug_gives_the_traceback() -> None:
    with pytest.raises(Exception, match="no shipped kernel"):
        main(["check", "paged_atention", "--debug"])


def test_files_are_written_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").write_text("// emitted by Tilewright, kept")
    write = Path.write_bytes

    def fails_on_b(self: Path, data: bytes) -> int:
        if ".b" in self.name:
            raise OSError("disk full")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fails_on_b)
    for folder in ("there", "new/deep"):
        with pytest.raises(OSError, match="disk full"):
            files.write_all({tmp_path / folder / n: files.EMITTED for n in ("a", "b", "old")})
    assert (tmp_path / "there" / "old").read_text() == "// emitted by Tilewright, kept"
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "there",
        "there/old",
    ]


# ----------------------------------------------------------------------------- whole processes


def process(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(
        [sys.executable, *argv], env=env, capture_output=True, text=True, check=False
    )


IMPORTS = """
import sys
from lowering.cli import main
status = main(sys.argv[1:])
heavy = [m for m in ("jax", "numpy", "ml_dtypes") if m in sys.modules]
sys.exit(f"status {status}, imported {heavy}" if status or heavy else 0)
"""


@pytest.mark.parametrize("argv", ["list", "show gemm", "check gemm", "emit gemm -o out"])
def test_the_compiler_imports_neither_jax_nor_numpy(argv: str) -> None:
    done = process("-c", IMPORTS, *argv.split())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name",
    ["paged_attention", *(pytest.param(n, marks=pytest.mark.sweep) for n in ("gemm", "rmsnorm"))],
)
def test_emit_is_the_same_whatever_the_hash_seed(name: str) -> None:
    for seed in ("0", "1", "4711"):
        done = process("-m", "lowering", "emit", name, "-o", seed, PYTHONHASHSEED=seed)
        slow = re.fullmatch(
            r"(pto emit .* s\n)*", done.stderr
        )  # progress, where the machine is busy
        assert done.returncode == 0 and slow, done.stderr
    for path in Path("0").iterdir():
        for seed in ("1", "4711"):
            assert path.read_bytes() == (Path(seed) / path.name).read_bytes()


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m lowering show gemm | head -1"
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "" and done.stdout.startswith("kernel gemm")
