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
    "sum": "pto.sum(x) is of all elements, pto.row_sum(x) of every row",
    "max": "pto.max(x) is of all elements, pto.row_max(x) of every row",
    "min": "pto.min(x) is of all elements, pto.row_min(x) of every row",
    "argmax": "pto.row_argmax(x) gives the column of the largest element of every row",
    "argmin": "pto.row_argmin(x) gives the column of the least element of every row",
    "argsort": "values, indices = pto.sort(x), the largest first",
    "topk": "values, indices = pto.top_k(x, k)",
    "argpartition": "values, indices = pto.top_k(x, k)",
    "cumulative_sum": "pto.cumsum(x)",
    "cumprod": "pto.exp(pto.cumsum(pto.log(x))), of positive elements",
    "mean": "pto.row_sum(x) * (1 / columns)",
    "row_mean": "pto.row_sum(x) * (1 / columns)",
    "row_average": "pto.row_sum(x) * (1 / columns)",
    "row_var": "d = x - pto.row_sum(x) * (1 / columns); pto.row_sum(d * d) * (1 / columns)",
    "dot": "a @ b",
    "softmax": "e = pto.exp(x - pto.row_max(x)); e / pto.row_sum(e)",
    "transpose": "x.T",
    "arange": "pto.iota(1), in a comparison or beside a tile",
    "pow": "pto.power(x, n)",
    "mod": "pto.remainder(x, y)",
    "rint": "pto.round(x)",
    **{
        name: f"{written}, of integers"
        for names, written in (
            (("bitwise_and", "logical_and"), "x & y"),
            (("bitwise_or", "logical_or"), "x | y"),
            (("bitwise_xor", "logical_xor"), "x ^ y"),
            (("bitwise_not", "invert", "logical_not"), "~x"),
            (("left_shift", "bitwise_left_shift", "shift_left"), "x << n"),
            (("right_shift", "bitwise_right_shift", "shift_right"), "x >> n"),
        )
        for name in names
    },
    "floor_divide": "x // y",
    "fmod": "x % y, which has the sign of y",
    "swish": "pto.silu(x)",
    "ones": "pto.full((rows, cols), 1.0)",
    "cast": "x.astype('f32')",
    **dict.fromkeys(
        ("atomic_add", "scatter_add", "index_add", "segment_sum", "store_add"),
        "pto.store(out[...], x, add=True) adds to what the tensor holds",
    ),
    **dict.fromkeys(
        ("store_rows", "scatter", "scatter_rows", "index_put"),
        "row by row: pto.store(t[ids[first + k], :], x[k:k + 1, :]) for k in range(x.shape[0]), with "
        "ids='i32[n] distinct'",
    ),
    "quantize": "(x / scale).astype('i8')",
    "dequantize": "x.astype('f32') * scale",
    "requantize": "pto.store(out[...], a @ b, scale=s), with a number, or pto.column_scales of columns",
    **dict.fromkeys(
        ("concatenate", "vstack", "row_stack", "append"), "pto.concat([a, b]), one below the other"
    ),
    **dict.fromkeys(("hstack", "column_stack"), "pto.concat([a, b], axis=1), side by side"),
    **dict.fromkeys(("split", "array_split", "hsplit"), "a, b = x[:, :32], x[:, 32:]"),
    "vsplit": "a, b = x[:16], x[16:]",
    "stack": "a tile has two dimensions; pto.concat([a, b]) puts one below the other",
    "roll": "pto.concat([x[:, n:], x[:, :n]], axis=1)",
    "dynamic_update_slice": "x.at[a:b, c:d].set(y)",
    **dict.fromkeys(
        ("slice", "dynamic_slice"), "x[a:b, c:d]; of a tensor pto.load(t[pto.ds(start, size), :])"
    ),
    **dict.fromkeys(
        ("embedding", "gather_rows", "index_select"), "pto.load_rows(t, ids[pto.ds(first, 16)])"
    ),
    **dict.fromkeys(
        ("cond", "if_", "if_then", "branch", "switch"),
        "pto.when(condition, body, carry, otherwise) for work, pto.where(mask, x, y) for elements",
    ),
    **dict.fromkeys(
        ("print", "printf", "debug"), "pto.debug_print('text {}', x), which pto run prints"
    ),
    **dict.fromkeys(
        ("assert_", "check", "device_assert"), "pto.debug_check(x < y, 'text'), which pto run tells"
    ),
    **dict.fromkeys(
        ("while_loop", "loop", "repeat_until"),
        "pto.fori_loop(lo, pto.first_where(count, condition), body, carry)",
    ),
    **dict.fromkeys(
        ("reduce", "accumulate", "foldl", "scan"),
        "pto.fold(count, step, start), of integers; of tiles pto.fori_loop(lo, hi, body, carry)",
    ),
    **dict.fromkeys(
        ("find", "index", "searchsorted", "count_until", "nonzero", "flatnonzero"),
        "pto.first_where(count, condition), the first i where a condition of scalars holds",
    ),
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
