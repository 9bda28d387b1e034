"""The notebooks run, and their stored outputs are what they print today.

``pytest tests/docs/test_notebook.py --update-golden`` executes them and stores what they print.
"""

from __future__ import annotations

import os
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
    return book


def outputs(book: Any) -> list[str]:
    """What each code cell printed."""
    return [
        "".join(o.get("text", str(sorted(o.get("data", o).items()))) for o in cell.outputs)
        for cell in book.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_are_todays(
    path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    stored = nbformat.read(path, as_version=4)
    today = executed(path, monkeypatch)
    if request.config.getoption("--update-golden"):
        nbformat.write(today, path)
        stored = today
    assert outputs(stored) == outputs(today)


def test_there_is_a_notebook() -> None:
    assert [p.stem for p in NOTEBOOKS] == ["paged_attention"]


def test_a_broken_schedule_is_drawn() -> None:
    """In the cell that breaks it: the report for readers of text, the pictures for all others."""
    book = nbformat.read(NOTEBOOKS[0], as_version=4)
    shown = [
        o.data for c in book.cells for o in c.get("outputs", ()) if "text/html" in o.get("data", ())
    ]
    assert len(shown) == 3 and len(sanitised(shown[-1]["text/html"]).sources()) == 2
    assert "smallest failing trip counts, one per work item: [3]" in shown[-1]["text/plain"]
