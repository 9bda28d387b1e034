"""How many steps the folds of a core take, each time that they are asked for.

In: a scheduled kernel, a core, iterations.  Out: steps, where a fold that goes on in its loop (``pto/running.py``)
takes only those that it lacks, as in emitted text.  A count that only a call has is taken to be that of an average
work item, and whatever ends a fold early to come last.  Non-goals: what a step costs
(``lowering/simulate/machine.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from lowering.unroll import Counters
from pto import ir
from pto.arithmetic import Number
from pto.bounds import of_launch
from pto.folds import Fold, fold_of
from pto.running import going_on
from pto.targets import target_of


class Folds:
    """The folds of one core; ``blocks``: the trip count of the inner loops in each work item."""

    def __init__(self, kernel: ir.Kernel, core: str, blocks: Sequence[int]) -> None:
        self.usual = round(sum(blocks) / len(blocks)) if blocks else 0
        self.launch: dict[str, Number] = {"block_idx": 0, "block_num": target_of(kernel).block_num}
        known = of_launch(kernel)
        self.running: dict[str, Fold] = {}
        for loop in ir.loops_of(kernel.body):
            rows = [r for r in ir.own_rows(loop.body) if r.core == core]
            self.running |= going_on(loop, ir.in_own_order(rows), known)
        self.come: dict[str, int] = {}

    def steps(self, row: ir.Row, scope: Counters) -> int:
        """What ``row`` takes in this iteration, which comes behind those that were asked for before."""
        name = row.result(ir.Scalar).name
        fold = self.running.get(name)
        trips = self.trips(fold or fold_of(row), scope)
        begins = fold is None or not scope.at or scope.at[-1] == 0
        come = 0 if begins else self.come.get(name, 0)
        self.come[name] = max(come, trips)
        return max(trips - come, 0)

    def trips(self, fold: Fold, scope: Counters) -> int:
        known = {**self.launch, **scope}
        if any(n not in known for n in ir.names_in(fold.trips)):
            return self.usual
        return int(ir.evaluate(fold.trips, known.__getitem__))
