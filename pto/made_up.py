"""Tables of made-up worlds, and sums over them.

In: a table, a place in it, what its type states; a fold.  Out: what the one holds there, and what the other gives then:
whoever asks whether two places that go by sums may be one tries them in each of the worlds.
Invariant: in one world a place of a table holds one number, whoever reads it.
Non-goals: a proof; tables whose types state that their entries differ.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from zlib import crc32

from pto.arithmetic import Number
from pto.bounds import Known, Range, is_sum
from pto.folds import Env, Fold
from pto.ir import View, evaluate

WORLDS = range(1, 6)
"""Their numbers; 0 is the one whose entries are large."""

SEVERAL = (4, 24)
"""So many numbers stand in a table, from the least on, in every second world: some are 0, neighbours differ often."""

MOST = 1 << 12
"""Steps of a sum."""


def entry(world: int, table: str, place: tuple[int, ...], within: Range) -> int:
    """What a table holds there; of one of which nothing is stated -1 is the least."""
    low = int(within.low) if isfinite(within.low) else -1
    count = min(within.high - low + 1, SEVERAL[world % 2])
    return low + crc32(repr((world, table, place)).encode()) % max(int(count), 1)


def sum_of(fold: Fold, known: Known, env: Env, read: Callable[[View, Env], Number]) -> int | None:
    """The number of a sum of terms that are never negative; None of another fold, which may come back to a number."""
    if not is_sum(fold, known) or evaluate(fold.trips, env) > MOST:
        return None
    return int(fold.value(env, read))
