"""From a traced kernel to a proven schedule, its values, its time and its source.

The way of a kernel (``python -m lowering`` is the command ``pto``, in ``cli/``):

1. ``programs`` finds and traces it.  What it means is ``sequential``.
2. ``schedule`` runs the ``passes``, for the chip in ``target``; ``tune`` searches their options.
3. ``equivalence`` runs traced and scheduled program on symbols (``tokens``, in a made-up ``world``),
   ``hazards`` proves the order.
4. It runs: ``scheduled`` (numpy, strict), ``adversarial`` and ``exhaustive`` (any order of the pipes),
   ``jax_executor`` (real sizes; ``flow`` and ``dataflow`` are the program without its schedule),
   on what ``inputs`` binds and ``cases`` draws, reads and judges.
5. ``simulate`` says how long it takes.
6. ``ascend`` emits it; ``native`` and ``pto_isa`` execute what was emitted, ``bundle`` packs it.

Nothing is imported here: ``pto emit`` needs neither numpy nor JAX.
"""
