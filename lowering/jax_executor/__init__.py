"""A schedule run in JAX, at real sizes.

In: a scheduled kernel and arrays.  Out: its outputs, from a jitted program per kernel and shapes.
``executor`` binds and compiles, ``machine`` turns its values (``lowering/values``) into JAX operations,
``balance`` deals work items to devices.  Non-goals: order, bounds, time.
"""

from lowering.jax_executor.executor import compile, reason, run

__all__ = ["compile", "reason", "run"]
