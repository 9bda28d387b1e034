"""The grammar of docs/language.md, read from the page and run as it stands there.

``recognised`` takes a text apart by the rules and nothing else: no names, no types, no limits.  What the
parser accepts, it must accept.  Only the words that the page does not define are given here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pto.ir import CORES
from pto.targets import PIPES, SPACES
from pto.types import DTYPE_BYTES, LAYOUTS
from tests.docs.pages import DOCS, blocks

IN, OUT, END = "<in>", "<out>", "<end>"
"""What stands for an indented block around it, and for the end of a line."""

TEXT = r'"(?:[^"\\]|\\.)*"'
NAME, INT, FLOAT = r"[A-Za-z_][A-Za-z0-9_]*", r"[0-9]+", r"[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?"


def one_of(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


WORDS = {
    "name": rf"{NAME}(\.{NAME})*",
    "target": NAME,
    "plain": rf"{FLOAT}|{NAME}",
    "dtype": one_of(list(DTYPE_BYTES)),
    "dim": rf"{INT}|{NAME}",
    "core": one_of(CORES),
    "space": one_of(SPACES),
    "layout": one_of(LAYOUTS),
    "depth": INT,
    "int": INT,
    "direction": "c2v|v2c",
    "pipe": one_of((*PIPES, "ALL")),
    "op": rf"(?!(?:for|if|else|carry|yield)\b){NAME}",
    "number": rf"{FLOAT}|inf",
    "text": TEXT,
}
"""Words that are one token; a number may have a sign in front."""

MORE = """
    value    ::= ['-'] plain
    shift    ::= ['+' | '-'] int
    expr     ::= operand {operator operand}
    operand  ::= ['-'] number | name | function '(' expr ',' expr ')' | '(' expr ')'
"""
"""What the page leaves to common sense."""

WORDS["operator"] = r"\+|-|\*|/|//|%|<|<=|>|>=|==|!="
WORDS["function"] = "min|max|cdiv"

TOKEN = re.compile(
    rf"{TEXT}|\.T\b|[0-9]+\.(?!\.)[0-9]*(?:e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+|[0-9]+|{NAME}(?:\.{NAME})*"
    r"|\.\.|->|//|[<>=!]=|:\+|\S"
)

Rule = Callable[[Sequence[str], int], Iterator[int]]
"""From a place in the tokens to every place where what it recognises may end."""


# ---------------------------------------------------------------------------- rules as functions


def word(text: str) -> Rule:
    pattern = re.compile(text)

    def rule(tokens: Sequence[str], at: int) -> Iterator[int]:
        if at < len(tokens) and pattern.fullmatch(tokens[at]):
            yield at + 1

    return rule


def sequence(parts: list[Rule]) -> Rule:
    def rule(tokens: Sequence[str], at: int) -> Iterator[int]:
        if not parts:
            yield at
            return
        for middle in parts[0](tokens, at):
            yield from sequence(parts[1:])(tokens, middle)

    return rule


def either(parts: list[Rule]) -> Rule:
    def rule(tokens: Sequence[str], at: int) -> Iterator[int]:
        for part in parts:
            yield from part(tokens, at)

    return rule


def repeated(part: Rule, most: int | None = None) -> Rule:
    """As often as it goes, the longest first."""

    def rule(tokens: Sequence[str], at: int) -> Iterator[int]:
        ends = [at]
        while most is None or len(ends) <= most:
            further = max((e for e in part(tokens, ends[-1])), default=ends[-1])
            if further == ends[-1]:
                break
            ends.append(further)
        yield from reversed(ends)

    return rule


class Grammar:
    """The rules by name."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, Rule] = {name: word(w) for name, w in WORDS.items()}
        for heads, body in definitions(text):
            rule = self.compiled(re.findall(r"'[^']*'|[a-z]+|[|()\[\]{}]", body))
            self.rules |= dict.fromkeys(re.split(r",\s*", heads), rule)

    def named(self, name: str) -> Rule:
        return lambda tokens, at: self.rules[name](tokens, at)

    def compiled(self, tokens: list[str]) -> Rule:
        rule = self.alternatives(tokens)
        assert not tokens
        return rule

    def alternatives(self, tokens: list[str]) -> Rule:
        found = [self.items(tokens)]
        while tokens[:1] == ["|"]:
            tokens.pop(0)
            found.append(self.items(tokens))
        return either(found) if len(found) > 1 else found[0]

    def items(self, tokens: list[str]) -> Rule:
        found: list[Rule] = []
        while tokens and tokens[0] not in ("|", ")", "]", "}"):
            token = tokens.pop(0)
            if token in ("(", "[", "{"):
                inner = self.alternatives(tokens)
                tokens.pop(0)
                most = {"(": 0, "[": 1, "{": None}[token]
                found.append(inner if token == "(" else repeated(inner, most))
            else:
                quoted = token.startswith("'")
                found.append(word(re.escape(token[1:-1])) if quoted else self.named(token))
        return sequence(found)


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """(names, body) of every rule; two may stand on a line, and comments behind two spaces."""
    joined = re.sub(r"\n +(?![a-z, ]+::=)", " ", text)
    for line in joined.splitlines():
        for part in re.split(r"\s{3,}(?=[a-z]+ +::=)", line.strip()):
            heads, found, body = part.partition("::=")
            if found:
                yield heads.strip(), re.sub(r"\((indented|ring)[^)]*\)", "", body)


def by_lines(text: str) -> str:
    """The grammar with the ends of lines and the indentation that it tells in words."""
    for line in LINES:
        assert line in text, line
        text = text.replace(line, f"{line} '{END}'")
    return re.sub(r"':' '<end>' (block|steps)", rf"':' '{END}' '{IN}' \1 '{OUT}'", text)


LINES = (
    "['on' target]", "'static' name '=' value", "['[' dim {',' dim} ']' {fact}]", "'grid' expr {',' expr}",
    "'at' int 'by' int", "['no' 'credit'] ['no' 'signal']", "'id' int {int}", "'last' name", "'if' expr ':'",
    "'else' ':'", "['flat'] ':'", "'yield' ref {',' ref}", "flag {flag})}",
)  # fmt: skip
"""Where a line ends."""


def grammar() -> Grammar:
    (text,) = blocks(DOCS / "language.md", "grammar")
    return Grammar(by_lines(text) + MORE)


def logical(text: str) -> list[tuple[int, str]]:
    """(indent, text) of the lines, comments and notes away and continued lines joined."""
    found: list[tuple[int, str]] = []
    for raw in text.splitlines():
        bare = raw.strip()
        if bare.startswith("|") and found:
            more = bare[1:].strip().split("#")[0]
            joined = "| " + more if more.split(" ")[0] in ("as", "if", "wait", "set") else more
            found[-1] = (found[-1][0], f"{found[-1][1]} {joined}")
        elif bare.startswith("note ") or (bare := raw.split("#")[0].strip()):
            found.append((len(raw) - len(raw.lstrip()), bare))
    return [line for line in found if not line[1].startswith("note ")]


def tokens_of(text: str) -> list[str]:
    """The tokens of a text, with the ends of its lines and of its blocks."""
    found: list[str] = []
    depth = 0
    for indent, line in logical(text):
        assert indent % 2 == 0, line
        while depth * 2 < indent:
            found.append(IN)
            depth += 1
        while depth * 2 > indent:
            found.append(OUT)
            depth -= 1
        found += [*TOKEN.findall(line), END]
    return [*found, *[OUT] * depth]


GRAMMAR = grammar()


def recognised(text: str) -> None:
    """Asserts that ``text`` follows the grammar."""
    tokens = tokens_of(text)
    ends = list(GRAMMAR.rules["kernel"](tokens, 0))
    assert len(tokens) in ends, f"not in the grammar, from: {tokens[max(ends, default=0) :][:12]}"
