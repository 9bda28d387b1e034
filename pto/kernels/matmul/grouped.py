"""Products of groups of rows, each with a matrix of its own, as the layers of experts are (docs/guides/tables.md)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="groups, cdiv(n, tile_n)",
    x="dtype[rows, k]",
    w="dtype[groups, k, n]",
    starts="i32[edges] sorted in 0 .. rows + 1",
    out="f32[rows, n]",
    static=dict(dtype="bf16", k=2048, tile_m=128, tile_n=256, tile_k=128),
)
def grouped_matmul(
    x: Tensor, w: Tensor, starts: Tensor, out: Tensor, *, k: int, tile_m: int, tile_n: int,
    tile_k: int,
) -> None:  # fmt: skip
    """out[s:e] = x[s:e] @ w[g] with s, e = starts[g : g + 2]; any group may have no row."""
    groups, n = w.shape[0], w.shape[2]
    pto.require(starts.shape[0] == groups + 1, "starts has one entry more than there are groups")
    g, col = pto.program_id(0), pto.program_id(1) * tile_n
    first, count, cols = starts[g], starts[g + 1] - starts[g], pto.ds(col, tile_n, valid=n - col)

    def one_tile(t: Scalar) -> None:
        rows = pto.ds(first + t * tile_m, tile_m, valid=count - t * tile_m)

        def one_step(i: Scalar, total: Tile) -> Tile:
            inner = pto.ds(i * tile_k, tile_k, valid=k - i * tile_k)
            return total + pto.load(x[rows, inner]) @ pto.load(w[g, inner, cols])

        start = pto.zeros((tile_m, tile_n))
        pto.store(out[rows, cols], pto.fori_loop(0, pto.cdiv(k, tile_k), one_step, start))

    pto.fori_loop(0, pto.cdiv(count, tile_m), one_tile)


@grouped_matmul.case
def draw(
    rng: np.random.Generator,
    *,
    groups: int = 64,
    rows: int = 8192,
    n: int = 2048,
    **statics: Any,
) -> dict[str, Any]:
    """Groups of any numbers of rows, the first of several without any; unit-scale products."""
    import numpy as np

    k = statics["k"]
    edges = np.sort(rng.integers(0, rows + 1, groups - 1))
    edges[:1] = 0
    w = rng.standard_normal((groups, k, n), np.float32)
    w /= np.float32(np.sqrt(k))
    x = rng.standard_normal((rows, k), np.float32)
    return {"x": x, "w": w, "starts": np.array([0, *edges, rows], np.int32)}


@grouped_matmul.reference
def float64(x: Any, w: Any, starts: Any) -> dict[str, Any]:
    """Group by group in float64."""
    import numpy as np

    parts = zip(pairwise(starts), w, strict=True)
    return {"out": np.concatenate([x[first:end] @ of for (first, end), of in parts])}
