"""Rules that the compiler has once and the proof, which judges it, a second time: they agree."""

from __future__ import annotations

import pytest

from lowering.hazards.compiler import compiled
from lowering.hazards.operands import tiles_of
from lowering.hazards.row_checks import OVERWRITING
from lowering.hazards.state import State
from lowering.schedule import NAMED, schedule
from pto.ir import Kernel, Ref, all_rows
from pto.kernels import SHIPPED
from pto.ops import OPS
from pto.row_rules import touched
from pto.targets.a2a3 import A2A3
from pto.text import parse
from tests import ROOT
from tests.judges import random_programs


@pytest.mark.parametrize("plan", NAMED)
@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_row_reads_and_writes(name: str, plan: str) -> None:
    agree(schedule(SHIPPED[name].trace(), plan).kernel)


@pytest.mark.parametrize("seed", range(60))
def test_what_a_row_of_a_random_program_reads_and_writes(seed: int) -> None:
    agree(random_programs.draw(seed)[0])


def agree(kernel: Kernel) -> None:
    for row in all_rows(kernel.body):
        sides = tuple([x for x in side if isinstance(x, Ref)] for side in touched(row))
        mine = tiles_of(row)
        assert sides == (list(mine.read), list(mine.written))


def test_what_may_be_taken_in_place() -> None:
    """The proof has it by the kind of op, with those of which the library fills the result first."""
    elementwise = {op.name for op in OPS.values() if op.kind in ("unary", "binary")}
    assert {op.name for op in OPS.values() if op.in_place} == elementwise - set(OVERWRITING)


@pytest.mark.parametrize("slots", A2A3.ring_period)
def test_the_credits_of_a_fifo(slots: int) -> None:
    """The proof has them as signals that are there from the start, the header as a number of slots;
    where a ring of more slots cannot be, the proof refuses it, and the header does not ask."""
    fifo = f"fifo f c2v [{slots}] f32[16, 16] flag 0\n"
    code = compiled(parse("kernel ring on a2a3\ngrid 1\n" + fifo + "cube 0 S drain FIX\n", ""))
    state, credits = State(code), A2A3.credits(code.rings[0].fifo)
    period = (ROOT / "lowering/native/include/native/fifo.hpp").read_text()
    assert "Period = Slots <= 2 ? Slots : Slots / 2;" in period
    assert credits.period == code.rings[0].period == (slots if slots <= 2 else slots // 2)
    free = len(state.free[0])
    for tile in range(4 * slots):
        begins = tile % credits.period == 0
        assert credits.taken_by_push(tile) == (begins and not free)
        free -= begins and free > 0
        assert credits.sent_by_pop(tile) == ((tile + 1) % code.rings[0].period == 0)
