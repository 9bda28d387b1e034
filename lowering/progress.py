"""A line on standard error for whatever takes longer than two seconds.

In: what is being done, as nested blocks: the whole command, and its long parts.  Out: a line two
seconds after the command began, one whenever it has gone on to another part for two seconds, one every
ten seconds, and how long a part took that was told of.  Invariant: one thread tells, whatever
the nesting, and never fails the work: who closes standard error gets no lines.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 2.0
REPEAT_S = 10.0


class _Part:
    """What is being done, since when, and whether it was told."""

    def __init__(self, doing: str | Callable[[], str]) -> None:
        self.text = doing if callable(doing) else lambda: doing
        self.start, self.told = time.monotonic(), False

    def tell(self, how: str) -> None:
        self.told = True
        seconds = time.monotonic() - self.start
        with contextlib.suppress(OSError, ValueError):
            print(how.format(self.text(), seconds), file=sys.stderr, flush=True)


_parts: list[_Part] = []


@contextmanager
def progress(doing: str | Callable[[], str]) -> Iterator[None]:
    """Tells of ``doing`` while the block runs, if it takes long."""
    part, is_whole = _Part(doing), not _parts
    _parts.append(part)
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(done,), daemon=True)
    if is_whole:
        watcher.start()
    try:
        yield
    except BaseException:
        part.told = False  # what follows is the message
        raise
    finally:
        _parts.remove(part)
        if is_whole:
            done.set()
            watcher.join()
        if part.told:
            part.tell("{}: {:.1f} s")


def _watch(done: threading.Event) -> None:
    last, told = time.monotonic(), None
    while not done.wait(PATIENCE_S / 8):
        part = _parts[-1] if _parts else None
        wait = REPEAT_S if part is told else PATIENCE_S
        if part is not None and time.monotonic() - last >= wait:
            part.tell("{} ... {:.0f} s")
            last, told = time.monotonic(), part
