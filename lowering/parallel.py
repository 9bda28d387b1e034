"""Calls spread over the cores of this machine, with results in the order of their arguments."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any

from pto.errors import InputError

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
    interrupt too, the processes are gone at once.

    Raises:
        InputError: one of the processes was killed, as a system does that is out of memory.
    """
    count = count or cores()
    if count == 1:
        yield map
        return
    others = active_children()
    # not "fork": the progress line is a thread of its own
    pool = ProcessPoolExecutor(count, get_context("spawn"), _ignore_interrupts)
    try:
        with _interrupts_for_the_parent_only():
            for _ in range(count):
                pool.submit(int)  # starts one of them
        yield pool.map
    except BaseException as error:
        for child in active_children():
            if child not in others:
                child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise InputError("a process of this command was killed; is memory short?") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _interrupts_for_the_parent_only() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
