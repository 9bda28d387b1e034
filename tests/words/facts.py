"""Stores at places that data decides: what a signature states of a table keeps them apart."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word


@pto.kernel(
    grid="tiles",
    x="f32[tiles, 32, 64]",
    place="i32[tiles] distinct",
    out="f32[pages, 32, 64]",
)
def scattered(x: Tensor, place: Tensor, out: Tensor) -> None:
    """Every tile to the page that its entry names; the others keep what they held."""
    t = pto.program_id(0)
    pto.store(out[place[t], :, :], pto.load(x[t, :, :]) * 2.0)


def scatter(x: Any, place: Any) -> dict[str, Any]:
    out = np.full((9, 32, 64), 5.0)
    out[place] = x * 2
    return {"out": out}


def shuffled(rng: np.random.Generator) -> dict[str, Any]:
    place = rng.permutation(9).astype(np.int32)
    x = rng.standard_normal((7, 32, 64)).astype(np.float32)
    return dict(x=x, place=place[:7], out=np.full((9, 32, 64), 5.0, np.float32))


@pto.kernel(
    grid="batch",
    x="bf16[batch, 4, 32, 64]",
    w="bf16[64, 128]",
    slots="i32[batch, 4] distinct",
    fresh="i32[batch]",
    cache="bf16[pages, 32, 128]",
)
def projected(x: Tensor, w: Tensor, slots: Tensor, fresh: Tensor, cache: Tensor) -> None:
    """The keys of new blocks of tokens, written to the pages of a cache: as many for each sequence as data say."""
    b = pto.program_id(0)
    weight = pto.load(w[:, :])

    def body(i: Index, largest: Tile) -> Tile:
        keys = pto.load(x[b, i, :, :]) @ weight
        pto.store(cache[slots[b, i], :, :], pto.silu(keys).astype("bf16"))
        return pto.maximum(largest, pto.row_max(keys))

    pto.fori_loop(0, pto.minimum(fresh[b], 4), body, pto.zeros((32, 1)))


def project(x: Any, w: Any, slots: Any, fresh: Any) -> dict[str, Any]:
    cache = np.zeros((13, 32, 128))
    for b, count in enumerate(fresh):
        for i in range(min(count, 4)):
            keys = x[b, i] @ w
            cache[slots[b, i]] = keys / (1 + np.exp(-keys))
    return {"cache": cache}


def blocks(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((3, 4, 32, 64)).astype(ml_dtypes.bfloat16),
        w=(rng.standard_normal((64, 128)) * 0.2).astype(ml_dtypes.bfloat16),
        slots=rng.permutation(13)[:12].reshape(3, 4).astype(np.int32),
        fresh=np.int32([4, 0, 3]),
        cache=np.zeros((13, 32, 128), ml_dtypes.bfloat16),
    )


WORDS = {
    "tiles scattered": Word(scattered, shuffled, scatter),
    "keys into a cache": Word(projected, blocks, project),
}
