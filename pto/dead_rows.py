"""Rows whose result nobody uses, and rows that only watch: what a program does not need to store what it stores.

In: a block of rows that define values.  Out: the same without them.  Non-goals: which values are worth
computing again.
"""

from __future__ import annotations

from dataclasses import replace

from pto import ir
from pto.ops import DEBUG


def _mentioned(x: object) -> list[str]:
    """Names of scalars and tiles in an operand."""
    if isinstance(x, ir.Ref):
        return [x.name]
    return [n for e in ir.exprs_of(x) for n in ir.names_in(e)]


def without_dead_rows(body: ir.Block) -> ir.Block:
    """before --> after: rows whose result nobody uses disappear; stores, what watches, and their needs stay."""
    used: set[str] = set()

    def sweep(block: ir.Block) -> ir.Block:
        kept: list[ir.Node] = []
        for node in reversed(block):
            if isinstance(node, ir.Loop):
                if not any(c.last in used for c in node.carry) and not _acts(node):
                    continue
                used.update(x.name for x in node.result)
                inner = sweep(node.body)
                used.update(c.init.name for c in node.carry if c.init)
                used.update(ir.names_in(node.trips))
                kept.append(replace(node, body=inner))
            elif isinstance(node, ir.Row):
                made = node.out.name if isinstance(node.out, ir.Define | ir.Scalar) else None
                if made is None or made in used:
                    for x in (*node.args, node.out):
                        used.update(_mentioned(x))
                    kept.append(node)
            else:
                kept.append(node)
        return tuple(reversed(kept))

    return sweep(body)


def _acts(loop: ir.Loop) -> bool:
    """Whether a loop does more than to make values: it stores, or watches."""
    return any(r.out is None or isinstance(r.out, ir.View) for r in ir.all_rows(loop.body))


def watches(body: ir.Block) -> bool:
    """Whether there is a row below that only watches."""
    return any(r.op in DEBUG for r in ir.all_rows(body))
