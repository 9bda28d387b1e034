"""The proof: no race and no deadlock, for every trip count and every interleaving (docs/proof.md).

The way of a schedule through this package: ``places`` says where everything lies, as integers, and
``code`` (with ``flat_code`` for flat loops) compiles the rows to ``instructions``; ``happens_before``
executes them once for all interleavings, from a ``state`` to the next decision, with ``course`` for
the stages of flat loops; ``normal_form``, with ``awaited``, tells what of a state matters; ``prover``
explores all decisions.  What goes wrong is kept by ``log``, made into a ``proof`` by ``report``, and
drawn from a ``window`` of rows by ``timeline`` and ``picture``.  ``assumptions`` are the sentences
about the machine on which all of it rests.  Shares no code with the scheduler.
"""

from lowering.hazards.proof import Proof
from lowering.hazards.prover import check, check_unrolled, smallest_failing

__all__ = ["Proof", "check", "check_unrolled", "smallest_failing"]
