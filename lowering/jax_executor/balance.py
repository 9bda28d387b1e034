"""Which device runs which work items: the one with the most work first, to whom has least.

In: an unscheduled kernel, the sizes of a call, its arrays on the host.  Out: ``Items``, or
the reason why one device has to run all; for each call a ``table`` of items per device.

How long an item takes is estimated from what is known before the call: the elements that each of
its rows makes, times the trip counts of the loops around it.  Trip counts are evaluated for all
items at once, with the scalars that the kernel reads from tensors.  A wrong estimate costs time,
never a result.

Invariant: every item is on exactly one device, in ascending order; the same arrays give the same
table.  Non-goals: splitting an item, where tensors live.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowering.execute.scalars import apply
from pto import ir
from pto.folds import INDEX, Fold, fold_of

Array = np.ndarray[Any, Any]
NO_ITEM = np.iinfo(np.int32).max
"""Fills the lines of a table, behind every item."""


@dataclass(frozen=True)
class Items:
    """The loop over work items of a kernel, its scalars read one after the other."""

    loop: ir.Loop
    count: int
    known: dict[str, ir.Expr]
    reads: Mapping[str, ir.View]
    folds: Mapping[str, Fold]

    def table(self, arrays: Mapping[str, Any], devices: int) -> Array:
        """One line per device: how many items it runs, then these items, ascending."""
        work = Work(self, arrays).cost(self.loop.body)
        return dealt(np.broadcast_to(np.asarray(work, np.float64), (self.count,)), devices)


def items_of(kernel: ir.Kernel, dims: Mapping[str, int]) -> Items | str:
    """The work items of a kernel, if they may run in any order and apart; else what prevents it."""
    rows, stored = list(ir.all_rows(kernel.body)), stored_in(kernel.body)
    loops = [n for n in kernel.body if isinstance(n, ir.Loop) and is_item_loop(n)]
    outside = [n for n in kernel.body if n not in loops]
    if len(loops) != 1 or any(not isinstance(n, ir.Row) or n.op == "store" for n in outside):
        return "the kernel is not one loop over work items"
    known = known_names(dims)
    trips = ir.substitute(loops[0].trips, known)
    if not isinstance(trips, ir.Const):
        return "the number of work items is not known before the run"
    if any(isinstance(a, ir.View) and a.tensor in stored for row in rows for a in row.args):
        return "the kernel reads what it writes"
    if loops[0].carry:
        return "a work item hands a tile to the next one"
    if any(p.direction == "inout" for p in kernel.params):
        return "an output keeps what it held before"
    reads = {
        row.out.name: row.args[0]
        for row in rows
        if row.op == "read" and isinstance(row.out, ir.Scalar) and isinstance(row.args[0], ir.View)
    }
    folds = {r.result(ir.Scalar).name: fold_of(r) for r in rows if r.op == "fold"}
    return Items(loops[0], int(trips.value), known, reads, folds)


def known_names(dims: Mapping[str, int]) -> dict[str, ir.Expr]:
    """Names that are numbers before the run, on a device that stands for all blocks."""
    numbers = {**dims, "block_idx": 0, "block_num": 1}
    return {name: ir.Const(x) for name, x in numbers.items()}


def is_item_loop(loop: ir.Loop) -> bool:
    """Whether this is the persistent loop over work items."""
    return "block_num" in ir.names_in(loop.trips)


def stored_in(block: ir.Block) -> tuple[str, ...]:
    """The tensors that the rows of a block store to."""
    return tuple(
        dict.fromkeys(r.out.tensor for r in ir.all_rows(block) if isinstance(r.out, ir.View))
    )


class Work:
    """The work of all items of one call: scalars are columns with one line per item.

    Inner loops are looked at in their first iteration only.
    """

    def __init__(self, items: Items, arrays: Mapping[str, Any]) -> None:
        self.items, self.arrays = items, arrays
        self.columns: dict[str, Any] = {items.loop.index: np.arange(items.count)}

    def cost(self, block: ir.Block) -> Any:
        """The elements that a block makes."""
        return sum((self.cost_of(node) for node in block), 0)

    def cost_of(self, node: ir.Row | ir.Loop | ir.Branch) -> Any:
        if isinstance(node, ir.Row):
            return node.out.type.rows * node.out.type.cols if isinstance(node.out, ir.Define) else 1
        if isinstance(node, ir.Loop):
            self.columns[node.index] = 0
            return np.maximum(self.value(node.trips), 0) * self.cost(node.body)
        return np.where(self.value(node.test), self.cost(node.then), self.cost(node.orelse))

    def value(self, e: ir.Expr) -> Any:
        e = ir.substitute(e, self.items.known)
        if isinstance(e, ir.Const):
            return e.value
        if isinstance(e, ir.Var):
            if e.name not in self.columns:
                self.columns[e.name] = self.given(e.name)
            return self.columns[e.name]
        with np.errstate(all="ignore"):
            return apply(np, e.op, self.value(e.a), self.value(e.b))

    def given(self, name: str) -> Any:
        """A scalar that the kernel gets from tensors or as a parameter."""
        if name in self.items.folds:
            return self.folded(self.items.folds[name])
        if name in self.items.reads:
            return self.element(self.items.reads[name])
        return np.asarray(self.arrays[name])

    def folded(self, fold: Fold) -> Any:
        """The number of a fold: all items together, each as long as it goes on."""
        trips, count = self.value(fold.trips), self.items.count
        numbers = [np.broadcast_to(self.value(e), (count,)) for e in fold.starts]
        on, i = np.broadcast_to(trips > 0, (count,)), 0
        while on.any():
            self.columns[INDEX.name] = i
            self.columns.update({x.name: n for x, n in zip(fold.states, numbers, strict=True)})
            for x, view in fold.read:
                self.columns[x.name] = self.element(view)
            on = on & (self.value(fold.until) == 0)
            made = [self.value(e) for e in fold.steps]
            numbers = [np.where(on, x, n) for x, n in zip(made, numbers, strict=True)]
            i += 1
            on = on & (i < trips)
        return numbers[0]

    def element(self, view: ir.View) -> Any:
        index = [self.value(ir.as_span(i).start) for i in view.index]
        tensor = np.asarray(self.arrays[view.tensor])
        return tensor[tuple(np.clip(i, 0, n - 1) for i, n in zip(index, tensor.shape, strict=True))]


def dealt(work: Array, devices: int) -> Array:
    """The table of items for ``devices`` devices: the largest first, to whom has least."""
    loads = [(0.0, d) for d in range(devices)]
    mine: list[list[int]] = [[] for _ in range(devices)]
    for item in np.argsort(-work, kind="stable").tolist():
        load, d = loads[0]
        mine[d].append(item)
        heapq.heapreplace(loads, (load + float(work[item]), d))
    table = np.full((devices, 1 + len(work)), NO_ITEM, np.int32)
    for d, items in enumerate(mine):
        table[d, : len(items) + 1] = [len(items), *sorted(items)]
    return table
