"""Sums of products that stay in the accumulator memory of the cube.

In: the persistent form.  Out: the same values; what is only ever a sum of products lies in L0C, where the
matmul itself adds.  Invariant: same products, same order of addition.  Non-goals: products larger than
the memories of the cube.

A sum is a chain: a product, or a carry that starts as one or as zero, to which products are added one
after the other, in one block or in the loops inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lowering.schedule.passes.mentions import count_uses, names_taken, tile_uses
from pto import ir
from pto.bounds import Known, inside, noted, of_launch, surely_runs
from pto.empty_sums import is_zero
from pto.legality import straight
from pto.names import fresh


@dataclass(frozen=True, slots=True)
class Sum:
    """What lies in L0C: a chain that begins with a carry ``of`` a loop ('': with a product).

    ``added``: 0 while nothing is there yet, which is overwritten then (None: never).
    """

    of: str = ""
    added: ir.Expr | None = None


Sums = Mapping[str, Sum]


def accumulate(kernel: ir.Kernel) -> ir.Kernel:
    """x = matmul a, b; y = add s, x --> y = matmul a, b, s, where s is such a sum that nothing else reads.

    A carry that starts as ``full 0.0`` is one in a loop that provably runs (nothing but a matmul can write
    L0C, so a loop that runs zero times would leave it undefined): it starts from nothing, and its first
    product overwrites.  Every other matmul with an accumulator becomes a product and an addition on the
    vector core.
    """
    made = _Accumulator(kernel)
    body, _ = made.block(kernel.body, of_launch(kernel), {})
    return _without_unused_fills(replace(kernel, body=body))


class _Accumulator:
    def __init__(self, kernel: ir.Kernel) -> None:
        self.taken, self.uses = names_taken(kernel), count_uses(kernel.body)
        self.zeros = {
            r.out.name
            for r in ir.all_rows(kernel.body)
            if is_zero(r) and isinstance(r.out, ir.Define)
        }

    def block(self, block: ir.Block, known: Known, given: Sums) -> tuple[ir.Block, Sums]:
        """The block with its sums in L0C, and these; ``given``: the carries of its loops that are some."""
        sums, out = dict(given), list[ir.Node]()
        for node in straight(block):
            if isinstance(node, ir.Loop):
                node, lasts = self.loop(node, known, sums)
                sums |= lasts
                out.append(node)
            else:
                known = noted(node, known)
                out = self.row(node, out, sums)
        return tuple(out), sums

    def loop(self, loop: ir.Loop, known: Known, sums: Sums) -> tuple[ir.Loop, Sums]:
        """The loop with as many of its carries in L0C as may be there; what is there behind it."""
        begun = {c.name: s for c in loop.carry if (s := self.begun(c, loop, known, sums))}
        results = {c.name: r.name for c, r in zip(loop.carry, loop.result, strict=True)}
        taken = set(self.taken)
        while True:
            body, ends = self.block(loop.body, inside(loop, known), begun)
            kept = {n: s for n, s in begun.items() if self.ends_as(results[n], n, ends)}
            if kept == begun:
                break
            begun, self.taken = kept, set(taken)
        mine = [c for c in loop.carry if c.name in begun]
        lasts = {
            c.last: Sum(sums[c.init.name].of if c.init.name in sums else "") for c in mine if c.init
        }
        carries = (
            replace(c, init=None) if c in mine and self.from_zero(c) else c for c in loop.carry
        )
        return replace(loop, body=body, carry=tuple(carries)), lasts

    def from_zero(self, c: ir.Carry) -> bool:
        return c.init is not None and c.init.name in self.zeros

    def begun(self, c: ir.Carry, loop: ir.Loop, known: Known, sums: Sums) -> Sum | None:
        """What the carry of a loop is at its begin, if that is such a sum."""
        assert c.init is not None
        if self.from_zero(c):
            return Sum(c.name, ir.Var(loop.index)) if surely_runs(loop, known) else None
        start = sums.get(c.init.name)
        there = start is not None and start.added is None and self.uses[c.init.name] == 1
        return Sum(c.name) if there else None

    def ends_as(self, result: str, carry: str, ends: Sums) -> bool:
        """What a loop yields is the sum that begins with a carry."""
        alone = self.uses[result] == 1 and result != carry
        return alone and result in ends and ends[result].of == carry

    def row(self, row: ir.Row, before: list[ir.Node], sums: dict[str, Sum]) -> list[ir.Node]:
        """The rows up to this one."""
        if row.op == "matmul" and isinstance(row.out, ir.Define):
            acc = row.args[2] if len(row.args) > 2 else None
            if not isinstance(acc, ir.Ref):
                sums[row.out.name] = Sum()
            elif self.lies_there(acc.name, sums):
                row = self.onto(row, row.out, acc.name, sums)
            else:
                return [*before, *self.split(row)]
        elif row.op == "add" and isinstance(row.out, ir.Define):
            into = self.added(row, before, sums)
            alone = self.added_to_zero(row, before)
            if alone:
                before = [n for n in before if n is not alone]
                row = replace(alone, out=row.out)
                sums[row.result(ir.Define).name] = Sum()
            elif into:
                start, product = into
                before = [n for n in before if n is not product]
                row = self.onto(product, row.result(ir.Define), start, sums)
        return [*before, row]

    def lies_there(self, name: str, sums: Sums) -> bool:
        return name in sums and self.uses[name] == 1

    def added(self, row: ir.Row, before: list[ir.Node], sums: Sums) -> tuple[str, ir.Row] | None:
        """The sum and the product of ``add sum, product``, whichever comes first."""
        products = self.products(before)
        names = [a.name for a in row.args if isinstance(a, ir.Ref)]
        if len(names) == 2 and all(self.lies_there(n, sums) for n in names):
            for start, product in (names, names[::-1]):
                if product in products:
                    return start, products[product]
        return None

    def added_to_zero(self, row: ir.Row, before: list[ir.Node]) -> ir.Row | None:
        """The product of ``add zero, product``."""
        names = [a.name for a in row.args if isinstance(a, ir.Ref)]
        others = [n for n in names if n not in self.zeros]
        if len(names) != 2 or len(others) != 1 or self.uses[others[0]] != 1:
            return None
        return self.products(before).get(others[0])

    def products(self, before: list[ir.Node]) -> dict[str, ir.Row]:
        return {
            n.out.name: n
            for n in before
            if isinstance(n, ir.Row) and n.op == "matmul" and len(n.args) == 2
            if isinstance(n.out, ir.Define)
        }

    def onto(self, product: ir.Row, out: ir.Define, start: str, sums: dict[str, Sum]) -> ir.Row:
        """The product added to a sum."""
        begun = sums[start]
        test = [] if begun.added is None else [begun.added]
        sums[out.name] = Sum(begun.of)
        return replace(product, out=out, args=(*product.args[:2], ir.Ref(start), *test))

    def split(self, row: ir.Row) -> tuple[ir.Row, ...]:
        out = row.result(ir.Define)
        product = fresh(f"{out.name}_product", self.taken)
        return (
            replace(row, out=ir.Define(product, out.type), args=row.args[:2]),
            ir.Row("add", out, (row.args[2], ir.Ref(product)), loc=row.loc),
        )


def _without_unused_fills(kernel: ir.Kernel) -> ir.Kernel:
    used = set(tile_uses(kernel.body))

    def keep(block: ir.Block) -> ir.Block:
        return tuple(
            replace(n, body=keep(n.body)) if isinstance(n, ir.Loop) else n
            for n in straight(block)
            if not (
                isinstance(n, ir.Row)
                and n.op == "full"
                and isinstance(n.out, ir.Define)
                and n.out.name not in used
            )
        )

    return replace(kernel, body=keep(kernel.body))
