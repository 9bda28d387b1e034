"""What a schedule computes: its values, without numbers and without time.

In: a traced kernel and its schedule, or a schedule alone.  Out: whether both store the same
(``equivalence``, on symbols in a made-up ``world``); a schedule taken out again, as a program of values
that is proven to store the same (``unscheduled``, which finds values by ``scopes`` and ``lanes``).
``tokens`` is the scheduled side of both.
Invariant: the side of values shares nothing with the scheduled walk.
Non-goals: order (``lowering/hazards``), numbers (``lowering/execute``).
"""
