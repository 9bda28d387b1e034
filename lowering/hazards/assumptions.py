"""What the proof takes for true about the machine, and the other readings of it that can be tried.

Of every fact that sources dispute, or that nobody but a document vouches for, the table has what is
assumed and one *reading* that replaces it: a stricter one, which trusts the machine with less, or a
weaker one, which trusts it with more.  ``pto check`` says which of them a schedule holds under too;
``pto check KERNEL --assume READING`` proves under one, ``--assume each`` shows them all.
The sentences and the argument that rests on them are in docs/proof.md; places are sections of the
machine notes (docs/machine.md), confidence as there: C certain, L likely, X conflicting sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pto.errors import InputError


@dataclass(frozen=True, slots=True)
class Reading:
    """``assumed``: what the proof takes for true, ``why``, and who says ``otherwise`` ('': nobody known).

    ``instead``: what it is under this reading, which is ``weaker`` if whatever holds without it
    holds with it, else stricter.
    """

    name: str
    place: str
    confidence: str
    weaker: bool
    assumed: str
    instead: str
    why: str
    otherwise: str = ""

    @property
    def side(self) -> str:
        return "weaker" if self.weaker else "stricter"


UNORDERED_STARTS = "unordered-starts"
EARLY_SETS = "early-sets"
PASSING_WAITS = "passing-waits"
SOURCE_FLAGS = "source-flags"
DESTINATION_FLAGS = "destination-flags"
COUNTING_FLAGS = "counting-flags"
OVERTAKING_FREES = "overtaking-frees"
ORDERED_SIGNALS = "ordered-signals"
ORDERED_ACCUMULATION = "ordered-accumulation"
ORDERED_COPIES = "ordered-copies"

_ROWS = (
    Reading(
        UNORDERED_STARTS, "3.4", "C/L", False,
        assumed="work of one pipe starts in order: V reads before a later row of V writes",
        instead="a later row of V may write first",
        why="sources agree on the order; that it protects a read of V is inferred",
    ),
    Reading(
        EARLY_SETS, "4.1", "C", False,
        assumed="a set fires when all earlier work of its pipe is complete",
        instead="a set fires when it has started",
        why="the vendor's page says so: all reads and writes before it",
    ),
    Reading(
        PASSING_WAITS, "4.1, 5.1", "L/X", False,
        assumed="a wait on S (event, drain, FIFO) stops the issue of its core",
        instead="a wait on S holds back S alone",
        why="the vendor's page on A2 and A3: it blocks the issue of all pipes",
        otherwise="A5 holds back the named pipe alone; one page of the library contradicts itself",
    ),
    Reading(
        SOURCE_FLAGS, "4.3", "C", False,
        assumed="a flag is (source, destination, id)",
        instead="a flag is (source, id)",
        why="vendor kernels use one id for several pairs of pipes at a time",
    ),
    Reading(
        DESTINATION_FLAGS, "4.3", "C", False,
        assumed="a flag is (source, destination, id)",
        instead="a flag is (destination, id)",
        why="vendor kernels use one id for several pairs of pipes at a time",
    ),
    Reading(
        COUNTING_FLAGS, "4.4", "X", True,
        assumed="a flag is binary: setting it twice is an error",
        instead="a flag counts its sets",
        why="the vendor's page calls a second set undefined",
        otherwise="the library's simulator of time counts; a vendor kernel may set one twice",
    ),
    Reading(
        OVERTAKING_FREES, "5.3", "L", False,
        assumed="a free signal fires when all earlier work of its pipe is complete",
        instead="a free signal may overtake the load of its slot",
        why="the vendor's page on cross-core flags; vendor samples free behind the load so",
    ),
    Reading(
        ORDERED_SIGNALS, "5.5", "X", True,
        assumed="the signal of a push may arrive once it is issued: it tells of nothing but what the scalar unit has waited for",
        instead="the signal of a push fires when all earlier work of its pipe is complete",
        why="two reports of wrong results used a drain or a fence as their cure, and a drain one step late is nearly free",
        otherwise="the vendor's pages and shipping kernels: a signal queued behind the store suffices",
    ),
    Reading(
        ORDERED_ACCUMULATION, "6.3", "X", True,
        assumed="M may start adding before the product before it is complete",
        instead="M adds to one accumulator in order",
        why="two compilers put a barrier there",
        otherwise="vendor kernels have none",
    ),
    Reading(
        ORDERED_COPIES, "3.4", "C", True,
        assumed="two copies of one MTE pipe may be in flight at once: where they overlap, a barrier has to be between",
        instead="copies of one MTE pipe are complete in order",
        why="the vendor's page on barriers says so of MTE2 and MTE3",
    ),
)  # fmt: skip

READINGS: dict[str, Reading] = {r.name: r for r in _ROWS}
"""Every reading by name: of events, of hand-overs between the cores, of work within a pipe."""


def readings(names: Iterable[str]) -> frozenset[str]:
    """The readings called so.

    Raises:
        InputError: for a name that is none.
    """
    found = frozenset(names)
    for name in sorted(found - set(READINGS)):
        raise InputError(f"no reading is called '{name}'", hint=f"one of: {', '.join(READINGS)}")
    return found
