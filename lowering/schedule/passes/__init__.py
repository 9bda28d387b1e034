"""The passes of the scheduler, in the order of ``lowering/schedule/scheduler.py``.

``persist`` gives every hardware block its share of the work items, ``unnest`` and ``hoist`` rewrite loops,
``accumulate`` keeps sums of products on the cube, ``assign`` chooses cores and pipes, ``skew`` who runs ahead,
``record`` when the other core is told, ``fifos`` what shares one, ``place`` (with ``lives``, ``groups``, ``rings``)
slots and addresses, ``sync`` (with ``handovers``, ``budget``, ``barriers``) the events, ``drain`` what is waited
for in front of a record, ``credit`` free signals; ``moments`` says which rows are in order whatever the trip
counts.  Each is a function from a kernel to a kernel.
"""
