"""The notebooks run, and their stored outputs are what they print today.

``pytest tests/docs/test_notebook.py --update-golden`` executes them and stores what they print.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import ROOT
from tests.judges.sanitiser import sanitised

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def executed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook after a run in a fresh process, one text per output."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    book = nbformat.read(path, as_version=4)
    NotebookClient(
        book,
        timeout=120,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # what is told to who waits is the time of this machine
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return book


def outputs(book: Any) -> list[str]:
    """What each code cell printed."""
    return [
        "".join(o.get("text", str(sorted(o.get("data", o).items()))) for o in cell.outputs)
        for cell in book.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, marks=pytest.mark.sweep) if p.stem != "1_first_kernel" else p
        for p in NOTEBOOKS
    ],
    ids=lambda p: p.stem,
)
def test_stored_outputs_are_todays(
    path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    stored = nbformat.read(path, as_version=4)
    today = executed(path, monkeypatch)
    if request.config.getoption("--update-golden"):
        nbformat.write(today, path)
        stored = today
    assert outputs(stored) == outputs(today)


def test_there_are_three() -> None:
    names = ["1_first_kernel", "2_paged_attention", "3_the_proof"]
    assert [p.stem for p in NOTEBOOKS] == names


def stored(path: Path, kind: str) -> list[Any]:
    """What the stored outputs hold of one kind: 'text/html', or the 'text' that was printed."""
    book = nbformat.read(path, as_version=4)
    found = [o for c in book.cells for o in c.get("outputs", ())]
    return [o.get("text") or o.data[kind] for o in found if kind in {*o, *o.get("data", ())}]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_is_stored_is_of_no_machine(path: Path) -> None:
    """A mistake is told by the cell, as IPython counts them, not by the file that stands for it."""
    texts = [t for kind in ("text", "text/plain", "text/html") for t in stored(path, kind)]
    assert texts and not any("ipykernel" in t or "/tmp/" in t or str(ROOT) in t for t in texts)


def test_mistakes_are_told_by_cell() -> None:
    told = [t for t in stored(NOTEBOOKS[0], "text") if "-->" in t]
    assert len(told) == 4 and all(re.search(r"--> Cell In\[\d+\], line \d", t) for t in told)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_lead_somewhere(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    links = [x for c in book.cells for x in re.findall(r"\]\(([^)#]+)", c.source)]
    assert links and all((path.parent / link).exists() for link in links), links


def test_a_broken_schedule_is_drawn() -> None:
    """In the cell that breaks it: the report for readers of text, the pictures for all others."""
    drawn = [
        len(sanitised(html).sources())
        for html in stored(NOTEBOOKS[2], "text/html")
        if "smallest failing trip counts, one per work item: [3]" in html
    ]
    assert drawn == [2, 1]
    reports = [t for t in stored(NOTEBOOKS[2], "text/plain") if "WAR: overwritten before" in t]
    assert len(reports) == len(drawn)


def test_every_output_stays_before_a_notebook_is_trusted() -> None:
    for path in NOTEBOOKS:
        assert [sanitised(html) for html in stored(path, "text/html")]
