"""What every judge says of one program: proof, brute force, plain runs, and adversarial orders.

The judges must never contradict each other (``contradiction``):

* proof: ``lowering/hazards.check``, all trip counts by normal forms;
* brute force (``first_failing``): the same rules executed plainly for 0 .. 40 iterations and mixed
  work items;
* bits: the strict executor in program order against the traced program;
* orders: the adversarial executor, real data in random legal orders of the pipes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from lowering.execute import inputs, scheduled, sequential
from lowering.execute.adversarial import Orders
from lowering.hazards.assumptions import readings
from lowering.hazards.compiler import compiled
from lowering.hazards.concrete import fails
from lowering.schedule import options_for, schedule
from pto.errors import PtoError
from pto.ir import Kernel
from pto.kernels import SHIPPED
from pto.text import parse
from tests import HANDWRITTEN
from tests.lenient import check, check_unrolled, resting_on
from tests.schedule.forms import FORMS
from tests.words.all import WORDS

SEQUENCES = [
    *([n] for n in range(41)),
    *([a, b] for a in range(5) for b in range(5)),
    [0, 0, 3, 3, 0],
    [5, 4, 3, 2, 1, 0],
    [1] * 9,
    [2, 1, 1, 8, 1, 1, 1, 8, 1],
    [0, 0, 0, 0, 0, 0, 1],
    [8, 1, 2, 1, 8, 2, 2, 1, 1],
]
"""Trip counts, one entry per work item: many short ones follow each other in a flat loop."""

LONG: Mapping[str, Mapping[str, Any]] = {
    "paged_attention": dict(batch=13, context=40 * 128, ragged=False),
    "gemm": dict(m=200, n=300, k=40 * 64 - 3),
    "rmsnorm": dict(rows=100),
}
"""Cases for the bits: 0 .. 11 and 40 iterations where the lengths are data."""

SHORT: Mapping[str, Mapping[str, Any]] = {
    "paged_attention": dict(batch=6, context=5 * 128, ragged=False),
    "gemm": dict(m=32, n=256, k=5 * 64 - 3),
    "rmsnorm": dict(rows=150),
}
"""Cases for the orders: several work items on one block, more iterations than any ring is deep."""

FAILING, PASSING = 24, 9
"""Orders tried on a program that is not proven (until one shows it), and on one that is proven."""


@dataclass(frozen=True)
class Plan:
    """A shipped kernel, a form of one (``tests/schedule/forms.py``) or a word's (``tests/words``), under a named schedule, or ``by hand``."""

    kernel: str
    name: str
    lookahead: int | None = None

    def __str__(self) -> str:
        ahead = f", lookahead {self.lookahead}" if self.lookahead else ""
        return f"{self.kernel}, {self.name}{ahead}"


@lru_cache
def program(plan: Plan) -> Kernel:
    """The scheduled kernel of a plan."""
    if plan.name == "by hand":
        return parse(HANDWRITTEN.read_text(), str(HANDWRITTEN))
    traced = traced_of(plan.kernel)
    return schedule(traced, options_for(plan.name, lookahead=plan.lookahead)).kernel


def traced_of(name: str) -> Kernel:
    if name in WORDS:
        return WORDS[name].traced
    return FORMS[name].trace() if name in FORMS else SHIPPED[name].trace()


@lru_cache
def arrays(name: str, long: bool) -> dict[str, Any]:
    """Inputs of a shipped kernel, of a form, or of the kernel of a word."""
    if name in WORDS:
        return WORDS[name].arrays(np.random.default_rng(0))
    if name in FORMS:
        return FORMS[name].arrays()
    kernel = SHIPPED[name]
    assert kernel.draw_case is not None
    case = (LONG if long else SHORT)[name]
    drawn = kernel.draw_case(np.random.default_rng(0), **{**kernel.statics, **case})
    if "context_lens" in drawn:
        lengths = np.array([*range(12), 40] if long else [5, 0, 4, 1, 1, 2])
        drawn["context_lens"] = (lengths * 128).astype(np.int32)
    wide = [n for n, a in drawn.items() if a.ndim > 1 and a.dtype == np.float32]
    return {n: a.astype(ml_dtypes.bfloat16) if n in wide else a for n, a in drawn.items()}


@lru_cache
def wanted(name: str) -> dict[str, bytes]:
    """The bits of the traced program on the long case."""
    traced = traced_of(name)
    return bits_of(sequential.run(traced, inputs.bind(traced, arrays(name, True))))


def bits_of(outputs: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: a.tobytes() for name, a in outputs.items()}


@dataclass(frozen=True)
class Verdicts:
    """``proof``: '' or the kind of the first violation.  ``brute``: the first sequence that fails.
    ``bits``: '', 'executor' or 'wrong bits'.  ``orders``: '', or what an order showed first, or
    'not run' where the program cannot run at all.  ``claim``: failing trip counts that do not fail.
    """

    proof: str
    brute: Sequence[int] | None
    bits: str
    orders: str
    claim: str = ""

    @property
    def contradiction(self) -> str:
        """Two judges that cannot both be right, or ''."""
        if self.claim:
            return self.claim
        if not self.proof and self.brute is not None:
            return f"proven, but {self.brute} fails"
        if not self.proof and self.orders not in ("", "not run"):
            return f"proven, but an order shows: {self.orders}"
        return ""

    @property
    def caught(self) -> str:
        """Who catches the program first; 'redundant' if nobody has anything against it."""
        return self.proof or self.bits or "redundant"


def judge(plan: Plan, k: Kernel) -> Verdicts:
    """All verdicts on ``k``, a program made from that of ``plan``."""
    proof = check(k)
    if proof.ok:
        brute = first_failing(k, SEQUENCES)
        return Verdicts("", brute, _bits(plan, k), _orders(plan, k, PASSING))
    kind = proof.violations[0].kind if proof.violations else "refused"
    claim = ""
    if proof.failing is not None and check_unrolled(k, proof.failing).ok:
        claim = f"{proof.failing} is said to fail, and does not"
    return Verdicts(kind, None, "", _orders(plan, k, FAILING), claim)


def same_bits(traced: Kernel, k: Kernel, arrays: Mapping[str, Any]) -> bool:
    """The scheduled program stores the bits of the traced one."""
    want = sequential.run(traced, inputs.bind(traced, arrays))
    got = scheduled.run(k, inputs.bind(k, arrays), block_num=2)
    return bits_of(want) == bits_of(got)


def first_failing(
    k: Kernel, runs: Iterable[Sequence[int]], assume: Iterable[str] = ()
) -> Sequence[int] | None:
    """The first of these runs that meets a hazard; the program has no other fault."""
    code = compiled(k, readings((*assume, *resting_on(k))), by_position=False)
    assert not code.faults
    return next((r for r in runs if fails(code, r)), None)


def _bits(plan: Plan, k: Kernel) -> str:
    try:
        got = scheduled.run(k, inputs.bind(k, arrays(plan.kernel, True)), block_num=3)
    except PtoError:
        return "executor"
    return "" if bits_of(got) == wanted(plan.kernel) else "wrong bits"


def _orders(plan: Plan, k: Kernel, seeds: int) -> str:
    try:
        orders = Orders(k, inputs.bind(k, arrays(plan.kernel, False)), 1, resting_on(k))
        found = next(orders.differences(range(seeds)), None)
    except PtoError as error:
        return getattr(error, "kind", "not run")
    return "" if found is None else found.kind
