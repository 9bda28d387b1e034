"""What the loads of a launch lose by the order of its work items, and what another order would take.

In: a ``Launch`` with its traffic.  Out: notes for a person.  Non-goals: another order itself, which is the
kernel's: what it makes of ``pto.program_id``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from lowering.simulate.costs import Shared, cost_of, view_of
from lowering.simulate.l2 import Traffic, number, traffic
from lowering.simulate.launch import Launch, bytes_per_cycle
from pto.arithmetic import Number
from pto.ir import Row, all_rows

WORTH = 0.9
"""Of its cycles that loads must stay below to be worth a note."""

BANDS = (2, 4, 8)
"""Rows of items that are tried together."""


def notes(found: Launch) -> Iterator[str]:
    """Granules that many blocks load at once; an order of the items in which loads take less."""
    if not (found.traffic and found.launched):
        return
    loads = [r for r in all_rows(found.kernel.body) if view_of(r) and view_of(r) is not r.out]
    for row in loads:
        shared = found.traffic.on_average(row)
        apart = _cycles(found, row, replace(shared, readers=1))
        if apart < WORTH * _cycles(found, row, shared):
            view = view_of(row)
            assert view
            many = f"{shared.readers:.0f} cores load the same {found.costs.granule_bytes} bytes"
            takes = f"{_cycles(found, row, shared) / apart:.1f} x the cycles"
            yield f"{many} of {view.tensor} at once, which takes {takes}"
    now = _loading(found, found.traffic)
    others = _orders(found, found.launched.sizes)
    tried = {told: _loading(found, _other(found, order)) for told, order in others}
    best = min(tried, key=lambda told: tried[told], default="")
    if best and tried[best] < WORTH * now:
        yield f"with {best} loads would take {tried[best] / now:.2f} of their cycles"


def _cycles(found: Launch, row: Row, shared: Shared) -> int:
    return cost_of(row, found.kernel, found.costs, shared).occupies


def _other(found: Launch, order: Sequence[int]) -> Traffic:
    assert found.launched
    return traffic(found.kernel, replace(found.launched, order=order), found.costs.l2_bytes)


def _loading(found: Launch, by: Traffic) -> float:
    """Cycles of a load pipe and of the memory, whichever takes longer, in a block on average."""
    pipes: dict[tuple[str, str], float] = {}
    memory = 0.0
    for row in all_rows(found.kernel.body):
        if view_of(row):
            cost = cost_of(row, found.kernel, found.costs, by.on_average(row))
            times = by.bytes_of.get(id(row), 0) / cost.tensor_bytes
            memory += times * cost.asked_bytes
            if row.pipe == "MTE2":
                key = row.core, row.pipe
                pipes[key] = pipes.get(key, 0) + times * cost.occupies / len(found.dealt)
    return max(memory / bytes_per_cycle(found.kernel, found.setup), *pipes.values(), 0)


def _orders(found: Launch, sizes: Mapping[str, Number]) -> Iterator[tuple[str, list[int]]]:
    """Other orders of equal items on a grid with two dimensions or more, in words and as numbers."""
    sides = [number(size, sizes) for size in found.kernel.grid]
    known = [n for n in sides if isinstance(n, int)]
    if len(known) < len(sides) or sum(n > 1 for n in known) < 2 or len({*sum(found.dealt, ())}) > 1:
        return
    last = max(k for k, n in enumerate(known) if n > 1)
    rows, cols = prod(known[:last]), known[last]
    if rows * cols != sum(map(len, found.dealt)):
        return
    for height in (*(h for h in BANDS if h < rows), rows):
        bands = (range(top, min(top + height, rows)) for top in range(0, rows, height))
        order = [r * cols + c for band in bands for c in range(cols) for r in band]
        beside = f"{height} rows of items at a time, column by column,"
        yield beside if height < rows else "the items column by column", order
