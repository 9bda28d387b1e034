"""The language: what a kernel may say, how its values are named, and what it is told when wrong.

Every file in ``wrong_kernels`` is one mistake; its whole message is a golden.
"""

from __future__ import annotations

import importlib.util
import linecache
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pto
from lowering.schedule import schedule
from pto import ir, tracer
from pto.errors import PtoError, TraceError
from tests import ROOT, TESTS
from tests.conftest import Golden

WRONG = sorted(p.stem for p in (TESTS / "wrong_kernels").glob("*.py"))


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wrong_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mistake(name: str) -> PtoError:
    """The error that the wrong kernel ``name`` gives."""
    path = TESTS / "wrong_kernels" / f"{name}.py"
    with pytest.raises(PtoError) as caught:
        schedule(imported(path).kernel.trace())
    return caught.value


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernel(name: str, golden: Golden) -> None:
    error = mistake(name)
    message = f"{type(error).__name__}: {error}\n".replace(f"{ROOT}/", "")
    golden(f"errors/{name}.txt", message)


@pytest.mark.parametrize("name", WRONG)
def test_the_traceback_ends_at_the_line_of_the_user(name: str) -> None:
    error = mistake(name)
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert error.loc is not None
    assert error.loc.file == str(TESTS / "wrong_kernels" / f"{name}.py")
    assert (last.filename, last.lineno) == (error.loc.file, error.loc.line)


def test_the_traceback_shows_no_frame_of_the_language_behind_the_user() -> None:
    """trace -> the kernel -> the loop -> its body; nothing of what found the mistake."""
    error = mistake("store_in_loop")
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-3:] == ["kernel", "fori_loop", "body"] or names[-1] == "body"
    assert "fail" not in names
    assert "store" not in names


# ------------------------------------------------------------------------------------------- names


def names_of(function: Callable[..., None], **options: Any) -> list[str]:
    """Names of the values in a kernel of one input ``x`` and one output ``out``."""
    signature = dict(x="f32[items, 16, 64]", n="i32[items]", out="f32[items, 16, 64]")
    traced = pto.kernel(grid="items", **signature, **options)(function).trace()
    return [
        r.out.name for r in ir.all_rows(traced.body) if isinstance(r.out, ir.Define | ir.Scalar)
    ]


def test_names_follow_the_variables() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        first, second = pto.load(x[b, :, :]), pto.load(x[b, :, :])
        y = first + second
        y = y * 2.0
        y += first
        z = y if y.dtype == "f32" else y.astype("f32")
        (w := z * 0.5)
        typed: pto.Tile = w + 1.0
        several = [typed * float(k) for k in range(2)]
        total = pto.exp(
            several[0]
            + several[1]
        )  # fmt: skip
        pto.store(out[b, :, :], total * pto.row_max(total))

    assert names_of(kernel) == [
        "b", "first", "second", "y", "y_2", "y_3", "w", "typed",
        "several", "several_2", "total_add", "total", "row_max", "mul",
    ]  # fmt: skip


def test_names_of_helpers_come_from_the_caller() -> None:
    def softened(tile):
        return pto.exp(tile) * 0.5

    def both(tile):
        return tile + 1.0, softened(tile)

    def kernel(x, n, out):
        b = pto.program_id(0)
        soft = softened(pto.load(x[b, :, :]))
        up, down = both(soft)
        pto.store(out[b, :, :], up * down)

    assert names_of(kernel) == ["b", "x_tile", "soft_exp", "soft", "up", "down_exp", "down", "mul"]


def test_names_of_loops() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        start = pto.zeros((16, 64)), pto.zeros((16, 1))

        def body(page, carry):
            acc, peak = carry
            tile = pto.load(x[page, :, :])
            return acc + tile, pto.maximum(peak, pto.row_max(tile))

        acc, peak = pto.fori_loop(0, n[b], body, start)
        again = pto.fori_loop(0, n[b], lambda i, best: best * 0.5, acc)
        pto.store(out[b, :, :], again * peak)

    kernel = pto.kernel(
        grid="items", x="f32[items, 16, 64]", n="i32[items]", out="f32[items, 16, 64]"
    )(kernel)  # fmt: skip
    first, second = [node for node in kernel.trace().body if isinstance(node, ir.Loop)]
    assert first.index == "page"
    assert [(c.name, c.init.name, c.last) for c in first.carry] == [
        ("acc", "start_0", "acc_2"),
        ("peak", "start_1", "peak_2"),
    ]
    assert [r.name for r in first.result] == ["acc_next", "peak_next"]
    assert [(c.name, c.last) for c in second.carry] == [("best", "again")]
    assert [r.name for r in second.result] == ["best_next"]


def test_words_of_the_text_form_and_other_alphabets_are_no_names() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        wait = pto.load(x[b, :, :])
        vector = wait * 2.0
        α = vector * 2.0
        V = α * 2.0
        f32 = V.astype("bf16").astype("f32")
        pto.store(out[b, :, :], f32)

    assert names_of(kernel) == ["b", "wait_2", "vector_2", "u3b1", "V", "f32_astype", "f32"]
    signature = dict(x="f32[items, 16, 64]", n="i32[items]", out="f32[items, 16, 64]")
    traced = pto.kernel(grid="items", **signature)(kernel).trace()
    assert pto.parse(pto.print_kernel(traced)) == traced


SOURCE = """
import pto

@pto.kernel(grid="items", x="f32[items, 16, 64]", out="f32[items, 16, 64]")
def double(x, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    if broken and tile:
        pass
    twice = tile * 2.0
    pto.store(out[b, :, :], twice)
"""


@pytest.mark.parametrize("has_source", [True, False])
def test_cells_and_prompts(has_source: bool) -> None:
    """A notebook registers its cells with linecache; a prompt has no source, so ops give names."""
    file = f"<cell {has_source}>"
    if has_source:
        linecache.cache[file] = (len(SOURCE), None, SOURCE.splitlines(keepends=True), file)
    space: dict[str, Any] = {"broken": False}
    exec(compile(SOURCE, file, "exec"), space)
    rows = [r for r in ir.all_rows(space["double"].trace().body) if isinstance(r.out, ir.Define)]
    found = [r.out.name for r in rows if isinstance(r.out, ir.Define)]
    assert found == (["tile", "twice"] if has_source else ["x_tile", "mul"])
    space["broken"] = True
    with pytest.raises(TraceError) as caught:
        space["double"].trace()
    assert f"{file}:8" in str(caught.value)
    assert ("^^^^" in str(caught.value)) == has_source


# ------------------------------------------------------------------------------------ what is legal


def traced(function: Callable[..., None], grid: str = "items") -> ir.Kernel:
    signature = dict(x="f32[items, 16, 64]", n="i32[items]", out="f32[items, 16, 64]")
    kernel = pto.kernel(grid=grid, **signature)(function).trace()
    assert pto.parse(pto.print_kernel(kernel)) == kernel
    return kernel


def test_loops_that_do_not_start_at_zero() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        acc = pto.zeros((16, 64))
        acc = pto.fori_loop(2, n[b], lambda i, t: t + pto.load(x[i, :, :]), acc)
        acc = pto.fori_loop(n[b], n[b] + 3, lambda i, t: t + pto.load(x[i, :, :]), acc)
        pto.store(out[b, :, :], acc)

    text = pto.print_kernel(traced(kernel))
    assert "for i in 0 .. max(n_item - 2, 0):" in text
    assert "load x[i + 2, :, :]" in text


def test_nested_loops_and_stores_in_loops() -> None:
    def kernel(x, n, out):
        def outer(i):
            def inner(j, t):
                return t + pto.load(x[j, :, :]) * i

            rows = pto.fori_loop(0, n[i], inner, pto.zeros((16, 64)))
            pto.store(out[i, :, :], rows)

        pto.fori_loop(0, n[0], outer)

    (loop,) = [node for node in traced(kernel, grid="1").body if isinstance(node, ir.Loop)]
    assert not loop.carry
    assert [type(node).__name__ for node in loop.body].count("Loop") == 1


def test_unrolled_loops_and_side_effects() -> None:
    seen = []

    def kernel(x, n, out):
        b = pto.program_id(0)
        for part in range(4):
            columns = slice(part * 16, part * 16 + 16)
            tile = pto.load(x[b, :, columns])
            seen.append(tile.name)
            pto.store(out[b, :, columns], tile * float(part))

    assert len([r for r in ir.all_rows(traced(kernel).body) if r.op == "store"]) == 4
    assert seen == ["tile", "tile_2", "tile_3", "tile_4"]


def test_numbers_of_numpy_are_numbers() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        tile = np.float32(0.5) * pto.load(x[b + np.int64(0), :, :])
        tile = np.float64(1.0) - tile / np.float32(3.0)
        pto.store(out[b, :, 0 : np.int32(64)], tile)

    text = pto.print_kernel(traced(kernel))
    assert "mul x_tile, 0.5" in text
    assert "add tile_mul, 1.0" in text


def test_static_slices_of_traced_starts() -> None:
    def kernel(x, n, out):
        i = pto.program_id(0)
        first = i * 16
        half = i // 2 * 16
        tile = pto.load(x[0, :, first : first + 16]) + pto.load(x[0, :, half : half + 16])
        pto.store(out[0, :, i * 16 : (i + 1) * 16], tile)

    text = pto.print_kernel(traced(kernel, grid="4"))
    assert "out[0, :, i * 16:+16] = store" in text and "load x[0, :, half:+16]" in text


@pytest.mark.parametrize(
    ("grid", "index"),
    [
        ("items, 4", lambda p, q: (p, pto.ds(q * 16, 16), slice(None))),
        ("items, 4", lambda p, q: (p * 4 + q, pto.ds(0, 16), slice(None))),
        ("items, 4", lambda p, q: (p // 2, pto.ds(p % 2 * 64 + q * 16, 16), slice(None))),
        ("items, 3", lambda p, q: (p, pto.ds(q * 16, 16, valid=40 - q * 16), slice(None))),
        ("items, cdiv(rows, 16)", lambda p, q: (p, pto.ds(q * 16, 16), slice(None))),
    ],
)
def test_stores_that_lie_apart(grid: str, index: Any) -> None:
    @pto.kernel(grid=grid, x="f32[items, rows, 64]", out="f32[items, rows, 64]")
    def kernel(x, out):
        at = index(pto.program_id(0), pto.program_id(1))
        pto.store(out[at], pto.zeros(pto.load(x[at]).shape))

    kernel.trace()


def test_a_table_index_counts_as_a_permutation() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        pto.store(out[n[b], :, :], pto.load(x[b, :, :]))

    traced(kernel)


def test_hasattr_is_false_not_an_error() -> None:
    def kernel(x, n, out):
        b = pto.program_id(0)
        tile = pto.load(x[b, :, :])
        assert not hasattr(tile, "device")
        assert not hasattr(pto, "no_such_function")
        pto.store(out[b, :, :], tile)

    traced(kernel)


def test_booleans_and_numbers_as_static_parameters() -> None:
    @pto.kernel(
        grid="items", x="f32[items, 16, 64]", out="f32[items, 16, 64]",
        static=dict(double=False, factor=2.0, mode="up"),
    )  # fmt: skip
    def kernel(x, out, *, double, factor, mode):
        b = pto.program_id(0)
        tile = pto.load(x[b, :, :])
        pto.store(out[b, :, :], tile * factor if double else tile)

    assert len(list(ir.all_rows(kernel.trace().body))) == 3
    other = kernel.trace(double=1, factor=3)
    assert other.statics == (("double", 1), ("factor", 3.0), ("mode", "up"))
    assert pto.parse(pto.print_kernel(other)) == other


def test_import_is_lean() -> None:
    code = (
        "import sys, pto, pto.kernels; "
        "bad = {'numpy', 'jax', 'difflib', 'lowering'} & set(sys.modules); "
        "print(sorted(bad)); sys.exit(bool(bad))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stdout


METHODS = "sum max min dot matmul transpose reshape exp".split()
"""What arrays of numpy can and tiles cannot."""


@pytest.mark.parametrize("name", METHODS)
def test_what_to_write_instead_of_a_method(name: str) -> None:
    @pto.kernel(grid="1", x="f32[16, 64]", out="f32[16, 64]")
    def used(x: pto.Tensor, out: pto.Tensor) -> None:
        getattr(pto.load(x[:, :]), name)

    with pytest.raises(TraceError) as caught:
        used.trace()
    assert caught.value.hint == tracer.METHODS[name]
