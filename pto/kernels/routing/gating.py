"""The router of a mixture of experts (docs/guides/sorting.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor, Tile

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(tokens, tile)",
    x="dtype[tokens, hidden]",
    w="dtype[hidden, experts]",
    weights="f32[tokens, best]",
    indices="i32[tokens, best]",
    static=dict(dtype="bf16", experts=64, best=8, tile=128, block=256),
)
def top_k_gating(
    x: Tensor, w: Tensor, weights: Tensor, indices: Tensor, *, experts: int, best: int, tile: int,
    block: int,
) -> None:  # fmt: skip
    """The experts with the largest of softmax(x @ w), the likeliest first, and their shares of one."""
    (tokens, hidden), first = x.shape, pto.program_id(0) * tile
    rows = pto.ds(first, tile, valid=tokens - first)

    def one_block(i: Scalar, logits: Tile) -> Tile:
        inner = pto.ds(i * block, block, valid=hidden - i * block)
        return logits + pto.load(x[rows, inner]) @ pto.load(w[inner, :])

    start = pto.zeros((tile, experts))
    logits = pto.fori_loop(0, pto.cdiv(hidden, block), one_block, start)
    e = pto.exp(logits - pto.row_max(logits))
    shares, chosen = pto.top_k(e / pto.row_sum(e), best)
    pto.store(weights[rows, :], shares / pto.row_sum(shares))
    pto.store(indices[rows, :], chosen)


@top_k_gating.case
def draw(
    rng: np.random.Generator, *, tokens: int = 4096, hidden: int = 4096, **statics: Any
) -> dict[str, Any]:
    """Unit-scale logits without a tie: sums of small integers, whatever their order, and a fraction of one that is
    the expert's own, which the first element of each token brings in."""
    import numpy as np

    experts = statics["experts"]
    x, w = (rng.integers(-1, 2, shape) for shape in ((tokens, hidden), (hidden, experts)))
    own = rng.permutation(experts) / experts
    x[:, 0] = 1
    step = 2.0 ** np.round(np.log2(1.5 / np.sqrt(hidden)))
    return {"x": x, "w": np.concatenate([own[None], w[1:]]) * step}


@top_k_gating.reference
def float64(x: Any, w: Any, best: int) -> dict[str, Any]:
    """The same in float64, by the order of the logits."""
    import numpy as np

    logits = x @ w
    chosen = np.argsort(-logits, axis=1, kind="stable")[:, :best]
    e = np.exp(np.take_along_axis(logits, chosen, axis=1))
    return {"weights": e / e.sum(axis=1, keepdims=True), "indices": chosen}
