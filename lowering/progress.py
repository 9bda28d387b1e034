"""A line on standard error for whatever takes longer than two seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 2.0
REPEAT_S = 10.0


@contextmanager
def progress(doing: str | Callable[[], str]) -> Iterator[None]:
    """Says ``doing ...`` after two seconds, repeats it every ten, and says at the end how long."""
    text = doing if callable(doing) else lambda: doing
    start, done = time.monotonic(), threading.Event()
    said = threading.Event()

    def watch() -> None:
        wait = PATIENCE_S
        while not done.wait(wait):
            said.set()
            _say(f"{text()} ... {time.monotonic() - start:.0f} s")
            wait = REPEAT_S

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if said.is_set():
            _say(f"{text()}: {time.monotonic() - start:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
