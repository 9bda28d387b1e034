"""docs/proof.md: a section for every module of the proof, in its order; its assumptions and commands are there."""

from __future__ import annotations

import re

import lowering.hazards
from lowering.hazards.assumptions import READINGS
from lowering.hazards.instructions import LONG
from lowering.hazards.prover import MAX_STATES
from tests import ROOT
from tests.docs.pages import DOCS, rows

PAGE = DOCS / "proof.md"
TEXT = PAGE.read_text()


def test_a_section_per_module() -> None:
    """Those that the docstring of the package names stand in the order in which it names them."""
    sections = re.findall(r"^### (\w+)$", TEXT, re.MULTILINE)
    folder = ROOT / "lowering" / "hazards"
    assert sorted(sections) == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
    named = re.findall(r"``(\w+)``", lowering.hazards.__doc__ or "")
    in_order = [s for s in sections if s in named]
    assert set(named) <= set(sections)
    assert in_order == sorted(in_order, key=named.index)


def test_assumptions_are_the_readings() -> None:
    table = rows(PAGE, "What is assumed")
    told = [name for *_, cell in table for name in re.findall(r"`([a-z-]+)`", cell)]
    assert sorted(name for name in told if name in READINGS) == sorted(READINGS)


def test_numbers_are_those_of_the_code() -> None:
    assert f"after {MAX_STATES:,} forms" in TEXT
    assert f"of up to {LONG} iterations" in TEXT


def test_files_and_commands_are_there() -> None:
    for path in re.findall(r"(?<![\w/])((?:lowering|pto|tests|docs)/[\w/]+\.\w+)", TEXT):
        assert (ROOT / path).exists(), path
    marked = re.findall(r"pytest (-m sweep )?(tests/[\w/]+\.py)", TEXT)
    assert len(marked) > 4
    for sweep, path in marked:
        assert not sweep or "mark.sweep" in (ROOT / path).read_text(), path
