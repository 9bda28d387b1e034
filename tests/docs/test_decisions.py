"""docs/decisions.md: the files that it names are there, the figures stand in them, the commits exist."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests import ROOT
from tests.docs.pages import DOCS, rows

PAGE = DOCS / "decisions.md"
TEXT = PAGE.read_text()
FIGURES = {
    "README.md": ["96,210", "252,339", "139,614", "181,826"],
    "lowering/schedule/tuned/paged_attention.json": ["as fast as the best"],
    "lowering/execute/roundings.py": ["error a hundred times as large"],
    "lowering/jax_executor/machine.py": ["does not change measurably", "would end the fusion"],
    "lowering/jax_executor/executor.py": ["XLA converts whole tensors", "no collectives"],
    "lowering/bench/executors.py": ["a benchmark on a shared machine is a report"],
}
"""What the page takes from a file, in the words of the file."""


def test_files_are_there() -> None:
    paths = set(re.findall(r"`([\w./-]+/[\w.-]+|README\.md)`", TEXT))
    assert len(paths) > 20 and set(FIGURES) <= paths
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("path", FIGURES)
def test_figures_stand_where_the_page_says(path: str) -> None:
    text = " ".join((ROOT / path).read_text().split())
    assert all(words in text for words in FIGURES[path])


def test_every_decision_has_a_reason() -> None:
    parts = ("The proof", "The scheduler", "Values and numbers", "The time of a compile", "JAX")
    for part in parts:
        for stands, dropped, decided in rows(PAGE, part):
            assert stands and dropped and re.search(r"\(.*\)", decided), stands


def whole_history() -> bool:
    """Whether this is a checkout with all that came before it."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return False
    command = ["git", "rev-parse", "--is-shallow-repository"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout == b"false\n"


@pytest.mark.skipif(not whole_history(), reason="the history is not here")
def test_commits_are_in_the_history() -> None:
    commits = re.findall(r"\b([0-9a-f]{7})\b(?=[);])", TEXT)
    assert len(commits) > 6
    for commit in commits:
        known = subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, check=False)
        assert known.returncode == 0, commit
