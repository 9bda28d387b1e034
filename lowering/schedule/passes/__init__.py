"""The passes of the scheduler, in the order of ``lowering/schedule/scheduler.py``.

``persist`` gives every hardware block its share of the work items, ``accumulate`` keeps sums of products on
the cube, ``assign`` chooses cores and pipes, ``skew`` who runs ahead, ``place`` (with ``rings``)
slots and addresses, ``sync`` the events; ``moments`` says which rows are in order whatever the trip
counts.  Each is a function from a kernel to a kernel.
"""
