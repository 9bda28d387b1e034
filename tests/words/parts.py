"""Parts of tiles: halves, quarters, what is packed in one tensor; joined again, written over."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile
from tests.words.word import Word

# --------------------------------------------------------------------------------------- halves


@pto.kernel(
    grid="cdiv(rows, 32)",
    x="f16[rows, 128]",
    cos="f32[rows, 64]",
    sin="f32[rows, 64]",
    out="f16[rows, 128]",
)
def rope(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    """Each row turned by its angles: the first half of its numbers with the second."""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=x.shape[0] - first)
    given = pto.load(x[here, :]).astype("f32")
    a, b, c, s = given[:, :64], given[:, 64:], pto.load(cos[here, :]), pto.load(sin[here, :])
    turned = pto.concat([a * c - b * s, b * c + a * s], axis=1)
    pto.store(out[here, :], turned.astype("f16"))


def angles(rng: np.random.Generator) -> dict[str, Any]:
    angle = rng.uniform(0, 6.28, (75, 64)).astype(np.float32)
    return dict(
        x=rng.standard_normal((75, 128)).astype(np.float16), cos=np.cos(angle), sin=np.sin(angle)
    )


def turned(x: Any, cos: Any, sin: Any) -> dict[str, Any]:
    a, b = x[:, :64], x[:, 64:]
    return {"out": np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)}


@pto.kernel(grid="cdiv(rows, 64)", x="bf16[rows, 256]", w="bf16[128, 64]", out="f32[rows, 64]")
def packed(x: Tensor, w: Tensor, out: Tensor) -> None:
    """silu(gate) * up, of one load of both, times a matrix."""
    first = pto.program_id(0) * 64
    here = pto.ds(first, 64, valid=x.shape[0] - first)
    both = pto.load(x[here, :])
    gate, up = (both[:, k : k + 128].astype("f32") for k in (0, 128))
    pto.store(out[here, :], (pto.silu(gate) * up).astype("bf16") @ pto.load(w[:, :]))


def two_in_one(rng: np.random.Generator) -> dict[str, Any]:
    shapes = {"x": (150, 256), "w": (128, 64)}
    return {n: rng.standard_normal(s).astype(ml_dtypes.bfloat16) for n, s in shapes.items()}


def gated(x: Any, w: Any) -> dict[str, Any]:
    gate, up = x[:, :128], x[:, 128:]
    return {"out": (gate / (1 + np.exp(-gate)) * up) @ w}


# ------------------------------------------------------------------------------- parts of products


@pto.kernel(
    grid="n",
    a="f16[n, count, 64, 64]",
    b="f16[n, count, 64, 64]",
    first="f32[n, 32, 32]",
    inner="f32[n, 64, 32]",
    whole="f32[n, 64, 64]",
)
def corners(a: Tensor, b: Tensor, first: Tensor, inner: Tensor, whole: Tensor) -> None:
    """Of sums of products the first quarter, of what is loaded what is inside of boxes; a frame of zeros."""
    n = pto.program_id(0)

    def body(i: Scalar, carry: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        total, side = carry
        x, y = pto.load(a[n, i, :, :]), pto.load(b[n, i, :, :])
        made = x @ y
        return total + made, side + x.astype("f32")[:, 8:40] * pto.row_max(made)

    zeros = pto.zeros((64, 64)), pto.zeros((64, 32))
    total, side = pto.fori_loop(0, a.shape[1], body, zeros)
    pto.store(first[n, :, :], total[0:32, 0:32])
    pto.store(inner[n, :, :], side)
    framed = total.at[0:1, :].set(0.0).at[63:, :].set(0.0).at[:, 0:8].set(0.0)
    pto.store(whole[n, :, :], framed.at[:, 56:].add(total[:, 8:16]))


def two_stacks(rng: np.random.Generator) -> dict[str, Any]:
    return {n: rng.standard_normal((3, 2, 64, 64)).astype(np.float16) for n in "ab"}


def of_corners(a: Any, b: Any) -> dict[str, Any]:
    made = a @ b
    total = made.sum(axis=1)
    whole = total.copy()
    whole[:, (0, 63)] = 0
    whole[:, :, :8] = 0
    whole[:, :, 56:] += total[:, :, 8:16]
    side = a[..., 8:40] * made.max(axis=-1, keepdims=True)
    return dict(first=total[:, :32, :32], inner=side.sum(axis=1), whole=whole)


@pto.kernel(grid="n", x="bf16[n, 64, 64]", out="f32[n, 64, 64]")
def between_boxes(x: Tensor, out: Tensor) -> None:
    """A product of parts that begin inside of boxes, which L1 cannot be left by: V cuts them."""
    tile = pto.load(x[pto.program_id(0), :, :])
    pto.store(out[pto.program_id(0), :, :], tile[:, 16:48] @ tile[8:40, :])


def product(x: Any) -> dict[str, Any]:
    return {"out": x[:, :, 16:48] @ x[:, 8:40]}


def square(rng: np.random.Generator) -> dict[str, Any]:
    return {"x": rng.standard_normal((3, 64, 64)).astype(ml_dtypes.bfloat16)}


# ------------------------------------------------------------------------------- rows and columns


@pto.kernel(
    grid="cdiv(rows, 8)",
    static=dict(dtype="i32"),
    x="dtype[rows, 4, 64]",
    tall="dtype[rows, 64, 1]",
    out="dtype[rows, 4, 64]",
    column="dtype[rows, 64, 1]",
)
def shuffled(x: Tensor, tall: Tensor, out: Tensor, column: Tensor) -> None:
    """Rows moved about, of whole tiles, of tiles of one row and of columns; every type."""
    first = pto.program_id(0) * 8

    def body(i: Scalar) -> None:
        n = first + i
        tile, line = pto.load(x[n, :, :]), pto.load(x[n, 1, :])
        swapped = pto.concat([line[:, 32:], line[:, :32]], axis=1)
        rolled = pto.concat([tile[3:], tile[:3]])
        pto.store(out[n, :, :], rolled.at[2:3, :].set(swapped))
        one = pto.load(tall[n, :, :])
        pto.store(column[n, :, :], pto.concat([one[32:], one[:32]]))

    pto.fori_loop(0, pto.minimum(x.shape[0] - first, 8), body)


def moved(x: Any, tall: Any) -> dict[str, Any]:
    out = np.roll(x, 1, axis=1)
    out[:, 2] = np.roll(x[:, 1], 32, axis=1)
    return {"out": out, "column": np.roll(tall, 32, axis=1)}


def numbered(dtype: str) -> Any:
    def arrays(rng: np.random.Generator) -> dict[str, Any]:
        shapes = {"x": (11, 4, 64), "tall": (11, 64, 1)}
        return {n: rng.integers(0, 100, s).astype(DTYPES[dtype]) for n, s in shapes.items()}

    return arrays


# ---------------------------------------------------------------------------------- rows by a list


@pto.kernel(
    grid="cdiv(tokens, 32)",
    ids="i32[tokens]",
    table="f16[words, 96]",
    w="f16[96, 64]",
    out="f16[tokens, 96]",
    product="f32[tokens, 64]",
)
def embedding(ids: Tensor, table: Tensor, w: Tensor, out: Tensor, product: Tensor) -> None:
    """The row of each token, scaled, and its product; the last block has fewer tokens."""
    first = pto.program_id(0) * 32
    here = pto.ds(first, 32, valid=ids.shape[0] - first)
    rows = pto.load_rows(table, ids[here])
    pto.store(out[here, :], rows * 9.0)
    pto.store(product[here, :], rows @ pto.load(w[:, :]))


def of_tokens(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        ids=rng.integers(0, 500, 75).astype(np.int32),
        table=rng.standard_normal((500, 96)).astype(np.float16),
        w=rng.standard_normal((96, 64)).astype(np.float16),
    )


def embedded(ids: Any, table: Any, w: Any) -> dict[str, Any]:
    return {"out": table[ids] * 9, "product": table[ids] @ w}


@pto.kernel(
    grid="n",
    lists="i32[n, width]",
    lengths="i32[n]",
    x="f32[rows, 128]",
    out="f32[n, 128]",
    ends="f32[n, 2, 128]",
    static=dict(width=40),
)
def bags(
    lists: Tensor, lengths: Tensor, x: Tensor, out: Tensor, ends: Tensor, *, width: int
) -> None:
    """The sum of normed rows of a list of any length, eight at a time; its first row and its last."""
    n = pto.program_id(0)
    length = lengths[n]

    def body(i: Scalar, total: Tile) -> Tile:
        rows = pto.load_rows(x, lists[n, pto.ds(i * 8, 8, valid=length - i * 8)])
        size = pto.sqrt(pto.row_sum(rows * rows) + 1.0)
        return total + pto.col_sum(rows / size)

    pto.store(out[n, :], pto.fori_loop(0, pto.cdiv(length, 8), body, pto.zeros((1, 128))))
    pto.store(ends[n, :, :], pto.load_rows(x, [lists[n, 0], lists[n, length - 1]]))


def some_lists(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        lists=rng.integers(0, 90, (5, 40)).astype(np.int32),
        lengths=np.array([17, 1, 40, 8, 23], np.int32),
        x=rng.standard_normal((90, 128)).astype(np.float32),
    )


def summed(lists: Any, lengths: Any, x: Any) -> dict[str, Any]:
    normed = x / np.sqrt((x * x).sum(axis=1, keepdims=True) + 1)
    named = [row[:k] for row, k in zip(lists, lengths, strict=True)]
    return {
        "out": np.stack([normed[k].sum(axis=0) for k in named]),
        "ends": np.stack([x[[k[0], k[-1]]] for k in named]),
    }


@pto.kernel(grid="n", pages="i32[n, 2]", x="f32[count, 32, 64]", out="f32[n, 64, 64]")
def paged(pages: Tensor, x: Tensor, out: Tensor) -> None:
    """Two pages as one tile, on both cores."""
    n = pto.program_id(0)
    both = pto.load([x[pages[n, k], :, :] for k in range(2)])
    pto.store(out[n, :, :], pto.exp(both * 0.1) + both @ both.T)


def some_pages(rng: np.random.Generator) -> dict[str, Any]:
    pages = rng.integers(0, 7, (3, 2)).astype(np.int32)
    return {"pages": pages, "x": rng.standard_normal((7, 32, 64)).astype(np.float32)}


def of_pages(pages: Any, x: Any) -> dict[str, Any]:
    both = x[pages].reshape(-1, 64, 64)
    return {"out": np.exp(both * 0.1) + both @ both.swapaxes(1, 2)}


@pto.kernel(
    grid="n", pages="i32[n, 2]", fills="i32[n, 2]", x="f16[count, 3, 2, 16, 64]", y="f32[count, 16, 3, 32]",
    scores="f32[n, 96, 96]", sums="f16[n, 96, 64]", out="f32[n, 32, 96]",
)  # fmt: skip
def folded_pages(
    pages: Tensor, fills: Tensor, x: Tensor, y: Tensor, scores: Tensor, sums: Tensor, out: Tensor
) -> None:
    """Pages whose rows lie in parts, or whose columns are several dimensions; on the cube core some end early."""
    n = pto.program_id(0)
    both = pto.load([x[pages[n, k], :, 1, :, :].reshape(48, 64) for k in range(2)])
    ends = [pto.ds(0, 3, valid=fills[n, k]) for k in range(2)]
    first = pto.load([x[pages[n, k], ends[k], 0, :, :].reshape(48, 64) for k in range(2)])
    pto.store(scores[n, :, :], both @ first.T)
    pto.store(sums[n, :, :], both + 1.0)
    pto.store(out[n, :, :], pto.load([y[pages[n, k], ...].reshape(16, 96) for k in range(2)]) * 2.0)


def some_folded(rng: np.random.Generator) -> dict[str, Any]:
    return dict(
        pages=rng.integers(0, 7, (3, 2)).astype(np.int32),
        fills=np.int32([[3, 0], [1, 9], [-1, 2]]),
        x=rng.standard_normal((7, 3, 2, 16, 64)).astype(np.float16),
        y=rng.standard_normal((7, 16, 3, 32)).astype(np.float32),
    )


def of_folded(pages: Any, fills: Any, x: Any, y: Any) -> dict[str, Any]:
    first, second = (x[pages][:, :, :, k].reshape(3, 96, 64) for k in (0, 1))
    exists = np.arange(3) < fills[:, :, None]
    first = first * np.repeat(exists, 16, axis=-1).reshape(3, 96, 1)
    return {
        "scores": second @ first.swapaxes(1, 2),
        "sums": second + 1,
        "out": y[pages].reshape(3, 32, 96) * 2,
    }


@pto.kernel(
    grid="n", starts="i32[n]", ids="i32[lists, 16]", lens="i32[n]", words="f16[count, 64]",
    pages="i32[n, 2]", fills="i32[n, 2]", x="f16[tall, 16, 64]", y="f32[n, 16, 64]", out="f32[n, 16, 32]",
)  # fmt: skip
def ending_anywhere(
    starts: Tensor, ids: Tensor, lens: Tensor, words: Tensor, pages: Tensor, fills: Tensor,
    x: Tensor, y: Tensor, out: Tensor,
) -> None:  # fmt: skip
    """Lists, pages and sums of which nothing may exist: what names it then names nothing that is."""
    n = pto.program_id(0)
    named = pto.load_rows(words, ids[n + starts[n], pto.ds(0, 16, valid=lens[n])])
    both = pto.load([x[pages[n, k], pto.ds(0, 16, valid=fills[n, k]), :] for k in range(2)])
    row = pto.fold(fills[n, 0], lambda i, s: s + fills[n, i % 2], 0)
    some = pto.load(y[pages[n, 0], pto.ds(starts[n], 16, valid=fills[n, 0]), 0:32])
    pto.store(out[n, :, :], named @ both.T + some * row)


def some_of_nothing(rng: np.random.Generator) -> dict[str, Any]:
    ids = np.where(np.arange(16) < [[3], [16], [9]], rng.integers(0, 5, (3, 16)), -1)
    return dict(
        starts=np.int32([-9, 0, 0, 1 << 20, -4]),
        ids=ids.astype(np.int32),
        lens=np.int32([0, 16, 9, -3, 0]),
        words=rng.standard_normal((5, 64)).astype(np.float16),
        pages=np.int32([[-1, 0], [1, 2], [2, 1 << 30], [-7, -1], [9, 0]]),
        fills=np.int32([[0, 16], [5, 7], [16, 0], [-1, 0], [0, 2]]),
        x=rng.standard_normal((3, 16, 64)).astype(np.float16),
        y=rng.standard_normal((5, 16, 64)).astype(np.float32),
    )


def of_what_there_is(
    starts: Any, ids: Any, lens: Any, words: Any, pages: Any, fills: Any, x: Any, y: Any
) -> dict[str, Any]:
    out = np.zeros((len(lens), 16, 32))
    for n in range(len(lens)):
        named, both, row, some = np.zeros((16, 64)), np.zeros((2, 16, 64)), 0, np.zeros((16, 32))
        if lens[n] > 0:
            named[: lens[n]] = words[ids[n + starts[n], : lens[n]]]
        for k in range(2):
            if fills[n, k] > 0:
                both[k, : fills[n, k]] = x[pages[n, k], : fills[n, k]]
        if (count := fills[n, 0]) > 0:
            row = sum(fills[n, i % 2] for i in range(count))
            some[:count] = y[pages[n, 0], starts[n] : starts[n] + count, :32]
        out[n] = named @ both.reshape(32, 64).T + some * row
    return {"out": out}


DTYPES = {
    "i32": np.int32, "i16": np.int16, "i8": np.int8, "u8": np.uint8, "f32": np.float32, "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
}  # fmt: skip

WORDS = {
    "embedding of tokens": Word(embedding, of_tokens, embedded),
    "corners of sums": Word(corners, two_stacks, of_corners),
    "sums of lists of rows": Word(bags, some_lists, summed),
    "pages on both cores": Word(paged, some_pages, of_pages),
    "pages whose rows lie in parts": Word(folded_pages, some_folded, of_folded),
    "lists and pages with nothing in them": Word(
        ending_anywhere, some_of_nothing, of_what_there_is
    ),
    "rope by halves": Word(rope, angles, turned),
    "gate and up in one": Word(packed, two_in_one, gated),
    "product of parts between boxes": Word(between_boxes, square, product),
    **{
        f"shuffled {dtype}": Word(shuffled, numbered(dtype), moved, {"dtype": dtype})
        for dtype in DTYPES
    },
}
