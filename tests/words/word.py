"""What a test kernel of a word of the language is, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lowering.execute import judge
from lowering.execute.inputs import Bound, bind
from lowering.schedule import schedule
from pto import Kernel, ir
from pto.signature import Static

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Word:
    """A kernel that needs a word, inputs for it, and what it must give in float64.

    ``arrays``: of a random generator; ``want``: by the inputs as numpy holds them (what is added to is one), the
    outputs by name.  ``watched``: with what it says of itself.
    """

    kernel: Kernel
    arrays: Callable[[np.random.Generator], Arrays]
    want: Callable[..., Mapping[str, Any]]
    statics: Mapping[str, Static] = field(default_factory=dict)
    watched: bool = False

    @cached_property
    def traced(self) -> ir.Kernel:
        return (self.kernel.watched if self.watched else self.kernel.trace)(**self.statics)

    @cached_property
    def scheduled(self) -> ir.Kernel:
        """Proven under the strict readings: ``schedule`` refuses all else."""
        return schedule(self.traced).kernel

    def bound(self, program: ir.Kernel) -> Bound:
        return bind(program, self.arrays(np.random.default_rng(0)))

    @cached_property
    def expected(self) -> list[judge.Expected]:
        """Within the roundings of the program, and no looser."""
        bound = self.bound(self.traced)
        given = {n: a for n, a in bound.arrays.items() if bound.directions[n] != "out"}
        with np.errstate(all="ignore"):
            want = self.want(**{n: _wide(a) for n, a in {**given, **bound.scalars}.items()})
        return judge.expected(self.traced, bound, {n: np.asarray(a) for n, a in want.items()}, {})

    def judged(self, outputs: Mapping[str, Any]) -> None:
        for found in judge.compare(outputs, self.expected):
            assert found.ok, found.told("the float64 reference")


def _wide(a: Any) -> Any:
    """A copy: floats in float64, integers as they are."""
    a = np.asarray(a)
    return a.copy() if a.dtype.kind in "iu" else a.astype(np.float64)
