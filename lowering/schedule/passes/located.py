"""Rows that only watch say where they are.

In: the traced form.  Out: the same, where the text of every ``debug_check`` and ``debug_print`` begins with its work
item and its iterations, which are values of the row.
A schedule overlaps items and iterations: behind this a place in the program tells no more where a row was.
Non-goals: who runs them (``assign``).
"""

from __future__ import annotations

from dataclasses import replace

from pto import ir
from pto.dead_rows import watches
from pto.legality import straight
from pto.ops import DEBUG, MOST_PLACES


def located(kernel: ir.Kernel) -> ir.Kernel:
    """debug_print "{}", x --> debug_print "pid0={}, i={}: {}", pid0, i, x"""
    if not watches(kernel.body):
        return kernel
    items = [f"pid{axis}" for axis, _ in enumerate(kernel.grid)]
    return replace(kernel, body=_located(kernel.body, items))


def _located(block: ir.Block, counters: list[str]) -> ir.Block:
    out: list[ir.Node] = []
    for node in straight(block):
        if isinstance(node, ir.Loop):
            inside = counters if node.is_guard else [*counters, node.index]
            out.append(replace(node, body=_located(node.body, inside)))
        else:
            out.append(_at(node, counters[:MOST_PLACES]) if node.op in DEBUG else node)
    return tuple(out)


def _at(row: ir.Row, counters: list[str]) -> ir.Row:
    """The values of a place come right behind the text that they are in."""
    at = next(k for k, a in enumerate(row.args) if isinstance(a, ir.Text))
    text = row.operand(ir.Text, at).value
    where = ", ".join(f"{name}={{}}" for name in counters)
    located = ir.Text(f"{where}: {text}" if where else text)
    places = map(ir.Var, counters)
    return replace(row, args=(*row.args[:at], located, *places, *row.args[at + 1 :]))
