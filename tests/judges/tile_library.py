"""The user's own checkout of the tile library as a judge of emitted text: ``PTO_ISA_ROOT`` names one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lowering.native import pto_isa
from pto.errors import InputError

CHECKOUT = os.environ.get(pto_isa.VARIABLE, "")
needs_checkout = pytest.mark.skipif(
    not CHECKOUT, reason=f"set {pto_isa.VARIABLE} to a checkout of the PTO tile library"
)


def checkout_for(source: str) -> Path:
    """The checkout; skips, with the message of the executor, what no compiler here can compile."""
    checkout = pto_isa.checkout_of(Path(CHECKOUT))
    try:
        pto_isa.build(checkout, "bfloat16_t" in source)
    except InputError as missing:
        pytest.skip(str(missing))
    return checkout
