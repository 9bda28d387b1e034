"""Schedules that tests of one run share: most of them ask for what another one has had, and a proof takes long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import lru_cache

from lowering.schedule import Options, Schedule, scheduler
from pto.ir import Kernel, all_rows

SCHEDULED_WITH = scheduler.scheduled_with


def scheduled_with(kernel: Kernel, options: Options, notes: Sequence[str] = ()) -> Schedule:
    """That of ``lowering/schedule/scheduler.py``, once for all that its result depends on: equal kernels may stand in
    other places of other files, equal options be exact or not, and a test may change the passes and the proof."""
    places = (kernel.loc, *(row.loc for row in all_rows(kernel.body)))
    by = (*astuple(options), *scheduler.PASSES.items(), scheduler.check)
    return _once(kernel, options, tuple(notes), places, by)


@lru_cache(maxsize=128)
def _once(kernel: Kernel, options: Options, notes: tuple[str, ...], *_: object) -> Schedule:
    return SCHEDULED_WITH(kernel, options, notes)
