"""The proof: no race and no deadlock, for every trip count and every interleaving (docs/proof.md).

The way of a schedule through this package; no module imports one that is named behind it:

* ``assumptions``: the sentences about the machine on which all of it rests.
* ``limits``, ``forms``, ``cells``, ``sums``, ``regions``, ``counters``: what is known of scalars, of tables, of sums over
  them, of tensor regions, of loop counters.
* ``operands``, ``instructions``, ``scalars``, ``places``: what a row touches, what code consists of, what a
  scalar stands for, where everything lies, as integers.
* ``choices``, ``equations``, ``row_checks``, ``tensor_conflicts``: what is wrong whatever the order is.
* ``code``: the compiled kernel; ``emitter`` and ``flat_code`` add to it what ``compiler`` walks over.
* ``state``, ``trips``, ``decisions``: where an execution stands, and what has to be decided to go on.
* ``log``, ``happens_before``, ``flat_walk``, ``run``: the execution, once for all interleavings.
* ``signals``, ``awaited``, ``rotations``, ``unwritten``, ``control_form``, ``normal_form``: what of a state matters;
  ``uncoupled``: how fewer states do; ``conditional``: what may not have been written, whatever the order is.
* ``window``, ``violation``, ``timeline``, ``picture``, ``proof``, ``report``: what went wrong, drawn and
  described.
* ``exploration`` follows all decisions, ``concrete`` those of given trip counts; ``failure`` finds the
  smallest run that shows a hazard; ``prover`` asks them all.

Shares no code with the scheduler.
"""

from lowering.hazards.proof import Proof
from lowering.hazards.prover import (
    check,
    check_unrolled,
    holds,
    on_ladder,
    slots_needed,
    smallest_failing,
)

__all__ = [
    "Proof",
    "check",
    "check_unrolled",
    "holds",
    "on_ladder",
    "slots_needed",
    "smallest_failing",
]
