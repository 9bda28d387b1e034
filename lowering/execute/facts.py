"""Whether the tables of a call hold what their types state.

In: a kernel and its arrays.  Out: nothing, or an error that names the entries which do not keep to it.
Invariant: what is not told here is true, so whoever relies on a fact (the proof, the bounds of the
scheduler) is right about this call.  Non-goals: where the kernel reads them (``validate`` does that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lowering.execute.access import Array
from pto import ir
from pto.arithmetic import NumberError
from pto.errors import InputError
from pto.printer import fact


def check_facts(kernel: ir.Kernel, arrays: Mapping[str, Array], dims: Mapping[str, int]) -> None:
    """Every fact of every table.

    Raises:
        InputError: for the first entry that breaks one, with the other one that it clashes with.
    """
    for p in kernel.params:
        for f in p.facts:
            if broken := CHECKS[type(f)](f, p.name, arrays, dims):
                hint = f'@pto.kernel states it: {p.name}="{p.dtype}[..] {fact(f)}"'
                raise InputError(f"'{p.name}' must be {broken}", hint=hint)


def _distinct(f: ir.Distinct, name: str, arrays: Mapping[str, Array], dims: Any) -> str:
    table = arrays[name]
    values = table.ravel()
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order][1:] == values[order][:-1])
    if not same.size:
        return ""
    k = int(same[np.argmin(order[1:][same])])  # what comes back first
    first, again = (_entry(name, table, n) for n in order[k : k + 2])
    return f"{fact(f)}, but {first} and {again} are both {values[order[k]]}"


def _sorted(f: ir.Sorted, name: str, arrays: Mapping[str, Array], dims: Any) -> str:
    table = arrays[name]
    falls = np.zeros(table.shape, bool)
    falls[..., 1:] = table[..., 1:] < table[..., :-1]
    if not falls.any():
        return ""
    k = int(falls.ravel().argmax())
    before, then = (f"{_entry(name, table, n)} is {table.ravel()[n]}" for n in (k - 1, k))
    return f"{fact(f)}, but {before} and {then}"


def _ranges(f: ir.Ranges, name: str, arrays: Mapping[str, Array], dims: Any) -> str:
    table, counts = arrays[name], arrays[f.count]
    first, count = (a.ravel().astype(np.int64) for a in (table, counts))
    if (count < 0).any():
        k = int((count < 0).argmax())
        return f"{fact(f)}, but {_entry(f.count, counts, k)} is {count[k]}"
    order = np.argsort(first, kind="stable")
    order = order[count[order] > 0]
    ends = np.maximum.accumulate((first + count)[order])
    meets = np.flatnonzero(first[order][1:] < ends[:-1])
    if not meets.size:
        return ""
    k = int(meets[0])  # up to here none meets another, so the one before ends last
    told = [
        f"{_entry(name, table, n)} is {first[n]} with {_entry(f.count, counts, n)} = {count[n]}"
        for n in sorted(order[k : k + 2])
    ]
    return f"{fact(f)}, but {' and '.join(told)}: both have element {first[order[k + 1]]}"


def _within(f: ir.Within, name: str, arrays: Mapping[str, Array], dims: Mapping[str, int]) -> str:
    table = arrays[name]
    try:
        low, high = (int(ir.evaluate(e, dims.__getitem__)) for e in (f.low, f.high))
    except NumberError as error:
        return f"{fact(f)}, which has no value: {error.message}"
    outside = np.flatnonzero((table.ravel() < low) | (table.ravel() >= high))
    if not outside.size:
        return ""
    k = int(outside[0])
    names = dict.fromkeys(n for e in (f.low, f.high) for n in ir.names_in(e))
    where = f" where {', '.join(f'{n} = {dims[n]}' for n in names)}" if names else ""
    return f"{fact(f)}, but {_entry(name, table, k)} is {table.ravel()[k]}{where}"


def _entry(name: str, table: Array, k: int) -> str:
    """``table[1, 3]``: element ``k`` in reading order."""
    at = np.unravel_index(int(k), table.shape)
    return f"{name}[{', '.join(str(int(i)) for i in at)}]"


CHECKS: Mapping[
    type[ir.Fact], Callable[[Any, str, Mapping[str, Array], Mapping[str, int]], str]
] = {
    ir.Distinct: _distinct,
    ir.Sorted: _sorted,
    ir.Ranges: _ranges,
    ir.Within: _within,
}
"""By the kind of a fact: what it is and which entries break it, '' if none does."""
