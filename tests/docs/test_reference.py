"""docs/reference.md and docs/commands.md: written from the docstrings of ``pto`` and from the parsers.

``pytest tests/docs/test_reference.py --update-golden`` writes both.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from textwrap import dedent
from typing import Any

import pto
from lowering.cli import COMMANDS, verb_of
from lowering.cli.options import Parser
from lowering.hazards import Proof
from lowering.lowered import Lowered
from lowering.simulate import Timing
from lowering.svg import Picture
from tests.conftest import Golden
from tests.docs.pages import DOCS

GROUPS = {
    "A kernel": "kernel Kernel choice Choice require debug_check debug_print",
    "What it is given": "Tensor Tile Scalar",
    "Where it works": "program_id ds cdiv fori_loop load store",
    "Text": "parse print_kernel",
}
"""Names by heading; errors have one of their own, and every other function is one of tiles."""

TILES, ERRORS = "Tiles", "Errors"
INTRODUCED = {
    TILES: """
Results have the shape of `x` where nothing else is said. Operators (`+ - * / @`), `maximum` and `minimum` take a
second tile of the same shape, of `[rows, 1]`, of `[1, cols]`, or a scalar. Every one raises `ShapeError` for shapes and
`DTypeError` for element types that do not fit.

Sizes are static, and multiples: the columns of 8 for f32 and i32, of 16 for f16 and bf16; the rows of 2, since there are two
lanes, and of 16 where the tile is reduced to a `[rows, 1]` tile of f32 (32 of f16); all sizes of a product of 16. One row
alone may be loaded, for both lanes. `ds(start, size, valid=count)` is for what is no multiple, and for
rows that are [wider than the memory](guides/wide.md) there is a loop over blocks of columns.
""",
    ERRORS: """
All are mistakes of the user, with the place in the user's file and, where there is one, a hint.
""",
}
FOUND = {"Lowered": Lowered, "Proof": Proof, "Timing": Timing, "Picture": Picture}
"""What ``kernel.lower()`` gives, and what that gives; told behind ``Kernel``."""

INSIDE = set(
    "described ref params with_statics is_float work_items card shown critical iteration costs seconds".split()
)
"""Methods that a writer of kernels has no use for."""

REFERENCE = """# The language

Written from the docstrings by `pytest tests/docs/test_reference.py --update-golden`. Everything is a name of `pto`,
and `import pto` imports neither JAX nor the scheduler. An `Index` is an int or a `Scalar`. [The ops](ops.md) are one
table with their instructions and cycles; what a scalar means is on [its page](scalars.md).
"""

LINE = """# The command line

Written from the parsers by `pytest tests/docs/test_reference.py --update-golden`; `pto COMMAND --help` says the same.
`pto` is `.venv/bin/pto` after `make demo`, and `python -m lowering` everywhere.

Every command takes `--debug`: a traceback, not one message. The exit status is 0 when all is well, 1 when a
proof or a comparison failed, 2 for a mistake of the user: one message on standard error.
"""


def test_reference(golden: Golden) -> None:
    golden(DOCS / "reference.md", REFERENCE + "".join(language()))


def test_commands(golden: Golden) -> None:
    golden(DOCS / "commands.md", LINE + "".join(map(command, COMMANDS)))


def test_every_name_is_told_once() -> None:
    told = [name for names in grouped().values() for name in names]
    assert sorted(told) == sorted(pto.__all__)


# ---------------------------------------------------------------------------------- the language


def grouped() -> dict[str, list[str]]:
    """All names by heading, in the order of the page."""
    found = {heading: names.split() for heading, names in GROUPS.items()}
    errors = [n for n in pto.__all__ if n.endswith("Error")]
    known = {*errors, *(n for names in found.values() for n in names)}
    tiles = sorted(n for n in pto.__all__ if n not in known)
    order = list(found)
    found |= {TILES: tiles, ERRORS: sorted(errors, key=lambda n: (n != "PtoError", n))}
    return {heading: found[heading] for heading in [*order[:-1], TILES, order[-1], ERRORS]}


def language() -> Iterator[str]:
    for heading, names in grouped().items():
        yield f"\n## {heading}\n{INTRODUCED.get(heading, '')}"
        for name in names:
            yield from entry(name, getattr(pto, name))
            if name == "Kernel":
                for found, thing in FOUND.items():
                    yield from entry(found, thing)


def entry(name: str, thing: Any) -> Iterator[str]:
    """One name: its signature, what it does, what it raises, and of a class what it has."""
    yield f"\n### {name}\n"
    if not inspect.isclass(thing):
        yield f"\n`pto.{name}{signature(thing)}`\n"
    yield f"\n{markdown(inspect.getdoc(thing) or '')}\n"
    if inspect.isclass(thing) and not name.endswith("Error"):
        members = [m for m in vars(thing) if m[0] != "_" and m not in INSIDE and told(thing, m)]
        if members:
            yield "\n| | |\n|---|---|\n"
        for member in members:
            said = cell(f"`{member}{signature(vars(thing)[member])}`")
            yield f"| {said} | {cell(told(thing, member))} |\n"


def told(thing: type, member: str) -> str:
    """The first paragraph of what a class says of a function or property."""
    value = vars(thing)[member]
    if not (inspect.isfunction(value) or isinstance(value, property | cached_property)):
        return ""
    return spans(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()))


def signature(thing: object) -> str:
    """``(a: Index, b: Index) -> Index``; '' of what is not called."""
    if not callable(thing):
        return ""
    found = inspect.signature(thing)
    hidden = ("self", "part", "misplaced")
    shown = ", ".join(parameter(p) for n, p in found.parameters.items() if n not in hidden)
    return f"({shown}) -> {plain(found.return_annotation)}"


def parameter(p: inspect.Parameter) -> str:
    star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    default = "" if p.default is p.empty else f" = {p.default!r}"
    return f"{star}{p.name}: {plain(p.annotation)}{default}"


def plain(annotation: str) -> str:
    return re.sub(r"\b(?:ir|tracer)\.", "", annotation.replace("'", ""))


def markdown(docstring: str) -> str:
    """A docstring as Markdown: spans, formulas, and its lists of arguments and errors."""
    parts = re.split(r"^(Args|Raises|Returns):\n", docstring, flags=re.MULTILINE)
    text = re.sub(r"((?:^ {4}.*\n?)+)", fenced, parts[0].strip(), flags=re.MULTILINE)
    out = [spans(text)]
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        out.append(f"{heading}:\n\n{items(dedent(body))}")
    return "\n\n".join(out)


def fenced(found: re.Match[str]) -> str:
    return f"```\n{dedent(found[1]).rstrip()}\n```\n"


def spans(text: str) -> str:
    """Markdown has one backtick where a docstring has two."""
    return re.sub(r"(?<!`)``(?!`)", "`", text)


def cell(text: str) -> str:
    """In a table."""
    return text.replace("|", "\\|")


def items(body: str) -> str:
    """``name: what`` as a list; a line that is indented goes on with the one before."""
    joined = re.sub(r"\n +", " ", body.strip())
    lines = (line.partition(": ") for line in joined.splitlines())
    return "\n".join(f"* `{name.replace(', ', '`, `')}`: {spans(what)}" for name, _, what in lines)


# ------------------------------------------------------------------------------------- commands


def command(name: str) -> str:
    """A verb: what it does, and its arguments."""
    verb, parser = verb_of(name), Parser(prog=f"pto {name}")
    verb.arguments(parser)
    actions = [a for a in parser._actions if a.dest != "help"]
    summary = f"{verb.summary[:1].upper()}{verb.summary[1:]}."
    usage = " ".join([f"pto {name}", *(operand(a) for a in actions if not a.option_strings)])
    table = "".join(f"| {cell(f'`{spelled(a)}`')} | {cell(a.help or '')} |\n" for a in actions)
    return f"\n## {name}\n\n`{usage} [OPTIONS]`\n\n{summary}\n\n| | |\n|---|---|\n{table}"


def operand(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest)
    return {"*": f"[{word} ...]", "+": f"{word} ...", "?": f"[{word}]"}.get(str(action.nargs), word)


def spelled(action: argparse.Action) -> str:
    """An option with what it takes."""
    if not action.option_strings:
        return operand(action)
    takes = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
    return ", ".join(action.option_strings) + takes
