"""Programs that are not proven, and why: what several tests of the proof ask."""

from __future__ import annotations

from pto.ir import Kernel
from pto.text import parse
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    HEADER,
    OPERANDS,
    PRODUCE,
    loop,
)
from tests.lenient import check, check_unrolled

STEP_A = "vector 0 V a = full 0.0\nvector 0 V barrier\n"


DIVERGE = (
    OPERANDS
    + FREE_B
    + "for w in 0 .. rows:\n"
    + "  cube 0 S count = read lens[w]\n  vector 0 S count = read lens[w]\n"
    + "".join("  " + x + "\n" for x in loop(PRODUCE, CONSUME_B, trips="count").splitlines())
    + ENDS
    + END_B
)


def diverge(body: str = DIVERGE, declarations: str = EVENTS_B + CUBE) -> Kernel:
    header = HEADER.replace("param n ", "param lens in i32[m]\nparam n ")
    return parse(header + declarations + body, "diverge.ptoir")


def refuted(k: Kernel, kind: str, text: str) -> None:
    """``k`` is not proven, for the reason given; kind '' stands for a refusal."""
    for proof in (check(k), check_unrolled(k, [2, 1])):
        assert not proof.ok, proof.report()
        if not kind:
            assert text in proof.refused, proof.report()
        else:
            found = [(v.kind, v.text) for v in proof.violations]
            assert any(kind == a and text in b for a, b in found), proof.report()
