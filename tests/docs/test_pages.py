"""All pages: their code and commands run, what they show is printed, their links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowering.hazards import check
from pto.legality import verify
from pto.text import parse, print_kernel
from tests import ROOT
from tests.conftest import Golden
from tests.docs.pages import COMMANDS, NOT_RUN, PAGES, blocks, blocks_of, run, runs

DRAWN = {
    "docs/architecture.md": "a map, drawn by hand",
    "docs/reference.md": "formulas of docstrings",
}
"""Pages with a block that nothing prints, and why."""

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


LONG = (
    *(f"docs/guides/{name}.md" for name in ("masks", "proof", "transposes", "tuning", "wide")),
    "docs/machine.md",
)
"""Pages of long commands: searches, whole launches, several kernels."""


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.sweep) if name(page) in LONG else page
        for page in filter(runs, PAGES)
    ],
    ids=name,
)
def test_a_page_runs(
    page: Path, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run(page, golden)


def test_every_block_is_run_or_printed() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            known = block.language in ("python", "ptoir", "grammar", COMMANDS)
            assert (
                known
                or block.printed is not None
                or block.language[:1] == "{"
                or (name(page) in DRAWN and not block.language)
            ), f"{name(page)}: nothing prints\n{block.text}"


def test_programs_are_legal_and_proven() -> None:
    """Whatever is shown of a program is read back, legal in its form and, if it is scheduled, proven."""
    for page in PAGES:
        for text in blocks(page, "ptoir"):
            kernel = verify(parse(text, page.name))
            assert parse(print_kernel(kernel)) == kernel
            if kernel.target:
                assert check(kernel).ok, check(kernel).report()


def test_commands_that_do_not_run_are_there() -> None:
    shown = [
        line.strip()
        for page in PAGES
        for text in blocks(page, COMMANDS)
        for line in text.splitlines()
    ]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in shown), f"no page shows {start}"


# ------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for place, anchor in LINK.findall(without_blocks(page)):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{name(page)} links to {place}"
        if anchor:
            assert anchor in set(anchors(target)), f"{name(page)}: {place} has no #{anchor}"


def without_blocks(page: Path) -> str:
    text = page.read_text()
    for block in blocks_of(page):
        text = text.replace(block.text, "")
    return text


def anchors(page: Path) -> Iterator[str]:
    """Of the headings, as the repository's viewer and the site make them."""
    for heading in re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
