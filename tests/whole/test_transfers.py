"""Every form of view into every memory: what is accepted is emitted and computes, the rest is refused
at its line.

A kernel takes a view of ``x`` through one core and stores it to the same view of ``out``.  Here the
scheduled program runs in numpy, and one kernel of many columns as C++; ``make sweep`` runs all of
them as C++ and in JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pto
from lowering import jax_executor, native
from lowering.ascend import emit
from lowering.execute import inputs, scheduled, sequential
from lowering.native import build
from lowering.schedule import schedule
from pto.errors import InputError, PtoError, ScheduleError
from tests.lenient import resting_on

ITEMS = 3
DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i32": np.int32}


@dataclass(frozen=True)
class Form:
    """A view of the tensor of one work item, and the sizes of that tensor; ``count`` is read from data."""

    shape: tuple[int | str, ...]
    view: Callable[[Any, Any, Any], Any]
    dims: tuple[tuple[str, int], ...] = ()


VECTOR = {
    "rows": Form((32, 64), lambda t, i, n: t[i, :, :]),
    "rows inside": Form((40, 80), lambda t, i, n: t[i, 3:35, 16:48]),
    "some rows": Form((40, 64), lambda t, i, n: t[i, pto.ds(4, 32, valid=n), :]),
    "some columns": Form((32, 70), lambda t, i, n: t[i, :, pto.ds(6, 64, valid=n)]),
    "some of both": Form((40, 70), lambda t, i, n: t[i, pto.ds(0, 32, valid=n), pto.ds(6, 64, valid=n)]),
    "few of both": Form((32, 70), lambda t, i, n: t[i, pto.ds(0, 32, valid=9), pto.ds(6, 64, valid=n)]),
    "few columns": Form((32, 70), lambda t, i, n: t[i, :, pto.ds(6, 64, valid=40)]),
    "no neighbours of rows": Form((32, 5, 64), lambda t, i, n: t[i, :, 2, :]),
    "rows of a symbolic size": Form((32, "m"), lambda t, i, n: t[i, :, 16:48], (("m", 50),)),
    "column": Form((64, 1), lambda t, i, n: t[i, :, :]),
    "some of a column": Form((70, 1), lambda t, i, n: t[i, pto.ds(5, 64, valid=n), :]),
    "column with one behind": Form((64, 1, 1), lambda t, i, n: t[i, :, 0:1, 0]),
    "column, if it exists": Form((64, 1), lambda t, i, n: t[i, :, pto.ds(0, 1, valid=n)]),
    "column of a wider": Form((64, 48), lambda t, i, n: t[i, :, 5:6]),
    "last column of a wider": Form((64, 3), lambda t, i, n: t[i, :, 2:3]),
    "some of a column of a wider": Form((70, 9), lambda t, i, n: t[i, pto.ds(5, 64, valid=n), 5:6]),
    "column of a wider, if it exists": Form((64, 9), lambda t, i, n: t[i, :, pto.ds(5, 1, valid=n)]),
    "column in the middle": Form((64, 4, 10), lambda t, i, n: t[i, :, 3:4, 7]),
    "column of a symbolic size": Form((64, "m"), lambda t, i, n: t[i, :, 5:6], (("m", 7),)),
    "row whose elements lie apart": Form((32, 10), lambda t, i, n: t[i, :, 3]),
    "some of a row whose elements lie apart": Form((70, 9, 5), lambda t, i, n: t[i, pto.ds(5, 64, valid=n), 2, n % 5]),
    "column at a place from data": Form((64, 70), lambda t, i, n: t[i, :, pto.ds(n, 1)]),
    "every second row": Form((64, 64), lambda t, i, n: t[i, 1:64:2, :]),
    "some of every third row": Form((100, 64), lambda t, i, n: t[i, pto.ds(4, 32, valid=n, step=3), :]),
    "every fifth row of a symbolic size": Form((170, "m"), lambda t, i, n: t[i, 7:167:5, 16:48], (("m", 50),)),
    "column of every second row": Form((64, 9), lambda t, i, n: t[i, ::2, 5:6]),
    "every second of a row whose elements lie apart": Form((70, 9), lambda t, i, n: t[i, pto.ds(4, 32, valid=n, step=2), 3]),
    "rows of pages": Form((4, 24, 64), lambda t, i, n: t[i, :, 3:11, :].reshape(32, 64)),
    "rows of some pages": Form((6, 16, 64), lambda t, i, n: t[i, pto.ds(1, 4, valid=n), 2:10, :].reshape(32, 64)),
    "every second row of pages": Form((4, 24, "m"), lambda t, i, n: t[i, :, 3:19:2, 16:48].reshape(32, 32), (("m", 50),)),
    "rows of three pages": Form((3, 24, 64), lambda t, i, n: t[i, :, 3:19, :].reshape(48, 64)),
    "rows of whole pages": Form((4, 8, 64), lambda t, i, n: t[i, :, :, :].reshape(32, 64)),
    "columns of three heads": Form((40, 3, 16), lambda t, i, n: t[i, pto.ds(2, 32, valid=n), :, :].reshape(32, 48)),
    "columns of some heads": Form((32, 5, 16), lambda t, i, n: t[i, :, pto.ds(1, 4, valid=n), :].reshape(32, 64)),
}  # fmt: skip
"""Views of a tile of the vector core."""

CUBE = {
    "rows": Form((32, 64), lambda t, i, n: t[i, :, :]),
    "some rows": Form((40, 64), lambda t, i, n: t[i, pto.ds(4, 32, valid=n), :]),
    "some columns": Form((32, 70), lambda t, i, n: t[i, :, pto.ds(6, 64, valid=n)]),
    "some of both": Form((40, 70), lambda t, i, n: t[i, pto.ds(0, 32, valid=n), pto.ds(6, 64, valid=n)]),
    "few of both": Form((32, 70), lambda t, i, n: t[i, pto.ds(0, 32, valid=9), pto.ds(6, 64, valid=n)]),
    "few columns": Form((32, 70), lambda t, i, n: t[i, :, pto.ds(6, 64, valid=40)]),
    "no neighbours of rows": Form((32, 5, 64), lambda t, i, n: t[i, :, 2, :]),
    "rows of a symbolic size": Form((32, "m"), lambda t, i, n: t[i, :, 16:48], (("m", 50),)),
    "every second row": Form((64, 64), lambda t, i, n: t[i, 1:64:2, :]),
    "some of every third row": Form((100, 64), lambda t, i, n: t[i, pto.ds(4, 32, valid=n, step=3), :]),
    "rows of pages": Form((2, 20, 64), lambda t, i, n: t[i, :, 2:18, :].reshape(32, 64)),
    "rows of some pages": Form((4, 20, 64), lambda t, i, n: t[i, pto.ds(1, 2, valid=n), 2:18, :].reshape(32, 64)),
    "few rows of pages": Form((4, 10, 64), lambda t, i, n: t[i, :, 1:9, :].reshape(32, 64)),
    "few rows of some pages": Form((6, 10, 64), lambda t, i, n: t[i, pto.ds(2, 4, valid=n), 1:9, :].reshape(32, 64)),
    "columns of heads": Form((32, 5, 16), lambda t, i, n: t[i, :, 1:5, :].reshape(32, 64)),
}  # fmt: skip
"""Views of an operand of the cube core."""

REFUSED = {
    "rows whose elements lie apart": Form((16, 32, 10), lambda t, i, n: t[i, :, :, 3]),
    "rows before a symbolic size": Form((16, 32, "m"), lambda t, i, n: t[i, :, :, 0], (("m", 1),)),
    "every second column": Form((16, 64), lambda t, i, n: t[i, :, ::2]),
}


def typed(form: Form, dtype: str) -> str:
    return f"{dtype}[{', '.join(map(str, ('n', *form.shape)))}]"


def twice(tile: Any) -> Any:
    if tile.dtype == "bf16":
        return (tile.astype("f32") * 2.0).astype("bf16")
    return tile * (2 if tile.dtype == "i32" else 2.0)


def vector_kernel(form: Form, dtype: str) -> pto.Kernel:
    @pto.kernel(grid="n", x=typed(form, dtype), count="i32[n]", out=typed(form, dtype))
    def moved(x: Any, count: Any, out: Any) -> None:
        i = pto.program_id(0)
        tile = pto.load(form.view(x, i, count[i]))
        pto.store(form.view(out, i, count[i]), twice(tile))

    return moved


def cube_kernel(form: Form, dtype: str, side: str, out_dtype: str) -> pto.Kernel:
    """``x @ x.T`` (left and transposed right), or a square of it as the right operand."""

    @pto.kernel(
        grid="n", x=typed(form, dtype), w=f"{dtype}[16, 32]", count="i32[n]", out="kind[n, 40, 70]",
        static=dict(kind=out_dtype),
    )  # fmt: skip
    def multiplied(x: Any, w: Any, count: Any, out: Any) -> None:
        i = pto.program_id(0)
        tile = pto.load(form.view(x, i, count[i]))
        product = tile @ tile.T if side == "left" else pto.load(w[:, :]) @ tile
        rows, cols = product.shape
        few = pto.ds(1, rows, valid=count[i]), pto.ds(2, cols, valid=count[i])
        made = product if out_dtype == "f32" else (product * 0.5).astype(out_dtype)
        pto.store(out[i, few[0], few[1]], made)

    return multiplied


def arrays_of(kernel: pto.Kernel, form: Form, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shape = (ITEMS, *(dict(form.dims).get(str(d), d) for d in form.shape))
    x = rng.integers(-8, 9, shape) if dtype == "i32" else rng.standard_normal(shape)
    found: dict[str, Any] = {"x": x, "count": np.array([17, 0, 64], np.int32)}
    if "w" in kernel.signature:
        found["w"] = rng.standard_normal((16, 32)).astype(DTYPES[dtype])
    return found | {"x": x.astype(DTYPES[dtype])}


CASES = {
    **{f"{name}, {t}": (vector_kernel(f, t), f, t) for name, f in VECTOR.items() for t in DTYPES},
    **{
        f"{name}, {t} as {side} into {kind}": (cube_kernel(f, t, side, kind), f, t)
        for name, f in CUBE.items()
        for t, kind in (("f32", "f32"), ("f16", "bf16"), ("bf16", "f16"))
        for side in ("left", "right")
    },
}


@pytest.mark.parametrize("case", list(CASES)[::3])
def test_what_is_accepted_is_emitted_and_computes(case: str) -> None:
    kernel, form, dtype = CASES[case]
    traced = kernel.trace()
    program = schedule(traced).kernel
    assert pto.parse(pto.print_kernel(traced)) == traced
    bound = inputs.bind(traced, arrays_of(kernel, form, dtype))
    want, got = sequential.run(traced, bound), scheduled.run(program, bound, block_num=2)
    assert got["out"].tobytes() == want["out"].tobytes()
    assert sorted(emit(program)) == sorted(
        [f"{kernel.name}{end}" for end in (".cpp", "_orchestration.cpp", ".ptoir")]
        + ["manifest.json"]
    )


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_transfer_can_move_is_refused_at_its_line(case: str) -> None:
    with pytest.raises(PtoError) as caught:
        vector_kernel(REFUSED[case], "f32").trace()
    assert caught.value.loc is not None
    assert caught.value.loc.file == __file__
    assert "do not lie side by side" in caught.value.message


def same_in_cpp(kernel: pto.Kernel, arrays: dict[str, Any]) -> None:
    traced = kernel.trace()
    program = schedule(traced).kernel
    bound = inputs.bind(program, arrays)
    want = sequential.run(traced, inputs.bind(traced, arrays))
    result = native.run(program, bound, seeds=range(4), block_num=2, assume=resting_on(program))
    assert result.good, result.reports
    for name, array in want.items():
        assert np.allclose(
            result.outputs[name].astype(np.float64),
            array.astype(np.float64),
            1e-5,
            1e-5,
            equal_nan=True,
        ), name


def has_compiler() -> bool:
    try:
        return bool(build.compiler())
    except InputError:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++20 compiler")


@pto.kernel(
    grid="cdiv(rows, 64)",
    x="f32[rows, 3]",
    scale="f32[rows, 1]",
    half="f16[rows, 5]",
    narrow="bf16[rows, 40]",
    number="i32[rows, 9]",
    out="f32[rows, 3]",
    alone="f32[rows, 1]",
    small="f16[rows, 2]",
    marks="bf16[rows, 4]",
    count="i32[rows, 2]",
)
def columns(
    x: Any, scale: Any, half: Any, narrow: Any, number: Any,
    out: Any, alone: Any, small: Any, marks: Any, count: Any,
) -> None:  # fmt: skip
    """Columns of every type, some of their rows missing."""
    first = pto.program_id(0) * 64
    here = pto.ds(first, 64, valid=x.shape[0] - first)
    s = pto.load(scale[here, :])
    pto.store(out[here, 1:2], pto.load(x[here, 2:3]) * s)
    pto.store(alone[here, :], s + 1.0)
    pto.store(small[here, 1:2], pto.load(half[here, 4:5]) * 2.0)
    pto.store(marks[here, 3:4], pto.load(narrow[here, 7:8]))
    pto.store(count[here, 0:1], pto.load(number[here, 8:9]) + 3)


@pytest.mark.sweep
@needs_compiler
def test_columns_of_every_type_as_cpp() -> None:
    rng = np.random.default_rng(1)
    shapes = {"x": 3, "scale": 1, "half": 5, "narrow": 40, "number": 9}
    types = {"half": np.float16, "narrow": ml_dtypes.bfloat16, "number": np.int32}
    arrays = {
        n: (rng.standard_normal((150, cols)) * 9).astype(types.get(n, np.float32))
        for n, cols in shapes.items()
    }
    same_in_cpp(columns, arrays)


def same_in_jax(kernel: pto.Kernel, arrays: dict[str, Any]) -> None:
    traced = kernel.trace()
    program = schedule(traced).kernel
    want = sequential.run(traced, inputs.bind(traced, arrays))["out"].astype(np.float64)
    got = jax_executor.run(program, inputs.bind(program, arrays))["out"].astype(np.float64)
    error = 1e-5 if kernel.signature["out"].startswith("f32") else 1e-2
    assert np.allclose(got, want, error, error, equal_nan=True)


@pytest.mark.parametrize("case", ["some columns, f32", "column of a wider, bf16"])
def test_views_in_jax(case: str) -> None:
    kernel, form, dtype = CASES[case]
    same_in_jax(kernel, arrays_of(kernel, form, dtype))


def test_rows_that_a_padding_keeps_of_each_lane_are_refused_in_jax() -> None:
    kernel, form, dtype = CASES["some columns, f32"]
    program = schedule(kernel.trace()).kernel
    text = pto.print_kernel(program).replace(", 32, count_item", ", 7, count_item")
    assert text != pto.print_kernel(program)
    with pytest.raises(ScheduleError, match="kept of the two lanes do not follow each other"):
        jax_executor.run(pto.parse(text), arrays_of(kernel, form, dtype))


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES)
def test_every_view_in_jax(case: str) -> None:
    kernel, form, dtype = CASES[case]
    same_in_jax(kernel, arrays_of(kernel, form, dtype))


@pytest.mark.sweep
@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_every_view_as_cpp(case: str) -> None:
    kernel, form, dtype = CASES[case]
    same_in_cpp(kernel, arrays_of(kernel, form, dtype))
