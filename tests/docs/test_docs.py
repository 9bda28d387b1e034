"""The machine notes: whatever cites one of their sections cites one that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lowering.hazards.assumptions import READINGS
from tests import ROOT

NOTES = ROOT / "docs" / "machine.md"
CITING = (
    "README.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
    "docs",
    "lowering",
    "pto",
    "tests",
)
TEXTS = {".md", ".py", ".cpp", ".hpp", ".h", ".txt", ".ptoir", ".toml", ""}
PLACE = r"R?\d+(?:\.\d+)?"
CITED = re.compile(rf"docs/machine\.md ({PLACE}(?:(?:, | and | to ){PLACE})*)")
NAMES = re.compile(r"docs/machine\.md|\b[A-Z][A-Z0-9]+\.md")
OTHERS = {"README.md", "CHANGELOG.md"}


def sections() -> set[str]:
    """Headings and rules of the notes."""
    text = NOTES.read_text()
    headings = re.findall(r"^##+ (\d+(?:\.\d+)?)", text, re.MULTILINE)
    return {*headings, *re.findall(r"^\| (R\d+) \|", text, re.MULTILINE)}


def citing() -> Iterator[tuple[str, str]]:
    """(where, text with its comment marks and line breaks taken out) of every file that may cite."""
    for start in (ROOT / name for name in CITING):
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            if path.suffix in TEXTS and path.is_file() and path != NOTES:
                lines = (
                    line.strip().lstrip("#/").strip() for line in path.read_text().splitlines()
                )
                yield str(path.relative_to(ROOT)), " ".join(lines)


def test_every_citation_of_the_machine_notes_has_its_section() -> None:
    known, found = sections(), set()
    for where, text in citing():
        for places in CITED.findall(text):
            found |= set(re.findall(PLACE, places))
            missing = set(re.findall(PLACE, places)) - known
            assert not missing, f"{where} cites docs/machine.md {', '.join(sorted(missing))}"
    assert len(found) > 30
    for reading in READINGS.values():
        assert set(reading.place.split(", ")) <= known
    proof = (ROOT / "docs" / "proof.md").read_text()
    assert set(re.findall(r"\| (\d+\.\d+)(?:, (\d+\.\d+))* ", proof)[0]) - {""} <= known


def test_notes_are_cited_by_one_name() -> None:
    """No file speaks of notes that the repository does not have."""
    for where, text in citing():
        if not where.startswith("tests/test_docs"):
            unknown = {n for n in NAMES.findall(text) if n != "docs/machine.md"} - OTHERS
            assert not unknown, f"{where} names {', '.join(sorted(unknown))}"
