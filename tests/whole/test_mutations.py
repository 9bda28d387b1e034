"""Every change of every shipped schedule, one or two at a time: caught, or shown to change nothing.

Proof, brute force over trip counts, plain runs and adversarial orders (``tests/judges/agreement.py``) judge
each mutant and must not contradict each other.  A mutant is redundant only if nobody has anything
against it.  The table is printed (``make sweep``).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from pto.ir import Kernel
from pto.kernels import SHIPPED
from tests.judges.agreement import Plan, Verdicts, judge, program
from tests.judges.mutants import mutants, row_mutants
from tests.schedule.forms import FORMS

PLANS = [
    Plan(kernel, *plan)
    for kernel in SHIPPED
    for plan in (("serial",), ("prefetch",), ("repair",), ("best",), ("best", 1))
] + [Plan("paged_attention", "by hand")]
PAIRS = 60
"""Mutants with two changes, per plan."""


def all_mutants(plan: Plan) -> Iterator[tuple[str, Kernel]]:
    """Every single change, and some pairs of changes."""
    k = program(plan)
    yield from mutants(k)
    rng = random.Random(str(plan))
    first = list(row_mutants(k))
    for _ in range(PAIRS):
        name, once = rng.choice(first)
        other, twice = rng.choice(list(row_mutants(once)))
        yield f"{name} and {other}", twice


def judged(task: tuple[Plan, int, int]) -> list[tuple[str, Verdicts]]:
    """The verdicts on mutants number ``start``, ``start + step``, ... of a plan."""
    plan, start, step = task
    return [
        (name, judge(plan, k)) for n, (name, k) in enumerate(all_mutants(plan)) if n % step == start
    ]


def line(plan: Plan, found: list[tuple[str, Verdicts]]) -> str:
    """One line of the table."""
    caught = Counter(v.caught for _, v in found)
    by_proof = sum(bool(v.proof) for _, v in found)
    runnable = [v for _, v in found if v.proof and v.orders != "not run"]
    shown = sum(bool(v.orders) for v in runnable)
    others = {k: caught[k] for k in ("executor", "wrong bits", "redundant")}
    return (
        f"{plan!s:<38} {len(found):>5} {by_proof:>6} {others['executor']:>9} "
        f"{others['wrong bits']:>6} {others['redundant']:>10} {shown:>9} of {len(runnable)}"
    )


HEADER = f"{'schedule':<38} {'all':>5} {'proof':>6} {'executor':>9} {'bits':>6} {'redundant':>10}   orders show"


def no_contradiction(found: list[tuple[str, Verdicts]]) -> None:
    bad = {name: v.contradiction for name, v in found if v.contradiction}
    assert not bad


FEW = [
    *(Plan("paged_attention", name) for name in ("serial", "best", "by hand")),
    *(Plan("gemm", "prefetch"), Plan("gemm", "best", 1)),
    *(Plan("rmsnorm", name) for name in ("repair", "best")),
]
"""Each kernel and each plan; the sweep has all of them."""


@pytest.mark.parametrize("plan", FEW, ids=str)
def test_some_mutants(plan: Plan) -> None:
    found = judged((plan, 3, 197 if plan.kernel == "paged_attention" else 97))
    no_contradiction(found)
    assert len(found) >= 2
    assert sum(v.caught == "redundant" for _, v in found) <= len(found) // 2


@pytest.mark.sweep
def test_every_mutant() -> None:
    everything = told(PLANS, 16, 16)
    assert len(everything) > 3000


@pytest.mark.sweep
def test_mutants_of_every_form() -> None:
    """One in four; what stores in one place, under the default schedule."""
    forms = [
        Plan(name, "best") for name, form in FORMS.items() if form.quick and "grad" not in name
    ]
    assert len(told(forms, 16, 4)) > 1200


WORDS = (
    "masks of masks",
    "causal attention",
    "silu layer",
    "rotary positions",
    "experts by read scales",
    "inner dimension split",
    "experts combined",
    "gradients of a table",
    "spilled to memory",
    "stored and loaded again",
    "a page appended, then attended to",
    "scores in memory",
    "states by slots",
    "experts",
    "greedy decoding",
    "long sums, f32",
    "int8 product with scales",
    "rounded on the way out",
    "rows packed",
    "grouped products",
    "weights of four bits",
    "one of two ways",
    "skipped pages",
    "ways in a loop",
    "rope by halves",
    "corners of sums",
    "sums of lists of rows",
    "products turned",
    "attention backwards",
    "single columns",
    "chunks at carried offsets",
    "compacted chunks",
    "trimmed tiles",
    "fields by tiles",
    "turns by a table",
    "rows that speak",
    "a layer that speaks",
    "combed rows",
    "pages of heads",
    "scales of channels",
    "scales of columns, both cores",
)


@pytest.mark.sweep
def test_mutants_of_words() -> None:
    """One in eight, of kernels with selections, numbers of places, scalars that are read, orders and sums of rows,
    stores that add, small integers, their bits and scales, places that tables decide, loops over scalars, work that is done or not,
    parts of tiles, transposes, views, tensors that are updated in place, and what is said of itself."""
    assert len(told([Plan(name, "best") for name in WORDS], 16, 2)) > 150


def told(plans: list[Plan], parts: int, some: int) -> list[tuple[str, Verdicts]]:
    """The verdicts on ``some`` parts of all mutants, printed by plan; no two judges contradict each other."""
    tasks = [(plan, start, parts) for plan in plans for start in range(some)]
    table: dict[Plan, list[tuple[str, Verdicts]]] = {plan: [] for plan in plans}
    with ProcessPoolExecutor(2) as pool:
        for (plan, *_), found in zip(tasks, pool.map(judged, tasks), strict=True):
            table[plan] += found
    print(f"\n{HEADER}")
    for plan, found in table.items():
        print(line(plan, found))
    everything = [x for found in table.values() for x in found]
    kinds = Counter(v.caught for _, v in everything)
    print(f"{len(everything)} mutants: " + ", ".join(f"{n} {k}" for k, n in kinds.most_common()))
    for plan, found in table.items():
        names = [name for name, v in found if v.caught == "redundant"]
        print(f"redundant in {plan}:", *(f"  {name}" for name in names), sep="\n")
    no_contradiction(everything)
    return everything
