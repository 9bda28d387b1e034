"""``python -m lowering`` is the command ``pto``; so is ``run``, as an installed script."""

from __future__ import annotations

import sys


def run() -> int:
    """The command; Ctrl-C while it is still being imported ends it like any later one."""
    try:
        from lowering.cli import main
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
