"""Measurements: the JAX executor against hand-written JAX (``executors``), schedules against each
other in simulated time (``schedules``), the simulator against ``published`` device times and its table
``device`` ``fit``ted to them (programs: ``micro``), a compile against its ``budgets``.

In: kernels and cases.  Out: tables.  Non-goals: a verdict; nothing here fails a test.
"""
