"""Pages of ``docs/``: their blocks of code, and the blocks that code prints.

A line ``<!-- printed: NAME -->`` stands in front of a block that a test prints: ``compare`` says that
the page holds what is printed today, and with ``--update-golden`` writes it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests import ROOT
from tests.conftest import Golden

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(
    r"^(<!-- printed: (.*?) -->\n```\w*\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE
)


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of one language, in the order of the page."""
    return [text for name, text in FENCE.findall(page.read_text()) if name == language]


def compare(page: Path, printed: Callable[[str], str], golden: Golden) -> None:
    """Every block of ``page`` that has a name is ``printed(name)``; there is at least one."""
    new, count = PRINTED.subn(lambda m: m[1] + printed(m[2]), page.read_text())
    assert count, f"{page}: nothing is printed"
    golden(page, new)


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its first line and the line below that."""
    below = re.split(rf"^#+ {re.escape(heading)}$", page.read_text(), flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None, f"{page}: no table below {heading}"
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
