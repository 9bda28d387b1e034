"""What a proof says: a schedule is right, or these accesses of these rows can meet.

Plain records without a part in finding them (``lowering/hazards/prover.py``); ``report`` is for a person,
``dataclasses.asdict`` for machines, ``_repr_html_`` for notebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from lowering.hazards import picture
from lowering.hazards.window import Mark, Moment
from pto.loc import Loc
from pto.text import WIDTH

MISSING = "  missing      "


@dataclass(frozen=True, slots=True)
class Access:
    """A row of the program in one iteration."""

    row: str
    core: str
    pipe: str
    iteration: tuple[tuple[str, int], ...]
    loc: Loc | None
    shift: int = 0

    def __str__(self) -> str:
        at = ", ".join(f"{name} = {value}" for name, value in self.iteration)
        where = f"\n               --> {self.loc}" if self.loc else ""
        core = f"{self.core} {self.shift:+d}" if self.shift else self.core
        return f"{core} {self.pipe}: {self.row}{f'   ({at})' if at else ''}{where}"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong.

    ``kind``: RAW, WAR, WAW, uninitialised, overwritten, wait, double set, leftover, deadlock, fifo,
    undrained, a fault of the placement (id, event, pipe, place, capacity, alignment, overlap, input,
    tensor), or illegal: no machine can run the program as written (``pto/legality.py``).
    ``trips``: the trip counts, in the order in which they are decided, of a run that shows it.
    ``open``: it is not shown to be right, and not known to go wrong.
    ``shared``: buffers on the same bytes that the first row names instead of ``buffer``.
    ``window``: the rows around it in that run; ``marks``: where the missing edge would have to go.
    """

    kind: str
    text: str
    first: Access | None = None
    second: Access | None = None
    buffer: str = ""
    space: str = ""
    bytes: tuple[int, int] | None = None
    trips: tuple[int, ...] = ()
    missing: str = ""
    window: tuple[Moment, ...] = ()
    marks: tuple[Mark, ...] = ()
    shared: tuple[str, ...] = ()
    open: bool = False

    def name_of(self, role: str) -> str:
        """What report and picture call the access with that role."""
        if self.kind == "deadlock":
            return "stuck"
        if self.first is None or self.second is None:
            return "here"
        return "first" if role == "first" else "then"

    def report(self, drawn: bool = True) -> str:
        """The violation for a person, with its picture."""
        memory = f" in {self.space} bytes {self.bytes[0]}..{self.bytes[1]}" if self.bytes else ""
        if self.shared:
            memory += f", the bytes of {' and '.join(self.shared)}"
        lines = [
            f"{self.kind}: {self.text}",
            f"  buffer       {self.buffer}{memory}" if self.buffer else "",
        ]
        accesses = zip(("first", "second"), (self.first, self.second), strict=True)
        lines += [f"  {self.name_of(role):<12} {access}" for role, access in accesses if access]
        lines += wrap(self.missing, WIDTH, initial_indent=MISSING, subsequent_indent=" " * 15)
        facts = "\n".join(line for line in lines if line)
        return f"{facts}\n\n{picture.text(self)}" if drawn and self.window else facts


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``check`` found.  ``refused`` says why nothing could be decided ('' if it could).

    ``more``: the run that is shown has more hazards than the ones listed.
    ``states``: normal forms at decisions.  ``trips_checked``: largest trip count run before every loop
    had repeated itself.  ``failing``: the smallest trip counts that fail, one per work item.
    """

    ok: bool
    violations: tuple[Violation, ...] = ()
    states: int = 0
    trips_checked: int = 0
    failing: tuple[int, ...] | None = None
    refused: str = ""
    message: str = ""
    more: bool = False

    def report(self) -> str:
        """The outcome for a person."""
        drawn = picture.pictured(self.violations)
        more = ["this run has more hazards; mend these first"] if self.more else []
        shown = (v.report(v in drawn) for v in self.violations)
        return "\n\n".join([self.message, *shown, *more])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return picture.html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook that shows no HTML shows, and IPython in a terminal."""
        printer.text(self.report())


def verdict(violations: Sequence[Violation]) -> str:
    """What a proof with these violations says: a run goes wrong, or none is known to."""
    return "not proven" if all(v.open for v in violations) else "failed"


class HazardError(Exception):
    """A schedule that is not proven; ``proof`` says why."""

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        super().__init__(proof.report())
