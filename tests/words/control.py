"""Work that scalars decide about: ``when``, in loops and on both cores; sums and searches in tables."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Tensor, Tile
from pto.scalar import Index
from tests.words.word import Word

State = tuple[Tile, Tile, Tile]


@pto.kernel(
    grid="heads, cdiv(rows, 32)",
    q="bf16[heads, rows, 64]",
    k="bf16[heads, rows, 64]",
    v="bf16[heads, rows, 64]",
    out="f32[heads, rows, 64]",
)
def causal(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
    """Attention to what is not behind: only the block on the diagonal needs a mask."""
    head, block = pto.program_id(0), pto.program_id(1)
    count = q.shape[1]
    rows = pto.ds(block * 32, 32, valid=count - block * 32)
    query = pto.load(q[head, rows, :])

    def body(i: Index, carry: State) -> State:
        largest, total, acc = carry
        here = pto.ds(i * 32, 32, valid=count - i * 32)
        s = (query @ pto.load(k[head, here, :]).T) * 0.125

        def masked(s: Tile) -> Tile:
            return pto.where(pto.iota(1) <= pto.iota(0), s, -1e30)

        s = pto.when(i == block, masked, s)
        more = pto.maximum(largest, pto.row_max(s))
        p, scale = pto.exp(s - more), pto.exp(largest - more)
        made = p.astype("bf16") @ pto.load(v[head, here, :])
        return more, total * scale + pto.row_sum(p), acc * scale + made

    start = (pto.full((32, 1), -1e30), pto.zeros((32, 1)), pto.zeros((32, 64)))
    _, total, acc = pto.fori_loop(0, block + 1, body, start)
    pto.store(out[head, rows, :], acc / total)


def attention(q: Any, k: Any, v: Any) -> dict[str, Any]:
    s = np.einsum("hid,hjd->hij", q, k) / 8
    s = np.where(np.tri(s.shape[1], dtype=bool), s, -np.inf)
    p = np.exp(s - s.max(axis=2, keepdims=True))
    return {"out": np.einsum("hij,hjd->hid", p, v) / p.sum(axis=2, keepdims=True)}


def heads(rng: np.random.Generator) -> dict[str, Any]:
    made = rng.standard_normal((3, 2, 75, 64)).astype(ml_dtypes.bfloat16)
    return dict(zip("qkv", made, strict=True))


@pto.kernel(
    grid="cdiv(rows, 32)",
    q="bf16[rows, 64]",
    pages="bf16[count, 64, 64]",
    marks="i32[blocks, count]",
    out="f32[rows, 64]",
)
def skipping(q: Tensor, pages: Tensor, marks: Tensor, out: Tensor) -> None:
    """The sum of products with the pages that a table marks; the others are not loaded."""
    block = pto.program_id(0)
    rows = pto.ds(block * 32, 32, valid=q.shape[0] - block * 32)
    a = pto.load(q[rows, :])

    def body(i: Index, acc: Tile) -> Tile:
        return pto.when(marks[block, i], lambda acc: acc + a @ pto.load(pages[i, :, :]), acc)

    pto.store(out[rows, :], pto.fori_loop(0, pages.shape[0], body, pto.zeros((32, 64))))


def marked(q: Any, pages: Any, marks: Any) -> dict[str, Any]:
    keep = np.repeat(marks != 0, 32, axis=0)[: len(q)]
    return {"out": np.einsum("rd,pde,rp->re", q, pages, keep)}


def some_pages(rng: np.random.Generator) -> dict[str, Any]:
    marks = np.int32([[0, 1, 0, -7, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    return dict(
        q=rng.standard_normal((75, 64)).astype(ml_dtypes.bfloat16),
        pages=rng.standard_normal((5, 64, 64)).astype(ml_dtypes.bfloat16),
        marks=marks,
    )


@pto.kernel(
    grid="items, 2",
    x="f32[items, 2, 32, 64]",
    kinds="i32[items]",
    level="f32",
    out="f32[items, 2, 32, 64]",
    static=dict(half=True),
)
def either(x: Tensor, kinds: Tensor, level: pto.Scalar, out: Tensor, *, half: bool) -> None:
    """One of two ways by a table, each of which may store; a way in a way by a parameter; one that is static."""
    item, part = pto.program_id(0), pto.program_id(1)
    tile = pto.load(x[item, part, :, :])
    tile = pto.when(half, lambda t: t * 0.5, tile, otherwise=lambda t: -t)

    def first(pair: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        a, b = pair
        return b, pto.when(level < 0.5, lambda a: a + 1.0, a, lambda a: a - 1.0)

    a, b = pto.when(
        kinds[item] > part, first, (tile, pto.exp(tile)), otherwise=lambda p: (p[1], p[1])
    )

    def store() -> None:
        pto.store(out[item, part, :, :], a - b)

    def other() -> None:
        pto.store(out[item, part, :, :], a + b)

    pto.when(part == 0, store, otherwise=other)


def one_way(x: Any, kinds: Any, level: Any) -> dict[str, Any]:
    x = x * 0.5
    first = (kinds[:, None] > np.arange(2))[:, :, None, None]
    a, b = np.exp(x), np.where(first, x + (1 if level < 0.5 else -1), np.exp(x))
    return {"out": np.where(np.arange(2)[:, None, None] == 0, a - b, a + b)}


def kinds(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal((4, 2, 32, 64)).astype(np.float32)
    return dict(x=x, kinds=np.int32([0, 1, 2, -1]), level=0.25)


@pto.kernel(
    grid="cdiv(rows, 32)",
    q="bf16[rows, 64]",
    k="bf16[rows, 64]",
    v="bf16[rows, 64]",
    marks="i32[blocks, blocks]",
    out="f32[rows, 64]",
)
def sparse(q: Tensor, k: Tensor, v: Tensor, marks: Tensor, out: Tensor) -> None:
    """Attention to the marked blocks: a choice in a choice, in a loop of three carried tiles on both cores."""
    block, count = pto.program_id(0), q.shape[0]
    rows = pto.ds(block * 32, 32, valid=count - block * 32)
    query = pto.load(q[rows, :])

    def body(i: Index, carry: State) -> State:
        here = pto.ds(i * 32, 32, valid=count - i * 32)

        def masked(s: Tile) -> Tile:
            return pto.where(pto.iota(1) <= pto.iota(0), s, -1e30)

        def attended(carry: State) -> State:
            largest, total, acc = carry
            s = (query @ pto.load(k[here, :]).T) * 0.125
            s = pto.when(i == block, masked, s)
            more = pto.maximum(largest, pto.row_max(s))
            p, scale = pto.exp(s - more), pto.exp(largest - more)
            made = p.astype("bf16") @ pto.load(v[here, :])
            return more, total * scale + pto.row_sum(p), acc * scale + made

        return pto.when(marks[block, i] != 0, attended, carry)

    start = (pto.full((32, 1), -1e30), pto.full((32, 1), 1e-30), pto.zeros((32, 64)))
    _, total, acc = pto.fori_loop(0, block + 1, body, start)
    pto.store(out[rows, :], acc / total)


def by_marks(q: Any, k: Any, v: Any, marks: Any) -> dict[str, Any]:
    keep = np.kron(marks != 0, np.ones((32, 32)))[: len(q), : len(q)] * np.tri(len(q))
    p = np.exp(q @ k.T / 8) * keep
    return {"out": p @ v / (p.sum(axis=1, keepdims=True) + 1e-30)}


def marked_blocks(rng: np.random.Generator) -> dict[str, Any]:
    made = rng.standard_normal((3, 300, 64)).astype(ml_dtypes.bfloat16)
    marks = rng.integers(0, 2, (10, 10)).astype(np.int32)
    marks[3] = 0
    return dict(zip("qkv", made, strict=True), marks=marks)


@pto.kernel(
    grid="items",
    x="f32[items, rows, 64]",
    pages="f32[count, 16, 64]",
    table="i32[items, steps]",
    each="f32[items, steps, 16, 64]",
    out="f32[items, 16, 64]",
)
def ways(x: Tensor, pages: Tensor, table: Tensor, each: Tensor, out: Tensor) -> None:
    """Ways in a loop and beside it: tiles that change places, what is read by a number that is read, stores."""
    item, rows = pto.program_id(0), x.shape[1]

    def body(i: Index, pair: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
        tile = pto.load(x[item, pto.ds(i * 16, 16, valid=rows - i * 16), :])
        number = table[item, i]

        def paged(pair: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
            a, b = pair
            page = pto.load(pages[table[item, number], :, :])
            return b + page, pto.when(number == 1, lambda a: a * 0.5, a)

        def other(pair: tuple[Tile, Tile]) -> tuple[Tile, Tile]:
            a, b = pair
            return a + tile, pto.maximum(a, b)

        a, b = pto.when(number >= 0, paged, pair, otherwise=other)

        def store() -> None:
            pto.store(each[item, i, :, :], a - b)

        def opposite() -> None:
            pto.store(each[item, i, :, :], b - a)

        pto.when(i % 2 == 0, store, otherwise=opposite)
        return a, b

    start = (pto.zeros((16, 64)), pto.full((16, 64), 1.0))
    a, b = pto.fori_loop(0, pto.cdiv(rows, 16), body, start)
    total = pto.when(table[item, 0] > 0, lambda t: pto.exp(-t), a + b, lambda t: t * 0.25)
    pto.store(out[item, :, :], total)


def by_ways(x: Any, pages: Any, table: Any) -> dict[str, Any]:
    items, steps = table.shape
    each, out = np.zeros((items, steps, 16, 64)), np.zeros((items, 16, 64))
    tiles = np.zeros((items, steps * 16, 64))
    tiles[:, : x.shape[1]] = x
    for k in range(items):
        a, b = np.zeros((16, 64)), np.ones((16, 64))
        for i, number in enumerate(table[k]):
            if number >= 0:
                a, b = b + pages[table[k, number]], a * 0.5 if number == 1 else a
            else:
                a, b = a + tiles[k, i * 16 : i * 16 + 16], np.maximum(a, b)
            each[k, i] = a - b if i % 2 == 0 else b - a
        out[k] = np.exp(-(a + b)) if table[k, 0] > 0 else (a + b) * 0.25
    return {"each": each, "out": out}


def some_ways(rng: np.random.Generator) -> dict[str, Any]:
    """Entries at the places that an entry may name are numbers of pages."""
    table = np.int32([[0, 1, -3, -1, 1], [2, 0, 1, -9, -1], [1, 1, 0, 1, -1], [0, 2, 1, 1, 0]])
    return dict(
        x=rng.standard_normal((4, 75, 64)).astype(np.float32),
        pages=rng.standard_normal((3, 16, 64)).astype(np.float32),
        table=table,
    )


@pto.kernel(
    grid="items", x="f32[items, 16, 64]", flags="i32[items] distinct", even="f32[half, 16, 64]",
    odd="f32[half, 16, 64]", last="f32[16, 64]", chosen="f32[16, 64]",
)  # fmt: skip
def sorted_out(
    x: Tensor, flags: Tensor, even: Tensor, odd: Tensor, last: Tensor, chosen: Tensor
) -> None:
    """Stores that a condition keeps apart: of two halves, of one item by its number, of one that a table marks."""
    item, flag = pto.program_id(0), flags[pto.program_id(0)]
    tile = pto.load(x[item, :, :])
    pto.when(
        item % 2 == 0,
        lambda: pto.store(even[item // 2, :, :], tile + 1.0),
        otherwise=lambda: pto.store(odd[item // 2, :, :], tile - 1.0),
    )
    pto.when(item == x.shape[0] - 1, lambda: pto.store(last[:, :], tile * 2.0))
    pto.when(flag == 7, lambda: pto.store(chosen[:, :], tile * 3.0))


def some_flags(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal((6, 16, 64)).astype(np.float32)
    halves = dict.fromkeys(("even", "odd"), np.zeros((3, 16, 64), np.float32))
    return {"x": x, "flags": np.int32([3, 0, 7, -1, 8, 9]), **halves}


def by_halves(x: Any, flags: Any, **_: Any) -> dict[str, Any]:
    (marked,) = np.flatnonzero(flags == 7)
    return {"even": x[::2] + 1, "odd": x[1::2] - 1, "last": x[-1] * 2, "chosen": x[marked] * 3}


@pto.kernel(
    grid="cdiv(tokens, 32)",
    x="f16[tokens, 128]",
    w="f16[128, 64]",
    down="f16[adapters, 128, 16]",
    up="f16[adapters, 16, 64]",
    ids="i32[tiles]",
    factor="f32[adapters]",
    out="f32[tokens, 64]",
)
def adapted(
    x: Tensor, w: Tensor, down: Tensor, up: Tensor, ids: Tensor, factor: Tensor, out: Tensor
) -> None:
    """out = x @ w, and of the tiles that have an adapter + x @ down @ up * factor, on both cores; ids - 1 is its number."""
    t = pto.program_id(0)
    rows = pto.ds(t * 32, 32, valid=x.shape[0] - t * 32)
    tile, n = pto.load(x[rows, :]), ids[t]

    def more(y: Tile) -> Tile:
        middle = (tile @ pto.load(down[n - 1, :, :])).astype(x.dtype)
        return y + (middle @ pto.load(up[n - 1, :, :])) * factor[n - 1]

    pto.store(out[rows, :], pto.when(n != 0, more, tile @ pto.load(w[:, :])))


def some_adapters(rng: np.random.Generator) -> dict[str, Any]:
    """Numbers for which "n is not 0", "n is not 1" and "n is 1" are all of other tiles."""
    shapes = dict(x=(150, 128), w=(128, 64), down=(3, 128, 16), up=(3, 16, 64))
    found = {n: (rng.standard_normal(s) / 8).astype(np.float16) for n, s in shapes.items()}
    return {**found, "ids": np.int32([3, 0, 1, 0, 2]), "factor": np.float32([0.5, 1, 2])}


def with_adapters(x: Any, w: Any, down: Any, up: Any, ids: Any, factor: Any) -> dict[str, Any]:
    y = x @ w
    for t, n in enumerate(ids):
        rows = slice(32 * t, 32 * t + 32)
        if n:
            y[rows] += x[rows] @ down[n - 1] @ up[n - 1] * factor[n - 1]
    return {"out": y}


@pto.kernel(
    grid="cdiv(tokens, 16)",
    static=dict(dim=64),
    x="f32[tokens, dim]",
    slots="i32[tokens] distinct",
    cache="i8[slots_all, dim] inout",
    scales="f32[tokens, 1]",
)
def appended(x: Tensor, slots: Tensor, cache: Tensor, scales: Tensor) -> None:
    """Rows as i8, each at its slot, if it has one: sixteen choices side by side, any of which may leave out the others."""
    tokens, first = x.shape[0], pto.program_id(0) * 16
    rows = pto.ds(first, 16, valid=tokens - first)
    tile = pto.load(x[rows, :])
    scale = pto.maximum(pto.row_max(pto.abs(tile)), 1e-3) * (1 / 127)
    whole = (tile / scale).astype("i8", rounding="rint")
    pto.store(scales[rows, :], scale)
    for r in range(16):

        def put(r: int = r) -> None:
            pto.store(cache[slots[first + r], :], whole[r : r + 1, :])

        at = slots[pto.minimum(first + r, tokens - 1)]
        pto.when((first + r < tokens) * (at >= 0), put)


def some_slots(rng: np.random.Generator) -> dict[str, Any]:
    """Rows whose largest element is 127 over a power of two, so that every quotient is exact."""
    x = rng.integers(-126, 127, (37, 64)).astype(np.float32)
    x[:, 5] = 127
    x *= 2.0 ** rng.integers(-2, 3, (37, 1))
    slots = rng.permutation(50)[:37].astype(np.int32) - 5
    cache = rng.integers(-9, 9, (50, 64), np.int8)
    return {"x": x.astype(np.float32), "slots": slots, "cache": cache}


def by_slots(x: Any, slots: Any, cache: Any) -> dict[str, Any]:
    scale = np.abs(x).max(axis=1, keepdims=True) / 127
    found = cache.copy()
    for row, at in zip(np.rint(x / scale), slots, strict=True):
        if at >= 0:
            found[at] = row
    return {"cache": found, "scales": scale}


@pto.kernel(
    grid="items",
    static=dict(early=True),
    x="f32[items, 16, 64]",
    marks="i32[items]",
    high="f32",
    out="f32[items, 5, 16, 64]",
)
def combined(x: Tensor, marks: Tensor, out: Tensor, *, high: pto.Scalar, early: bool) -> None:
    """Conditions of conditions, and of what is known while tracing."""
    i = pto.program_id(0)
    tile, mark = pto.load(x[i, :, :]), marks[i]
    one, other = (mark > 1) & (mark < 4), (i < 2) | (high * mark > 3.0)
    conditions = (one, other & ~one, ~(one | other), (mark > 2) == early, one * (not early))
    for k, condition in enumerate(conditions):
        pto.store(out[i, k, :, :], pto.when(condition, lambda t: t + 1.0, tile))


def by_conditions(x: Any, marks: Any, high: Any) -> dict[str, Any]:
    one, other = (marks > 1) & (marks < 4), (np.arange(len(x)) < 2) | (high * marks > 3)
    held = np.stack([one, other & ~one, ~(one | other), marks > 2, one & False], axis=1)
    return {"out": x[:, None] + held[:, :, None, None]}


def some_marks(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.standard_normal((9, 16, 64)).astype(np.float32)
    return dict(x=x, marks=np.int32([0, 1, 2, 3, 4, 5, 2, 3, 0]), high=1.25)


WORDS = {
    "adapters of some tiles": Word(adapted, some_adapters, with_adapters),
    "rows to their slots": Word(appended, some_slots, by_slots),
    "stores by conditions": Word(sorted_out, some_flags, by_halves),
    "skipped pages": Word(skipping, some_pages, marked),
    "one of two ways": Word(either, kinds, one_way),
    "causal by the diagonal": Word(causal, heads, attention),
    "attention to marked blocks": Word(sparse, marked_blocks, by_marks),
    "conditions of conditions": Word(combined, some_marks, by_conditions),
    "ways in a loop": Word(ways, some_ways, by_ways),
}
