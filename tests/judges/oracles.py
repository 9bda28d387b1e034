"""Independent references: plain mathematics in float64, no online softmax, no tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BF16_MEAN_ERROR = 2.0**-9
"""Half of the largest relative error of one rounding to bf16 (8 significant bits): the roundings
of many probabilities average out."""


def paged_case(
    lengths: Sequence[int],
    *,
    heads: int = 16,
    dim: int = 128,
    block: int = 128,
    width: int | None = None,
    spare: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """One call of paged attention: pages permuted, everything that must not count is NaN.

    ``spare`` pages belong to nobody.  Unused entries of the block table name one of those pages.
    """
    rng = np.random.default_rng(seed)
    used = [-(-n // block) for n in lengths]
    width = max([*used, 1]) if width is None else width
    pages = sum(used) + spare
    order = rng.permutation(pages)
    nobody = order[sum(used) :]
    key = np.full((pages, block, 1, dim), np.nan, np.float32)
    value = key.copy()
    table = rng.choice(nobody, (len(lengths), width)).astype(np.int32)
    for b, (n, count) in enumerate(zip(lengths, used, strict=True)):
        mine = order[sum(used[:b]) : sum(used[:b]) + count]
        table[b, :count] = mine
        for i, page in enumerate(mine):
            rows = min(block, n - i * block)
            key[page, :rows, 0] = rng.standard_normal((rows, dim))
            value[page, :rows, 0] = rng.standard_normal((rows, dim))
    query = rng.standard_normal((len(lengths), heads, dim))
    return {
        "query": query.astype(ml_dtypes.bfloat16),
        "key_cache": key.astype(ml_dtypes.bfloat16),
        "value_cache": value.astype(ml_dtypes.bfloat16),
        "block_table": table,
        "context_lens": np.array(lengths, np.int32),
        "scale": np.float32(1 / np.sqrt(dim)),
    }


def paged_attention(case: dict[str, Any]) -> Array:
    """softmax(q k^T / sqrt(d)) v for every request, over its whole context at once, in float64."""
    query = case["query"].astype(np.float64)
    out = np.zeros(query.shape)
    for b, n in enumerate(case["context_lens"]):
        if n == 0:
            continue
        block = case["key_cache"].shape[1]
        pages = case["block_table"][b, : -(-int(n) // block)]
        k = case["key_cache"][pages, :, 0].reshape(-1, query.shape[2])[:n].astype(np.float64)
        v = case["value_cache"][pages, :, 0].reshape(-1, query.shape[2])[:n].astype(np.float64)
        s = query[b] @ k.T / np.sqrt(query.shape[2])
        p = np.exp(s - s.max(axis=1, keepdims=True))
        out[b] = p @ v / p.sum(axis=1, keepdims=True)
    return out


def paged_tolerance(case: dict[str, Any]) -> float:
    """Each probability is rounded to bf16 once; see ``BF16_MEAN_ERROR``; plus float32."""
    return BF16_MEAN_ERROR * float(np.nanmax(np.abs(case["value_cache"].astype(np.float32)))) + 1e-4
