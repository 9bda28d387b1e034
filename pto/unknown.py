"""What to write instead of a function that ``pto`` does not have."""

from __future__ import annotations

from collections.abc import Sequence

from pto import source
from pto.errors import UnknownNameError, did_you_mean
from pto.tracer import is_tracing
from pto.types import CALLED, DTYPE_BYTES

TEXTS = {**{name: name for name in DTYPE_BYTES}, **CALLED}
"""Names of element types -> the text that a kernel says it with."""

INSTEAD = {
    "sum": "pto.row_sum(x) sums every row",
    "max": "pto.row_max(x) gives the largest element of every row",
    "min": "pto.row_min(x) gives the smallest element of every row",
    "mean": "pto.row_sum(x) * (1 / columns)",
    "row_mean": "pto.row_sum(x) * (1 / columns)",
    "row_average": "pto.row_sum(x) * (1 / columns)",
    "row_var": "d = x - pto.row_sum(x) * (1 / columns); pto.row_sum(d * d) * (1 / columns)",
    "dot": "a @ b",
    "softmax": "e = pto.exp(x - pto.row_max(x)); e / pto.row_sum(e)",
    "transpose": "x.T, as the right operand of @",
    "arange": "pto.iota(1), in a comparison or beside a tile",
    "pow": "pto.power(x, n)",
    "mod": "pto.remainder(x, y)",
    "rint": "pto.round(x)",
    "swish": "pto.silu(x)",
    "ones": "pto.full((rows, cols), 1.0)",
    "cast": "x.astype('f32')",
    "quantize": "(x / scale).astype('i8')",
    "dequantize": "x.astype('f32') * scale",
    "cond": "a branch may only depend on static parameters",
    "while_loop": "pto.fori_loop(lo, hi, body, carry)",
    **{name: f"types are text: '{t}'" for name, t in TEXTS.items()},
}
"""Functions of numpy and JAX -> how a kernel says it."""


def missing(name: str, known: Sequence[str]) -> AttributeError:
    """The error for ``pto.NAME``; with the user's line while a kernel is traced."""
    message = f"pto has no '{name}'"
    if name.startswith("_") or not is_tracing():
        told = f"; {INSTEAD[name]}" if name in TEXTS else ""
        return AttributeError(f"module 'pto' has no attribute '{name}'{told}")
    functions = [n for n in known if n[:1].islower()]
    return UnknownNameError(
        message, source.here(), INSTEAD.get(name) or did_you_mean(name, functions)
    )
