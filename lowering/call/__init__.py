"""Kernels as functions of arrays.

In: a kernel and the arguments of a call.  Out: its outputs, in the caller's kind of array.
Invariants: what is called is the proven schedule; every argument is checked as ``pto run`` checks it;
a call on JAX arrays is a JAX function.
Non-goals: whether the outputs are right (``lowering/execute/judge.py``), time.

``arguments`` gives them names, ``kinds`` says whose arrays they are, ``function`` is the kernel under
JAX's transforms, ``host`` is where arrays of the host are looked at otherwise, ``calls`` keeps what the calls of a kernel have made.
"""

from lowering.call.calls import call

__all__ = ["call"]
