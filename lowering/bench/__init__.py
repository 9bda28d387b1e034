"""Measurements: the JAX executor against hand-written JAX (``executors``), schedules against each
other in simulated time (``schedules``), a compile against its ``budgets``.

In: kernels and cases.  Out: tables.  Non-goals: a verdict; nothing here fails a test.
"""
