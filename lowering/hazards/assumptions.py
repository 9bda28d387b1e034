"""What the proof takes for true about the machine, and the other readings of it that can be tried.

A *reading* drops or replaces one sentence.  ``pto check KERNEL --assume READING`` proves under it;
``--assume each`` shows one line per reading: what still holds when that sentence is not true.
The sentences and the argument that rests on them are in docs/proof.md; places are sections of the
machine notes (docs/machine.md), confidence as there: C certain, L likely, X conflicting sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pto.errors import InputError


@dataclass(frozen=True, slots=True)
class Reading:
    """``assumed``: what the proof takes for true.  ``instead``: what it is under this reading."""

    name: str
    place: str
    confidence: str
    assumed: str
    instead: str


UNORDERED_STARTS = "unordered-starts"
EARLY_SETS = "early-sets"
PASSING_WAITS = "passing-waits"
SOURCE_FLAGS = "source-flags"
DESTINATION_FLAGS = "destination-flags"
COUNTING_FLAGS = "counting-flags"
OVERTAKING_SIGNALS = "overtaking-signals"
OVERTAKING_FREES = "overtaking-frees"
ORDERED_SIGNALS = "ordered-signals"
ORDERED_ACCUMULATION = "ordered-accumulation"

_ROWS = (
    Reading(UNORDERED_STARTS, "3.4", "C/L", "work of one pipe starts in order: V reads before a later row of V writes", "a later row of V may write first"),
    Reading(EARLY_SETS, "4.1", "C", "a set fires when all earlier work of its pipe is complete", "a set fires when it has started"),
    Reading(PASSING_WAITS, "4.1, 5.1", "L/X", "a wait on S (event, drain, FIFO) stops the issue of its core", "a wait on S holds back S alone"),
    Reading(SOURCE_FLAGS, "4.3", "C", "a flag is (source, destination, id)", "a flag is (source, id)"),
    Reading(DESTINATION_FLAGS, "4.3", "C", "a flag is (source, destination, id)", "a flag is (destination, id)"),
    Reading(COUNTING_FLAGS, "4.4", "X", "a flag is binary: setting it twice is an error", "a flag counts its sets"),
    Reading(OVERTAKING_FREES, "5.3", "L", "a free signal fires when all earlier work of its pipe is complete", "a free signal may overtake the load of its slot"),
    Reading(OVERTAKING_SIGNALS, "5.5", "X", "the signal of a push fires when all earlier work of its pipe is complete", "the signal of a push may overtake the data"),
    Reading(ORDERED_ACCUMULATION, "6.3", "X", "M may start adding before the product before it is complete", "M adds to one accumulator in order"),
)  # fmt: skip

READINGS: dict[str, Reading] = {r.name: r for r in _ROWS}
"""Every reading by name, in the order of the machine notes."""


def readings(names: Iterable[str]) -> frozenset[str]:
    """The readings called so.

    Raises:
        InputError: for a name that is none.
    """
    found = frozenset(names)
    for name in sorted(found - set(READINGS)):
        raise InputError(f"no reading is called '{name}'", hint=f"one of: {', '.join(READINGS)}")
    return found
