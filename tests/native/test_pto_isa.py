"""The emitted text against the user's own checkout of the tile library: ``PTO_ISA_ROOT`` names one.

Without a checkout, the messages; with one, every shipped kernel within the tolerance of its oracle,
and beside the executor native.  ``make sweep`` runs every schedule and prints what differs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import native
from lowering.ascend import emit
from lowering.cli import USAGE, main
from lowering.execute import cases, inputs, judge
from lowering.native import pto_isa
from lowering.native.build import program
from lowering.native.job import execute
from lowering.schedule import NAMED, schedule
from pto.errors import InputError, ScheduleError
from pto.ir import Kernel as Program
from pto.ir import all_rows
from pto.kernels import SHIPPED
from tests.judges.small_programs import round_trip
from tests.judges.tile_library import CHECKOUT, checkout_for, needs_checkout
from tests.schedule.forms import FORMS
from tests.words.word import Word

Golden = Callable[[str, str], None]

# ------------------------------------------------------------------------ without a checkout


@pytest.fixture
def no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to stand in, and no checkout in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(pto_isa.VARIABLE, raising=False)
    (tmp_path / "empty").mkdir()


MESSAGES = {
    "isa_none": ("run", "rmsnorm", "--executor", "pto-isa"),
    "isa_empty": ("run", "rmsnorm", "--executor", "pto-isa", "--pto-isa", "empty"),
    "isa_for_another": ("run", "rmsnorm", "--executor", "numpy", "--pto-isa", "empty"),
}


@pytest.mark.usefixtures("no_checkout")
@pytest.mark.parametrize("name", list(MESSAGES))
def test_a_missing_checkout_gives_one_message(
    name: str, capsys: pytest.CaptureFixture[str], golden: Golden
) -> None:
    assert main(MESSAGES[name]) == USAGE
    out, err = capsys.readouterr()
    assert out == ""
    golden(f"cli/errors/{name}.txt", err)


@pytest.mark.usefixtures("no_checkout")
def test_the_environment_names_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    header = Path("elsewhere") / pto_isa.HEADER
    header.parent.mkdir(parents=True)
    header.touch()
    monkeypatch.setenv(pto_isa.VARIABLE, "elsewhere")
    assert pto_isa.checkout_of(None) == Path("elsewhere").resolve()
    with pytest.raises(InputError, match="empty is no checkout"):
        pto_isa.checkout_of(Path("empty"))


@pytest.fixture
def fake_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """``CXX`` becomes a program that rejects every text with a given word in it, and makes code of others."""

    def rejecting(word: str) -> None:
        script = tmp_path / "cxx"
        script.write_text(f"#!/bin/sh\nif grep -q '{word}'; then exit 1; fi\necho main:\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("CXX", "cxx")
        pto_isa.compiler.cache_clear()

    yield rejecting
    pto_isa.compiler.cache_clear()


def test_a_compiler_without_bf16_is_refused_for_bf16_only(
    fake_compiler: Callable[[str], None],
) -> None:
    fake_compiler("bfloat16_t")
    assert Path(pto_isa.compiler(False)).name == "cxx"
    with pytest.raises(InputError) as caught:
        pto_isa.compiler(True)
    assert str(caught.value) == (
        "bf16 needs a compiler with C++23's std::bfloat16_t; CXX=cxx is none, and without it the "
        "library silently takes fp16 for bf16\n"
        "  help: install g++ 13 or later, or set CXX; a kernel in f16 needs no such compiler"
    )


def test_a_compiler_without_c23_is_refused(fake_compiler: Callable[[str], None]) -> None:
    fake_compiler("static_assert")
    with pytest.raises(InputError) as caught:
        pto_isa.compiler(False)
    assert str(caught.value) == (
        "executor pto-isa needs a C++23 compiler; CXX=cxx is none\n"
        "  help: install g++ 13 or clang++ 17, or set CXX"
    )


# --------------------------------------------------------------------------- with a checkout


@pytest.fixture
def checkout() -> Path:
    return pto_isa.checkout_of(Path(CHECKOUT))


def bound_case(
    name: str, statics: Mapping[str, Any], case: Mapping[str, Any], plan: str
) -> tuple[Program, Program, inputs.Bound, dict[str, Any]]:
    """(traced, scheduled, bound, arrays) of a random case."""
    kernel = SHIPPED[name]
    traced = kernel.trace(**statics)
    arrays = cases.draw(kernel, traced, [f"{n}={v}" for n, v in case.items()])
    scheduled = schedule(traced, plan).kernel
    return traced, scheduled, inputs.bind(scheduled, arrays), arrays


def sums_in_vectors(source: str) -> bool:
    """Compiled by clang++, the library sums rows in another order than it is written."""
    compiler = pto_isa.compiler("bfloat16_t" in source)
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return "clang" in told.stdout


def compared(
    checkout: Path, name: str, statics: Mapping[str, Any], case: Mapping[str, Any], plan: str
) -> str:
    """Runs both executors of the emitted text; asserts the tolerance; a line of a table."""
    traced, scheduled, bound, arrays = bound_case(name, statics, case, plan)
    source = emit(scheduled)[f"{name}.cpp"]
    checkout_for(source)
    got = pto_isa.run(scheduled, bound, checkout, block_num=3)
    ours = native.run(scheduled, bound, block_num=3).outputs
    given = inputs.bind(traced, arrays)
    wanted = judge.expected(traced, given, cases.expected(SHIPPED[name], traced, given), {})
    (found,), (other,) = judge.compare(got, wanted), judge.compare(ours, wanted)
    assert found.ok and other.ok, (found.told("the oracle"), other.told("the oracle"))
    a, b = (x["out"].astype(np.float64) for x in (got, ours))
    may_differ = "TEXP(" in source or ("TROWSUM(" in source and sums_in_vectors(source))
    assert may_differ or np.array_equal(a, b), (
        "only exp and clang's sums: see lowering/native/pto_isa.py"
    )
    words = " ".join(f"{k}={v}" for k, v in statics.items())
    return (
        f"{name} {words} {plan}: error {found.error:.2e} (native {other.error:.2e}), tolerance "
        f"{found.tolerance:.2e}; to native {np.abs(a - b).max():.2e}, {np.mean(a != b):.1%} differ"
    )


@needs_checkout
@pytest.mark.parametrize(
    "name",
    [
        "decode, two pages of 64",
        "decode, three pages of 64 in one tile",
        "gemm, 256 x 256 x 256",
        "gemm, k from data",
    ],
)
def test_a_form(checkout: Path, name: str) -> None:
    """One signal for several tiles, gathered and cut tiles, sums over nothing: within the judge's tolerance."""
    form = FORMS[name]
    traced, bound = form.trace(), inputs.bind(form.made.kernel, form.arrays())
    wanted = judge.expected(traced, inputs.bind(traced, form.arrays()), None, {})
    got = pto_isa.run(form.made.kernel, bound, checkout, block_num=2)
    assert all(c.ok for c in judge.compare(got, wanted))


ATTENTION = dict(batch=6, context=300)
SMALL: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("paged_attention", dict(dtype="bf16", block=64), ATTENTION),
    ("paged_attention", dict(dtype="f16", block=64), ATTENTION),
    ("gemm", dict(activation="silu"), dict(m=130, n=129, k=70)),
    ("rmsnorm", dict(dtype="f16"), dict(rows=37)),
)


@needs_checkout
@pytest.mark.parametrize("case", SMALL, ids=lambda c: f"{c[0]}-{c[1]}")
def test_agrees_with_the_oracle_and_with_native(
    checkout: Path, case: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    compared(checkout, *case, "best")


@needs_checkout
def test_fifos_without_credit(checkout: Path) -> None:
    """The simulator's pipe cannot go without: the switches are the device's."""
    k = round_trip(5, 4)
    bound = inputs.bind(
        k, {"src": np.ones((64, 64), np.float32), "out": np.zeros((13, 16, 64), np.float32)}
    )
    checkout_for(emit(k)["round_trip.cpp"])
    got, ours = pto_isa.run(k, bound, checkout, block_num=1), native.run(k, bound, block_num=1)
    assert ours.good and np.array_equal(got["out"], ours.outputs["out"])


def every_case() -> Iterator[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]]:
    plans = tuple(NAMED)
    for dtype in ("bf16", "f16"):
        for q_tile, block in ((16, 128), (64, 64)):
            statics = dict(dtype=dtype, heads=q_tile, q_tile=q_tile, block=block)
            yield "paged_attention", statics, dict(batch=6, context=5 * block + 9), plans
        gqa = dict(dtype=dtype, heads=32, kv_heads=2, dim=64, block=16)
        yield "paged_attention", gqa, dict(batch=6, context=75), plans
        many = dict(dtype=dtype, heads=128, q_tile=64, block=64)
        yield "paged_attention", many, ATTENTION, ("best",)
        for activation in ("none", "relu", "silu"):
            statics = dict(dtype=dtype, activation=activation)
            yield "gemm", statics, dict(m=200, n=300, k=256), plans
        yield "rmsnorm", dict(dtype=dtype), dict(rows=100), plans
    yield "rmsnorm", dict(dtype="f32"), dict(rows=100), ("best",)


@needs_checkout
@pytest.mark.sweep
@pytest.mark.parametrize("case", list(every_case()), ids=lambda c: f"{c[0]}-{c[1]}")
def test_every_schedule_agrees(
    checkout: Path, case: tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]
) -> None:
    *what, plans = case
    for plan in plans:
        print(f"\n{compared(checkout, *what, plan)}", end="", flush=True)


def run_changed(checkout: Path, old: str, new: str) -> dict[str, Any]:
    """The outputs of paged attention with every ``old`` in its source replaced."""
    _, scheduled, bound, _ = bound_case("paged_attention", dict(dtype="f16"), ATTENTION, "best")
    source = emit(scheduled)["paged_attention.cpp"]
    assert old in source
    checkout_for(source)
    made = program(source.replace(old, new), pto_isa.build(checkout, False))
    return execute(made, scheduled, bound, 1)[1]


@needs_checkout
def test_memories_do_not_start_as_zero(checkout: Path) -> None:
    assert np.isfinite(
        run_changed(checkout, "using namespace pto;", "using namespace pto;")["out"]
    ).all()
    assert np.isnan(run_changed(checkout, "TEXPANDS(acc, 0.0f);", "")["out"]).any()


@needs_checkout
@pytest.mark.parametrize("blocks", [1, 2])
def test_pushes_wait_to_be_told(checkout: Path, blocks: int) -> None:
    """Items of one step, told of two steps later: several pushes are out at once."""

    @pto.kernel(
        grid="n", q="bf16[n, 32, 64]", pages="bf16[count, 64, 64]", trips="i32[n]",
        out="f32[n, 32, 64]",
    )  # fmt: skip
    def products(q, pages, trips, out):
        item = pto.program_id(0)
        a = pto.load(q[item, :, :])
        count = pto.maximum(trips[item], 1)

        def add(i, acc):
            return acc + a @ pto.load(pages[i, :, :])

        pto.store(out[item, :, :], pto.fori_loop(0, count, add, pto.zeros((32, 64))) * 2.0)

    word = Word(products, some_trips, sums_of_pages)
    assert any(r.op == "record" and r.shift == -2 for r in all_rows(word.scheduled.body))
    bound = word.bound(word.scheduled)
    word.judged(pto_isa.run(word.scheduled, bound, checkout, block_num=blocks))


def some_trips(rng: np.random.Generator) -> dict[str, Any]:
    shapes = {"q": (4, 32, 64), "pages": (6, 64, 64)}
    tiles = {n: rng.standard_normal(s).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}
    return {**tiles, "trips": np.int32([4, 2, 1, 1])}


def sums_of_pages(q: Any, pages: Any, trips: Any) -> dict[str, Any]:
    return {"out": np.stack([a @ pages[:n].sum(axis=0) * 2 for a, n in zip(q, trips, strict=True)])}


@needs_checkout
def test_a_slot_that_is_never_freed_ends_in_a_message(checkout: Path) -> None:
    with pytest.raises(ScheduleError, match="deadlock: every core waits for another"):
        run_changed(checkout, "TFREE<QkFifoPipe, TILE_UP_DOWN>(qk_fifo);", "")


@needs_checkout
def test_ub_is_as_small_as_on_the_device(checkout: Path) -> None:
    with pytest.raises(ScheduleError, match="the compiled kernel ended"):
        run_changed(checkout, "TASSIGN(acc, 96);", f"TASSIGN(acc, {192 * 1024});")


@needs_checkout
def test_a_warning_of_our_text_is_an_error(checkout: Path) -> None:
    line = "const int64_t block_num = get_block_num(args);"
    with pytest.raises(ScheduleError, match="unused"):
        run_changed(checkout, line, f"{line} int unused;")
