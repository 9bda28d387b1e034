"""What a schedule computes: its values, without numbers and without time.

In: a traced kernel and its schedule, or a schedule alone.  Out: whether both store the same
(``equivalence``, on symbols in a made-up ``world``); a schedule without its order, as a ``flow`` of
numbered values (``dataflow``), and the proof that it stores the same (``tokens``).
Invariant: the traced side shares nothing with the scheduled walk.
Non-goals: order (``lowering/hazards``), numbers (``lowering/execute``).
"""
