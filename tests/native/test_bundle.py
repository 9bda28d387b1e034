"""The folder for the runtime's scene tests: its files, its data, and that its module can fail.

The runtime itself runs it where ``SIMPLER_PYTHON`` names a Python that has the runtime and torch;
elsewhere the module runs on stand-ins for the few names of both that it uses.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from lowering.ascend import emit
from lowering.cli import GOOD, USAGE, main
from lowering.execute import cases
from lowering.execute.inputs import bind
from lowering.native.bundle import bundle
from lowering.schedule import schedule
from pto.kernels import SHIPPED

Golden = Callable[[str, str], None]


def bundle_of(name: str, *options: str, **statics: Any) -> dict[str, bytes]:
    traced = SHIPPED[name].trace(**statics)
    return bundle(SHIPPED[name], traced, schedule(traced).kernel, options)


@pytest.fixture(scope="module")
def attention() -> dict[str, bytes]:
    return bundle_of("paged_attention", "batch=3,context=200", "seed=5")


# ------------------------------------------------------------------------------------- files


def test_whole_files(attention: dict[str, bytes], golden: Golden) -> None:
    texts = {n: data for n, data in attention.items() if not n.endswith(".npz")}
    assert sorted(set(attention) - set(texts)) == ["cases/seed5.npz", "cases/seed6.npz"]
    for name, data in texts.items():
        golden(f"emit/bundle/{name}.txt", data.decode())


@pytest.mark.parametrize(("name", "folder"), [("gemm", "mix"), ("rmsnorm", "aiv")])
def test_sources_are_what_emit_writes(name: str, folder: str) -> None:
    files = bundle_of(name)
    texts = emit(schedule(SHIPPED[name].trace()).kernel)
    assert files[f"kernels/{folder}/{name}.cpp"].decode() == texts[f"{name}.cpp"]
    cores = [
        n for n in ast.walk(ast.parse(files[f"test_{name}.py"])) if isinstance(n, ast.Constant)
    ]
    assert [c.value for c in cores if c.value in ("aic", "aiv")] == (
        ["aic", "aiv"] if folder == "mix" else ["aiv"]
    )


def test_equal_arguments_give_equal_files(attention: dict[str, bytes]) -> None:
    assert bundle_of("paged_attention", "batch=3,context=200", "seed=5") == attention
    assert bundle_of("paged_attention", "batch=3,context=200") != attention


def test_a_case_is_the_case_of_pto_run(attention: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "case.npz").write_bytes(attention["cases/seed6.npz"])
    held = cases.read_inputs(tmp_path / "case.npz")
    kernel = SHIPPED["paged_attention"]
    traced = kernel.trace()
    drawn = cases.draw(kernel, traced, ["batch=3,context=200,seed=6"])
    assert set(held) == {*drawn, "out.want", "out.limit"}
    for name, array in drawn.items():
        bits = held[name].view(ml_dtypes.bfloat16) if held[name].dtype == np.uint16 else held[name]
        assert bits.tobytes() == np.asarray(array).tobytes()
    assert np.array_equal(
        held["out.want"], cases.expected(kernel, traced, bind(traced, drawn))["out"]
    )
    assert held["out.limit"].shape == bind(traced, drawn).arrays["out"].shape
    assert 0 < held["out.limit"].max() < 1e-2


def test_the_module_needs_nothing_of_this_project(attention: dict[str, bytes]) -> None:
    found = set()
    for node in ast.walk(ast.parse(attention["test_paged_attention.py"])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    assert found == {
        *("ctypes", "pathlib", "numpy", "torch"),
        *("simpler.task_interface", "simpler_setup"),
    }


# ------------------------------------------------------------------------- the module, executed


class Tensor:
    """The little of a torch tensor that the module uses."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def view(self, dtype: Any) -> Tensor:
        return Tensor(self.array.view(dtype.held))

    def copy_(self, other: Tensor) -> None:
        self.array[...] = other.array

    def double(self) -> Tensor:
        return Tensor(self.array.astype(np.float64))

    def numpy(self) -> Any:
        return self.array


class Arguments:
    def __init__(self, *specs: Any) -> None:
        self.specs = specs
        self.__dict__ |= {s.name: s.value for s in specs}


def dtype(held: Any) -> SimpleNamespace:
    return SimpleNamespace(held=np.dtype(held), is_floating_point=np.dtype(held).kind != "i")


def stand_ins() -> dict[str, ModuleType]:
    """Modules by name, with what the emitted module imports."""

    def module(name: str, **names: Any) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(names)
        return made

    def full(shape: Any, value: Any, dtype: Any) -> Tensor:
        return Tensor(np.full(shape, value, dtype.held))

    def named(name: str, value: Any) -> SimpleNamespace:
        return SimpleNamespace(name=name, value=value)

    types = {"float32": "f4", "float16": "f2", "bfloat16": ml_dtypes.bfloat16, "int32": "i4"}
    return {
        "torch": module(
            "torch", from_numpy=Tensor, full=full, **{n: dtype(t) for n, t in types.items()}
        ),
        "simpler.task_interface": module(
            "simpler.task_interface",
            ArgDirection=SimpleNamespace(IN="in", OUT="out", INOUT="inout"),
        ),
        "simpler": module("simpler"),
        "simpler_setup": module(
            "simpler_setup",
            Scalar=named,
            TensorArg=named,
            TaskArgsBuilder=Arguments,
            SceneTestCase=object,
            scene_test=lambda level, runtime: lambda case: case,
        ),
    }


@pytest.fixture
def scene(
    attention: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the emitted module defines, its files in place."""
    for name, data in attention.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for name, module in stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    file = tmp_path / "test_paged_attention.py"
    names: dict[str, Any] = {"__name__": "emitted", "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names


def test_arguments_come_in_the_order_of_the_orchestration(
    scene: dict[str, Any], attention: dict[str, bytes], tmp_path: Path
) -> None:
    test = scene["TestPagedAttention"]()
    args = test.generate_args(test.CASES[0]["params"])
    source = attention["kernels/orchestration/paged_attention_orchestration.cpp"].decode()
    host = [s.name for s in args.specs]
    for k, name in enumerate(host[:-1]):
        assert f"const ChipTensor &{name} = orch_args.tensor({k}).ref();" in source
    assert f"orch_args.scalar(0));  // {host[-1]}" in source
    assert f".expected_arg_count = {len(host)}" in source
    drawn = cases.draw(
        SHIPPED["paged_attention"],
        SHIPPED["paged_attention"].trace(),
        ["batch=3,context=200,seed=5"],
    )
    assert args.key_cache.array.tobytes() == drawn["key_cache"].tobytes()
    assert args.key_cache.array.dtype == ml_dtypes.bfloat16
    assert args.scale.value == pytest.approx(float(drawn["scale"]))
    assert np.isnan(args.out.array).all()
    for unit in test.CALLABLE["incores"]:
        assert (tmp_path / unit["source"]).is_file()
        assert unit["signature"] == ["in"] * 5 + ["out"] * 4


def test_a_wrong_output_is_told(scene: dict[str, Any]) -> None:
    test = scene["TestPagedAttention"]()
    params = test.CASES[1]["params"]
    args, golden = test.generate_args(params), test.generate_args(params)
    with pytest.raises(AssertionError, match="6144 of 6144 elements of out are wrong"):
        test.compare_outputs(args, golden, ["out"], params)
    test.compute_golden(args, params)
    test.compare_outputs(args, golden, ["out"], params)
    args.out.array[1, 2, 3] += 1
    with pytest.raises(AssertionError) as caught:
        test.compare_outputs(args, golden, ["out"], params)
    assert str(caught.value).startswith("1 of 6144 elements of out are wrong; out[1, 2, 3] is ")


# ------------------------------------------------------------------------------- the command

MESSAGES = {
    "bundle_of_text": ("emit", "done.ptoir", "--bundle", "simpler", "-o", "made"),
    "bundle_without_case": ("emit", "mine.py", "--bundle", "simpler", "-o", "made"),
    "bundle_keeps_name": ("emit", "kept.py", "--bundle", "simpler", "-o", "made"),
    "bundle_unknown": ("emit", "gemm", "--bundle", "simple", "-o", "made"),
    "bundle_seed": ("emit", "gemm", "--bundle", "simpler", "--case", "seed=x", "-o", "made"),
    "case_without_bundle": ("emit", "gemm", "--case", "m=3", "-o", "made"),
}

COPY = """
import pto

@pto.kernel(grid="1", {x}="f32[16, 64]", out="f32[16, 64]")
def copy({x}, out):
    pto.store(out[:, :], pto.load({x}[:, :]))
"""
CASE = """
@copy.case
def draw(rng):
    return {"clone": rng.standard_normal((16, 64))}
"""


@pytest.mark.parametrize("name", list(MESSAGES))
def test_a_mistake_gives_one_message_and_no_file(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    golden: Golden,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(COPY.format(x="x"))
    Path("kept.py").write_text(COPY.format(x="clone") + CASE)
    main(("show", "rmsnorm"))
    Path("done.ptoir").write_text(capsys.readouterr().out)
    try:
        status = main(MESSAGES[name])
    except SystemExit as stop:
        status = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (status, out) == (USAGE, "")
    assert not Path("made").exists()
    golden(f"cli/errors/{name}.txt", err.replace(f"{tmp_path}/", ""))


PYTHON = os.environ.get("SIMPLER_PYTHON", "")


@pytest.mark.skipif(
    not PYTHON, reason="set SIMPLER_PYTHON to a Python with the runtime (simpler) and torch"
)
@pytest.mark.parametrize("name", list(SHIPPED))
def test_the_runtime_runs_it(name: str, tmp_path: Path) -> None:
    """On the runtime's own simulator, with the files as written and with a wrong kernel."""
    assert main(("emit", name, "--bundle", "simpler", "-o", str(tmp_path))) == GOOD

    def told() -> tuple[int, list[str]]:
        command = [PYTHON, str(tmp_path / f"test_{name}.py"), "-p", "a2a3sim"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        lines = [x for x in done.stdout.splitlines() if "PASSED" in x or "FAILED" in x]
        return done.returncode, [x.split()[1].rstrip(":") for x in lines]

    assert told() == (0, ["PASSED", "PASSED"])
    (kernel,) = tmp_path.glob(f"kernels/*/{name}.cpp")
    text = kernel.read_text()
    assert "= get_block_idx(args);" in text
    kernel.write_text(text.replace("= get_block_idx(args);", "= get_block_idx(args) + 1;"))
    status, verdicts = told()
    assert status != 0 and "FAILED" in verdicts
