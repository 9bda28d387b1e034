"""Where something stands in the user's file."""

from __future__ import annotations

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
        return f"{self.file}:{self.line}"
