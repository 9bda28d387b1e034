"""Elementary functions: all of them on special numbers, and in kernels that are made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word

# ---------------------------------------------------------------------------------- every function

Function = Callable[[Any], Any]


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


FUNCTIONS: Mapping[str, tuple[Function, Function]] = {
    "ceil": (pto.ceil, np.ceil),
    "clip": (lambda x: pto.clip(x, -1.5, 2), lambda x: np.clip(x, -1.5, 2)),
    "cos": (pto.cos, np.cos),
    "erf": (pto.erf, erf),
    "exp2": (pto.exp2, np.exp2),
    "floor": (pto.floor, np.floor),
    "gelu": (pto.gelu, lambda x: x * (1 + erf(x / 2**0.5)) / 2),
    "gelu_tanh": (pto.gelu_tanh, lambda x: x / (1 + np.exp(-x * 2 * math.sqrt(2 / math.pi) * (1 + 0.044715 * x * x)))),
    "leaky_relu": (pto.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    "log2": (lambda x: pto.log2(pto.abs(x)), lambda x: np.log2(np.abs(x))),
    "power 3": (lambda x: pto.power(x, 3), lambda x: x**3),
    "power -6": (lambda x: pto.power(x, -6), lambda x: 1 / x**6),
    "power 0": (lambda x: pto.power(x, 0), lambda x: np.ones_like(x)),
    "power 0.5": (lambda x: pto.power(pto.abs(x), 0.5), lambda x: np.sqrt(np.abs(x))),
    "power -1.5": (lambda x: pto.power(pto.abs(x), -1.5), lambda x: np.abs(x) ** -1.5),
    "remainder": (lambda x: pto.remainder(x, 1.25), lambda x: np.mod(x, 1.25)),
    "remainder of negatives": (lambda x: pto.remainder(x, -0.75), lambda x: np.mod(x, -0.75)),
    "round": (pto.round, np.rint),
    "sigmoid": (pto.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "sign": (pto.sign, np.sign),
    "silu": (pto.silu, lambda x: x / (1 + np.exp(-x))),
    "sin": (pto.sin, np.sin),
    "softplus": (pto.softplus, lambda x: np.logaddexp(x, 0)),
    "tanh": (pto.tanh, np.tanh),
    "trunc": (pto.trunc, np.trunc),
    **{
        f"i32 by {way}": (
            lambda x, way=way: x.astype("i32", way).astype("f32"),
            lambda x, f=f: f(x),
        )
        for way, f in (
            ("floor", np.floor),
            ("ceil", np.ceil),
            ("trunc", np.trunc),
            ("away", lambda x: np.trunc(x) + np.where(np.abs(x - np.trunc(x)) < 0.5, 0, np.sign(x))),
        )
    },
}  # fmt: skip
"""Ours, and numpy's in float64."""
OF_F32_ONLY = (
    "cos",
    "remainder",
    "remainder of negatives",
    "sin",
    *(n for n in FUNCTIONS if "i32" in n),
)
HALF = [n for n in FUNCTIONS if n not in OF_F32_ONLY]


@pto.kernel(grid="1", x="f32[16, 64]", out="f32[29, 16, 64]")
def every_function(x: Tensor, out: Tensor) -> None:
    tile = pto.load(x[:, :])
    for k, (ours, _) in enumerate(FUNCTIONS.values()):
        pto.store(out[k, :, :], ours(tile))


@pto.kernel(grid="1", x="f16[16, 64]", out="f16[21, 16, 64]")
def every_function_in_half(x: Tensor, out: Tensor) -> None:
    tile = pto.load(x[:, :])
    for k, name in enumerate(HALF):
        pto.store(out[k, :, :], FUNCTIONS[name][0](tile))


def numbers(rng: np.random.Generator) -> dict[str, Any]:
    """Either sign, small and large, near integers and on ties."""
    x = rng.uniform(-9, 9, (16, 64))
    x[1] *= 1e-3
    x[2] = np.rint(x[2])
    x[3] = np.rint(x[3]) + 0.5
    x[4] = np.rint(x[4]) + rng.choice((-1, 1), 64) * 1e-6
    x[5, :4] = 0.49999997, -0.49999997, 0.50000006, -0.50000006
    x[x == 0] = 1.0
    return {"x": x.astype(np.float32)}


def halves(rng: np.random.Generator) -> dict[str, Any]:
    return {"x": (numbers(rng)["x"] / 2).astype(np.float16)}


# ------------------------------------------------------------------------------------ in kernels


@pto.kernel(
    grid="cdiv(tokens, 64)",
    static=dict(gate=pto.choice("gelu", "gelu_tanh", "silu")),
    x="bf16[tokens, 128]",
    up="bf16[128, 256]",
    gates="bf16[128, 256]",
    down="bf16[256, 128]",
    out="f32[tokens, 128]",
)
def gated_layer(
    x: Tensor, up: Tensor, gates: Tensor, down: Tensor, out: Tensor, *, gate: str
) -> None:
    """(f(x @ gates) * (x @ up)) @ down, in blocks of 64 of the inner size; ragged tokens."""
    first = pto.program_id(0) * 64
    rows = pto.ds(first, 64, valid=x.shape[0] - first)
    a = pto.load(x[rows, :])

    def body(n: Index, acc: Tile) -> Tile:
        part = pto.ds(n * 64, 64)
        opened = getattr(pto, gate)(a @ pto.load(gates[:, part]))
        y = opened * (a @ pto.load(up[:, part]))
        return acc + y.astype("bf16") @ pto.load(down[part, :])

    pto.store(out[rows, :], pto.fori_loop(0, 4, body, pto.zeros((64, 128))))


def layer(gate: Function) -> Callable[..., dict[str, Any]]:
    return lambda x, up, gates, down: {"out": gate(x @ gates) * (x @ up) @ down}


def weights(rng: np.random.Generator) -> dict[str, Any]:
    shapes = dict(x=(150, 128), up=(128, 256), gates=(128, 256), down=(256, 128))
    scale = dict(x=1.0, up=0.1, gates=0.1, down=0.1)
    return {
        n: (rng.standard_normal(s) * scale[n]).astype(ml_dtypes.bfloat16) for n, s in shapes.items()
    }


@pto.kernel(
    grid="cdiv(tokens, 32)",
    x="f32[tokens, 2, 64]",
    out="f32[tokens, 2, 64]",
    start="i32",
    base="f32",
)
def rotated(x: Tensor, out: Tensor, *, start: Scalar, base: Scalar) -> None:
    """Rotary positions computed in the kernel: halves [tokens, 2, 64], angle position * base^(-j / 64)."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    a, b = pto.load(x[rows, 0, :]), pto.load(x[rows, 1, :])
    one = pto.full((32, 64), 1.0)
    frequency = pto.exp(pto.log(one * base) * pto.iota(1) * (-1 / 64))
    angle = frequency * (pto.iota(0) + first + start)
    c, s = pto.cos(angle), pto.sin(angle)
    pto.store(out[rows, 0, :], a * c - b * s)
    pto.store(out[rows, 1, :], b * c + a * s)


def rotate(x: Any, start: Any, base: Any) -> dict[str, Any]:
    i, j = np.indices((len(x), 64))
    angle = (i + start) * base ** (-j / 64)
    a, b = x[:, 0], x[:, 1]
    c, s = np.cos(angle), np.sin(angle)
    return {"out": np.stack([a * c - b * s, b * c + a * s], axis=1)}


def tokens(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal((75, 2, 64)).astype(np.float32)
    return dict(x=x, start=1000, base=np.float32(10000))


WORDS = {
    "every function": Word(
        every_function, numbers, lambda x: {"out": np.stack([f(x) for _, f in FUNCTIONS.values()])}
    ),
    "every function in half": Word(
        every_function_in_half,
        halves,
        lambda x: {"out": np.stack([FUNCTIONS[n][1](x) for n in HALF])},
    ),
    "gelu layer": Word(gated_layer, weights, layer(FUNCTIONS["gelu"][1])),
    "gelu_tanh layer": Word(
        gated_layer, weights, layer(FUNCTIONS["gelu_tanh"][1]), dict(gate="gelu_tanh")
    ),
    "silu layer": Word(gated_layer, weights, layer(FUNCTIONS["silu"][1]), dict(gate="silu")),
    "rotary positions": Word(rotated, tokens, rotate),
}
