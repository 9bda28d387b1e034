"""One thing that is wrong with a schedule: two accesses that can meet, or a fault of the placement.

Plain records without a part in finding them; ``lowering/hazards/picture.py`` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

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

    def described(self) -> str:
        """The violation for a person, without its picture."""
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
        return "\n".join(line for line in lines if line)
