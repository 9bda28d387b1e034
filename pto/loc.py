"""Where something stands in the user's file."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loc:
    """A place in the user's file: 1-based line, 0-based columns, the enclosing function."""

    file: str
    line: int
    col: int = 0
    end_col: int = 0
    function: str = ""

    def __str__(self) -> str:
        cell = _cell(self.file)
        return f"{cell}, line {self.line}" if cell else f"{self.file}:{self.line}"


def _cell(file: str) -> str:
    """``Cell In[3]`` for the file that stands for a cell of a notebook, whose own name says nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    named = None if shell is None else shell.compile.format_code_name(file)
    return " ".join(named) if named else ""
