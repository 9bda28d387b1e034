"""Texts that differ from a right one by a few tokens or lines, and what every stage says of them.

``draw`` gives a mutant of a text from a seed; ``outcome`` takes it through parser, legality,
printer, proof or scheduler, emitter and executor: each may refuse it as a ``PtoError``, none may end
in another exception, and what is accepted reads back and follows the grammar (``recognised``).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lowering.ascend.source import emit
from lowering.execute import inputs, scheduled, sequential
from lowering.hazards.proof import HazardError
from lowering.programs import parsed
from lowering.schedule import options_for, scheduled_with
from pto import ir
from pto.errors import PtoError
from pto.ops import OPS
from pto.targets import PIPES
from pto.text import parse, print_kernel
from tests import PROGRAMS, TESTS
from tests.judges.grammar import recognised
from tests.lenient import check

TEXTS = [
    *sorted((TESTS / "goldens").rglob("*.ptoir")),
    *sorted(PROGRAMS.rglob("*.ptoir")),
]

TOKEN = re.compile(r"[A-Za-z_][\w.]*|\d+(?:\.\d+)?(?:e[+-]?\d+)?|->|\.\.|//|[<>=!]=|:\+|\S")
VOCABULARY = [
    *OPS, *PIPES, *ir.CORES, *ir.BUILTINS, *ir.BINARY, "f32", "f16", "bf16", "i32", "l1", "l0a",
    "l0b", "l0c", "ub", "nd", "dn", "nz", "zn", "zz", "kernel", "static", "param", "grid", "buffer",
    "fifo", "event", "note", "for", "if", "else", "carry", "yield", "from", "last", "in", "out",
    "inout", "scalar", "wait", "set", "flat", "inf", "nan", "no", "credit", "on", "a2a3", "at", "by",
    "id", "flag", "c2v", "v2c", "ALL", "pid0", "T", ".T", "zero", "x", "(", ")", "[", "]", ",", ":",
    ":+", "..", "->", "=", "|", ".", "-", "+", "#", "$", "é", "²", "\t", "'",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "3", "5", "7", "8", "15", "16", "17", "64", "255", "257", "4096", "99999999",
    "9223372036854775807", "9223372036854775808", "100000000000000000000", "9" * 5000, "-1", "-5",
    "-9223372036854775809", "0.5", "1.5", "1e40", "1e999", "-0", "-0.0", "007",
]  # fmt: skip


def draw(rng: random.Random, text: str) -> str:
    """``text`` with one to three changes."""
    lines = text.splitlines()
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(CHANGES)(rng, lines)
    return "\n".join(lines) + "\n"


def _places(lines: list[str]) -> list[tuple[int, re.Match[str]]]:
    return [(n, m) for n, line in enumerate(lines) for m in TOKEN.finditer(line.split("#")[0])]


def _replaced(lines: list[str], place: tuple[int, re.Match[str]], new: str) -> None:
    n, m = place
    lines[n] = lines[n][: m.start()] + new + lines[n][m.end() :]


def drop_token(rng: random.Random, lines: list[str]) -> None:
    if places := _places(lines):
        _replaced(lines, rng.choice(places), "")


def double_token(rng: random.Random, lines: list[str]) -> None:
    if places := _places(lines):
        place = rng.choice(places)
        _replaced(lines, place, f"{place[1].group()} {place[1].group()}")


def swap_tokens(rng: random.Random, lines: list[str]) -> None:
    if len(places := _places(lines)) > 1:
        a = rng.randrange(len(places))
        b = a + 1 if rng.random() < 0.5 and a + 1 < len(places) else rng.randrange(len(places))
        first, second = sorted((a, b))
        x, y = places[first][1].group(), places[second][1].group()
        _replaced(lines, places[second], x)
        _replaced(lines, places[first], y)


def other_token(rng: random.Random, lines: list[str]) -> None:
    if places := _places(lines):
        _replaced(lines, rng.choice(places), rng.choice(places)[1].group())


def like_token(rng: random.Random, lines: list[str]) -> None:
    """A name in the place of a name, a number in the place of a number."""
    if places := _places(lines):
        place = rng.choice(places)
        kind = place[1].group()[0].isalnum(), place[1].group()[0].isdigit()
        like = [
            m.group() for _, m in places if (m.group()[0].isalnum(), m.group()[0].isdigit()) == kind
        ]
        _replaced(lines, place, rng.choice(like))


def of_same_line(rng: random.Random, lines: list[str]) -> None:
    """A name in the place of another one of its line, or of the line above."""
    if names := [p for p in _places(lines) if p[1].group()[0].isalpha()]:
        n, m = rng.choice(names)
        near = [x.group() for k, x in names if n - 2 <= k <= n]
        _replaced(lines, (n, m), rng.choice(near))


def small_number(rng: random.Random, lines: list[str]) -> None:
    if places := [p for p in _places(lines) if p[1].group()[0].isdigit()]:
        _replaced(lines, rng.choice(places), rng.choice(["0", "1", "2", "3", "4", "8", "16", "32"]))


def word_of_vocabulary(rng: random.Random, lines: list[str]) -> None:
    if places := _places(lines):
        _replaced(lines, rng.choice(places), rng.choice(VOCABULARY))


def number_changed(rng: random.Random, lines: list[str]) -> None:
    if places := [p for p in _places(lines) if p[1].group()[0].isdigit()]:
        _replaced(lines, rng.choice(places), rng.choice(NUMBERS))


def operand_dropped(rng: random.Random, lines: list[str]) -> None:
    """Everything from a comma on, or up to it."""
    if places := [p for p in _places(lines) if p[1].group() == ","]:
        n, m = rng.choice(places)
        lines[n] = lines[n][: m.start()]


def drop_line(rng: random.Random, lines: list[str]) -> None:
    if lines:
        del lines[rng.randrange(len(lines))]


def double_line(rng: random.Random, lines: list[str]) -> None:
    if lines:
        n = rng.randrange(len(lines))
        lines.insert(n, lines[n])


def move_line(rng: random.Random, lines: list[str]) -> None:
    if lines:
        line = lines.pop(rng.randrange(len(lines)))
        lines.insert(rng.randrange(len(lines) + 1), line)


def indent_line(rng: random.Random, lines: list[str]) -> None:
    if lines:
        n = rng.randrange(len(lines))
        lines[n] = rng.choice(["  ", "    ", " ", "\t"]) + lines[n]


def nested(rng: random.Random, lines: list[str]) -> None:
    """A deep expression instead of a token."""
    if places := _places(lines):
        place, deep = rng.choice(places), rng.choice([3, 70, 3000])
        x = place[1].group()
        _replaced(
            lines, place, rng.choice([f"{'(' * deep}{x}{')' * deep}", " + ".join([x] * deep)])
        )


def flag_on_any_row(rng: random.Random, lines: list[str]) -> None:
    """A wait or a set at the end of a line."""
    names = [w for line in lines if line.startswith("event") for w in line.split()[2:3]]
    rows = [n for n, line in enumerate(lines) if line.split()[:1] in (["cube"], ["vector"])]
    if names and rows:
        lines[rng.choice(rows)] += f" | {rng.choice(['wait', 'set'])} {rng.choice(names)}"


def branch_around(rng: random.Random, lines: list[str]) -> None:
    """A row inside of a branch."""
    body = [n for n, line in enumerate(lines) if " = " in line or line.lstrip().startswith("for")]
    if body:
        n = rng.choice(body)
        margin = lines[n][: len(lines[n]) - len(lines[n].lstrip())]
        test = rng.choice(["1", "0", "1 < 2", "block_idx", "pid0 == 1", "lane < 1"])
        lines[n : n + 1] = [f"{margin}if {test}:", f"  {lines[n]}"]


CHANGES = [
    drop_token, double_token, swap_tokens, other_token, other_token, word_of_vocabulary,
    word_of_vocabulary, like_token, like_token, like_token, of_same_line, of_same_line,
    of_same_line, small_number, small_number, small_number, number_changed, number_changed,
    operand_dropped, drop_line, double_line, move_line, indent_line, nested, flag_on_any_row,
    branch_around,
]  # fmt: skip


# ------------------------------------------------------------------------------------- outcome


MOST_ELEMENTS, MOST_ITEMS, DIMENSION = 1 << 18, 64, 40


def outcome(text: str) -> str:
    """The first stage that refuses ``text``, or 'accepted'; any other exception passes through."""
    stage = "parse"
    try:
        kernel = parse(text, "mutant.ptoir")
        again = print_kernel(kernel)
        assert parse(again) == kernel and print_kernel(parse(again)) == again
        recognised(text)
        stage = "verify"
        parsed(text, "mutant.ptoir")
        is_scheduled = any(r.core for r in ir.all_rows(kernel.body))
        stage = "order" if is_scheduled else "schedule"
        if is_scheduled:
            proven = check(kernel, max_states=40)
            stage = "order" if proven.ok else "not proven"
        else:
            done = scheduled_with(kernel, options_for("serial"))
            stage, proven = "traced", done.proof
            assert proven.ok
            for _ in emit(done.kernel):
                pass
        stage = "emit" if proven.ok else stage
        if is_scheduled:
            emit(kernel)
        stage = "run" if proven.ok else stage
        run(kernel, is_scheduled)
    except HazardError:
        return "not proven"
    except PtoError:
        return stage
    return "accepted" if stage == "run" else stage


def run(kernel: ir.Kernel, is_scheduled: bool) -> None:
    """The kernel on small data, where its numbers let it be small."""
    arrays: dict[str, Any] = {}
    for p in kernel.params:
        shape = [d if isinstance(d, int) else DIMENSION for d in p.shape or ()]
        if np.prod(shape, dtype=float) > MOST_ELEMENTS:
            return
        arrays[p.name] = np.ones(shape, inputs.DTYPES[p.dtype])
    if any(isinstance(n, ir.Loop) and _long(n) for n in _nodes(kernel.body)):
        return
    bound = inputs.bind(kernel, {n: a for n, a in arrays.items() if n not in _outputs(kernel)})
    if bound.items > MOST_ITEMS:
        return
    inputs.validate(kernel, bound)
    if is_scheduled:
        scheduled.run(kernel, bound, block_num=2)
    else:
        sequential.run(kernel, bound)


def _outputs(kernel: ir.Kernel) -> set[str]:
    return {p.name for p in kernel.params if p.direction == "out" and not p.shape}


def _long(loop: ir.Loop) -> bool:
    return isinstance(loop.trips, ir.Const) and loop.trips.value > MOST_ITEMS


def _nodes(block: ir.Block) -> Iterator[ir.Node]:
    for node in block:
        yield node
        if isinstance(node, ir.Loop):
            yield from _nodes(node.body)
        elif isinstance(node, ir.Branch):
            yield from _nodes((*node.then, *node.orelse))
