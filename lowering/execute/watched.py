"""A kernel that is looked into: its ``debug_print`` and ``debug_check`` in every work item and every iteration.

In: a program that no pass has changed (``Kernel.watched``), bound arrays.  Out: what it printed, and which
checks did not hold, in the order of the run.  Invariant: the values are those of the executor ``sequential``
(``sequential.py``), of the kernel as it is written.  Non-goals: schedules.
"""

from __future__ import annotations

from lowering.execute.access import Array, Scope
from lowering.execute.inputs import Bound
from lowering.execute.said import Heard
from lowering.execute.sequential import Action, Tiles, ready
from lowering.execute.values_of import Counting
from pto import ir


def watch(kernel: ir.Kernel, bound: Bound) -> Heard:
    """What ``kernel`` says when it runs on these arrays; ``bound`` is left as it is.

    Raises:
        InputError: as ``sequential.run``.
    """
    heard = Heard()
    run(kernel, bound, heard)
    return heard


def run(kernel: ir.Kernel, bound: Bound, heard: Heard) -> dict[str, Array]:
    """The outputs, as ``sequential.run`` gives them, and what is said on the way."""
    with ready(kernel, bound):
        return Watching(kernel, bound, heard).run()


class Watching(Counting):
    """The interpreter, that also performs the rows that only watch."""

    def __init__(self, kernel: ir.Kernel, bound: Bound, heard: Heard) -> None:
        self.heard = heard
        super().__init__(kernel, bound)

    def watched(self, row: ir.Row) -> Action:
        values = [self.operand(a) for a in row.args if not isinstance(a, ir.Text)]
        where, heard = self.place(), self.heard

        def run(tiles: Tiles, scope: Scope) -> None:
            heard.hear(row, [value(tiles, scope) for value in values], where(scope))

        return run
