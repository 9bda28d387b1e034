"""A scale for every column on the way out of the cube core."""

from __future__ import annotations

from typing import Any

import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.numbers import cut_off
from tests.words.word import Arrays, Word


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="i8[rows, inner]",
    w="i8[inner, cols]",
    scales="i32[cols, 2]",
    out="f16[rows, cols]",
)
def by_channel(x: Tensor, w: Tensor, scales: Tensor, out: Tensor) -> None:
    """A product of i8 with a scale for every channel: blocks of columns, each with its scales."""
    m = pto.program_id(0) * 32
    rows = pto.ds(m, 32, valid=x.shape[0] - m)

    def block(j: Index) -> None:
        cols = pto.ds(j * 64, 64, valid=w.shape[1] - j * 64)

        def body(i: Index, acc: Tile) -> Tile:
            inner = pto.ds(i * 128, 128, valid=x.shape[1] - i * 128)
            return acc + pto.load(x[rows, inner]) @ pto.load(w[inner, cols])

        steps = pto.cdiv(x.shape[1], 128)
        made = pto.fori_loop(0, steps, body, pto.zeros((32, 64), "i32"))
        pto.store(out[rows, cols], made, scale=pto.load(scales[cols, :]))

    pto.fori_loop(0, pto.cdiv(w.shape[1], 64), block)


def channels(x: Any, w: Any, scales: Any) -> dict[str, Any]:
    a, b = (t.astype(np.int64) for t in (x, w))
    return {"out": np.clip((a @ b) * of_columns(scales), -65504, 65504)}


def of_columns(pairs: Any) -> Any:
    return cut_off(np.ascontiguousarray(pairs[:, 0], np.int32).view(np.float32))


def some_channels(rng: np.random.Generator) -> Arrays:
    shapes = {"x": (77, 300), "w": (300, 152)}
    drawn = {n: rng.integers(-128, 128, s).astype(np.int8) for n, s in shapes.items()}
    by = rng.uniform(1e-3, 2, 152) * rng.choice([-1, 1], 152)
    return {**drawn, "scales": pto.column_scales(by, "f16")}


@pto.kernel(
    grid="cdiv(rows, 64)",
    x="f16[rows, 64]",
    w="f16[64, 192]",
    u="f16[64, 64]",
    of_h="i32[192, 2]",
    of_g="i32[2, 64, 2]",
    h="i8[rows, 192]",
    g="u8[rows, 64]",
    z="f32[rows, 64]",
)
def quantised_layer(
    x: Tensor, w: Tensor, u: Tensor, of_h: Tensor, of_g: Tensor, h: Tensor, g: Tensor, z: Tensor
) -> None:
    """A product with as many scales as there is room for, one whose halves have their own, one for the vector core."""
    m = pto.program_id(0) * 64
    rows = pto.ds(m, 64, valid=x.shape[0] - m)
    both = pto.load(x[rows, :])
    pto.store(h[rows, :], both @ pto.load(w[:, :]), scale=pto.load(of_h[:, :]))

    def part(k: Index) -> None:
        some = pto.ds(m + k * 32, 32, valid=x.shape[0] - m - k * 32)
        made = pto.load(x[some, :]) @ pto.load(u[:, :])
        pto.store(g[some, :], made, scale=pto.load(of_g[k, :, :]))

    pto.fori_loop(0, 2, part)
    pto.store(z[rows, :], pto.tanh(both @ pto.load(u[:, :])))


def layer(x: Any, w: Any, u: Any, of_h: Any, of_g: Any) -> dict[str, Any]:
    half = np.arange(len(x)) % 64 // 32
    scales = np.stack([of_columns(pairs) for pairs in of_g])[half]
    h, g = x @ w * of_columns(of_h), x @ u * scales
    return {
        "h": np.clip(np.rint(h), -128, 127),
        "g": np.clip(np.rint(g), 0, 255),
        "z": np.tanh(x @ u),
    }


def some_layers(rng: np.random.Generator) -> Arrays:
    shapes = {"x": (141, 64), "w": (64, 192), "u": (64, 64)}
    drawn = {n: rng.standard_normal(s).astype(np.float16) for n, s in shapes.items()}
    of_g = [pto.column_scales(rng.uniform(1, 9, 64), "u8") for _ in range(2)]
    return {
        **drawn,
        "of_h": pto.column_scales(rng.uniform(0.3, 7, 192), "i8"),
        "of_g": np.stack(of_g),
    }


@pto.kernel(
    grid="cdiv(rows, 128)",
    x="f16[rows, 64]",
    w="f16[64, 256]",
    scales="i32[256, 2]",
    out="i8[rows, 256]",
)
def in_blocks(x: Tensor, w: Tensor, scales: Tensor, out: Tensor) -> None:
    """A product that L0C holds in blocks, of rows, since all have the same scales."""
    m = pto.program_id(0) * 128
    rows = pto.ds(m, 128, valid=x.shape[0] - m)
    made = pto.load(x[rows, :]) @ pto.load(w[:, :])
    pto.store(out[rows, :], made, scale=pto.load(scales[:, :]))


def blocks(x: Any, w: Any, scales: Any) -> dict[str, Any]:
    return {"out": np.clip(np.rint(x @ w * of_columns(scales)), -128, 127)}


def some_blocks(rng: np.random.Generator) -> Arrays:
    shapes = {"x": (99, 64), "w": (64, 256)}
    drawn = {n: rng.standard_normal(s).astype(np.float16) for n, s in shapes.items()}
    return {**drawn, "scales": pto.column_scales(rng.uniform(0.3, 7, 256), "i8")}


WORDS = {
    "scales of channels": Word(by_channel, some_channels, channels),
    "scales of columns, both cores": Word(quantised_layer, some_layers, layer),
    "scales of blocks": Word(in_blocks, some_blocks, blocks),
}
