"""``python -m lowering`` is the command ``pto``."""

from __future__ import annotations

import sys

from lowering.cli import main

sys.exit(main())
