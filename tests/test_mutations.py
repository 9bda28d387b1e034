"""Every single change of the shipped `best` schedules: caught, or shown to change nothing.

A mutant is caught by the proof, or by the strict executor (a wrong slot that is well ordered still
gives wrong bits).  One that neither catches is redundant only if plain execution of the
happens-before model agrees for 0 .. 40 iterations and mixed work items, and its bits are those of
the traced program for 0 .. 40 iterations.  The table is printed (pytest -s).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from mutants import mutants

from lowering import inputs, scheduled, sequential
from lowering.hazards import check, check_unrolled
from lowering.schedule import options_for, schedule
from pto.errors import PtoError
from pto.ir import Kernel
from pto.kernels import SHIPPED

SEQUENCES = [
    *([n] for n in range(41)),
    *([a, b] for a in range(5) for b in range(5)),
    [0, 0, 3, 3, 0],
    [5, 4, 3, 2, 1, 0],
]
CASES: Mapping[str, Mapping[str, Any]] = {
    "paged_attention": dict(batch=41, context=40 * 128, ragged=False),
    "gemm": dict(m=200, n=300, k=40 * 64 - 3),
    "rmsnorm": dict(rows=100),
}


def arrays_for(name: str) -> dict[str, Any]:
    """Inputs with 0 .. 40 iterations where the lengths are data."""
    kernel = SHIPPED[name]
    assert kernel.draw_case is not None
    arrays = kernel.draw_case(np.random.default_rng(0), **{**kernel.statics, **CASES[name]})
    if "context_lens" in arrays:
        arrays["context_lens"] = np.arange(41, dtype=np.int32) * 128
    wide = [n for n, a in arrays.items() if a.ndim > 1 and a.dtype == np.float32]
    return {n: a.astype(ml_dtypes.bfloat16) if n in wide else a for n, a in arrays.items()}


def verdict(name: str, mutant: Kernel, arrays: Mapping[str, Any], want: bytes) -> str:
    """Who catches the mutant, or 'redundant' after all the evidence."""
    proof = check(mutant)
    if not proof.ok:
        return proof.violations[0].kind if proof.violations else "refused"
    failing = [s for s in SEQUENCES if not check_unrolled(mutant, s).ok]
    assert not failing, f"{name}: called proven, but {failing[0]} fails"
    try:
        got = scheduled.run(mutant, inputs.bind(mutant, arrays), block_num=3)["out"]
    except PtoError:
        return "executor"
    return "redundant" if got.tobytes() == want else "wrong bits"


def table(kernel_name: str, lookahead: int, every: int = 1) -> dict[str, str]:
    """The verdict on every ``every``-th mutant, printed by kind."""
    traced = SHIPPED[kernel_name].trace()
    program = schedule(traced, options_for("best", lookahead=lookahead)).kernel
    arrays = arrays_for(kernel_name)
    want = sequential.run(traced, inputs.bind(traced, arrays))["out"].tobytes()
    found = {
        name: verdict(name, mutant, arrays, want)
        for k, (name, mutant) in enumerate(mutants(program))
        if k % every == 0
    }
    kinds = Counter(found.values())
    redundant = [name for name, kind in found.items() if kind == "redundant"]
    print(f"\n{kernel_name}, best, lookahead {lookahead}: {len(found)} mutants")
    for kind, count in kinds.most_common():
        print(f"  {count:>4}  {kind}")
    print(f"  accounted for: {sum(kinds.values()) / len(found):.0%}; redundant:")
    print(*(f"        {name}" for name in redundant), sep="\n")
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_some_mutants_of_best(name: str) -> None:
    found = table(name, lookahead=2, every=11)
    assert len(found) >= 10
    assert sum(kind == "redundant" for kind in found.values()) <= len(found) // 2


@pytest.mark.sweep
@pytest.mark.parametrize("lookahead", [1, 2])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_mutant_of_best(name: str, lookahead: int) -> None:
    found = table(name, lookahead)
    flags = ("no wait", "no set", "drain", "barrier")
    kept = [n for n, k in found.items() if k == "redundant" and any(f in n for f in flags)]
    assert not kept, f"{name} would be right without: {kept}"
