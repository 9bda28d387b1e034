"""Random caches in pages, for the cases of attention kernels, and softmax in float64, for their references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def lengths(rng: np.random.Generator, batch: int, most: int, ragged: bool, block: int) -> Any:
    """i32[batch]: contexts of ``most`` tokens; ragged: also none, one, the edges of a block, any."""
    import numpy as np

    if not ragged:
        return np.full(batch, most, np.int32)
    edges = np.minimum([0, most, 1, block + 1, block], most)
    drawn = rng.integers(0, most + 1, batch)
    drawn[: len(edges)] = edges[:batch]
    return drawn.astype(np.int32)


def paged(
    rng: np.random.Generator, lens: Any, block: int, *shape: int, caches: int = 1
) -> tuple[Any, list[Any]]:
    """``(table, [cache])``: i32[batch, width], and f32[pages, block, *shape] of which every page is named once at
    most; what no context holds is NaN."""
    import numpy as np

    counts = -(-lens // block)
    pages = int(counts.sum()) + 1
    table = np.full((len(lens), max(1, int(counts.max()))), pages - 1, np.int32)
    order = rng.permutation(pages - 1)
    made = [rng.standard_normal((pages, block, *shape), np.float32) for _ in range(caches)]
    ends = np.cumsum(counts)
    for b, (end, count, length) in enumerate(zip(ends, counts, lens, strict=True)):
        table[b, :count] = order[end - count : end]
        if count:
            for cache in made:
                cache[table[b, count - 1], length - (count - 1) * block :] = np.nan
    for cache in made:
        cache[-1] = np.nan
    return table, made


def contents(cache: Any, table: Any, length: int) -> Any:
    """f64[length, ...]: what a sequence has in the pages that its line of the table names."""
    import numpy as np

    count = -(-length // cache.shape[1])
    pages = cache[table[:count]].astype(np.float64)
    return pages.reshape(count * cache.shape[1], *cache.shape[2:])[:length]


def attended(scores: Any, values: Any) -> Any:
    """softmax(scores) @ values over all columns; of none, zero."""
    import numpy as np

    if not scores.shape[-1]:
        return np.zeros((*scores.shape[:-1], values.shape[-1]))
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) @ values
