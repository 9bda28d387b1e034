"""Pages: their blocks of code and commands, what these print, and their tables.

One mechanism for all pages.  ``run`` goes through the blocks of a page from top to bottom, in a folder of
its own: Python runs in one namespace (a block whose first line is ``# NAME.py`` is that file, too), and
so do the commands of an indented block.  Behind a command ``# exit status 1`` says that it fails.

A line ``<!-- printed -->`` stands in front of a block that the block before it prints, and ``<!-- printed:
NAME -->`` in front of one that a test of the page prints (``compare``).  Both are goldens.
Non-goals: what Sphinx checks of a page.
"""

from __future__ import annotations

import linecache
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from lowering.cli import main
from tests import ROOT
from tests.conftest import Golden

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]

BLOCK = re.compile(
    r"^(?P<mark><!-- printed(?:: (?P<name>[^\n]*?))? -->\n)?"
    r"```(?P<language>[\w{}-]*)[^\n]*\n(?P<fenced>.*?)^```$"
    r"|(?<=\n\n)(?P<indented>(?: {4}[^\n]+\n)+)",
    re.DOTALL | re.MULTILINE,
)
VARIES = re.compile(r"(?<=float64 reference: ).*|[\d,]+(?= a second)")
"""What depends on the machine: last digits, speed.  What a page shows of it is one of the possible ones."""

COMMANDS = "commands"
"""The language of an indented block."""

NOT_RUN = {
    "make ": "sets up .venv, or runs these tests",
    "PTO_ISA_ROOT=": "needs a checkout of the tile library",
    "python build/bundle/": "needs the runtime",
}
"""How a command begins that no test of a page runs, and why."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page.  ``printed``: None, or what prints it: '' for the block before."""

    language: str
    text: str
    printed: str | None
    start: int
    end: int


def blocks_of(page: Path) -> Iterator[Block]:
    """All blocks, in the order of the page."""
    for found in BLOCK.finditer(page.read_text()):
        if found["indented"] is not None:
            yield Block(COMMANDS, found["indented"], None, *found.span("indented"))
        else:
            printed = (found["name"] or "") if found["mark"] else None
            yield Block(found["language"], found["fenced"], printed, *found.span("fenced"))


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of one language, in the order of the page."""
    return [b.text for b in blocks_of(page) if b.language == language]


def compare(page: Path, printed: Callable[[str], str], golden: Golden) -> None:
    """Every block of ``page`` that has a name is ``printed(name)``; there is at least one."""
    named = [b for b in blocks_of(page) if b.printed]
    assert named, f"{page}: nothing is printed"
    golden(page, _with(page, {b: printed(b.printed or "") for b in named}))


def runs(page: Path) -> bool:
    """Whether there is anything to run on a page."""
    return any(map(_is_run, blocks_of(page)))


def run(page: Path, golden: Golden) -> None:
    """Runs all blocks of a page, in the current folder, and compares what they print."""
    session, said, shown = _Session(page.stem), "", {}
    for block in blocks_of(page):
        if _is_run(block):
            said = session.run(block)
        elif block.printed == "":
            same = VARIES.sub("", said) == VARIES.sub("", block.text)
            shown[block] = block.text if same else said
    golden(page, _with(page, shown))


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its first line and the line below that."""
    below = re.split(rf"^#+ {re.escape(heading)}$", page.read_text(), flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None, f"{page}: no table below {heading}"
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _is_run(block: Block) -> bool:
    return block.printed is None and block.language in ("python", COMMANDS)


def _with(page: Path, texts: dict[Block, str]) -> str:
    """The page with other texts in some of its blocks."""
    text = page.read_text()
    for block in sorted(texts, key=lambda b: -b.start):
        text = text[: block.start] + texts[block] + text[block.end :]
    return text


@dataclass
class _Session:
    """The blocks of one page run one behind the other."""

    name: str
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    count: int = 0

    def run(self, block: Block) -> str:
        """What the block prints, on both outputs, with paths in the current folder.

        Raises:
            AssertionError: for a command with another exit status than the page says.
        """
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            if block.language == COMMANDS:
                for line in block.text.splitlines():
                    self._command(line.strip(), said)
            else:
                self._python(block.text)
        return said.getvalue().replace(f"{Path.cwd()}/", "")

    def _python(self, text: str) -> None:
        self.count += 1
        first = re.match(r"# ([\w/]+\.py)\n", text)
        file = first[1] if first else f"{self.name}-{self.count}.py"
        if first:
            Path(file).write_text(text)
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), self.names)

    def _command(self, line: str, said: StringIO) -> None:
        if any(line.startswith(start) for start in NOT_RUN):
            return
        expected = re.search(r"# exit status (\d)", line)
        program, *words = shlex.split(line, comments=True)
        status = 0
        if program == ".venv/bin/pto":
            status = main(words)
        elif program == ".venv/bin/python" and words[0] == "-c":
            exec(words[1], {})
        elif program == ".venv/bin/python":
            runpy.run_path(words[0], run_name="__main__")
        else:
            raise AssertionError(f"{line}: neither .venv/bin/pto nor a row of NOT_RUN")
        assert status == (int(expected[1]) if expected else 0), f"{line}\n{said.getvalue()}"
