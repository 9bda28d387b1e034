"""From a traced kernel to a proven schedule.

In: a traced kernel and ``Options``.  Out: a ``Schedule``: the scheduled kernel, its proof and its
sources.  Invariant: it computes what was traced (``lowering/values``), in an order proven for every trip
count and every interleaving (``lowering/hazards``), and it can be emitted (``lowering/ascend``).
Non-goals: numbers, time.

``options`` names the choices, ``scheduler`` runs the ``passes`` and asks the judges, ``tune`` searches
the options that take the least simulated time, ``tuned`` reads and writes what was found.
"""

from lowering.schedule.options import (
    CREDIT,
    FENCE,
    LOAD_AT,
    LOOPS,
    MOVES,
    NAMED,
    RECORD,
    ROWS_AT,
    Options,
)
from lowering.schedule.scheduler import (
    PASSES,
    Schedule,
    options_for,
    schedule,
    scheduled_with,
    stages,
)

__all__ = [
    "CREDIT", "FENCE", "LOAD_AT", "LOOPS", "MOVES", "NAMED", "PASSES", "RECORD", "ROWS_AT", "Options", "Schedule", "options_for",
    "schedule", "scheduled_with", "stages",
]  # fmt: skip
