"""Calls spread over the cores of this machine, with results in the order of their arguments."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""As ``map``."""


def cores() -> int:
    """That this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def processes(count: int = 0) -> Iterator[Map]:
    """A ``map`` over ``count`` processes (0: one per core); with one of them, ``map`` itself.

    Functions, arguments and results must be picklable.  When the block ends by an exception, an
    interrupt too, calls that have not started are dropped.
    """
    count = count or cores()
    if count == 1:
        yield map
        return
    # not "fork": the progress line is a thread of its own
    pool = ProcessPoolExecutor(count, get_context("spawn"), _leave_interrupts_to_the_parent)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
