"""What a strict type checker says of a user's file: nothing of a right one, and where a wrong one errs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests import ROOT

MISTAKES = """
import math
from typing import Any

import numpy as np
import pto
from pto import Scalar, Tensor, Tile

Two = tuple[Tile, Tile]


@pto.kernel  # MISTAKE arg-type
def bare(x: Tensor, out: Tensor) -> None: ...


@pto.kernel(grid="n", x=3)  # MISTAKE arg-type
def no_text(x: Tensor) -> None: ...


@pto.kernel(grid="n", x="f32[n, 32, 64]", out="f32[n, 32, 64]")  # MISTAKE arg-type
def returns(x: Tensor, out: Tensor) -> Tile:
    return pto.load(x[pto.program_id(0), :, :])


@pto.kernel(grid="n", x="f32[n, 32, 64]", out="f32[n, 32, 64]", static=dict(k=4))
def kernel(x: Tensor, out: Tensor, *, k: int) -> None:
    b = pto.program_id(0)
    t = pto.load(x[b, :, :])
    pto.load(t)  # MISTAKE arg-type
    pto.exp(3.0)  # MISTAKE arg-type
    pto.row_summ(t)  # MISTAKE attr-defined
    t.shap  # MISTAKE attr-defined
    t[0]  # MISTAKE index
    t.sum()  # MISTAKE attr-defined
    for _ in t:  # MISTAKE attr-defined
        pass
    t + "1"  # MISTAKE operator
    t @ 2  # MISTAKE operator
    int(b)  # MISTAKE call-overload
    range(b)  # MISTAKE call-overload
    pto.ds(0, 1.5)  # MISTAKE arg-type
    pto.where(t, t, 0.0)  # MISTAKE arg-type
    pto.where(pto.iota(1) < k, t, x)  # MISTAKE arg-type
    pto.iota(1) < 1.5  # MISTAKE operator
    t & 1.5  # MISTAKE operator
    pto.store(t, out[b, :, :])  # MISTAKE arg-type arg-type
    n: int = x.shape[0]  # MISTAKE assignment
    pto.cdiv(b, 1.5)  # MISTAKE call-overload

    def step(i: Scalar, carry: Two) -> Two:
        return carry[0], carry[1] * 2

    def loses(i: Scalar, carry: Two) -> Tile:
        return carry[0]

    def alone(i: Scalar) -> None: ...

    pto.fori_loop(0, k, loses, (t, t))  # MISTAKE arg-type
    pto.fori_loop(0, k, step, 0.0)  # MISTAKE call-overload
    pto.fori_loop(0, k, step)  # MISTAKE arg-type
    pto.fori_loop(0, k, alone, t)  # MISTAKE arg-type
    a, c, d = pto.fori_loop(0, k, step, (t, t))  # MISTAKE misc


@kernel.case  # MISTAKE type-var
def draw(rng: np.random.Generator, *, n: int = 2) -> list[Any]:
    return [rng.standard_normal((n, 32, 64))]


@kernel.reference  # MISTAKE type-var
def oracle(x: Any) -> None: ...


kernel.trace(k=[4])  # MISTAKE arg-type
"""

RIGHT = """
import math
from typing import Any

import pto
from pto import Scalar, Tensor, Tile


@pto.kernel(
    grid="n", x="f32[n, 64, dim]", lens="i32[n]", scale="f32", out="f32[n, 16, dim]",
    static=dict(dim=64, mode="sum"),
)
def kernel(x: Tensor, lens: Tensor, scale: Scalar, out: Tensor, *, mode: str) -> None:
    b, dim = pto.program_id(0), x.shape[2]
    count = pto.minimum(lens[b], 64)
    whole = pto.load(x[b, pto.ds(0, 16, valid=count), :]) * scale

    def step(i: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        m, acc = carry
        t = pto.load(x[b, pto.ds(i * 16, 16, valid=count - i * 16), :])
        return pto.maximum(m, pto.row_max(t)), 1.0 - acc / 2 + t

    start = pto.full((16, 1), -math.inf), pto.zeros((16, dim))
    m, acc = pto.fori_loop(0, pto.cdiv(count, 16), step, start)

    def once(i: Scalar, t: Tile) -> Tile:
        return -t

    if mode == "sum":
        acc = pto.fori_loop(0, 2, once, acc + whole) * pto.maximum(scale, 0.5)
    pto.store(out[b, ...], pto.where((pto.iota(1) < count) & (acc > m) | (acc != 0), acc - m, m))


@kernel.case
def draw(rng: Any, *, n: int = 2) -> dict[str, Any]:
    return {"x": rng.standard_normal((n, 64, 64)), "lens": [3] * n, "scale": 1.0}
"""

REPORT = re.compile(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]$")


def checked(folder: Path, **texts: str) -> set[tuple[str, int, str]]:
    """(file, line, code) of all that mypy --strict finds."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    files = [str(folder / f"{name}.py") for name in texts]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache"), "--python-version", "3.11"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *cache, *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    lines = [line for line in done.stdout.splitlines() if ": note:" not in line]
    found = [REPORT.search(line) for line in lines]
    assert all(found), done.stdout
    return {(m[1], int(m[2]), m[3]) for m in found if m}


def test_a_right_file_passes_and_mistakes_are_found(tmp_path: Path) -> None:
    """Also the typed file of the guides; the shipped kernels are part of `make lint`."""
    guide = (ROOT / "docs" / "guides" / "kernel.md").read_text()
    (softmax,) = re.findall(r"```python\n(# softmax.*?)```", guide, re.S)
    found = checked(tmp_path, softmax=softmax, right=RIGHT, mistakes=MISTAKES)
    told = {
        ("mistakes.py", number, code)
        for number, line in enumerate(MISTAKES.splitlines(), 1)
        for code in line.partition("# MISTAKE")[2].split()
    }
    assert found == told


def test_the_package_says_that_it_is_typed() -> None:
    assert all((ROOT / package / "py.typed").exists() for package in ("pto", "lowering"))
