"""What a kernel says of itself: its ``debug_print`` and ``debug_check`` in every work item and every iteration.

In: a program that no pass has changed (``Kernel.watched``), bound arrays.  Out: what it printed, and which
checks did not hold, in the order of the run.  Invariant: the values are those of the executor ``sequential``
(``sequential.py``), of the kernel as it is written.  Non-goals: outputs, schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowering.execute.access import Scope
from lowering.execute.inputs import Bound
from lowering.execute.sequential import Action, Tiles, ready
from lowering.execute.values_of import Counting, Where, place
from pto import ir
from pto.errors import render
from pto.loc import Loc

FEW, ENDS = 64, 3
"""Elements up to which a tile is printed whole; of others, how many at each end of a row or a column."""


SHOWN = 3
"""Checks that did not hold of which it is told what happened."""


@dataclass(frozen=True, slots=True)
class Said:
    """A text that a row said, and where in the run; ``loc``: the row in the user's file."""

    where: Where
    text: str
    loc: Loc | None = None

    def told(self) -> str:
        """For a person: a line, or more of what has rows."""
        at = place(self.where)
        return f"{at}: {self.text}" if at else self.text

    def failed(self) -> str:
        """The same of a check that did not hold, with the line of the user."""
        at = place(self.where)
        return render(f"debug_check: {self.text}" + (f", at {at}" if at else ""), self.loc, "")


@dataclass(slots=True)
class Heard:
    """``printed``: by ``debug_print``; ``failed``: the messages of the checks that did not hold."""

    printed: list[Said] = field(default_factory=list)
    failed: list[Said] = field(default_factory=list)

    def told(self) -> Iterator[str]:
        """For a person: all that was printed, and the first checks that did not hold."""
        yield from (said.told().replace("\n", "\n  ") for said in self.printed)
        count = len(self.failed)
        if count:
            yield f"{count} {'check' if count == 1 else 'checks'} did not hold"
        yield from (said.failed() for said in self.failed[:SHOWN])

    def __str__(self) -> str:
        return "\n".join(self.told())


def watch(kernel: ir.Kernel, bound: Bound) -> Heard:
    """What ``kernel`` says when it runs on these arrays; ``bound`` is left as it is.

    Raises:
        InputError: as ``sequential.run``.
    """
    with ready(kernel, bound):
        watching = Watching(kernel, bound)
        watching.run()
    return watching.heard


class Watching(Counting):
    """The interpreter, that also performs the rows that only watch."""

    def __init__(self, kernel: ir.Kernel, bound: Bound) -> None:
        self.heard = Heard()
        super().__init__(kernel, bound)

    def watched(self, row: ir.Row) -> Action:
        return RULES[row.op](self, row)


def _check(at: Watching, row: ir.Row) -> Action:
    condition, text = at.operand(row.args[0]), row.operand(ir.Text, 1).value
    where, failed = at.place(), at.heard.failed

    def run(tiles: Tiles, scope: Scope) -> None:
        if not np.all(condition(tiles, scope)):
            failed.append(Said(where(scope), text, row.loc))

    return run


def _print(at: Watching, row: ir.Row) -> Action:
    text, values = row.operand(ir.Text).value, [at.operand(a) for a in row.args[1:]]
    where, printed = at.place(), at.heard.printed

    def run(tiles: Tiles, scope: Scope) -> None:
        shown = (_shown(value(tiles, scope)) for value in values)
        printed.append(Said(where(scope), text.format(*shown), row.loc))

    return run


def _shown(value: Any) -> str:
    """A number, or the one of a tile, in a few digits; a tile by rows, of a large one what is at its ends."""
    if not isinstance(value, np.ndarray) or value.size == 1:
        number = value.item() if isinstance(value, np.ndarray) else value
        return f"{float(number):g}" if not isinstance(number, int) else str(number)
    rows = np.array2string(value, threshold=FEW, edgeitems=ENDS, precision=6, max_line_width=120)
    return f"{value.dtype.name}{list(value.shape)}\n{rows}"


RULES: Mapping[str, Callable[[Watching, ir.Row], Action]] = {
    "debug_check": _check,
    "debug_print": _print,
}
"""What each op that only watches does."""
