"""Which accesses of one GM tensor may touch the same elements.

In: the compiled rows with their regions.  Out: for each row the rows it may meet, by the outermost
loop whose iteration differs (what order must separate, ``lowering/hazards/happens_before.py``), and faults
where no order exists at all: between hardware blocks, between vector lanes, for scalar reads
(docs/machine.md R12).  Different parameters do not alias; tensors that nothing writes cause nothing, and two
rows that add cause nothing to each other: a term is added at one moment (docs/machine.md 3.6), and a sum has no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations, product

from lowering.hazards.choices import exclude
from lowering.hazards.equations import where_they_hold
from lowering.hazards.forms import atom_names, terms_of
from lowering.hazards.instructions import LoopCode, RowCode
from lowering.hazards.limits import Facts
from lowering.hazards.places import Fault
from lowering.hazards.regions import Region, disjoint, in_case
from lowering.hazards.scalars import Scalars
from lowering.hazards.sums import is_sum
from pto.ir import (
    Const,
    Distinct,
    Expr,
    Fact,
    Ranges,
    Sorted,
    Var,
    View,
    as_span,
    names_in,
    substitute,
)
from pto.ops import OPS
from pto.text import expr

Meets = dict[int, list[tuple[int, tuple[bool, ...]]]]
"""Row -> rows it may meet, and whether it does so when the k-th common loop is the first whose
iterations differ (the last entry: when none does)."""

VECTOR = 1
LANE = Var("lane")


def tensor_conflicts(
    scalars: Scalars, loops: Sequence[LoopCode], rows: Iterable[RowCode]
) -> tuple[Meets, list[Fault]]:
    """The table of conflicts, and what cannot be ordered; marks the rows in the table as tracked.  ``loops``: by
    number."""
    meets: Meets = {}
    faults: list[Fault] = []
    for tensor, found in _by_tensor(rows).items():
        writers = [r for r in found if r.writes_tensor]
        for a in found if writers else ():
            if OPS[a.row.op].kind == "scalar":
                text = f"nothing orders a scalar read of {tensor}, which the kernel writes"
                faults.append(Fault("tensor", text, a.row, writers[0].row, tensor))
                continue
            for b in found:
                if (
                    (a.writes_tensor or b.writes_tensor)
                    and OPS[b.row.op].kind != "scalar"
                    and not _commute(a, b)
                ):
                    _meet(scalars, loops, meets, a, b)
                    if a.number <= b.number:
                        faults += _unordered(scalars, loops, tensor, a, b)
    return meets, faults


def _commute(a: RowCode, b: RowCode) -> bool:
    """Whether two accesses of the same elements leave the same behind in either order, and together."""
    return a.adds and b.adds


def _by_tensor(rows: Iterable[RowCode]) -> dict[str, list[RowCode]]:
    found: dict[str, list[RowCode]] = {}
    for r in rows:
        for o in (r.row.out, *r.row.args):
            if isinstance(o, View):
                found.setdefault(o.tensor, []).append(r)
    return found


def _conditions(loops: Sequence[LoopCode], code: RowCode) -> Iterator[Expr]:
    """What is not 0 where a row works."""
    yield from code.tests
    yield from (loops[n].trips for n in code.loops)


def _regions(
    scalars: Scalars, loops: Sequence[LoopCode], a: RowCode, b: RowCode
) -> tuple[Region, Region]:
    """Of two accesses, with what their conditions say of where they are."""
    assert a.region is not None
    assert b.region is not None
    of_a, of_b = (_conditions(loops, x) for x in (a, b))
    return where_they_hold(a.region, b.region, of_a, of_b, scalars.facts)


def _meet(
    scalars: Scalars, loops: Sequence[LoopCode], meets: Meets, a: RowCode, b: RowCode
) -> None:
    """Notes when ``b`` may touch what ``a`` touched, on one lane of one block."""
    facts, (x, y) = scalars.facts, _regions(scalars, loops, a, b)
    shared = [m for m, n in zip(a.loops, b.loops, strict=False) if m == n]
    fixed = scalars.launch | {"block_idx"} | ({"lane"} if a.core == b.core else set())
    levels = []
    for k in range(len(shared) + 1):
        same = fixed | {f"{v}#{n}" for n in shared[:k] for v in "iu"}
        # a running total never comes back to a value, so those of the loops inside differ as well
        differ = {f"u#{n}" for n in shared[k:]} | {f"i#{n}" for n in shared[k : k + 1]}
        once = k < len(shared) and facts.greatest.get(f"i#{shared[k]}") == 0
        apart = once or disjoint(x, y, same, differ, scalars.opaque, facts)
        levels.append(not apart)
    ways = product(*([*(loops[n].trips for n in r.loops[len(shared) :]), *r.tests] for r in (a, b)))
    if a is b or any(exclude(one, other) for one, other in ways):
        levels[-1] = False  # a row runs once per iteration, and of two ways of a choice one
    if any(levels):
        a.tracked = b.tracked = True
        meets.setdefault(b.number, []).append((a.number, tuple(levels)))


def _unordered(
    scalars: Scalars, loops: Sequence[LoopCode], tensor: str, a: RowCode, b: RowCode
) -> list[Fault]:
    """Blocks and lanes run without any order between them."""
    who, differ = _who_meets(scalars, loops, a, b)
    if not who:
        return []
    sure = surely_meet(scalars, loops, a, b, differ)
    may = "" if sure else "may "
    text = f"{who} {may}access the same elements of {tensor}, and nothing orders them"
    if not sure:
        text += f"; not shown: {_wanted(scalars, loops, tensor, a)}"
    return [Fault("tensor", text, a.row, b.row, tensor, not sure)]


def _who_meets(
    scalars: Scalars, loops: Sequence[LoopCode], a: RowCode, b: RowCode
) -> tuple[str, frozenset[str]]:
    """Who may access the same elements in ``a`` and ``b``, or '', and which scalars differ then."""
    facts, opaque, (x, y) = scalars.facts, scalars.opaque, _regions(scalars, loops, a, b)
    one_item = all(
        any(facts.greatest.get(f"item#i#{n}") == 0 for n in row.loops) for row in (a, b)
    )  # then all of it runs on block 0
    launch, block = scalars.launch, frozenset({"block_idx"})
    if not one_item and not disjoint(x, y, launch, block, opaque, facts):
        return "two hardware blocks", block
    if a.core == b.core == VECTOR:
        if not _lanes_apart(scalars, x, y):
            return "the two vector lanes", frozenset()
    return "", frozenset()


def _lanes_apart(scalars: Scalars, a: Region, b: Region) -> bool:
    """Two lanes of one block share no element: as lanes that differ, or lane by lane, where one may have nothing."""
    same, opaque, facts = scalars.launch | {"block_idx"}, scalars.opaque, scalars.facts
    if disjoint(a, b, same, {"lane"}, opaque, facts):
        return True
    lanes = permutations(range(scalars.lanes), 2)
    cases = ([in_case(x, LANE, k) for x, k in zip((a, b), pair, strict=True)] for pair in lanes)
    return all(disjoint(x, y, same, (), opaque, facts) for x, y in cases)


def surely_meet(
    scalars: Scalars,
    loops: Sequence[LoopCode],
    a: RowCode,
    b: RowCode,
    differ: Iterable[str] = (),
) -> bool:
    """Two accesses have the same elements whatever the counters are; of two lanes in one iteration, or
    of two work items where ``differ`` says so."""
    assert a.region is not None
    names = {n for extent in a.region for terms in extent.terms for n in atom_names(terms)}
    tests = (e for x in (a, b) for e in _conditions(loops, x) if scalars.facts.most(e) <= 1)
    names.update(n for e in tests for n in scalars.base_names(e))
    fixed = scalars.launch | {"lane"} if differ else names - {"lane"}
    return a.region == b.region and names <= fixed


def _wanted(scalars: Scalars, loops: Sequence[LoopCode], tensor: str, code: RowCode) -> str:
    """What would keep the accesses of a row to ``tensor`` apart, in the names of the user."""
    row = code.row
    view = next(o for o in (row.out, *row.args) if isinstance(o, View) and o.tensor == tensor)
    wanted = []
    for item in view.index:
        span = as_span(item)
        start, size = span.start, span.reach
        if "lane" in names_in(start):  # both lanes together
            start = substitute(start, {"lane": Const(0)})
            size = replace(span, size=2 * span.size).reach
        full = substitute(start, code.scalars)
        if isinstance(full, Const):
            continue
        apart = "differs" if size == 1 else f"moves by {size} or more"
        tables = [_of_table(scalars.facts, name, full, size) for name in names_in(full)]
        known = "; ".join(dict.fromkeys(filter(None, tables)))
        wanted.append(f"that '{expr(start)}' {apart}{f' (it comes from {known})' if known else ''}")
    tests = (*row.tests, *(loops[n].node.trips for n in code.loops if loops[n].is_guard))
    wanted += [f"that '{expr(test)}' holds for one of them only" for test in tests]
    return ", or ".join(wanted) or "that the elements differ"


def _of_table(facts: Facts, name: str, start: Expr, size: int) -> str:
    """What is known of the table that the value ``name`` was read from, and what might be stated."""
    entry, fold = facts.entries.get(name), facts.folds.get(name)
    if fold is not None:
        return SUM if is_sum(fold, facts) else NO_SUM
    if entry is None:
        return ""
    told = [TOLD[type(f)].format(f) for f in facts.stated.get(entry.table, ()) if type(f) in TOLD]
    if not told and terms_of(start).get(Var(name), 0) in range(1, size):
        told = [f"whose entries can be anything: {STATED_OF_RANGES}"]
    return f"{entry.table}, {', '.join(told or [f'whose entries can be anything: {STATED_OF_ENTRIES}'])}"


TOLD: Mapping[type[Fact], str] = {
    Distinct: "of which no two entries are equal, and no more is known",
    Ranges: "which is known to begin ranges of {0.count}: 'valid' must end within the one of this entry",
    Sorted: "which is known to be sorted: 'valid' must end at a later entry of it, and items go by both",
}
STATED_OF_ENTRIES = "'distinct' behind its type states that no two are equal"
STATED_OF_RANGES = (
    "'disjoint ranges of COUNT' behind its type states that COUNT elements from each on are of no "
    "other, 'sorted' that the next one ends them"
)
"""What may be said of a table."""
SUM = "a fold, a sum of terms that are never negative: 'valid' must end within the term of the next step"
NO_SUM = (
    "a fold, which is no sum of terms that are never negative, as pto.maximum(x, 0) or entries 'in 0 .. n' are; "
    "a table of where each begins may state 'disjoint ranges of COUNT'"
)
"""What is known of a fold, and what would help."""
