"""Sums of products that stay in the accumulator memory of the cube.

In: the traced form.  Out: the same values; a loop that only adds products to a carry keeps the
carry in L0C, where the matmul itself adds.  Invariant: same products, same order of addition.
"""

from __future__ import annotations

from dataclasses import replace

from lowering.schedule.passes.mentions import count_uses, fresh, names_taken, tile_uses
from pto import ir
from pto.bounds import Known, inside, noted, of_launch, surely_runs
from pto.legality import straight


def accumulate(kernel: ir.Kernel) -> ir.Kernel:
    """carry acc from full 0; acc' = acc + a @ b --> carry acc; acc' = matmul a, b, acc, i.

    The matmul accumulates in L0C.  Applies where the carry is used for nothing else inside the loop and the loop provably runs
    (nothing but a matmul can write L0C, so a loop that runs zero times would leave it undefined).
    Every other matmul with an accumulator becomes a product and an addition on the vector core.
    """
    taken = names_taken(kernel)
    uses = count_uses(kernel.body)
    zeros = {
        r.out.name
        for r in ir.all_rows(kernel.body)
        if r.op == "full" and isinstance(r.out, ir.Define) and r.args == (ir.Const(0.0),)
    }

    def visit(block: ir.Block, known: Known) -> ir.Block:
        out: list[ir.Node] = []
        for node in straight(block):
            if isinstance(node, ir.Loop):
                node = replace(node, body=visit(node.body, inside(node, known)))
                for k in range(len(node.carry) if surely_runs(node, known) else 0):
                    node = _accumulating(node, k, uses, zeros)
                out.append(node)
            else:
                known = noted(node, known)
                out.extend(_split_accumulator(node, taken, uses))
        return tuple(out)

    return _without_unused_fills(replace(kernel, body=visit(kernel.body, of_launch(kernel))))


def _split_accumulator(row: ir.Row, taken: set[str], uses: dict[str, int]) -> tuple[ir.Row, ...]:
    if row.op != "matmul" or len(row.args) < 3 or not isinstance(row.out, ir.Define):
        return (row,)
    product = fresh(f"{row.out.name}_product", taken)
    uses[product] = 1
    return (
        replace(row, out=ir.Define(product, row.out.type), args=row.args[:2]),
        ir.Row("add", row.out, (row.args[2], ir.Ref(product)), loc=row.loc),
    )


def _accumulating(loop: ir.Loop, k: int, uses: dict[str, int], zeros: set[str]) -> ir.Loop:
    carry, result = loop.carry[k], loop.result[k]
    rows = {
        r.out.name: r for r in loop.body if isinstance(r, ir.Row) and isinstance(r.out, ir.Define)
    }
    add = rows.get(result.name)
    start = carry.init.name if carry.init else ""
    if add is None or add.op != "add" or start not in zeros or uses[carry.name] != 1:
        return loop
    others = [a for a in add.args if a != ir.Ref(carry.name)]
    product = (
        rows.get(others[0].name) if len(others) == 1 and isinstance(others[0], ir.Ref) else None
    )
    if (
        product is None
        or product.op != "matmul"
        or len(product.args) != 2
        or not isinstance(product.out, ir.Define)
    ):
        return loop
    if uses[product.out.name] != 1 or uses[result.name] != 1:
        return loop
    into = replace(
        product, out=add.out, args=(*product.args, ir.Ref(carry.name), ir.Var(loop.index))
    )
    body = tuple(into if n is product else n for n in loop.body if n is not add)
    carries = tuple(replace(c, init=None) if c is carry else c for c in loop.carry)
    return replace(loop, body=body, carry=carries)


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
