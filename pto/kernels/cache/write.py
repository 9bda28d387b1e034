"""Keys and values of new tokens, written to the slots of a cache that a table names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pto
from pto import Scalar, Tensor

if TYPE_CHECKING:
    import numpy as np


@pto.kernel(
    grid="cdiv(tokens, tile)",
    key="dtype[tokens, width]",
    value="dtype[tokens, width]",
    slots="i32[tokens] distinct",
    key_cache="dtype[size, width]",
    value_cache="dtype[size, width]",
    static=dict(dtype="bf16", width=1024, tile=16),
)
def cache_write(
    key: Tensor, value: Tensor, slots: Tensor, key_cache: Tensor, value_cache: Tensor, *, tile: int
) -> None:
    """cache[slots[t]] = x[t] for keys and values.

    ``width``: of all heads of a token.  ``size``: slots of all pages.
    """
    first = pto.program_id(0) * tile

    def one_token(i: Scalar) -> None:
        t = first + i
        pto.store(key_cache[slots[t], :], pto.load(key[t, :]))
        pto.store(value_cache[slots[t], :], pto.load(value[t, :]))

    pto.fori_loop(0, pto.minimum(tile, key.shape[0] - first), one_token)


@cache_write.case
def draw(
    rng: np.random.Generator, *, tokens: int = 4096, pages: int = 64, **statics: Any
) -> dict[str, Any]:
    """Tokens to any slots of pages of 128."""
    import numpy as np

    width, size = statics["width"], max(pages * 128, tokens)
    return {
        "key": rng.standard_normal((tokens, width), np.float32),
        "value": rng.standard_normal((tokens, width), np.float32),
        "slots": rng.permutation(size)[:tokens].astype(np.int32),
        "key_cache": rng.standard_normal((size, width), np.float32),
        "value_cache": rng.standard_normal((size, width), np.float32),
    }


@cache_write.reference
def written(key: Any, value: Any, slots: Any, key_cache: Any, value_cache: Any) -> dict[str, Any]:
    """The same at once."""
    key_cache[slots], value_cache[slots] = key, value
    return {"key_cache": key_cache, "value_cache": value_cache}
