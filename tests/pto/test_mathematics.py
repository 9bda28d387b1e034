"""Functions that are made of other ops: within the error that each states, from the numbers of float64.

On the other executors they run in ``tests/words``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import judge, sequential
from lowering.execute.inputs import bind
from pto import Tensor, ir
from pto.mathematics import __all__ as MADE
from pto.ops import COMPOSED
from tests.words.mathematics import FUNCTIONS

U = 2.0**-24
HALF = 2.0**-11
FAR = 205_000.0

Bound = Callable[[Any, Any], Any]
"""(x, what it should be) -> how far the result may be from it, in roundings."""


def exact(x: Any, want: Any) -> Any:
    return np.zeros_like(x)


def of_it(times: float) -> Bound:
    return lambda x, want: times * np.abs(want)


BOUNDS: Mapping[str, tuple[float, float, Bound]] = {
    **dict.fromkeys(("ceil", "floor", "round", "trunc", "sign", "clip"), (-1e4, 1e4, exact)),
    "cos": (-FAR, FAR, lambda x, want: 4 + 0 * x),
    "sin": (-FAR, FAR, lambda x, want: np.where(np.abs(x) < 1, 4 * np.abs(want), 4)),
    "erf": (-6, 6, lambda x, want: np.where(np.abs(x) < 0.5, 6 * np.abs(want), 8)),
    "exp2": (-100, 100, lambda x, want: (4 + 2 * np.abs(x)) * np.abs(want)),
    "gelu": (-12, 12, lambda x, want: 6 * np.abs(x)),
    "gelu_tanh": (-9, 9, lambda x, want: (8 + 8 * np.abs(x * (0.8 + 0.036 * x * x))) * np.abs(want)),
    "leaky_relu": (-12, 12, of_it(2)),
    "log2": (1e-30, 1e30, of_it(7)),
    "power 3": (-30, 30, of_it(6)),
    "power -6": (-30, 30, of_it(12)),
    "power 0": (-30, 30, exact),
    "power 0.5": (0, 30, of_it(2)),
    "power -1.5": (1e-3, 30, lambda x, want: (4 + 9 * np.abs(1.5 * np.log(x))) * np.abs(want)),
    "remainder": (-1e3, 1e3, lambda x, want: 2 * np.abs(x) + 1.25),
    "sigmoid": (-60, 60, of_it(8)),
    "silu": (-60, 60, of_it(8)),
    "softplus": (-60, 60, lambda x, want: 8 + np.abs(want)),
    "tanh": (-12, 12, lambda x, want: 6 + 0 * x),
}  # fmt: skip
OF_F32 = ("remainder",)
OF_ALL = ("max", "min", "sum")
"""Of all elements of a tile at once."""


def test_every_function_has_a_bound() -> None:
    tried = {name.split()[0] for name in BOUNDS}
    assert set(MADE) == set(COMPOSED) == tried | set(OF_ALL)


@pytest.mark.parametrize("shape", [(64, 32), (64, 1), (1, 64), (1, 1)])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("name", OF_ALL)
def test_of_all_elements(name: str, dtype: str, shape: tuple[int, int]) -> None:
    rows, cols = shape

    @pto.kernel(grid="1", x=f"{dtype}[{rows}, {cols}]", out=f"{dtype}[1, 1]")
    def kernel(x: Tensor, out: Tensor) -> None:
        pto.store(out[:, :], getattr(pto, name)(pto.load(x[:, :])))

    traced = kernel.trace()
    x = np.random.default_rng(0).uniform(-1, 1, shape)
    held = x.astype(np.float32 if dtype == "f32" else np.float16)
    found = float(sequential.run(traced, bind(traced, {"x": held}))["out"][0, 0])
    want = float(getattr(np, name)(held.astype(np.float64)))
    added = rows * cols * U * np.abs(x).sum() if name == "sum" else 0.0
    assert abs(found - want) <= added + (HALF * abs(want) if dtype == "f16" else 0.0)


def kernel_of(name: str, dtype: str) -> ir.Kernel:
    @pto.kernel(grid="rows // 64", x=f"{dtype}[rows, 64]", out=f"{dtype}[rows, 64]")
    def kernel(x: Tensor, out: Tensor) -> None:
        here = pto.ds(pto.program_id(0) * 64, 64)
        pto.store(out[here, :], FUNCTIONS[name][0](pto.load(x[here, :])))

    return kernel.trace()


def applied(name: str, dtype: str, x: Any) -> Any:
    traced = kernel_of(name, dtype)
    return sequential.run(traced, bind(traced, {"x": x}))["out"].astype(np.float64)


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("name", BOUNDS)
def test_it_is_as_near_as_it_says(name: str, dtype: str) -> None:
    if dtype == "f16" and name in OF_F32:
        return
    low, high, bound = BOUNDS[name]
    if dtype == "f16":
        low, high = max(low, -1000), min(high, 1000)
        low, high = ((-9, 9) if name == "exp2" else (0.3, high) if name[:3] in ("log", "pow") else (low, high))  # fmt: skip
    rng = np.random.default_rng(0)
    x = rng.uniform(low, high, (64, 64))
    if low < 0:
        x[:16] *= 1e-3
        x[16:32] = rng.uniform(-3, 3, (16, 64))
    if high >= 1e4:
        x[32, :8] = (
            2.0**31,
            -(2.0**31),
            1e30,
            -1e30,
            2.0**23 + 1,
            -(2.0**23) - 1,
            2.0**22 + 0.5,
            0.0,
        )
    if name in ("sin", "cos"):
        x[32, :8] = 0.0
    held = x.astype(np.float32 if dtype == "f32" else np.float16)
    wide = held.astype(np.float64)
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name][1](wide)
    allowed = U * bound(wide, want)
    if dtype == "f16":
        allowed = allowed + np.maximum(np.abs(want) * HALF, 2.0**-25)
    error = judge.apart(applied(name, dtype, held), want)
    at = np.unravel_index(np.argmax(error - allowed), error.shape)
    assert (error <= allowed).all(), (wide[at], want[at], error[at] / U, allowed[at] / U)


def gelu_by_tanh(x: Any) -> Any:
    """As it is usually written: of ``1 + tanh(-18)`` no digit is left, in float64."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


OTHERS: Mapping[str, Callable[[Any], Any]] = {"gelu_tanh": gelu_by_tanh}
"""References in other words."""


@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("name", BOUNDS)
def test_the_derived_limit_holds(name: str, dtype: str) -> None:
    """Densely over what is asked of it: what is made in the element type, and the formula in float64, which must err by
    much less, as no rounding explains what it leaves out."""
    if dtype == "f16" and name in OF_F32:
        return
    low, high, _ = BOUNDS[name]
    if dtype == "f16":
        low, high = max(low, -9, 0.3 if name[:3] in ("log", "pow") else -9), min(high, 9)
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [
            np.linspace(low, high, 256 * 64),
            rng.uniform(max(low, -4), min(high, 4), 512 * 64),
            rng.uniform(max(low, -0.6), min(high, 0.6), 256 * 64),
        ]
    ).reshape(-1, 64)
    kernel = kernel_of(name, dtype)
    bound = bind(kernel, {"x": x.astype(np.float32 if dtype == "f32" else np.float16)})
    wide, found = bound.arrays["x"].astype(np.float64), sequential.run(kernel, bound)
    for reference in (FUNCTIONS[name][1], *(OTHERS[n] for n in OTHERS if n == name)):
        with np.errstate(all="ignore"):
            want = reference(wide)
        (e,) = judge.expected(kernel, bound, {"out": want}, {})
        (result,) = judge.compare(found, [e])
        assert result.ok, result.told("float64")
        assert e.value is not None
        own = judge.apart(judge.in_range(e.value, dtype), want)
        # remainders jump, and every reference has roundings
        jumps = judge.apart(e.want, found["out"]) > 0.5 if name == "remainder" else False
        assert ((own <= e.limit / 20 + 2.0**-50 * np.maximum(np.abs(wide), 1)) | jumps).all()


SPECIAL = (math.nan, math.inf, -math.inf, 0.0)
WANTED = {
    "ceil": SPECIAL,
    "floor": SPECIAL,
    "erf": (math.nan, 1.0, -1.0, 0.0),
    "exp2": (math.nan, math.inf, 0.0, 1.0),
    "gelu": (math.nan, math.inf, math.nan, 0.0),
    "sigmoid": (math.nan, 1.0, 0.0, 0.5),
    "sign": (math.nan, 1.0, -1.0, 0.0),
    "softplus": (math.nan, math.inf, 0.0, math.log(2)),
    "tanh": (math.nan, 1.0, -1.0, 0.0),
}


@pytest.mark.parametrize("name", WANTED)
def test_special_numbers(name: str) -> None:
    x = np.zeros((64, 64), np.float32)
    x[0, :4] = SPECIAL
    got, want = applied(name, "f32", x)[0, :4], np.array(WANTED[name])
    assert (judge.apart(got, want) <= 6 * U).all(), got


def test_tanh_never_exceeds_its_operand() -> None:
    x = np.linspace(-12, 12, 4096, dtype=np.float32).reshape(64, 64)
    x[:9] *= np.float32(1e-3)
    assert (np.abs(applied("tanh", "f32", x)) <= np.abs(x)).all()


def test_rows_are_parts_of_what_is_assigned() -> None:
    @pto.kernel(grid="1", x="f32[16, 64]", out="f32[16, 64]")
    def kernel(x: Tensor, out: Tensor) -> None:
        gate = pto.sigmoid(pto.load(x[:, :]))
        pto.store(out[:, :], gate * pto.silu(gate))

    rows = [r for r in pto.print_kernel(kernel.trace()).splitlines() if " = " in r]
    names = [r.split(":")[0] for r in rows if ": f32" in r]
    assert names[1:5] == ["gate_mul", "gate_exp", "gate_add", "gate"]
    assert names[-2:] == ["silu", "mul_2"]
