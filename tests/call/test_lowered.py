"""What ``kernel.lower()`` gives: the words of the command line, for arrays, shapes and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import pto
from lowering import cli
from lowering.execute.said import Heard
from lowering.lowered import OrdersDiffer, Tuned
from pto.errors import InputError
from pto.kernels import SHIPPED, gemm, paged_attention, rmsnorm
from tests.call.cases import called, judged, times

KERNELS = sorted(SHIPPED)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(words) == cli.GOOD
    return capsys.readouterr().out.rstrip("\n")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.sweep) if name == "paged_attention" else name
        for name in KERNELS
    ],
)
def test_it_says_what_the_command_line_says(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    k = SHIPPED[name].lower()
    for stage in ("traced", "skew", "scheduled"):
        assert k.show(stage) == said(capsys, "show", name, "--stage", stage)
    assert said(capsys, "check", name).startswith(k.proof.report())
    told = said(capsys, "simulate", name, "--cross-core-latency", "650")
    assert [line.strip() for line in told.splitlines()[1:]] == [
        line.strip() for line in k.simulate().report().splitlines()
    ]
    k.emit(tmp_path / "mine")
    cli.main(["emit", name, "-o", str(tmp_path / "theirs")])
    files = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert files == sorted(k.sources)
    for file in files:
        text = (tmp_path / "theirs" / file).read_text()
        assert text == (tmp_path / "mine" / file).read_text() == k.sources[file]
    assert k.source() == k.sources[f"{name}.cpp"]
    assert f"def {name}(" in k.show("source")


@pytest.mark.parametrize(
    "given",
    [
        jax.ShapeDtypeStruct((3, 512), "float16"),
        np.zeros((3, 512), np.float16),
        jax.numpy.zeros((3, 512), "float16"),
    ],
    ids=["shape", "numpy", "jax"],
)
def test_statics_are_read_off_arrays_and_shapes(given: Any) -> None:
    k = rmsnorm.lower(given, tile=32)
    assert dict(k.traced.statics) == {"dtype": "f16", "dim": 512, "tile": 32}
    assert k.proof.ok


def test_options_of_the_schedule_by_name() -> None:
    k = gemm.lower(lookahead=1, schedule="prefetch")
    assert k.options.lookahead == 1
    assert gemm.lower(schedule=k.options).kernel == k.kernel
    serial, best = (gemm.lower(schedule=s).simulate([2] * 32) for s in ("serial", "best"))
    assert serial.makespan > best.makespan


@pytest.mark.parametrize("executor", ["sequential", "numpy", "jax", "adversarial"])
def test_runs(executor: str) -> None:
    given, wanted = called("gemm")
    out = gemm.lower().run(
        **given, executor=executor, seeds=3 if executor == "adversarial" else None
    )
    assert out.shape == wanted.shape
    assert judged("gemm", out)


def test_what_was_traced_runs_where_no_schedule_fits() -> None:
    @pto.kernel(grid="cdiv(rows, 256)", x="f32[rows, 512]", out="f32[rows, 512]")
    def large(x: pto.Tensor, out: pto.Tensor) -> None:
        here = pto.ds(pto.program_id(0) * 256, 256)
        pto.store(out[here, :], pto.load(x[here, :]) * 2.0)

    x = np.ones((256, 512), np.float32)
    lowered = large.lower(x)
    with pytest.raises(pto.CapacityError):
        lowered.run(x, executor="numpy")
    np.testing.assert_array_equal(lowered.run(x, executor="sequential"), x * 2)


def test_an_order_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowering import executors

    def wrong(kernel: Any, bound: Any, orders: Any) -> executors.Ran:
        facts = {"seeds": [0, 2], "interleavings": 2, "interleavings_per_second": 1}
        bad = [{"seed": 1, "kind": "bits", "message": "out differs"}]
        return executors.Ran({}, Heard(), {**facts, "differences": bad})

    monkeypatch.setattr(executors, "SEVERAL", {"adversarial": wrong})
    given, _ = called("gemm")
    with pytest.raises(OrdersDiffer, match="seed 1: out differs"):
        gemm.lower().run(**given, executor="adversarial", seeds=2)


def test_tuned() -> None:
    found = times.lower().tune()
    assert isinstance(found, Tuned)
    assert found.proof.ok
    assert "chosen: " in found.report()
    assert "all: --top all" in found.report(1) and "--top all" not in found.report()


def test_a_card() -> None:
    """Verdict, time and bound, and the picture below; of what fails, the failure."""
    shown = paged_attention.lower()._repr_html_()
    for word in ("proven for every trip count", "makespan", "bound", "<img"):
        assert word in shown
    assert "proven" in repr_pretty(gemm.lower())


def repr_pretty(x: Any) -> str:
    class Printer:
        text_ = ""

        def text(self, more: str) -> None:
            self.text_ += more

    printer = Printer()
    x._repr_pretty_(printer, False)
    return printer.text_


def test_mistakes_are_told_at_the_users_line() -> None:
    k = gemm.lower()
    wrong = {
        "no stage is called 'foo'": lambda: k.show("foo"),
        "gemm has no parameter 'lookahed'": lambda: gemm.lower(lookahed=1),
        "no schedule is called 'bst'": lambda: gemm.lower(schedule="bst"),
        "no source is called 'x.cpp'": lambda: k.source("x.cpp"),
        "no executor is called 'cuda'": lambda: k.run(**called("gemm")[0], executor="cuda"),
        "executor numpy runs in one order": lambda: k.run(
            **called("gemm")[0], executor="numpy", seeds=3
        ),
        "gemm needs array b": lambda: k.run(called("gemm")[0]["a"]),
    }
    for message, call in wrong.items():
        with pytest.raises(pto.PtoError, match=message) as told:
            call()
        assert told.value.loc is not None
        assert told.value.loc.file == __file__


def test_files_are_all_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises((InputError, OSError)):
        gemm.lower().emit(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]
