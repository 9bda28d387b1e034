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


@pto.kernel(
    grid="sequences, 2",
    x="f32[sequences, tokens, 128]",
    first="i32[sequences] disjoint ranges of count in 0 .. rows + 1",
    count="i32[sequences] in 0 .. tokens + 1",
    out="f32[rows, 128]",
)
def packed(x: Tensor, first: Tensor, count: Tensor, out: Tensor) -> None:
    """The rows that a sequence has, behind those of others; between them what was there."""
    s, half = pto.program_id(0), pto.program_id(1)
    begin, length = first[s], count[s]
    cols = pto.ds(half * 64, 64)

    def body(k: Index) -> None:
        left = length - k * 32
        tile = pto.load(x[s, pto.ds(k * 32, 32, valid=left), cols])
        pto.store(out[pto.ds(begin + k * 32, 32, valid=left), cols], tile * 0.5)

    pto.fori_loop(0, pto.cdiv(length, 32), body)


def pack(x: Any, first: Any, count: Any) -> dict[str, Any]:
    out = np.full((150, 128), 3.0)
    for s, (begin, length) in enumerate(zip(first, count, strict=True)):
        out[begin : begin + length] = x[s, :length] * 0.5
    return {"out": out}


def lengths(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((5, 70, 128)).astype(np.float32),
        first=np.int32([75, 0, 33, 34, 145]),
        count=np.int32([70, 33, 0, 41, 5]),
        out=np.full((150, 128), 3.0, np.float32),
    )


@pto.kernel(
    grid="n // 64",
    x="bf16[rows, 64]",
    w="bf16[experts, 64, n]",
    starts="i32[edges] sorted in 0 .. rows + 1",
    out="bf16[rows, n]",
)
def grouped(x: Tensor, w: Tensor, starts: Tensor, out: Tensor) -> None:
    """The rows of every expert, which lie behind those of the one before, times its weights."""
    pto.require(
        starts.shape[0] == w.shape[0] + 1, "starts has one entry more than there are experts"
    )
    cols = pto.ds(pto.program_id(0) * 64, 64)

    def expert(e: Index) -> None:
        begin, rows = starts[e], starts[e + 1] - starts[e]
        weight = pto.load(w[e, :, cols])

        def tile(k: Index) -> None:
            some = pto.ds(begin + k * 32, 32, valid=rows - k * 32)
            y = pto.silu(pto.load(x[some, :]) @ weight)
            pto.store(out[some, cols], y.astype("bf16"))

        pto.fori_loop(0, pto.cdiv(rows, 32), tile)

    pto.fori_loop(0, w.shape[0], expert)


def group(x: Any, w: Any, starts: Any) -> dict[str, Any]:
    out = np.zeros((96, 128))
    for e in range(len(w)):
        y = x[starts[e] : starts[e + 1]] @ w[e]
        out[starts[e] : starts[e + 1]] = y / (1 + np.exp(-y))
    return {"out": out}


def experts(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((96, 64)).astype(ml_dtypes.bfloat16),
        w=(rng.standard_normal((4, 64, 128)) * 0.2).astype(ml_dtypes.bfloat16),
        starts=np.int32([0, 33, 33, 90, 95]),
        out=np.zeros((96, 128), ml_dtypes.bfloat16),
    )


@pto.kernel(
    grid="tiles",
    x="f32[tiles, 32, 64]",
    expert="i32[tiles] in 0 .. experts",
    repeat="i32[tiles] in 1 .. 4",
    out="f32[slots, 32, 64]",
    scale="f32[experts]",
)
def routed(x: Tensor, expert: Tensor, repeat: Tensor, out: Tensor, scale: Tensor) -> None:
    """Each tile into the slot of its expert, added up as often as data say: at least once, so that no sum
    starts from zero."""
    t = pto.program_id(0)

    def body(i: Index, total: Tile) -> Tile:
        return total + pto.load(x[t, :, :]) * scale[expert[t]]

    total = pto.fori_loop(0, repeat[t], body, pto.zeros((32, 64)))
    pto.store(out[t * scale.shape[0] + expert[t], :, :], total)


def route(x: Any, expert: Any, repeat: Any, scale: Any) -> dict[str, Any]:
    out = np.full((18, 32, 64), 7.0)
    for t, (e, n) in enumerate(zip(expert, repeat, strict=True)):
        out[t * 3 + e] = n * x[t] * scale[e]
    return {"out": out}


def routes(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((6, 32, 64)).astype(np.float32),
        expert=np.int32([2, 0, 1, 1, 2, 0]),
        repeat=np.int32([1, 3, 2, 1, 1, 3]),
        out=np.full((18, 32, 64), 7.0, np.float32),
        scale=np.float32([0.5, -1.5, 2.0]),
    )


WORDS = {
    "tiles scattered": Word(scattered, shuffled, scatter),
    "keys into a cache": Word(projected, blocks, project),
    "rows packed": Word(packed, lengths, pack),
    "grouped products": Word(grouped, experts, group),
    "tiles routed": Word(routed, routes, route),
}
