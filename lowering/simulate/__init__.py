"""How long a schedule takes: simulated cycles, what every pipe waits for, pictures of it.

``machine`` runs the rows of one hardware block in time, by ``costs`` (the tables are in
``pto/targets``), and fills a ``timing``; ``launch`` runs a whole launch; ``gantt``, ``memory_map``
(by ``held``) and ``trace`` draw it, ``report`` says it in words.
"""

from lowering.simulate.machine import Machine, simulate
from lowering.simulate.timing import Setup, Timing

__all__ = ["Machine", "Setup", "Timing", "simulate"]
