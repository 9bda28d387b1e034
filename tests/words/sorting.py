"""Orders of rows, where the largest is, sums up to each column: gating, decoding, sampling.

What is judged has an order that no rounding changes: numbers that are loaded, with ties, or results that lie
further apart than they are rounded; ``tests/pto/test_sorting.py`` asks the judge whether that is so.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word

NARROW = {"f16": np.float16, "f32": np.float32}
SPECIAL = (0.0, -0.0, math.inf, -math.inf, 0.0, -0.0, 1e-30, -1e-30)

# ------------------------------------------------------------------------------------- every one


@pto.kernel(
    grid="cdiv(rows, 32)",
    static=dict(dtype="f32", cols=160),
    x="dtype[rows, cols]",
    values="dtype[rows, cols]",
    indices="i32[rows, cols]",
    best="dtype[rows, 32]",
    where="i32[rows, 32]",
    places="i32[2, rows, 1]",
)
def orders(
    x: Tensor,
    values: Tensor,
    indices: Tensor,
    best: Tensor,
    where: Tensor,
    places: Tensor,
) -> None:
    """All of them of one tile, of ragged rows."""
    first = pto.program_id(0) * 32
    rows = pto.ds(first, 32, valid=x.shape[0] - first)
    given = pto.load(x[rows, :])
    for outputs, found in (
        ((values, indices), pto.sort(given)),
        ((best, where), pto.top_k(given, 32)),
    ):
        for out, made in zip(outputs, found, strict=True):
            pto.store(out[rows, :], made)
    pto.store(places[0, rows, :], pto.row_argmax(given))
    pto.store(places[1, rows, :], pto.row_argmin(given))


def ordered(x: Any) -> Any:
    return np.argsort(-x, axis=1, kind="stable")


def taken(x: Any, places: Any) -> Any:
    return np.take_along_axis(x, places, axis=1)


def in_order(x: Any) -> dict[str, Any]:
    order = ordered(x)
    return dict(
        values=taken(x, order),
        indices=order,
        best=taken(x, order[:, :32]),
        where=order[:, :32],
        places=np.stack([x.argmax(axis=1)[:, None], x.argmin(axis=1)[:, None]]),
    )


def few(dtype: str = "f32", cols: int = 160) -> Any:
    def arrays(rng: np.random.Generator) -> dict[str, Any]:
        """Small integers, many of them equal; rows that are equal all over, sorted, and of what is special."""
        x = rng.integers(-8, 9, (75, cols)).astype(NARROW[dtype])
        x[1], x[2] = 3, np.sort(x[2])
        x[3] = np.sort(x[3])[::-1]
        x[4, -len(SPECIAL) :] = x[5, : len(SPECIAL)] = SPECIAL
        return {"x": x}

    return arrays


WIDTHS = (32, 64, 96, 128, 352, 544, 1056)
"""Of one run; of two, three and four; of three merges; of two rounds; of three, of which the last has two lists."""


@pto.kernel(grid="cdiv(rows, 2)", x="f32[rows, 1056]", whole="i32[7, rows, 1056]", best="i32[7, rows, 16]")  # fmt: skip
def widths(x: Tensor, whole: Tensor, best: Tensor) -> None:
    """Every way to merge, one row on a lane: all of it, and what keeps less than a run."""
    first = pto.program_id(0) * 2
    rows = pto.ds(first, 2, valid=x.shape[0] - first)
    for k, width in enumerate(WIDTHS):
        part = pto.load(x[rows, 0:width])
        pto.store(whole[k, rows, 0:width], pto.sort(part)[1])
        pto.store(best[k, rows, :], pto.top_k(part, 16)[1])


def of_widths(x: Any) -> dict[str, Any]:
    whole, best = np.zeros((7, *x.shape), np.int32), []
    for k, width in enumerate(WIDTHS):
        order = ordered(x[:, :width])
        whole[k, :, :width] = order
        best.append(order[:, :16])
    return {"whole": whole, "best": np.stack(best)}


def wide(rng: np.random.Generator) -> dict[str, Any]:
    """With ties within runs and between them; where nothing is written the output starts as zeros."""
    x = rng.integers(0, 300, (5, 1056)).astype(np.float32)
    return {"x": x, "whole": np.zeros((7, 5, 1056), np.int32)}


# ------------------------------------------------------------------------------- a layer of experts


@pto.kernel(
    grid="cdiv(tokens, 64)",
    x="bf16[tokens, hidden]",
    router="bf16[hidden, 64]",
    weights="f32[tokens, 8]",
    experts="i32[tokens, 8]",
)
def gating(x: Tensor, router: Tensor, weights: Tensor, experts: Tensor) -> None:
    """The eight of 64 experts that every token goes to, and their weights, which add up to one."""
    first = pto.program_id(0) * 64
    rows = pto.ds(first, 64, valid=x.shape[0] - first)

    def block(i: Index, logits: Tile) -> Tile:
        cols = pto.ds(i * 128, 128)
        return logits + pto.load(x[rows, cols]) @ pto.load(router[cols, :])

    logits = pto.fori_loop(0, x.shape[1] // 128, block, pto.zeros((64, 64)))
    e = pto.exp(logits - pto.row_max(logits))
    best, chosen = pto.top_k(e / pto.row_sum(e), 8)
    pto.store(weights[rows, :], best / pto.row_sum(best))
    pto.store(experts[rows, :], chosen)


def gate(x: Any, router: Any) -> dict[str, Any]:
    logits = x @ router
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    chosen = ordered(logits)[:, :8]
    best = taken(e / e.sum(axis=1, keepdims=True), chosen)
    return {"weights": best / best.sum(axis=1, keepdims=True), "experts": chosen}


def tokens(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        x=rng.standard_normal((150, 384)).astype(ml_dtypes.bfloat16),
        router=(rng.standard_normal((384, 64)) / 16).astype(ml_dtypes.bfloat16),
    )


# ---------------------------------------------------------------------------------- greedy decoding


@pto.kernel(
    grid="cdiv(tokens, 64)",
    h="bf16[tokens, 64]",
    embedding="bf16[vocabulary, 64]",
    word="i32[tokens, 1]",
    logit="f32[tokens, 1]",
)
def greedy(h: Tensor, embedding: Tensor, word: Tensor, logit: Tensor) -> None:
    """The word of the largest logit, the first of equal ones, of a vocabulary that is wider than a tile."""
    first, vocabulary = pto.program_id(0) * 64, embedding.shape[0]
    rows = pto.ds(first, 64, valid=h.shape[0] - first)
    states = pto.load(h[rows, :])

    def block(n: Index, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        best, place = carry
        at = n * 128
        words = pto.load(embedding[pto.ds(at, 128, valid=vocabulary - at), :])
        logits = pto.where(pto.iota(1) < vocabulary - at, states @ words.T, -math.inf)
        here = pto.row_max(logits)
        better = here > best
        place = pto.where(better, pto.row_argmax(logits) + at, place)
        return pto.maximum(best, here), place

    start = pto.full((64, 1), -math.inf), pto.full((64, 1), 0, "i32")
    best, place = pto.fori_loop(0, pto.cdiv(vocabulary, 128), block, start)
    pto.store(word[rows, :], place)
    pto.store(logit[rows, :], best)


def decode(h: Any, embedding: Any) -> dict[str, Any]:
    logits = h @ embedding.T
    return {"word": logits.argmax(axis=1)[:, None], "logit": logits.max(axis=1, keepdims=True)}


def states(rng: np.random.Generator) -> dict[str, Any]:
    shapes = {"h": (100, 64), "embedding": (300, 64)}
    return {n: rng.standard_normal(s).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}


# ------------------------------------------------------------------------------------------ sampling


@pto.kernel(
    grid="cdiv(rows, 16)",
    logits="f32[rows, 128]",
    kept="f32[rows, 128]",
    words="i32[rows, 128]",
    mass="f32",
)
def nucleus(logits: Tensor, kept: Tensor, words: Tensor, *, mass: Scalar) -> None:
    """The likeliest words until they have ``mass`` of the probability, the likeliest first, and zero behind."""
    first = pto.program_id(0) * 16
    rows = pto.ds(first, 16, valid=logits.shape[0] - first)
    ordered, places = pto.sort(pto.load(logits[rows, :]))
    e = pto.exp(ordered - pto.row_max(ordered))
    p = e / pto.row_sum(e)
    enough = pto.where(pto.cumsum(p) - p < mass, p, 0.0)
    total = pto.row_sum(enough)
    pto.store(kept[rows, :], enough / pto.where(total == 0.0, 1.0, total))
    pto.store(words[rows, :], places)


def sample(logits: Any, mass: Any) -> dict[str, Any]:
    order = ordered(logits)
    e = taken(np.exp(logits - logits.max(axis=1, keepdims=True)), order)
    p = e / e.sum(axis=1, keepdims=True)
    enough = np.where(np.cumsum(p, axis=1) - p < mass, p, 0)
    return {"kept": enough / enough.sum(axis=1, keepdims=True), "words": order}


def likelihoods(rng: np.random.Generator) -> dict[str, Any]:
    logits = (rng.standard_normal((38, 128)) * 2).astype(np.float32)
    return {"logits": logits, "mass": np.float32(0.75)}


# ------------------------------------------------------------------------------------------ long sums


@pto.kernel(
    grid="cdiv(rows, 48)",
    static=dict(dtype="f32"),
    x="dtype[rows, length]",
    n="i32[rows, length]",
    out="f32[rows, length]",
    counts="i32[rows, length]",
)
def long_sums(x: Tensor, n: Tensor, out: Tensor, counts: Tensor) -> None:
    """Rows of any length in blocks of 48 columns, behind what was summed before; 24 rows on a lane."""
    first, length = pto.program_id(0) * 48, x.shape[1]
    rows = pto.ds(first, 48, valid=x.shape[0] - first)

    def block(i: Index, before: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        cols = pto.ds(i * 48, 48, valid=length - i * 48)
        floats, whole = pto.load(x[rows, cols]), pto.load(n[rows, cols])
        pto.store(out[rows, cols], pto.cumsum(floats).astype("f32") + before[0])
        pto.store(counts[rows, cols], pto.cumsum(whole) + before[1])
        return before[0] + pto.row_sum(floats.astype("f32")), before[1] + pto.row_sum(whole)

    start = pto.zeros((48, 1)), pto.full((48, 1), 0, "i32")
    pto.fori_loop(0, pto.cdiv(length, 48), block, start)


def long_sum(x: Any, n: Any) -> dict[str, Any]:
    return {"out": np.cumsum(x, axis=1), "counts": np.cumsum(n, axis=1)}


def long_rows(dtype: str) -> Any:
    def arrays(rng: np.random.Generator) -> dict[str, Any]:
        n = rng.integers(-1000, 1000, (70, 130)).astype(np.int32)
        return {"x": rng.standard_normal(n.shape).astype(NARROW[dtype]), "n": n}

    return arrays


WORDS = {
    **{
        f"every order, {dtype} of {cols}": Word(
            orders, few(dtype, cols), in_order, dict(dtype=dtype, cols=cols)
        )
        for dtype, cols in (("f32", 160), ("f16", 96))
    },
    **{
        f"long sums, {dtype}": Word(long_sums, long_rows(dtype), long_sum, dict(dtype=dtype))
        for dtype in NARROW
    },
    "every width": Word(widths, wide, of_widths),
    "experts": Word(gating, tokens, gate),
    "greedy decoding": Word(greedy, states, decode),
    "nucleus sampling": Word(nucleus, likelihoods, sample),
}
