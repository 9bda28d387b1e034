"""Random tile kernels: loops with carries, products, row reductions, hand-overs between cores.

``draw`` gives a kernel and a function that draws its inputs, from a seed or from a random number
generator (hypothesis shrinks what its own generator gave).  All values stay bounded, so that
results can be compared bit by bit and no NaN hides a difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

import pto
from pto import Scalar, Tensor, Tile

Words = tuple[Callable[["Builder", Tile], Tile], ...]


class Builder:
    """Makes tiles of one work item; ``full`` are [rows, cols] f32 tiles, ``column`` [rows, 1], ``counts``
    traced integers.  ``words``: what else may be made of a tile, as those of ``WORDS``."""

    def __init__(self, rng: random.Random, rows: int, cols: int, words: Words = ()) -> None:
        self.rng, self.rows, self.cols, self.words = rng, rows, cols, words
        self.full: list[Tile] = []
        self.column: list[Tile] = []
        self.counts: list[Scalar] = []

    def copy(self) -> Builder:
        inner = Builder(self.rng, self.rows, self.cols, self.words)
        inner.full, inner.column = list(self.full), list(self.column)
        inner.counts = list(self.counts)
        return inner

    def keep(self, values: tuple[Tile | Scalar, ...]) -> None:
        """What a loop hands on."""
        self.full += (x for x in values if isinstance(x, Tile))
        self.counts += (x for x in values if isinstance(x, Scalar))

    def pick(self) -> Tile:
        recent = self.full[-4:]
        return self.rng.choice(recent + self.full[:2])

    def vector_step(self) -> None:
        """One or two vector ops; results are squashed into [-1, 1]."""
        x = self.pick()
        if self.words and self.rng.random() < 0.6:
            self.full.append(self.rng.choice(self.words)(self, x))
            return
        kind = self.rng.choice(["scale", "add", "column", "reduce", "exp", "where", "clip"])
        if kind == "scale":
            self.full.append(x * 0.5)
        elif kind == "add":
            self.full.append((x + self.pick()) * 0.5)
        elif kind == "column" and self.column:
            self.full.append(pto.maximum(x, self.rng.choice(self.column)))
        elif kind == "reduce":
            self.column.append(pto.row_sum(x) * (1 / self.cols))
        elif kind == "exp":
            self.full.append(pto.exp(x - pto.row_max(x)))
        elif kind == "where":
            self.full.append(pto.where(pto.iota(1) < self.rng.randint(0, self.cols), x, 0.25))
        else:
            self.full.append(pto.minimum(pto.maximum(x, -1.0), 1.0))

    def product(self, right: Tile, dtype: str) -> Tile:
        """``x @ right`` with x narrowed to the matmul type, scaled down."""
        x = self.pick().astype(dtype)
        return (x @ right) * (1 / self.cols)


def _side(b: Builder) -> Tile | float:
    sides: list[Tile | float] = [b.pick(), b.pick(), 0.5, *b.column[-1:]]
    return b.rng.choice(sides)


def _compared(b: Builder, x: Tile) -> Tile:
    """A choice by a comparison with what broadcasts, or by two."""
    op = b.rng.choice(
        [Tile.__lt__, Tile.__le__, Tile.__gt__, Tile.__ge__, Tile.__eq__, Tile.__ne__]
    )
    others: list[Tile | float] = [b.pick(), 0.25, *b.column[-1:]]
    mask = op(x, b.rng.choice(others))
    if b.rng.random() < 0.4:
        mask = b.rng.choice([mask & (b.pick() > 0.0), mask | ~(b.pick() <= x), ~mask])
    return pto.where(mask, x, _side(b))


def _placed(b: Builder, x: Tile) -> Tile:
    """A choice by places: a triangle, a band, the first columns, by numbers of the run too."""
    i, j = pto.iota(0) * b.rng.choice([1, 1, 2]), pto.iota(1)
    bounds: list[int | Scalar] = [b.rng.randint(-9, b.cols), *b.counts]
    bound = b.rng.choice(bounds)
    mask = b.rng.choice([j <= i + bound, j - i < bound, j < bound, i >= bound, j != bound])
    if b.rng.random() < 0.3:
        mask &= x > (0.0 if b.rng.random() < 0.5 else b.pick())
    return pto.where(mask, x, _side(b))


def _numbered(b: Builder, x: Tile) -> Tile:
    far = b.rng.choice([pto.iota(0), pto.iota(1) - 3, pto.iota(0) - pto.iota(1)])
    return x * far * (1 / 64)


def _function(b: Builder, x: Tile) -> Tile:
    names = ["tanh", "sigmoid", "sin", "floor", "round", "sign", "erf", "trunc"]
    made: Tile = getattr(pto, b.rng.choice(names))(x * b.rng.choice([1.0, 2.5]))
    return made


def _narrow(b: Builder, x: Tile) -> Tile:
    """Steps of a 127th, or a product of them."""
    rounding = b.rng.choice(["rint", "away", "floor", "ceil", "trunc"])
    small = (x * 127.0).astype(b.rng.choice(["i8", "i16"]), rounding)
    if small.dtype == "i8" and b.rows == b.cols and b.rng.random() < 0.5:
        other = (b.pick() * 127.0).astype("i8")
        return (small @ other).astype("f32") * (1 / (127 * 127 * b.cols))
    return small.astype("f32") * (1 / 127)


def _spread(b: Builder, x: Tile) -> Tile:
    column = b.column[-1] if b.column else pto.row_max(x)
    return (pto.broadcast_to(column, (b.rows, b.cols)) + x) * 0.5


def _ordered(b: Builder, x: Tile) -> Tile:
    """Sorted, what was where, the larger ones, or beside the column of the largest."""
    values, indices = pto.sort(x)
    best, _ = pto.top_k(x, b.rng.choice([8, 16, b.cols]))
    places = b.rng.choice([pto.row_argmax, pto.row_argmin])(x)
    b.column.append(places.astype("f32") * (1 / b.cols))
    made: list[Tile] = [
        values,
        x * (indices.astype("f32") * (1 / b.cols)),
        pto.where(x >= pto.row_min(best), x, 0.0),
        pto.where(pto.iota(1) < b.cols // 2, values, b.column[-1]),
    ]
    return b.rng.choice(made)


def _summed(b: Builder, x: Tile) -> Tile:
    return pto.cumsum(x) * (1 / b.cols)


def _along_columns(b: Builder, x: Tile) -> Tile:
    """What joins the rows of a tile, or all of it: lanes share by columns, or do all of it both."""
    largest = pto.max(x) if b.rng.random() < 0.3 else pto.col_max(x)
    made = [x - pto.col_sum(x) * (1 / b.rows), pto.exp(x - largest), pto.maximum(x, pto.col_min(x))]
    return b.rng.choice(made) * 0.5


def _parted(b: Builder, x: Tile) -> Tile:
    """Parts that change places, of one tile or of two, and parts that are written over."""
    row, col, other = b.rng.randrange(1, b.rows), b.rng.randrange(8, b.cols, 8), b.pick()
    made = [
        pto.concat([x[:, col:], x[:, :col]], axis=1),
        pto.concat([x[row:], other[:row]]),
        pto.concat([other[:row, :col], x[row:, :col]]) * 0.5,
        x.at[row:, col:].set(other[row:, col:]),
        x.at[:row].set(0.25),
        x.at[:, :col].set(-x[:, :col]),
        pto.maximum(x.at[row - 1 : row, :].add(0.5), -1.0) * 0.5,
    ]
    found = b.rng.choice(made)
    return found if found.shape == (b.rows, b.cols) else x.at[:, :col].set(found)


def _bits(b: Builder, x: Tile) -> Tile:
    """Times what bits make of the places of its elements, or chosen by an order of these."""
    rows, cols = pto.full((b.rows, b.cols), b.rng.randint(0, 99), "i32"), pto.iota(1)
    mixed = (rows ^ cols) if b.rng.random() < 0.5 else ~(rows + pto.iota(0)) | (rows << 3)
    counts: list[int | Scalar] = [b.rng.randint(0, 63), *b.counts]
    small = (mixed >> b.rng.randint(0, 2)) % 64 & (mixed | b.rng.choice(counts))
    if b.rng.random() < 0.5:
        return pto.where(small < b.rng.choice(counts), x, _side(b))
    return x * ((small & 63).astype("f32") * (1 / 64))


def _maybe(b: Builder, x: Tile) -> Tile:
    """Done by a number of the run, or done otherwise; what is behind goes by the result."""
    count, inside = b.rng.choice(b.counts), b.copy()

    def body(x: Tile) -> Tile:
        inside.full.append(x)
        inside.vector_step()
        return (x + inside.pick()) * 0.5

    test = b.rng.choice([count % 2, count == 1, count < 2, count > 1])
    if b.rng.random() < 0.5:
        return pto.when(test, body, x)
    return pto.when(test, body, x, otherwise=lambda x: x * 0.75)


def _turned(b: Builder, x: Tile) -> Tile:
    """A transpose, of the tile or of a column of it, and back; of a square tile beside it."""
    if b.rows == b.cols and b.rng.random() < 0.5:
        return (x + x.T) * 0.5
    if b.rng.random() < 0.5:
        return x - pto.row_max(x.T).T * 0.25
    return (x.T * 0.5 - pto.row_max(x).T).T


def _crossed(b: Builder, x: Tile) -> Tile:
    """Of the vector core, multiplied both ways."""
    half = (x * 0.25).astype("f16")
    pairs: Tile = half.T @ half * (1 / b.rows)
    made: Tile = half @ pairs.astype("f16")
    return made


MASKS: Words = (_compared, _compared, _placed, _placed, _numbered, _function, _spread)
"""Masks, places and functions: a tuple that stays, so that a seed stays the kernel that it was."""
WORDS: Words = (
    *MASKS, _ordered, _summed, _along_columns, _narrow,
    _parted, _bits, _maybe, _turned, _crossed,
)  # fmt: skip


WHOLE: Words = (_along_columns, _parted, _turned, _crossed)
"""After which both lanes may hold all of a tile."""


def draw(
    source: int | random.Random, outside: bool = False, words: Words = ()
) -> tuple[pto.Kernel, Callable[[np.random.Generator], dict[str, Any]]]:
    """(kernel, inputs): the same kernel for the same seed.

    ``words``: see ``Builder``; tables that state what they hold, too, and some of them add: all work items to the rows
    of the first one, iterations to those of their own; some update their input in place, and load it
    again: no tile of theirs is whole on both lanes, which nothing orders.
    ``outside``: also products, loads and scalars in front of the loops and behind them, loops in
    loops, loops of different lengths, starts that others read, results that are read again.
    """
    plan = random.Random(source) if isinstance(source, int) else source
    rows, cols = plan.choice([16, 32, 64]), plan.choice([32, 64])
    dtype = plan.choice(["bf16", "f16"])
    before, inside, after = plan.randint(0, 3), plan.randint(1, 6), plan.randint(0, 3)
    products = plan.randint(0, 2)
    carries = plan.randint(1, 3)
    loops = plan.choice([1, 1, 2])
    accumulate = plan.random() < 0.3
    body_seed = plan.randrange(1 << 30)
    front, behind = (plan.randint(0, 1), plan.randint(0, 1)) if outside else (0, 0)
    stated = words is WORDS
    adds = stated and plan.random() < 0.4
    least = plan.randint(0, 1) if stated else 0
    updates = stated and not adds and plan.random() < 0.3
    carried = stated and plan.random() < 0.3

    @pto.kernel(
        grid="items",
        x="f32[total, cols]",
        pages="dtype[count, cols, cols]",
        table="i32[items, width]" + " in 0 .. count" * stated,
        trips="i32[items]" + f" in {least} .. width + 1" * stated,
        out="f32[total, cols]",
        static=dict(rows=rows, cols=cols, dtype=dtype),
    )
    def random_kernel(
        x: Tensor, pages: Tensor, table: Tensor, trips: Tensor, out: Tensor, *, rows: int, cols: int
    ) -> None:
        rng = random.Random(body_seed)
        item = pto.program_id(0)
        here = pto.ds(item * rows, rows, valid=x.shape[0] - item * rows)
        b = Builder(rng, rows, cols, [w for w in words if not updates or w not in WHOLE])
        b.counts.append(item)
        b.full.append(pto.load(x[here, :]))

        def beside(count: int) -> None:
            for _ in range(count):
                if rng.random() < 0.3:
                    b.full.append(pto.load(x[here, :]) * 0.5)
                else:
                    number = table[item, 1] if rng.random() < 0.5 else rng.randint(0, 6)
                    page = pto.load(pages[number, :, :])
                    b.full.append(b.product(page.T if rng.random() < 0.5 else page, dtype))
                b.vector_step()

        for _ in range(before):
            b.vector_step()
        beside(front)
        for number in range(loops):
            start = tuple(b.pick() if outside else b.pick() * 1.0 for _ in range(carries))
            count = trips[item]
            if outside:
                count = rng.choice([count, count, pto.maximum(count, 1), table[item, 5] % 3, 2])

            if carried:  # as far as the table says, from page to page where it leads
                count = pto.first_where(count, lambda i: table[item, i] == 6)
                start = (*start, table[item, 0])

            def body(i: Scalar, carry: tuple[Any, ...], number: int = number) -> tuple[Any, ...]:
                inner = b.copy()
                inner.counts.append(i)
                places = carry[len(carry) - carried :]
                carry = carry[: len(carry) - carried]
                inner.full.extend(carry)
                page = pto.load(pages[places[0] if places else table[item, i], :, :])
                for k in range(inside):
                    if products and k % (3 - products) == 0:
                        right = page.T if rng.random() < 0.5 else page
                        inner.full.append(inner.product(right, dtype))
                    inner.vector_step()
                if outside and rng.random() < 0.2:

                    def step(j: Scalar, c: Tile) -> Tile:
                        return (c + inner.pick()) * 0.5

                    inner.full.append(pto.fori_loop(0, table[item, 4] % 3, step, inner.pick()))
                again = outside and rng.random() < 0.5
                results = [inner.pick() if again else (c + inner.pick()) * 0.5 for c in carry]
                if outside and rng.random() < 0.5:
                    results[-1] = (results[0] + results[-1]) * 0.5
                if adds:
                    pto.store(out[here, :], inner.pick() * 0.5, add=True)
                results += [(at + table[item, i]) % pages.shape[0] for at in places]
                return tuple(results)

            b.keep(pto.fori_loop(0, count, body, start))
        if updates:
            pto.store(x[here, :], b.pick() * 0.5)
            if rng.random() < 0.5:
                b.full.append(pto.load(x[here, :]) * 0.5)
        if accumulate:

            def add(i: Scalar, acc: Tile) -> Tile:
                page = pto.load(pages[table[item, i], :, :])
                return acc + page @ page.T

            if rows == cols:
                b.full.append(pto.fori_loop(0, 2, add, pto.zeros((rows, cols))) * 0.1)
        beside(behind)
        for _ in range(after):
            b.vector_step()
        total = b.full[-1]
        for other in b.full[-6:-1]:
            total = (total + other) * 0.5
        pto.store(out[here, :], total, add=adds)
        if adds:
            pto.store(out[pto.ds(0, rows), :], b.pick() * 0.5, add=True)

    def inputs(rng: np.random.Generator) -> dict[str, Any]:
        items, width = 5, 6
        counts = rng.permutation([0, 1, 2, 3, width])[:items]
        start = {"out": np.ones((items * rows - 3, cols), np.float32)} if adds else {}
        return start | {
            "x": rng.uniform(-1, 1, (items * rows - 3, cols)).astype(np.float32),
            "pages": rng.uniform(-1, 1, (7, cols, cols)).astype(np.float32),
            "table": rng.integers(0, 7, (items, width)).astype(np.int32),
            "trips": np.maximum(counts, least).astype(np.int32),
        }

    return random_kernel, inputs
