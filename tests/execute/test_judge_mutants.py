"""Kernels made wrong on purpose are told, right ones agree in every executor.

Random cases with infinities, NaN and huge values among the expected.  ``make test`` takes a sample;
``make sweep`` (or ``pytest -s -m sweep tests/execute/test_judge_mutants.py``) 200 wrong kernels and every
executor, and prints a table.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lowering import native
from lowering.execute import cases, judge, scheduled, sequential
from lowering.execute.access import DTYPES
from lowering.execute.inputs import Bound, bind
from lowering.execute.roundings import LARGEST, Wide
from lowering.schedule import schedule
from pto import ir
from pto.errors import CapacityError, PtoError
from pto.kernels import SHIPPED
from tests.judges import random_kernels
from tests.judges.value_mutants import mutants

SPECIALS = (np.inf, -np.inf, np.nan, 1e15, -1e15, 1e5, 0.0)
HUGE = (*SPECIALS, 1e30, -1e30, 3e38)
"""Of these the shipped kernels cannot make squares or products in float32; nor should they."""

SMALL: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "paged_attention": (
        dict(heads=32, kv_heads=2, dim=32, block=16),
        ["batch=3,context=40"],
    ),
    "gemm": (dict(tile_m=32, tile_n=32, tile_k=32, activation="silu"), ["m=40,n=50,k=70"]),
    "rmsnorm": (dict(dim=64), ["rows=40"]),
}


@dataclass(frozen=True)
class Case:
    """A right program, its inputs, and what it must give, in float64."""

    name: str
    program: ir.Kernel
    bound: Bound
    reference: Mapping[str, Any]


def special(array: Any, rng: np.random.Generator, count: int, values: Sequence[float]) -> Any:
    """``array`` with a few special values, as far as its type holds them."""
    if array.dtype == np.int32 or not array.ndim:
        return array
    made = array.copy()
    with np.errstate(over="ignore"):
        for _ in range(count):
            at = tuple(int(rng.integers(n)) for n in made.shape)
            made[at] = np.asarray(rng.choice(values)).astype(made.dtype)
    return made


def shipped(name: str, seed: int) -> Case:
    statics, options = SMALL[name]
    kernel = SHIPPED[name]
    program = kernel.trace(**statics)
    rng = np.random.default_rng(seed)
    drawn = cases.draw(kernel, program, [*options, f"seed={seed}"])
    bound = bind(program, {n: special(a, rng, 2 * (seed % 3), SPECIALS) for n, a in drawn.items()})
    with np.errstate(all="ignore"):
        return Case(f"{name} {seed}", program, bound, cases.expected(kernel, program, bound))


def generated(seed: int) -> Case:
    """A random kernel; its reference is the program itself, in float64."""
    kernel, make = random_kernels.draw(seed, outside=seed % 2 == 1)
    program = kernel.trace()
    rng = np.random.default_rng(seed)
    types = {p.name: DTYPES[p.dtype] for p in program.params}
    drawn = {n: np.asarray(a).astype(types[n]) for n, a in make(rng).items()}
    bound = bind(program, {n: special(a, rng, seed % 3, HUGE) for n, a in drawn.items()})
    with np.errstate(all="ignore"):
        return Case(f"random {seed}", program, bound, Wide(program, bound).run())


def all_cases(shipped_seeds: int, random_seeds: int) -> Iterator[Case]:
    for name in SMALL:
        yield from (shipped(name, seed) for seed in range(shipped_seeds))
    yield from (generated(seed) for seed in range(random_seeds))


# --------------------------------------------------------------------------------------- wrong


def told(case: Case, wrong: ir.Kernel) -> tuple[bool, bool] | None:
    """(its float64 result differs by more than the stated error, the judge says so); None: does not run."""
    try:
        bound = bind(wrong, {**case.bound.arrays, **case.bound.scalars})
        bound = Bound(*(getattr(bound, f) for f in Bound.__slots__[:-1]), frozenset())
        outputs = sequential.run(wrong, bound)
        masks = judge.unwritten(wrong, bound)
    except PtoError:
        return None
    wanted = judge.expected(wrong, bound, case.reference, masks)
    with np.errstate(all="ignore"):
        exact = Wide(wrong, bound).run()
    left_out = judge.missing(bound, masks, case.reference)
    differs = bool(left_out) or any(
        is_far(exact[e.name], case.reference[e.name], e) for e in wanted
    )
    return differs, bool(left_out) or not all(c.ok for c in judge.compare(outputs, wanted))


def is_far(exact: Any, want: Any, e: judge.Expected) -> bool:
    """Element by element, written down once more."""
    largest = LARGEST[e.dtype] * (1 + 2.0**-24)
    for a, b, limit in zip(exact.flat, want.flat, e.limit.flat, strict=True):
        if abs(a) > largest:
            a = np.copysign(np.inf, a)
        if abs(b) > largest:
            b = np.copysign(np.inf, b)
        if np.isnan(a) and np.isnan(b) or a == b:
            continue
        if np.isinf(a) and abs(b) + limit > largest / (1 + 2.0**-24) and (a > 0) == (b > 0):
            continue
        if not abs(a - b) <= limit:
            return True
    return False


def judged(source: Iterator[Case], per_case: int, seed: int = 0) -> Counter[str]:
    """What became of ``per_case`` wrong kernels of each case; fails at the first that passes."""
    counts: Counter[str] = Counter()
    rng = random.Random(seed)
    for case in source:
        pool = list(mutants(case.program))
        rng.shuffle(pool)
        taken = 0
        for name, wrong in pool:
            if taken == per_case:
                break
            found = told(case, wrong)
            if found is None:
                counts["refused"] += 1
                continue
            differs, said = found
            assert said or not differs, f"{case.name}, {name}: wrong, and nobody says so"
            counts["told" if said else "the same but for roundings"] += 1
            taken += differs
    return counts


def test_a_sample_of_wrong_kernels() -> None:
    counts = judged(all_cases(1, 2), 4)
    assert counts["told"] >= 20


@pytest.mark.sweep
def test_two_hundred_wrong_kernels() -> None:
    counts = judged(all_cases(5, 15), 8)
    print("\n", dict(sorted(counts.items())))
    assert counts["told"] >= 200


# --------------------------------------------------------------------------------------- right


def run_jax(kernel: ir.Kernel, bound: Bound) -> Mapping[str, Any]:
    from lowering import jax_executor

    return jax_executor.run(kernel, bound)


def run_native(kernel: ir.Kernel, bound: Bound) -> Mapping[str, Any]:
    return native.run(kernel, bound, block_num=2).outputs


QUICK: Mapping[str, Callable[[ir.Kernel, Bound], Mapping[str, Any]]] = {
    "numpy": scheduled.run,
    "jax": run_jax,
}


def agrees(case: Case, executors: Mapping[str, Callable[[ir.Kernel, Bound], Any]]) -> bool:
    """Asserts that all outputs are right; False where there are none, as the tiles do not fit."""
    masks = judge.unwritten(case.program, case.bound)
    wanted = judge.expected(case.program, case.bound, case.reference, masks)
    found = {"sequential": sequential.run(case.program, case.bound)}
    try:
        program = schedule(case.program).kernel if executors else case.program
    except CapacityError:
        return False
    for name, run in executors.items():
        found[name] = run(program, bind(program, {**case.bound.arrays, **case.bound.scalars}))
    for name, outputs in found.items():
        for c in judge.compare(outputs, wanted):
            assert c.ok, f"{case.name}, {name} {c.told('its reference')}"
    return True


def test_right_kernels_agree() -> None:
    for case in all_cases(3, 6):
        agrees(case, {})
    agrees(shipped("rmsnorm", 1), QUICK)


@pytest.mark.sweep
def test_right_kernels_agree_in_every_executor() -> None:
    quick = [agrees(case, QUICK) for case in all_cases(6, 12)]
    compiled = [agrees(case, {"native": run_native}) for case in all_cases(2, 4)]
    print("\n", f"{sum(quick)} of {len(quick)} cases in numpy and JAX, {sum(compiled)} in C++")
    assert sum(quick) > len(quick) * 2 // 3 and sum(compiled) > 6
