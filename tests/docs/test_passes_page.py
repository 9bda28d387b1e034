"""docs/passes: what a page says of its pass is what the pass says of itself, and its example is printed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

import pytest

from lowering.execute import cases, inputs, scheduled, sequential
from lowering.programs import load, traced
from lowering.schedule import options_for, schedule, stages
from lowering.schedule.scheduler import PASSES
from pto.ir import Kernel
from pto.kernel import Kernel as Written
from pto.ops import TRACED
from pto.text import print_kernel
from tests import ROOT
from tests.conftest import Golden
from tests.docs.pages import DOCS, compare, rows

FOLDER = DOCS / "passes"
EXAMPLE = FOLDER / "feed_forward.py"
NAMES = list(PASSES)
PAGES = {name: FOLDER / f"{k}-{name}.md" for k, name in enumerate(NAMES, 1)}
SOURCES = ROOT / "lowering" / "schedule" / "passes"


@lru_cache
def example() -> tuple[Written, Kernel]:
    kernel = load(f"{EXAMPLE}:feed_forward")
    assert isinstance(kernel, Written)
    return kernel, traced(kernel, {})


@lru_cache
def made() -> dict[str, Kernel]:
    """The example in front of the first pass, and behind each."""
    kernel = example()[1]
    return {"": kernel, **dict(stages(kernel, options_for("best")))}


def test_index(golden: Golden) -> None:
    index = FOLDER / "README.md"
    compare(index, lambda _: EXAMPLE.read_text(), golden)
    numbered = [line for line in index.read_text().splitlines() if line[:1].isdigit()]
    assert [line.split("(")[1].split(")")[0] for line in numbered] == [
        page.name for page in PAGES.values()
    ]
    assert {*PAGES.values(), index, EXAMPLE} == {p for p in FOLDER.iterdir() if p.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_page(name: str) -> None:
    """The first table: module, forms, options."""
    page = PAGES[name]
    facts = dict(rows(page, f"{NAMES.index(name) + 1}. {name}"))
    before = ["", *NAMES][NAMES.index(name)]
    assert (
        facts["requires"].split(",")[0]
        == f"the {PASSES[before].form if before in PASSES else TRACED} form"
    )
    assert facts["produces"].split(",")[0] == f"the {PASSES[name].form} form"
    assert facts["options"] == (", ".join(PASSES[name].reads) or "none")
    modules = [word for word in facts["module"].split("`") if word.endswith(".py")]
    assert modules[0] == f"lowering/schedule/passes/{name}.py"
    assert all((ROOT / m).exists() for m in modules)


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, golden: Golden) -> None:
    before, after = made()[["", *NAMES][NAMES.index(name)]], made()[name]
    printed = {"before": shown(before, after), "after": shown(after, before)}
    compare(PAGES[name], printed.__getitem__, golden)


def shown(kernel: Kernel, beside: Kernel) -> str:
    """The text of a kernel without the lines of the header that the other one has as well."""
    head, _, body = print_kernel(kernel, verbose=True).partition("\n\n")
    other = print_kernel(beside, verbose=True).partition("\n\n")[0].splitlines()
    own = [line for line in head.splitlines() if line not in other]
    return "\n".join([*own, "", body] if own else [body])


def test_the_example_is_scheduled_and_right() -> None:
    written, kernel = example()
    done = schedule(kernel, options_for("best"))
    assert done.proof.ok
    bound = inputs.bind(kernel, cases.draw(written, kernel, []))
    assert (
        scheduled.run(done.kernel, bound)["out"].tobytes()
        == sequential.run(kernel, bound)["out"].tobytes()
    )


# ------------------------------------------------------------------------------------- words


def told() -> Iterator[tuple[str, str]]:
    """(words, module) of every table of words."""
    for page in (*PAGES.values(), FOLDER / "README.md"):
        for line in page.read_text().splitlines():
            cells = [c.strip() for c in line.strip("|").split(" | ")]
            if line.startswith("| `") and len(cells) == 3:
                yield cells[0].strip("`"), cells[1].strip("`")


def test_words_are_those_of_the_code() -> None:
    found = list(told())
    assert len(found) > 15
    for words, module in found:
        tree = ast.parse((ROOT / module).read_text())
        assert words in set(map(text_of, ast.walk(tree))), f"{module}: {words}"


def test_every_refusal_and_note_is_told() -> None:
    """An error or a note of a pass that no page tells fails here."""
    known = set(told())
    for path in sorted(SOURCES.glob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        for words in messages(ast.parse(path.read_text())):
            assert (words, module) in known, f"no page tells '{words}' of {module}"


def messages(tree: ast.Module) -> Iterator[str]:
    """The first operand of every error, every note and every detail."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("Error", "notes.append", "details.append")
        ):
            yield text_of(node.args[0])


def text_of(node: ast.AST) -> str:
    """A text of the code; what is filled in is ``...``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "..." for part in node.values)
    return ""
