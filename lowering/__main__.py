"""``python -m lowering`` is the command ``pto``; so is ``run``, as an installed script."""

from __future__ import annotations

import gc
import sys

FEW = 100_000
"""New objects after which Python looks for circles: a command makes many and hardly any circle, and the
default of 700 costs it a twentieth of its time."""


def run() -> int:
    """The command; Ctrl-C while it is still being imported ends it like any later one."""
    gc.set_threshold(FEW)
    try:
        from lowering.cli import main
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
