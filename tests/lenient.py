"""The proof of programs whose signals tell by the order of their pipes.

Tests that are about something else than the hand-over between the cores check with these functions, which
are those of ``lowering.hazards`` under one reading more: where a push tells by itself, which rests on it
(``check``), or always (``check_in_order``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lowering import hazards
from lowering.hazards.assumptions import ORDERED_SIGNALS
from lowering.hazards.proof import Proof
from lowering.hazards.trips import Trips
from pto.ir import Kernel, all_rows

IN_ORDER = (ORDERED_SIGNALS,)


def resting_on(kernel: Kernel) -> tuple[str, ...]:
    """The readings that a program must be judged under: none if no push tells by itself."""
    return IN_ORDER if any(r.op == "push" for r in all_rows(kernel.body)) else ()


def check(kernel: Kernel, *args: Any, assume: Iterable[str] = (), **kwargs: Any) -> Proof:
    return hazards.check(kernel, *args, assume=(*assume, *resting_on(kernel)), **kwargs)


def check_unrolled(
    kernel: Kernel, trips: Sequence[Trips], assume: Iterable[str] = (), **kwargs: Any
) -> Proof:
    return hazards.check_unrolled(kernel, trips, (*assume, *resting_on(kernel)), **kwargs)


def check_in_order(kernel: Kernel, *args: Any, assume: Iterable[str] = (), **kwargs: Any) -> Proof:
    return hazards.check(kernel, *args, assume=(*assume, *IN_ORDER), **kwargs)
