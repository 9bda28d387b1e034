"""What the code of the hazard checker consists of: instructions, loops, tests and rows.

Invariant: plain values; who makes them is ``lowering/hazards/code.py`` and ``lowering/hazards/flat_code.py``,
who executes them ``lowering/hazards/happens_before.py`` and ``lowering/hazards/course.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lowering.hazards.counters import ABSENT, Relation, Threshold
from lowering.hazards.regions import Region
from pto.ir import Expr, Loop, Row

ROW, HEAD, NEXT, ENTER, GUARD, RANGE, START, FLAT, EDGE, AGAIN = range(10)
PLAIN, PUSH, PUSH_DATA, RECORD, POP, BARRIER, BARRIER_ALL, DRAIN = range(8)
KINDS = {"push": PUSH, "push_data": PUSH_DATA, "record": RECORD, "pop": POP, "drain": DRAIN}
LONG = 32
"""A loop of at most so many constant iterations is simply run."""

MOST_RESIDUES = 24

MOST_ROUNDS = 1 << 16
"""... if with the constant loops around it, it does not run more often than this."""


class Refused(Exception):
    """The program cannot be decided; the text says why."""


@dataclass(slots=True)
class LoopCode:
    """One loop: how its counters are seen and who shares its trip count."""

    number: int
    node: Loop
    parent: int
    low: int
    high: int
    trips: Expr
    constant: int | None
    least: int
    group: int = 0
    scope: int = ABSENT
    reused: bool = False
    cores: list[int] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    guards: tuple[tuple[Expr, bool], ...] = ()
    rounds: int = 1
    whole: bool = False
    """Run as often as it says, however long that is."""

    @property
    def span(self) -> int:
        return self.high - self.low

    @property
    def short(self) -> bool:
        """Simply run: so few constant iterations, those of the loops around it included."""
        few = self.whole or (self.constant or 0) <= LONG and self.rounds <= MOST_ROUNDS
        return self.constant is not None and few

    @property
    def long(self) -> bool:
        """A constant trip count that is decided step by step, as if it were not known."""
        return self.constant is not None and not self.short


@dataclass(slots=True)
class Test:
    """A branch test: decided by loop counters (``known``), by a trip count (``about``), or free but
    equal for equal scalars."""

    number: int
    expr: Expr
    scope: int
    known: bool
    about: Relation | Threshold | None = None
    at: list[int] = field(default_factory=list)


Instruction = tuple[Any, ...]
"""(ROW, step, loop, offset, variables, pipe, kind, ring or drained pipe, cursor, effects by counters,
1 if it touches a written tensor), (ENTER, loop), (HEAD, loop, exit), (NEXT, loop, head), (RANGE,
loop, offset, skip) or (GUARD, test, wanted, loop, offset, variables, skip).  A row or node runs for
iteration step - offset of its loop.  Of a flat loop: (START, delay of each cursor, loop, loop of
empty items), (FLAT, loop, inner loop, loop of empty items, delay of each cursor, those that are
blind, exit) to the next position, (EDGE, cursor, loop, inner loop, 1 if first or 0 if last, skip) and (AGAIN, head).

A *cursor* is who has a place of its own in the loops: each core (cursors 0 and 1), and each stage of
a flat loop, whose rows are at the position of the stage, not of the core."""

Effect = tuple[
    tuple[int, ...], tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], tuple[int, ...]
]
"""(flags waited for, (atom, slot) read, (atom, slot) written, flags set)."""

Classes = int | tuple[int, ...]
"""Which class the counter of a row is in, or each of its counters if it has not just one."""

Variable = tuple[int, int, int, int, int]
"""(place of its letter in ``LETTERS``, loop, offset from the step to the iteration, modulus, exact)."""


@dataclass(slots=True)
class Step:
    """A row as compiled: what the interpreter and the report need beside the flat tuple."""

    number: int
    row: Row
    core: int
    pipe: int
    loops: tuple[int, ...]
    scalars: dict[str, Expr]
    finished: tuple[int, ...] = ()
    region: Region | None = None
    writes_tensor: bool = False
    tracked: bool = False
