"""What the code of the hazard checker consists of: rows, and what leads from one row to the next.

One list of instructions per core.  Invariant: plain records without behaviour; the modules that make
them are ``emitter``, ``flat_code`` and ``compiler``, those that execute them ``run``, ``flat_walk`` and
``happens_before``.

A *cursor* is who has a place of its own in the loops: each core (cursors 0 and 1), and each stage of
a flat loop, whose rows are at the position of the stage, not of the core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lowering.hazards.counters import ABSENT, LETTERS, Counter, Relation, Threshold
from lowering.hazards.operands import Tiles
from lowering.hazards.regions import Region
from pto.ir import Expr, Loop, Row
from pto.ops import DEBUG

LONG = 32
"""A loop of at most so many constant iterations is simply run ..."""

ROUNDS_LIMIT = 1 << 16
"""... if with the constant loops around it, it does not run more often than this."""

Guards = tuple[tuple[Expr, bool], ...]
"""Tests of branches, and how each must come out."""

Environment = dict[str, Expr]
"""What each scalar stands for, over loop counters, launch scalars and values read."""


class Refused(Exception):
    """The program cannot be decided; the text says why."""


PLAIN, PUSH, PUSH_DATA, RECORD, POP, BARRIER, BARRIER_ALL, DRAIN = range(8)
"""Kinds of rows: what they do beside reading and writing tiles.  Plain numbers, which the proof compares
for every row that it runs."""

PUSHES = (PUSH, PUSH_DATA)
ON_FIFO = (PUSH, PUSH_DATA, RECORD, POP)
KINDS = {
    "push": PUSH,
    "push_data": PUSH_DATA,
    "record": RECORD,
    "pop": POP,
    "barrier": BARRIER,
    **dict.fromkeys(DEBUG, BARRIER),
    "drain": DRAIN,
}
"""By op; a barrier of all pipes is a ``BARRIER_ALL``."""


# ------------------------------------------------------------------------------- loops and tests


@dataclass(slots=True)
class LoopCode:
    """One loop: how its counters are seen and who shares its trip count; ``least``, ``most``: how often it surely
    and at most runs, where that is not ``constant``."""

    number: int
    node: Loop
    parent: int
    low: int
    high: int
    trips: Expr
    constant: int | None
    least: int
    most: int
    group: int = 0
    scope: int = ABSENT
    reused: bool = False
    cursors: list[int] = field(default_factory=list)
    guards: Guards = ()
    rounds: int = 1
    whole: bool = False
    """Run as often as it says, however long that is."""

    @property
    def span(self) -> int:
        return self.high - self.low

    @property
    def is_guard(self) -> bool:
        """One step at most: after it nothing is left to decide."""
        return self.constant is None and self.most <= 1

    def within(self, trips: int) -> int:
        """A trip count that it can have."""
        return min(max(trips, self.least), self.most)

    @property
    def short(self) -> bool:
        """Simply run: so few constant iterations, those of the loops around it included."""
        few = self.whole or (self.constant or 0) <= LONG and self.rounds <= ROUNDS_LIMIT
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


@dataclass(slots=True)
class Stage:
    """The rows of one shift of one core in a flat loop.

    ``delay``: positions behind the first stage of its core.  ``outer``: the loop over the items.
    ``inner``: the loop inside, ABSENT on a core without rows there.  ``own``: the loop whose steps are its positions, inside if there is one.
    ``empty``: the loop of the items without iterations, or ABSENT.  ``by_position``: it need not know
    which item it is in (``lowering/hazards/flat_walk.py``).  ``group``: of stages that agree on where
    items begin.
    """

    cursor: int
    delay: int
    outer: int
    inner: int
    own: int
    empty: int
    group: int
    by_position: bool = False


# ------------------------------------------------------------------------------------------ rows

SlotRange = tuple[int, int]
"""(byte range, slot) that a row touches."""

SlotRanges = tuple[SlotRange, ...]


class Effect(NamedTuple):
    """What a row does for certain values of its counters: flags, and the bytes of slots."""

    waits: tuple[int, ...] = ()
    reads: SlotRanges = ()
    writes: SlotRanges = ()
    sets: tuple[int, ...] = ()


NOTHING = Effect()

Classes = int | tuple[int, ...]
"""Which class the counter of a row is in, or each of its counters if it has not just one."""


class Variable(NamedTuple):
    """A counter that an index or a test goes by: the letter at ``letter`` in ``LETTERS``, of ``loop``,
    whose iteration is its step minus ``offset``."""

    letter: int
    loop: int
    offset: int
    counter: Counter

    @property
    def name(self) -> str:
        return f"{LETTERS[self.letter]}#{self.loop}"


@dataclass(slots=True)
class RowCode:
    """A row: as compiled, the instruction that runs it.

    ``tests``: what is not 0 where it works.  The proof takes it to work always: what that is in order with,
    it is in order with where some rows do not (``lowering/hazards/conditional.py``).
    It is in ``loops``, the innermost last, and runs for iteration (step of its cursor - ``offset``) of
    ``loop``, if ``ranged`` only where there is one.  ``finished``: loops that its core has left for good, the last one first.  ``tracked``:
    what it touches in a tensor may meet another row.  ``adds``: it adds to what the tensor holds.  ``ring``, ``drained``: the FIFO that it pushes to or
    pops from, the pipe that it drains.  ``effects``: by the classes of its ``variables``, those
    found so far.
    """

    number: int
    row: Row
    core: int
    pipe: int
    loops: tuple[int, ...]
    scalars: Environment
    cursor: int
    tiles: Tiles
    tests: tuple[Expr, ...] = ()
    offset: int = 0
    ranged: bool = False
    kind: int = PLAIN
    ring: int = ABSENT
    drained: int = ABSENT
    finished: tuple[int, ...] = ()
    variables: tuple[Variable, ...] = ()
    effects: dict[Classes, Effect] = field(default_factory=dict)
    region: Region | None = None
    writes_tensor: bool = False
    adds: bool = False
    tracked: bool = False
    loop: int = field(init=False)

    def __post_init__(self) -> None:
        self.loop = self.loops[-1] if self.loops else ABSENT


# ------------------------------------------------------------------------ from one row to the next


class Enter(NamedTuple):
    """In front of a loop."""

    loop: int


@dataclass(slots=True)
class Head:
    """One more step of a loop, or on at ``exit``."""

    loop: int
    exit: int = ABSENT


class Next(NamedTuple):
    """A step of a loop is done; back to its head."""

    loop: int
    head: int


@dataclass(frozen=True, slots=True)
class End:
    """The core has nothing left to do."""


@dataclass(slots=True)
class Guard:
    """On at ``exit`` unless ``loop`` has an iteration (step - ``offset``) and ``test``, if there is one, comes
    out as ``wanted`` there."""

    test: int
    wanted: bool
    loop: int
    offset: int
    variables: tuple[Variable, ...]
    exit: int = ABSENT


@dataclass(slots=True)
class Flat:
    """All stages of a core to their next positions in a flat loop, or on at ``exit``."""

    loop: int
    stages: tuple[Stage, ...]
    exit: int = ABSENT


@dataclass(slots=True)
class Edge:
    """On at ``exit`` unless the stage is at a position: for rows beside the inner loop at the ``first`` (or
    the last) one of an item, for those inside (None) at any that has an iteration."""

    stage: Stage
    loop: int
    first: bool | None
    exit: int = ABSENT


class Again(NamedTuple):
    """Back to the head of a flat loop."""

    head: int


Leaving = Head | Guard | Flat | Edge
"""Instructions with an exit."""

Instruction = RowCode | Enter | Next | End | Again | Leaving
