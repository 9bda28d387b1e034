"""From a traced kernel to a proven schedule, its values, its time and its source.

The way of a kernel through the rooms (``python -m lowering`` is the command ``pto``, in ``cli/``):

1. ``programs`` finds and traces it.  What it means is ``execute.sequential``.
2. ``schedule`` runs its passes, for the chip of ``pto/targets`` that it names, and asks the judges:
3. ``values`` compares what is stored with what was traced, ``hazards`` proves the order.
4. It runs: in numpy, in program order or in any order of the pipes (``execute``), in JAX at real sizes
   (``jax_executor``), and as what ``ascend`` emits, on the host machine (``native``).
5. ``simulate`` says how long it takes; ``bench`` compares.

The ground: ``walk`` says which rows a core issues, ``unroll`` runs them on counters only,
``one_by_one`` takes the overlap out of them; ``chip`` draws a target; ``files``, ``parallel``, ``progress`` and ``svg`` serve everybody.
Nothing is imported here: ``pto emit`` needs neither numpy nor JAX.
"""
