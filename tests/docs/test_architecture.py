"""docs/architecture.md: every room is in its table, and every place that it sends a reader to is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from tests import ROOT
from tests.docs.pages import DOCS, rows

PAGE = DOCS / "architecture.md"
RECIPES = rows(PAGE, "To add something")


def test_every_room_is_in_the_table() -> None:
    inside = (p for p in (ROOT / "lowering").iterdir() if not p.name.startswith("_"))
    made = {
        p.relative_to(ROOT).as_posix()
        for p in inside
        if p.suffix == ".py" or p.is_dir() and (p / "__init__.py").exists()
    }
    told = [line[0].strip("`") for line in rows(PAGE, "Rooms")]
    assert len(told) == len(set(told)) and set(told) == {"pto", *made}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r[0])
def test_places_are_there(recipe: list[str]) -> None:
    _, places, tests = recipe
    found = list(places_in(places))
    assert found
    for path, symbol in found:
        assert path.exists(), path
        assert not symbol or symbol in symbols(path), f"{path.name} has no {symbol}"
    assert all(path.exists() for path, _ in places_in(tests))


def test_paths_of_the_page_are_there() -> None:
    for word in re.findall(r"`((?:pto|lowering|docs|tests)/[\w/.-]+)`", PAGE.read_text()):
        assert (ROOT / word).exists(), word


def places_in(cell: str) -> Iterator[tuple[Path, str]]:
    """(file or folder, name in it or '') of a cell: names belong to the path in front of them."""
    path = ROOT
    for word in re.findall(r"`([^`]+)`", cell):
        if "/" in word or word in ("docs", "pto", "lowering"):
            path = ROOT / word
            yield path, ""
        elif path.is_file():
            yield path, word


@lru_cache
def symbols(path: Path) -> set[str]:
    """What a module defines; of a text in another language, its words."""
    if path.suffix != ".py":
        return set(re.findall(r"\w+", path.read_text()))
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            names = (n for target in node.targets for n in ast.walk(target))
            found |= {n.id for n in names if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found
