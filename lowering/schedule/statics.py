"""Which values the tuned static parameters of a kernel get where nobody gives them.

In: a kernel, the static parameters that are given, the sizes of a call.  Out: all tuned ones: those of a file
of ``pto tune``, else those with which the busiest unit has least to do, one parameter after the other until
none changes.
Invariant: what is chosen depends on names and sizes, never on the contents of an array, on time or on
what was called before.
Non-goals: a search with schedules (``lowering/schedule/tune.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from lowering.schedule.estimate import Rates, rates
from lowering.schedule.tune import MARGIN
from lowering.schedule.tuned import statics_of
from pto import ir
from pto.arithmetic import Number
from pto.kernel import Kernel
from pto.signature import Static

Statics = dict[str, Static]
Trace = Callable[[Statics], ir.Kernel]


@dataclass
class Chooser:
    """Of one kernel.  ``traced``: how it is traced; what was estimated is kept."""

    kernel: Kernel
    traced: Trace
    known: dict[tuple[tuple[str, str], ...], Rates | None] = field(default_factory=dict)

    def completed(
        self, given: Mapping[str, Static], sizes: Mapping[str, Number], tuned: Path | None = None
    ) -> Statics:
        """``given`` with every tuned parameter that it lacks.

        Raises:
            InputError: for a file that is no tuned schedule.
        """
        free = [n for n in self.kernel.tuned if n not in given]
        found = statics_of(self.kernel, given, tuned) if free else None
        if found is not None:
            return {**given, **{n: found[n] for n in free}}
        best = {**given, **{n: self.kernel.statics[n] for n in free}}
        least, before = self.cycles(best, sizes), None
        while free and best != before:
            before = best
            for name in free:
                for value in self.kernel.tuned[name]:
                    other = {**best, name: value}
                    cycles = self.cycles(other, sizes)
                    if cycles < least * (1 - MARGIN):
                        best, least = other, cycles
        return best

    def cycles(self, statics: Statics, sizes: Mapping[str, Number]) -> float:
        """Of a hardware block in a call of such sizes; inf if the kernel does not fit, or if they do not
        say how many work items there are."""
        key = tuple((n, repr(x)) for n, x in sorted(statics.items()))
        if key not in self.known:
            self.known[key] = rates(self.traced(statics))
        found = self.known[key]
        items = found.dealt(sizes) if found else None
        return found.cycles(items) if found and items is not None else inf
