"""Words and lines of the text form: from a text to logical lines of tokens, each with its place.

Names and numbers are ASCII; a name has letters, digits and underscores, that of an event also dots.

A ``#`` starts a comment.  A line that starts with ``|`` continues the one before; the bar is a token
only before ``as``, ``if``, ``wait`` and ``set``.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pto.errors import ParseError
from pto.ir import BUILTINS, CORES
from pto.limits import LIMITS, within
from pto.loc import Loc
from pto.ops import FILLS, ROUNDINGS, UPDATES
from pto.targets import PIPES
from pto.types import DTYPE_BYTES

FUNCTIONS = ("min", "max", "cdiv")
PRECEDENCE = {"<": 1, "<=": 1, "==": 1, "!=": 1, "+": 2, "-": 2, "*": 3, "/": 3, "//": 3, "%": 3}
MIRRORED = {">": "<", ">=": "<="}
"""Comparisons that are read, but written down the other way round: ``a > b`` is ``b < a``."""

WORDS = {
    ("astype", 1): ("dtype", tuple(DTYPE_BYTES)),
    ("astype", 2): ("rounding", tuple(ROUNDINGS)),
    ("drain", 0): ("pipe", PIPES),
    ("load", 1): ("fill", tuple(FILLS)),
    ("store", 1): ("update", UPDATES),
}
"""(op, operand) -> what it is, and the words it may be."""

COLUMNS = ("as", "if", "wait", "set")
HEADER = ("kernel", "static", "param", "grid", "require", "buffer", "fifo", "event", "note")

RESERVED = frozenset(
    (*HEADER, *CORES, *FUNCTIONS, *BUILTINS, *COLUMNS, *"for else carry yield inf nan".split())
)
"""What a line or an operand can start with; no name of anything is one of them."""

TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<float>\d+\.(?!\.)\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)|(?P<int>\d+)|"
    r"(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<op>\.\.|->|//|<=|>=|==|!=|:\+|[-+*/%<>()\[\],:=|.]))",
    re.ASCII,
)


LONGEST_NUMBER = 40
"""Digits beyond which a token is no number of any kind."""


@dataclass(slots=True)
class Line:
    """One logical line (continuations joined) as tokens, with the cursor of its reader.

    ``pieces``: (line number, column, text) of every physical line; ``places``: the same for every
    token, with the column behind it.
    """

    file: str
    number: int
    indent: int
    text: str
    tokens: list[str] = field(default_factory=list)
    at: int = 0
    pieces: list[tuple[int, int, str]] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    source: Sequence[str] = ()

    def fail(self, message: str, hint: str = "", here: bool = False) -> ParseError:
        """The error at the last token that was read, or (``here``) at the next one."""
        at = self.at if here else max(self.at - 1, 0)
        if at < len(self.places):
            line, col, end_col = self.places[at]
        else:
            line, col, text = self.pieces[-1] if self.pieces else (self.number, 0, "")
            col = col + len(text.rstrip())
            end_col = col + 1
        if self.source and self.file.startswith("<"):
            linecache.cache[self.file] = (1, None, [f"{s}\n" for s in self.source], self.file)
        return ParseError(message, Loc(self.file, line, col, end_col), hint)

    @property
    def loc(self) -> Loc:
        return Loc(self.file, self.number)

    @property
    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self, what: str = "more") -> str:
        token = self.peek
        if not token:
            raise self.fail(f"the line ends where {what} is expected", here=True)
        self.at += 1
        return token

    def name(self, what: str, dotted: bool = False, free: bool = False) -> str:
        """A name, with dots if ``dotted``, any word if ``free``: where no line is read by it."""
        wanted = f"the name of {'an' if what[0] in 'aeiou' else 'a'} {what}"
        token = self.next(wanted)
        if not (token[0].isalpha() or token[0] == "_") or (not dotted and "." in token):
            raise self.fail(f"expected {wanted}, found '{token}'")
        if not free and (token in RESERVED or token.endswith(".T")):
            raise self.fail(f"'{token}' is a word of the language, not a name")
        return token

    def accept(self, token: str) -> bool:
        if self.peek == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            found = f"'{self.peek}'" if self.peek else "the end"
            raise self.fail(f"expected '{token}', found {found}", here=True)

    def integer(self, what: str = "number") -> int:
        """An integer within the limits of ``what`` (``pto/legality.py``)."""
        sign = -1 if LIMITS[what].low < 0 and self.accept("-") else 1
        token = self.next("an integer")
        if not token.isdigit():
            raise self.fail(f"expected an integer, found '{token}'")
        return self.limited(sign * self.digits(token), what)

    def digits(self, token: str) -> int:
        """The number of a token of digits, of which there may be more than Python reads."""
        if len(token) > LONGEST_NUMBER:
            raise self.fail(f"{token[:10]}... has {len(token)} digits: integers have 64 bits")
        return int(token)

    def limited(self, value: int, what: str) -> int:
        why = within(what, value)
        if why:
            raise self.fail(why)
        return value

    def word(self, known: tuple[str, ...], what: str) -> str:
        token = self.next(f"a {what}")
        if token not in known:
            raise self.fail(f"'{token}' is not a {what}", f"one of: {', '.join(known)}")
        return token

    def end(self) -> None:
        if self.peek:
            raise self.fail(f"'{self.peek}' is too much on this line", here=True)


def tokens_of(line: Line) -> list[str]:
    """The tokens of ``line.text`` or, if there are any, of its pieces."""
    out = []
    line.pieces = line.pieces or [(line.number, line.indent, line.text)]
    for number, column, text in line.pieces:
        text, at = text.rstrip(), 0
        while at < len(text):
            m = TOKEN.match(text, at)
            if m is None:
                start = column + at + len(text[at:]) - len(text[at:].lstrip())
                line.places.append((number, start, start + 1))
                line.at = len(line.places)
                raise line.fail(f"cannot read '{text[at:].strip()[:20]}'")
            token = m.group().strip()
            out.append(token)
            line.places.append((number, column + m.end() - len(token), column + m.end()))
            at = m.end()
    return out


def logical_lines(source: str, file: str) -> list[Line]:
    """Lines without comments and blanks; a line that starts with ``|`` continues the one before."""
    lines: list[Line] = []
    physical = source.splitlines()
    for n, raw in enumerate(physical, 1):
        bare = raw.strip()
        is_note = bare.startswith("note ")
        continues = bare.startswith("|") and bool(lines)
        if not is_note and not (continues and lines[-1].text.startswith("note ")):
            bare = raw.split("#", 1)[0].strip()
        if not bare:
            continue
        indent = len(raw) - len(raw.lstrip())
        if not continues and set(raw[:indent]) - {" "}:
            raise Line(file, n, 0, bare, pieces=[(n, 0, raw)], source=physical).fail(
                "a block is indented by spaces"
            )
        if continues:
            more = bare[1:].lstrip()
            is_column = more.split(" ", 1)[0] in COLUMNS
            piece = bare if is_column else more
            lines[-1].text += f" {piece}"
            lines[-1].pieces.append((n, indent + len(bare) - len(piece), piece))
        else:
            lines.append(Line(file, n, indent, bare, pieces=[(n, indent, bare)], source=physical))
    for line in lines:
        if not line.text.startswith("note "):
            line.tokens = tokens_of(line)
    return lines
