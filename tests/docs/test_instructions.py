"""docs/instructions.md, written from the op table: every instruction of the tile library, reached or not."""

from __future__ import annotations

import re
from pathlib import Path

from pto.ops import OPS
from pto.targets.library import AROUND, UNREACHED
from tests.conftest import Golden
from tests.docs.pages import DOCS
from tests.judges.tile_library import CHECKOUT, needs_checkout

PAGE = """# Instructions

Written from `pto/ops.py` and `pto/targets/library.py` by `pytest tests/docs/test_instructions.py --update-golden`. Of the
{all} instructions of the tile library {reached} are what ops become on a2a3, or stand around them; for the others the reason.

| instruction | ops, or why none |
|---|---|
"""


def reached() -> dict[str, list[str]]:
    """Instruction -> the ops that become it."""
    found: dict[str, list[str]] = {}
    for op in OPS.values():
        for call in dict.fromkeys(op.instruction.values()):
            found.setdefault(call, []).append(op.name)
    return found


def test_nothing_is_told_twice() -> None:
    ops = reached()
    assert not set(ops) & set(UNREACHED) and not set(ops) & set(AROUND)


def test_the_page_is_written_from_the_rows(golden: Golden) -> None:
    ops = reached()
    said = {name: ", ".join(f"`{op}`" for op in names) for name, names in ops.items()}
    said |= dict.fromkeys(AROUND, "around other instructions")
    said |= dict(UNREACHED)
    head = PAGE.format(all=len(said), reached=len(said) - len(UNREACHED))
    text = head + "".join(f"| `{name}` | {said[name]} |\n" for name in sorted(said))
    golden(DOCS / "instructions.md", text)


@needs_checkout
def test_no_instruction_is_left_out() -> None:
    header = Path(CHECKOUT, "include", "pto", "common", "pto_instr.hpp").read_text("utf-8")
    names = set(re.findall(r"\b(T[A-Z][A-Z0-9_]+|MGATHER|MSCATTER)\(", header))
    known = {*reached(), *AROUND, *UNREACHED}
    assert {n for n in names if not n.endswith("_IMPL")} - {"TEMPLATE_ARGS"} == known
