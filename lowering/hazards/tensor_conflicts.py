"""Which accesses of one GM tensor may touch the same elements.

In: the compiled rows with their regions.  Out: for each row the rows it may meet, by the outermost
loop whose iteration differs (what order must separate, ``lowering/hazards/happens_before.py``), and faults
where no order exists at all: between hardware blocks, between vector lanes, for scalar reads
(docs/machine.md R12).  Different parameters do not alias; tensors that nothing writes cause nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lowering.hazards.places import Fault
from lowering.hazards.regions import atom_names, disjoint
from pto.ir import Const, Span, View, names_in, substitute
from pto.text import expr

if TYPE_CHECKING:
    from lowering.hazards.code import Code
    from lowering.hazards.instructions import Step

Meets = dict[int, list[tuple[int, tuple[bool, ...]]]]
"""Row -> rows it may meet, and whether it does so when the k-th common loop is the first whose
iterations differ (the last entry: when none does)."""

VECTOR = 1


def tensor_conflicts(code: Code, steps: Iterable[Step]) -> Meets:
    """The table of conflicts; appends what cannot be ordered to ``code.faults``."""
    meets: Meets = {}
    for tensor, found in _by_tensor(steps).items():
        writers = [s for s in found if s.writes_tensor]
        for a in found if writers else ():
            if a.row.op == "read":
                text = f"nothing orders a scalar read of {tensor}, which the kernel writes"
                code.faults.append(Fault("tensor", text, a.row, writers[0].row, tensor))
                continue
            for b in found:
                if (a.writes_tensor or b.writes_tensor) and b.row.op != "read":
                    _meet(code, meets, a, b)
                    if a.number <= b.number:
                        _unordered(code, tensor, a, b)
    return meets


def _by_tensor(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for s in steps:
        for o in (s.row.out, *s.row.args):
            if isinstance(o, View):
                found.setdefault(o.tensor, []).append(s)
    return found


def _launch_scalars(code: Code) -> set[str]:
    """Scalars with one value in the whole launch."""
    k = code.kernel
    return (
        {p.name for p in k.params} | set(k.dims) | {name for name, _ in k.statics} | {"block_num"}
    )


def _meet(code: Code, meets: Meets, a: Step, b: Step) -> None:
    """Notes when ``b`` may touch what ``a`` touched, on one lane of one block."""
    assert a.region is not None
    assert b.region is not None
    shared = [x for x, y in zip(a.loops, b.loops, strict=False) if x == y]
    fixed = _launch_scalars(code) | {"block_idx"} | ({"lane"} if a.core == b.core else set())
    levels = []
    for k in range(len(shared) + 1):
        same = fixed | {f"{v}#{x}" for x in shared[:k] for v in "iu"}
        # a running total never comes back to a value, so those of the loops inside differ as well
        differ = {f"u#{x}" for x in shared[k:]} | {f"i#{x}" for x in shared[k : k + 1]}
        once = k < len(shared) and code.facts.greatest.get(f"i#{shared[k]}") == 0
        apart = once or disjoint(a.region, b.region, same, differ, code.opaque, code.facts)
        levels.append(not apart)
    if a is b:
        levels[-1] = False  # a row runs once per iteration
    if any(levels):
        a.tracked = b.tracked = True
        meets.setdefault(b.number, []).append((a.number, tuple(levels)))


def _unordered(code: Code, tensor: str, a: Step, b: Step) -> None:
    """Blocks and lanes run without any order between them."""
    assert a.region is not None
    assert b.region is not None
    fixed = _launch_scalars(code)
    one_item = all(
        any(code.facts.greatest.get(f"item#i#{x}") == 0 for x in step.loops) for step in (a, b)
    )  # then all of it runs on block 0
    if not one_item and not disjoint(
        a.region, b.region, fixed, {"block_idx"}, code.opaque, code.facts
    ):
        who = "two hardware blocks"
    elif a.core == b.core == VECTOR and not disjoint(
        a.region, b.region, fixed | {"block_idx"}, {"lane"}, code.opaque, code.facts
    ):
        who = "the two vector lanes"
    else:
        return
    sure = surely_meet(code, a, b, set() if who.endswith("lanes") else {"block_idx"})
    text = f"{who} {'' if sure else 'may '}access the same elements of {tensor}, and nothing orders them"
    if not sure:
        text += f"; not shown: {_wanted(code, tensor, a)}"
    code.faults.append(Fault("tensor", text, a.row, b.row, tensor, not sure))


def surely_meet(code: Code, a: Step, b: Step, differ: Iterable[str] = ()) -> bool:
    """Two accesses have the same elements whatever the counters are; of two lanes in one iteration, or
    of two work items where ``differ`` says so."""
    assert a.region is not None
    names = {n for extent in a.region for terms in extent.terms for n in atom_names(terms)}
    fixed = _launch_scalars(code) | {"lane"} if differ else names - {"lane"}
    return a.region == b.region and names <= fixed


def _wanted(code: Code, tensor: str, step: Step) -> str:
    """What would keep the accesses of a row to ``tensor`` apart, in the names of the user."""
    row = step.row
    view = next(o for o in (row.out, *row.args) if isinstance(o, View) and o.tensor == tensor)
    tables = {name: tensor for (tensor, _), name in code.opaque_of.items()}
    wanted = []
    for item in view.index:
        start, size = (item.start, item.size) if isinstance(item, Span) else (item, 1)
        if "lane" in names_in(start):  # both lanes together
            start, size = substitute(start, {"lane": Const(0)}), 2 * size
        full = code.resolve(start, step.scalars)
        if isinstance(full, Const):
            continue
        apart = "differs" if size == 1 else f"moves by {size} or more"
        read = list(dict.fromkeys(tables[n] for n in names_in(full) if n in tables))
        known = f" (it comes from {', '.join(read)}, whose entries can be anything)" if read else ""
        wanted.append(f"that '{expr(start)}' {apart}{known}")
    return ", or ".join(wanted) or "that the elements differ"
