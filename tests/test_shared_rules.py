"""Rules that the compiler has once and the proof, which judges it, a second time: they agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import random_programs

from lowering.hazards.places import tiles
from pto.ir import Kernel, Ref, all_rows
from pto.row_rules import touched
from pto.text import parse

HERE = Path(__file__).parent
SHIPPED = sorted((HERE / "goldens" / "schedule").glob("*.ptoir"))
PROGRAMS = [*(parse(p.read_text(), p.name) for p in SHIPPED)]
PROGRAMS += [random_programs.draw(seed)[0] for seed in range(60)]


@pytest.mark.parametrize("kernel", PROGRAMS, ids=lambda k: k.name)
def test_what_a_row_reads_and_writes(kernel: Kernel) -> None:
    for row in all_rows(kernel.body):
        sides = tuple([x for x in side if isinstance(x, Ref)] for side in touched(row))
        assert sides == tiles(row)
