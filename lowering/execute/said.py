"""What rows that only watch say, and where they are heard.

In: such a row, the values of its operands, where in the run.  Out: ``Heard``: what was printed, and which checks did
not hold, in the order of the run.  Invariant: the same values give the same text, whichever executor has them.
Non-goals: who runs the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pto import ir
from pto.errors import render
from pto.loc import Loc
from pto.texts import FAILED

FEW, ENDS = 64, 3
"""Elements up to which a tile is printed whole; of others, how many at each end of a row or a column."""


SHOWN = 3
"""Checks that did not hold of which it is told what happened."""

Where = tuple[tuple[str, int], ...]
"""Work item and iterations, from outside, by the names of the program."""


def place(where: Where) -> str:
    """``pid0=1, i=3``; '' in a program without a grid and loops."""
    return ", ".join(f"{name}={value}" for name, value in where)


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
        return render(f"{FAILED}{self.text}" + (f", at {at}" if at else ""), self.loc, "")


@dataclass(slots=True)
class Heard:
    """``printed``: by ``debug_print``; ``failed``: the messages of the checks that did not hold."""

    printed: list[Said] = field(default_factory=list)
    failed: list[Said] = field(default_factory=list)

    def hear(self, row: ir.Row, values: Sequence[Any], where: Where = ()) -> None:
        """What ``row`` says of the values of its operands, texts left out."""
        RULES[row.op](self, row, values, where)

    def add(self, others: Heard) -> None:
        """What was heard behind this."""
        self.printed += others.printed
        self.failed += others.failed

    def told(self) -> Iterator[str]:
        """For a person: all that was printed, and the first checks that did not hold."""
        yield from (said.told().replace("\n", "\n  ") for said in self.printed)
        count = len(self.failed)
        if count:
            yield f"{count} {'check' if count == 1 else 'checks'} did not hold"
        yield from (said.failed() for said in self.failed[:SHOWN])

    def __str__(self) -> str:
        return "\n".join(self.told())


def of_texts(texts: Iterable[str]) -> Heard:
    """What was heard as text alone."""
    heard = Heard()
    for text in texts:
        failed = text.startswith(FAILED)
        (heard.failed if failed else heard.printed).append(Said((), text.removeprefix(FAILED)))
    return heard


def text_of(row: ir.Row) -> str:
    """The text of a row that only watches, with places for its values."""
    return next(a.value for a in row.args if isinstance(a, ir.Text))


def _check(heard: Heard, row: ir.Row, values: Sequence[Any], where: Where) -> None:
    condition, *others = values
    if not np.all(condition):
        heard.failed.append(Said(where, text_of(row).format(*map(shown, others)), row.loc))


def _print(heard: Heard, row: ir.Row, values: Sequence[Any], where: Where) -> None:
    heard.printed.append(Said(where, text_of(row).format(*map(shown, values)), row.loc))


def shown(value: Any) -> str:
    """A number, or the one of a tile, in a few digits; a tile by rows, of a large one what is at its ends."""
    if not isinstance(value, np.ndarray) or value.size == 1:
        number = value.item() if isinstance(value, np.ndarray) else value
        return f"{float(number):g}" if not isinstance(number, int) else str(number)
    rows = np.array2string(value, threshold=FEW, edgeitems=ENDS, precision=6, max_line_width=120)
    return f"{value.dtype.name}{list(value.shape)}\n{rows}"


RULES: Mapping[str, Callable[[Heard, ir.Row, Sequence[Any], Where], None]] = {
    "debug_check": _check,
    "debug_print": _print,
}
"""What is heard of each op that only watches."""
