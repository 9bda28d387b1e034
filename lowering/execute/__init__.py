"""Programs run in numpy: what a kernel means, what its schedule does, in which orders.

In: a program and arrays, which ``inputs`` binds and ``cases`` draws and reads.  Out: output arrays.
``sequential`` is the meaning of a traced kernel; ``scheduled`` runs the rows of a schedule one after
the other (``core``, on the memories of ``memory``), ``adversarial`` its ``instructions`` in random orders
on the ``cluster`` of one hardware block; ``judge`` says whether a result is within the error that
``roundings`` derives.
Invariant: ``sequential`` knows nothing of schedules, ``cluster`` nothing of the proof.
Non-goals: time, the emitted text.
"""
