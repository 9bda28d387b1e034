"""tests/README.md: every file is in its table, every sweep in the other one, every judge is there."""

from __future__ import annotations

import re

from tests import ROOT, TESTS
from tests.docs.pages import rows

PAGE = TESTS / "README.md"
HERE = {
    p.relative_to(TESTS).as_posix(): p.read_text()
    for p in [*TESTS.glob("*.py"), *TESTS.glob("*/*.py")]
    if p.name != "__init__.py" and p.parent.name != "wrong_kernels"
}


def first_cells(heading: str) -> list[str]:
    return [line[0].strip("`") for line in rows(PAGE, heading)]


def test_every_file_is_told_once() -> None:
    told = first_cells("Files")
    assert len(told) == len(set(told)) and set(told) == set(HERE)


def test_every_sweep_is_told() -> None:
    marked = re.compile(r"(@|marks=)pytest\.mark\.sweep\b|^from tests\.axes import", re.MULTILINE)
    assert first_cells("Sweeps") == sorted(n for n, text in HERE.items() if marked.search(text))


def test_judges_and_data_are_there() -> None:
    for line in rows(PAGE, "Judges"):
        (path,) = re.findall(r"`([\w/.]+)`", line[0])
        assert (ROOT / path).exists(), path
    data = set(re.findall(r"`(\w+)/` \(", PAGE.read_text()))
    folders = {p.name for p in TESTS.iterdir() if p.is_dir() and p.name[0] not in "_."}
    assert data == {name for name in folders if not (TESTS / name / "__init__.py").exists()}
