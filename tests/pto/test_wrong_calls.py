"""Every function of the language, called with what it does not take: told at the call, with what it takes."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest

import pto

FUNCTIONS = sorted(
    n
    for n in pto.__all__
    if isinstance(getattr(pto, n), FunctionType) and n not in ("kernel", "choice")
)
"""All but two that take any name, or any number."""

WAYS = {
    "a wrong keyword": "pto.{}(tile, no_such_word=1)",
    "too many": "pto.{}(tile, 1, 2, 3, 4, 5, 6, 7)",
    "none": "pto.{}()",
}
KERNEL = """
import pto

@pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
def kernel(x, out):
    i = pto.program_id(0)
    tile = pto.load(x[i, :, :])
    def body(k, t):
        {}
        return t
    pto.store(out[i, :, :], pto.fori_loop(0, 2, body, tile))
"""
LINE = 1 + KERNEL[: KERNEL.index("{}")].count("\n")


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str], pto.PtoError]:
    """The error of a kernel with such a line."""

    def of(line: str) -> pto.PtoError:
        path = tmp_path / "called.py"
        path.write_text(KERNEL.format(line))
        spec = importlib.util.spec_from_file_location("called", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with pytest.raises(pto.PtoError) as caught:
            module.kernel.trace()
        error = caught.value
        assert error.loc is not None and (error.loc.file, error.loc.line) == (str(path), LINE)
        return error

    return of


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_call(name: str, way: str, told: Callable[[str], pto.PtoError]) -> None:
    kinds = {p.kind for p in inspect.signature(getattr(pto, name)).parameters.values()}
    if way == "too many" and inspect.Parameter.VAR_POSITIONAL in kinds:
        return
    error = told(WAYS[way].format(name))
    assert error.message.startswith(f"pto.{name}: ")
    assert "pto." in error.hint


HINTS = {
    "pto.max(tile, axis=1)": "(axis 1) pto.row_max(x), of every column (axis 0) pto.col_max(x)",
    "pto.max(tile, 0.0)": "of two tiles pto.maximum(x, y)",
    "pto.row_sum(tile, axis=0)": "pto.col_sum(x)",
    "pto.cumsum(tile, 0)": "pto.cumsum(x.T).T",
    "pto.gelu(tile, approximate='tanh')": "pto.gelu_tanh(x)",
    "pto.debug_check(k > 3)": "pto.debug_check(condition, message)",
    "tile.astype('f16', mode='rint')": "tile.astype(dtype, rounding='rint')",
}


@pytest.mark.parametrize("call", HINTS)
def test_what_is_said_instead(call: str, told: Callable[[str], pto.PtoError]) -> None:
    assert HINTS[call] in told(call).hint


def test_the_mistake_of_a_function_of_the_user_is_his_own() -> None:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def kernel(x: pto.Tensor, out: pto.Tensor) -> None:
        def own(tile: pto.Tile) -> pto.Tile:
            return tile

        own(pto.load(x[0, :, :]), 2)  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        kernel.trace()


def test_the_first_operand_may_be_given_by_name() -> None:
    @pto.kernel(grid="n", x="f32[n, 16, 64]", out="f32[n, 16, 64]")
    def kernel(x: pto.Tensor, out: pto.Tensor) -> None:
        i = pto.program_id(0)
        pto.store(out[i, :, :], pto.leaky_relu(x=pto.load(x[i, :, :]), slope=0.5))  # type: ignore[call-arg]

    kernel.trace()
