"""Scalars that go from step to step: sums and searches in tables, offsets that a loop carries, lists with an end."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word


@pto.kernel(
    grid="items", x="f32[rows, 64]", counts="i32[items] in 0 .. 64", out="f32[items, 16, 64]"
)
def packed(x: Tensor, counts: Tensor, out: Tensor) -> None:
    """The sum of the tiles of every item, whose rows lie behind those of all items before it."""
    b = pto.program_id(0)
    first = pto.fold(b, lambda i, s: s + counts[i], 0)

    def add(i: Index, acc: Tile) -> Tile:
        here = pto.ds(first + i * 16, 16, valid=counts[b] - i * 16)
        return acc + pto.load(x[here, :])

    total = pto.fori_loop(0, pto.cdiv(counts[b], 16), add, pto.zeros((16, 64)))
    pto.store(out[b, :, :], total)


def by_items(x: Any, counts: Any) -> dict[str, Any]:
    out, at = np.zeros((len(counts), 16, 64)), 0
    for b, n in enumerate(counts):
        for i in range(0, n, 16):
            tile = x[at + i : at + min(i + 16, n)]
            out[b, : len(tile)] += tile
        at += n
    return {"out": out}


def items(rng: np.random.Generator) -> dict[str, Any]:
    counts = np.int32([20, 0, 40, 33, 1, 16])
    return dict(x=rng.standard_normal((counts.sum(), 64)).astype(np.float32), counts=counts)


@pto.kernel(
    grid="items",
    q="bf16[items, 32, 64]",
    k="bf16[total, 64]",
    lens="i32[items, most]",
    out="f32[items, 32, 32]",
)
def chunks(q: Tensor, k: Tensor, lens: Tensor, out: Tensor) -> None:
    """Products with the packed chunks of an item, whose list ends at the first negative length."""
    item, most = pto.program_id(0), lens.shape[1]
    first = pto.fold(item * most, lambda j, s: s + pto.maximum(lens[j // most, j % most], 0), 0)
    count = pto.first_where(most, lambda j: lens[item, j] < 0)
    a = pto.load(q[item, :, :])

    def body(i: Index, carry: tuple[Tile, Index]) -> tuple[Tile, Index]:
        acc, at = carry
        size = lens[item, i]
        return acc + a @ pto.load(k[pto.ds(at, 32, valid=size), :]).T, at + size

    acc, _ = pto.fori_loop(0, count, body, (pto.zeros((32, 32)), first))
    pto.store(out[item, :, :], acc)


LENS = np.int32([[5, 32, -1, 9], [0, 7, 20, 11], [-1, -1, 3, -1], [32, 1, 0, -1], [2, 30, 31, 0]])


def by_chunks(q: Any, k: Any, lens: Any) -> dict[str, Any]:
    out, at = np.zeros((len(q), 32, 32)), 0
    for item, row in enumerate(lens):
        here = at
        for size in row[: next((j for j, x in enumerate(row) if x < 0), len(row))]:
            out[item, :, :size] += q[item] @ k[here : here + size].T
            here += size
        at += np.maximum(row, 0).sum()
    return {"out": out}


def lists(rng: np.random.Generator) -> dict[str, Any]:
    total = int(np.maximum(LENS, 0).sum())
    return dict(
        q=rng.standard_normal((5, 32, 64)).astype(ml_dtypes.bfloat16),
        k=rng.standard_normal((total, 64)).astype(ml_dtypes.bfloat16),
        lens=LENS,
    )


@pto.kernel(
    grid="items",
    q="bf16[items, 32, 64]",
    pages="bf16[count, 64, 64]",
    firsts="i32[items]",
    links="i32[count]",
    tails="f32[count, 32, 64]",
    out="f32[items, 32, 64]",
)
def linked(
    q: Tensor, pages: Tensor, firsts: Tensor, links: Tensor, tails: Tensor, out: Tensor
) -> None:
    """Products with the pages of an item, each of which names the next one and counts twice as much as the one
    before, and what belongs to the last one."""
    item = pto.program_id(0)
    a = pto.load(q[item, :, :])

    def step(i: Scalar, s: tuple[Scalar, ...]) -> tuple[Index, ...]:
        length, page = s
        return length + 1, links[page]

    def ends(i: Scalar, s: tuple[Scalar, ...]) -> Index:
        return links[s[1]] < 0

    length, last = pto.fold(pages.shape[0], step, (1, firsts[item]), until=ends)

    def body(i: Index, carry: tuple[Tile, Index]) -> tuple[Tile, Index]:
        acc, page = carry
        return acc * 0.5 + a @ pto.load(pages[page, :, :]), links[page]

    acc, behind = pto.fori_loop(0, length, body, (pto.zeros((32, 64)), firsts[item]))
    pto.store(out[item, :, :], acc + pto.load(tails[last, :, :]) * (0 - behind))


def by_links(q: Any, pages: Any, firsts: Any, links: Any, tails: Any) -> dict[str, Any]:
    out = np.zeros((len(q), 32, 64))
    for item, page in enumerate(firsts):
        while page >= 0:
            last, page = page, links[page]
            out[item] = out[item] / 2 + q[item] @ pages[last]
        out[item] += tails[last] * -page
    return {"out": out}


def chains(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        q=rng.standard_normal((4, 32, 64)).astype(ml_dtypes.bfloat16),
        pages=rng.standard_normal((6, 64, 64)).astype(ml_dtypes.bfloat16),
        firsts=np.int32([0, 2, 5, 1]),
        links=np.int32([3, -2, 0, 4, 1, -1]),
        tails=rng.standard_normal((6, 32, 64)).astype(np.float32),
    )


@pto.kernel(
    grid="items",
    static=dict(most=4),
    x="bf16[items, most, 32, 64]",
    w="bf16[64, 64]",
    lens="i32[chunks]",
    out="f32[rows, 64]",
)
def compacted(x: Tensor, w: Tensor, lens: Tensor, out: Tensor, *, most: int) -> None:
    """Chunks of rows times weights, behind each other without a gap; a negative length is none."""
    item = pto.program_id(0)
    pto.require(lens.shape[0] == most * x.shape[0], "lens has one entry for each chunk")
    weights = pto.load(w[:, :])

    def chunk(i: Scalar) -> None:
        k = item * most + i
        at = pto.fold(k, lambda j, s: s + pto.maximum(lens[j], 0), 0)
        here = pto.ds(at, 32, valid=lens[k])
        pto.store(out[here, :], pto.relu(pto.load(x[item, i, :, :]) @ weights))

    pto.fori_loop(0, most, chunk)


def behind_each_other(x: Any, w: Any, lens: Any) -> dict[str, Any]:
    made = np.maximum(x.reshape(-1, 32, 64) @ w, 0)
    return {
        "out": np.concatenate([chunk[: max(n, 0)] for chunk, n in zip(made, lens, strict=True)])
    }


def some_rows(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((5, 4, 32, 64)).astype(ml_dtypes.bfloat16),
        w=rng.standard_normal((64, 64)).astype(ml_dtypes.bfloat16),
        lens=LENS.reshape(-1),
        out=np.zeros((int(np.maximum(LENS, 0).sum()), 64), np.float32),
    )


@pto.kernel(
    grid="items", x="f32[items, most, 8, 64]", ends="i32[items, most]", out="f32[items, rows, 64]"
)
def trimmed(x: Tensor, ends: Tensor, out: Tensor) -> None:
    """The tiles of an item behind each other, at an offset that the loop carries, up to the first one of no rows."""
    item, most = pto.program_id(0), ends.shape[1]
    count = pto.first_where(most, lambda i: ends[item, i] <= 0)

    def tile(i: Scalar, at: Index) -> Index:
        rows = pto.minimum(pto.maximum(ends[item, i], 0), 8)
        here = pto.ds(at, 8, valid=rows)
        pto.store(out[item, here, :], pto.load(x[item, i, :, :]) * 2.0)
        return at + rows

    pto.fori_loop(0, count, tile, 0)


def up_to_the_first(x: Any, ends: Any) -> dict[str, Any]:
    out = np.zeros((len(x), 24, 64))
    for item, row in enumerate(ends):
        at = 0
        for tile, n in zip(x[item], row, strict=True):
            if n <= 0:
                break
            rows = min(n, 8)
            out[item, at : at + rows] = 2 * tile[:rows]
            at += rows
    return {"out": out}


def tiles(rng: np.random.Generator) -> dict[str, Any]:
    ends = np.int32([[3, 8, 9, 0, 5], [0, 1, 1, 1, 1], [1, 2, 3, 4, 5], [8, -1, 8, 8, 8]])
    return dict(
        x=rng.standard_normal((4, 5, 8, 64)).astype(np.float32),
        ends=ends,
        out=np.zeros((4, 24, 64), np.float32),
    )


WORDS = {
    "chunks at carried offsets": Word(chunks, lists, by_chunks),
    "compacted chunks": Word(compacted, some_rows, behind_each_other),
    "trimmed tiles": Word(trimmed, tiles, up_to_the_first),
    "packed items": Word(packed, items, by_items),
    "linked pages": Word(linked, chains, by_links),
}
"""Every test kernel of a word, by what it is about."""
