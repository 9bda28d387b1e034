"""Random structures: loops, choices and chains of products in each other, of every kind of trip count.

``draw`` gives a kernel and its inputs.  What is done to the tile is little; the rows stand wherever loops and choices
of any depth put them.  All values stay bounded.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

import pto
from pto import Scalar, Tensor, Tile

Index = Scalar | int
Step = Callable[[Tile], Tile]

SIDE = 32
"""Rows and columns of every tile."""

PARTS = 24
"""Tiles that an item may store on its way, beside the one at its end."""

STARTS: tuple[Callable[[Tensor], Tile], ...] = (
    lambda x: pto.zeros((SIDE, SIDE)),
    lambda x: pto.full((SIDE, SIDE), 0.5),
    lambda x: pto.load(x[0, :, :]),
)


class Structure:
    """What may stand in work item ``b``.  ``products``: on both cores.  ``parts``: where tiles are stored on the way,
    each at a place of its own, outside of loops; choices are then of every kind of test."""

    def __init__(
        self,
        rng: random.Random,
        tensors: Sequence[Tensor],
        b: Scalar,
        products: bool,
        parts: Tensor | None,
    ) -> None:
        self.rng, self.b, self.parts, self.stored = rng, b, parts, 0
        self.q, self.pages, self.x, self.counts, self.table = tensors
        self.steps = (self.vector, self.vector, self.loaded) + products * (
            self.product,
            self.product,
            self.product_of_both,
            self.chain,
        )

    # numbers

    def trips(self, at: tuple[Index, ...]) -> Index:
        size, count = self.pages.shape[0], self.counts[self.b]
        given: list[Index] = [2, size, size - 1, count, count, count - 1, self.b]
        given += [self.table[self.b, 1], *(i + 1 for i in at)]
        given += [self.table[self.b, i % 4] for i in at]
        return self.rng.choice(given)

    def test(self, at: tuple[Index, ...]) -> Any:
        count = self.counts[self.b]
        given = [count > 0, count > 1, self.b % 2 == 0, count]
        given += [i == count for i in at] + [i % 2 == 0 for i in at]
        given += [self.table[self.b, i % 4] > 0 for i in at]
        if self.parts is not None:
            other = self.table[self.b, self.rng.randrange(4)]
            given += [count == 1, count != 2, other == 0, other != count, 1 - (count >= other)]
            given += [(other > 0) * (count < 3), pto.maximum(other == 1, count == 3)]
        return self.rng.choice(given)

    def place(self, of: Tensor, at: tuple[Index, ...]) -> Index:
        return self.rng.choice([0, self.b, *at, *at, *at]) % of.shape[0]

    # rows

    def step(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        return self.rng.choice(self.steps)(a, at)

    def page(self, at: tuple[Index, ...]) -> Tile:
        return pto.load(self.pages[self.place(self.pages, at), :, :])

    def vector(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        made: tuple[Step, ...] = (
            pto.tanh if self.parts is None else pto.abs,  # or the same bits everywhere
            lambda a: pto.maximum(a, 0.1),
            lambda a: a - pto.row_max(a),
            lambda a: a * 0.5,
        )
        return self.rng.choice(made)(a)

    def loaded(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        return a * 0.25 + pto.load(self.x[self.place(self.x, at), :, :])

    def product(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        return a * 0.5 + (pto.load(self.q[self.b, :, :]) @ self.page(at)) * 0.1

    def product_of_both(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        return pto.tanh(a.astype("bf16") @ self.page(at))

    def chain(self, a: Tile, at: tuple[Index, ...]) -> Tile:
        first = pto.tanh(pto.load(self.q[self.b, :, :]) @ self.page(at)).astype("bf16")
        return a * 0.5 + (first @ self.page(at)) * 0.1

    # loops and choices

    def stores(self, a: Tile, at: tuple[Index, ...]) -> None:
        """Up to four side by side, under tests of their own."""

        def store(made: Tile) -> None:
            if self.parts is not None and self.stored < PARTS:
                self.stored += 1
                pto.store(self.parts[self.b, self.stored - 1, :, :], made)

        for _ in range(self.rng.randint(1, 4)):
            other = self.rng.choice([None, lambda: store(a + 1.0)])
            pto.when(self.test(at), lambda: store(a * 0.5), otherwise=other)

    def block(self, a: Tile, at: tuple[Index, ...], depth: int, most: int = 2) -> Tile:
        """``depth``: how many loops and choices may stand in each other."""
        kinds = ["step"] if depth == 0 else ["step"] * 3 + ["choice", "loop"]
        if self.parts is not None and not at:
            kinds += ["stores", "stores"]
        for _ in range(self.rng.randint(1, most)):
            kind = self.rng.choice(kinds)
            if kind == "stores":
                self.stores(a, at)
            elif kind == "loop":
                a = pto.fori_loop(
                    0, self.trips(at), lambda i, a: self.block(a, (*at, i), depth - 1), a
                )
            elif kind == "choice":
                ways: list[Step] = [lambda a: self.block(a, at, depth - 1)]
                ways *= self.rng.choice([1, 2])
                a = pto.when(self.test(at), ways[0], a, *ways[1:])
            else:
                a = self.step(a, at)
        return a


def draw(
    seed: int, depth: int = 3, products: bool = True, stores: bool = False
) -> tuple[Any, dict[str, np.ndarray]]:
    """A kernel, and what to call it with."""

    @pto.kernel(
        grid="n",
        q=f"bf16[n, {SIDE}, {SIDE}]",
        pages=f"bf16[most, {SIDE}, {SIDE}]",
        x=f"f32[n, {SIDE}, {SIDE}]",
        counts="i32[n]",
        table="i32[n, 4]",
        parts=f"f32[n, {PARTS + 1}, {SIDE}, {SIDE}]" + " inout" * stores,
        out=f"f32[n, {SIDE}, {SIDE}]",
    )
    def structure(
        q: Tensor,
        pages: Tensor,
        x: Tensor,
        counts: Tensor,
        table: Tensor,
        parts: Tensor,
        out: Tensor,
    ) -> None:
        rng, b = random.Random(seed), pto.program_id(0)
        tensors = q, pages, x, counts, table
        made = Structure(rng, tensors, b, products, parts if stores else None)
        end = made.block(rng.choice(STARTS)(x), (), depth, 3)
        if stores:
            pto.store(parts[b, PARTS, :, :], end * 2.0)
        pto.store(out[b, :, :], end)

    rng = np.random.default_rng(seed)
    pages, q = (rng.uniform(-0.5, 0.5, (n, SIDE, SIDE)) for n in (3, 4))
    return structure, {
        "q": q.astype(ml_dtypes.bfloat16),
        "pages": pages.astype(ml_dtypes.bfloat16),
        "x": rng.uniform(-1, 1, (4, SIDE, SIDE)).astype(np.float32),
        "parts": np.zeros((4, PARTS + 1, SIDE, SIDE), np.float32),
        "counts": np.array([2, 0, 1, 3], np.int32),
        "table": rng.integers(0, 3, (4, 4)).astype(np.int32),
    }
