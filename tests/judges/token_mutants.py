"""Single tokens of this project's own code changed at random: does a test notice?

    python -m tests.judges.token_mutants --count 40 --seed 1
    python -m tests.judges.token_mutants --at lowering/schedule/passes/place.py:178

In: a seed, and the working tree, which is only read.  Out: one line per change (``killed`` with the
test that failed, or ``survived``), and the share of those killed; the exit code is 1 if one
survived.  The same seed and tree give the same changes.

Every change is made in a copy of the tree in a temporary folder.  Which tests run a statement is
found once and kept in ``build/``: ``python -m tests.judges.token_mutants --map``
renews it.  Of each change those tests run first, the shortest first, up to the first failure; then
those that start other processes, whose statements nobody sees; then the type checker.  A statement
newer than the map is met by the tests of its function, else by all.

Non-goals: programs of the project changed (``tests/judges/mutants.py``), error messages, annotations.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib.abc
import importlib.machinery
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from tests import ROOT

PLACES = ("lowering/schedule/passes", "lowering/hazards", "lowering/ascend", "pto")
MAP = ROOT / "build" / "token_mutants.json"

CHANGES: dict[str, tuple[str, ...]] = {
    "<": ("<=",), "<=": ("<",), ">": (">=",), ">=": (">",), "==": ("!=",), "!=": ("==",),
    "is": ("is not",), "in": ("not in",), "not": ("",),
    "and": ("or",), "or": ("and",), "any": ("all",), "all": ("any",),
    "+": ("-",), "-": ("+",), "*": ("//",), "//": ("*",), "%": ("//",),
    "+=": ("-=",), "-=": ("+=",), "&": ("|",), "|=": ("&=",),
    "min": ("max",), "max": ("min",), "True": ("False",), "False": ("True",),
    "break": ("continue",), "continue": ("break",),
}  # fmt: skip
"""By token; whole numbers become one more or one less, texts that are compared or looked up get a
tail.  What is no Python any more, or the same program, is not a change."""

Position = tuple[int, int]


@dataclass(frozen=True)
class Change:
    """One token of one file, from column to column."""

    file: str
    line: int
    columns: Position
    old: str
    new: str
    statement: tuple[str, str]
    """The function around it, and the first line of its statement; "" at the top of a module."""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}:{self.columns[0] + 1}: {self.old} -> {self.new or 'nothing'}"
        )

    def made(self, text: str) -> str:
        lines = text.splitlines(keepends=True)
        old = lines[self.line - 1]
        first, last = self.columns
        lines[self.line - 1] = old[:first] + self.new + old[last:]
        return "".join(lines)


# ------------------------------------------------------------------------------- what can change


def changes_of(file: str, text: str) -> Iterator[list[Change]]:
    """For every token of a module its changes, some of which may be no Python."""
    tree = ast.parse(text)
    said, keys = spans(text, not_logic(tree)), spans(text, key_texts(tree))
    around = list(statements(tree, text.splitlines()))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        place, columns = token.start, (token.start[1], token.end[1])
        new = replacements(token, keys)
        if new and not any(start <= place < end for start, end in said):
            found = [s for s in around if s.start <= place < s.end]
            statement = max(found, key=lambda s: s.start).key if found else ("", "")
            yield [Change(file, place[0], columns, token.string, n, statement) for n in new]


def replacements(token: tokenize.TokenInfo, keys: Sequence[tuple[Position, Position]]) -> list[str]:
    if token.type == tokenize.NUMBER and token.string.isdecimal():
        n = int(token.string)
        return [str(n + 1), str(n - 1)] if n else ["1"]
    if token.type == tokenize.STRING:
        inside = any(start == token.start for start, _ in keys)
        return [f"{token.string[:-1]}_{token.string[-1]}"] if inside else []
    if token.type in (tokenize.NAME, tokenize.OP):
        return list(CHANGES.get(token.string, ()))
    return []


def is_another_program(change: Change, text: str) -> bool:
    try:
        return ast.dump(ast.parse(change.made(text))) != ast.dump(ast.parse(text))
    except SyntaxError:
        return False


def not_logic(tree: ast.AST) -> Iterator[ast.AST]:
    """Error messages and annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            yield node
        elif isinstance(node, ast.Assert) and node.msg:
            yield node.msg
        elif isinstance(node, ast.AnnAssign | ast.arg) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns:
            yield node.returns


def key_texts(tree: ast.AST) -> Iterator[ast.AST]:
    """Texts that are compared or looked up."""
    for node in ast.walk(tree):
        sought: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            sought = [node.left, *node.comparators]
            sought += [x for s in sought if isinstance(s, ast.Tuple | ast.Set) for x in s.elts]
        elif isinstance(node, ast.Subscript):
            sought = [node.slice]
        elif isinstance(node, ast.Dict):
            sought = [*node.keys]
        yield from (x for x in sought if isinstance(x, ast.Constant) and isinstance(x.value, str))


def spans(text: str, nodes: Iterable[ast.AST]) -> list[tuple[Position, Position]]:
    """Where nodes begin and end; ``ast`` counts columns in bytes."""
    lines = [line.encode() for line in text.splitlines()]

    def column(line: int, byte: int) -> Position:
        return line, len(lines[line - 1][:byte].decode())

    found = []
    for node in nodes:
        x: Any = node
        found.append((column(x.lineno, x.col_offset), column(x.end_lineno, x.end_col_offset)))
    return found


@dataclass(frozen=True)
class Statement:
    start: Position
    end: Position
    key: tuple[str, str]
    body: list[ast.stmt]
    """The block that it is in."""
    node: ast.stmt


def statements(tree: ast.AST, lines: list[str], function: str = "") -> Iterator[Statement]:
    """All statements inside functions, those around before those inside."""
    named = isinstance(tree, ast.FunctionDef | ast.ClassDef)
    for name, block in ast.iter_fields(tree):
        for node in block if isinstance(block, list) else ():
            inside = name == "body" and isinstance(tree, ast.FunctionDef)
            within = f"{function}.{tree.name}" if named else function  # type: ignore[attr-defined]
            if isinstance(node, ast.stmt):
                if inside or (function and not isinstance(tree, ast.ClassDef | ast.FunctionDef)):
                    assert node.end_lineno is not None and node.end_col_offset is not None
                    yield Statement(
                        (node.lineno, node.col_offset),
                        (node.end_lineno, node.end_col_offset),
                        (within, lines[node.lineno - 1].strip()),
                        block,
                        node,
                    )
                yield from statements(node, lines, within)
            elif isinstance(node, ast.excepthandler | ast.match_case):
                yield from statements(node, lines, within)


def sources(root: Path) -> list[str]:
    files = [p for place in PLACES for p in (root / place).rglob("*.py")]
    return sorted(p.relative_to(root).as_posix() for p in files)


def drawn(count: int, seed: int, within: Sequence[str]) -> list[Change]:
    """``count`` tokens, each changed in one of its ways."""
    rng = random.Random(seed)
    texts = {f: (ROOT / f).read_text() for f in sources(ROOT) if f.startswith(tuple(within))}
    tokens = [changes for f, text in texts.items() for changes in changes_of(f, text)]
    rng.shuffle(tokens)
    one_each = map(rng.choice, tokens)
    return list(islice((c for c in one_each if is_another_program(c, texts[c.file])), count))


def at(places: Sequence[str]) -> list[Change]:
    """All changes at ``FILE:LINE`` or ``FILE:LINE:COLUMN``."""
    texts = {f: (ROOT / f).read_text() for f in {p.split(":")[0]: 0 for p in places}}
    every = [c for f, t in texts.items() for changes in changes_of(f, t) for c in changes]
    here = [c for c in every if any(f"{c}:".startswith(f"{p}:") for p in places)]
    return [c for c in here if is_another_program(c, texts[c.file])]


# ------------------------------------------------------------------------------- which tests meet it


@dataclass(frozen=True)
class Map:
    """Tests with their seconds; by file and "function: statement" those that meet it; and those that
    start processes, or are newer than the map, which may meet everything.  Tests that fail without
    any change, or so instrumented, say nothing and are left out."""

    seconds: dict[str, float]
    met: dict[str, dict[str, list[str]]]
    others: list[str]

    @staticmethod
    def read(today: Sequence[str]) -> Map:
        """The map as far as its tests are those of today."""
        told = json.loads(MAP.read_text())
        today = [t for t in today if t not in told["failed"]]
        names, here = list(told["seconds"]), set(today)
        met = {
            file: {key: [names[n] for n in found if names[n] in here] for key, found in of.items()}
            for file, of in told["met"].items()
        }
        seconds = {t: told["seconds"].get(t, 0.5) for t in today}
        newer = [t for t in today if t not in told["seconds"]]
        return Map(seconds, met, [*newer, *(t for t in told["starters"] if t in here)])

    def tests(self, change: Change) -> list[str]:
        """The tests that meet the statement of a change, the shortest first, then the others."""
        function, statement = change.statement
        of_file = self.met.get(change.file, {})
        found = of_file.get(f"{function}: {statement}", [])
        if not found and function:
            of_function = (t for key, t in of_file.items() if key.startswith(f"{function}: "))
            found = [test for tests in of_function for test in tests]
        chosen = sorted(set(found or self.seconds), key=lambda t: (self.seconds[t], t))
        return [*chosen, *(t for t in self.others if t not in set(chosen))]


class Instrumented(importlib.machinery.SourceFileLoader):
    """Modules whose statements say that they ran: ``token_hits[number] = 1``."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        text = importlib.util.decode_source(data)
        tree = ast.parse(text)
        file = Path(path).relative_to(Path.cwd()).as_posix()
        for s in list(statements(tree, text.splitlines())):
            if isinstance(s.node, ast.Expr) and isinstance(s.node.value, ast.Constant):
                continue  # a docstring stays the first
            mark = ast.parse(f"token_hits[{len(Recorder.keys)}] = 1").body[0]
            Recorder.keys.append((file, ": ".join(s.key)))
            Recorder.hits.append(0)
            for x in ast.walk(mark):
                ast.copy_location(x, s.node)
            s.body.insert(s.body.index(s.node), mark)
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.origin and spec.origin.endswith(".py"):
            if spec.origin.startswith(tuple(f"{Path.cwd() / p}/" for p in PLACES)):
                spec.loader = Instrumented(name, spec.origin)
        return spec


class Recorder:
    """A plugin of pytest that finds which statements every test meets."""

    keys: list[tuple[str, str]] = []  # noqa: RUF012
    hits = bytearray()

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.starters: set[str] = set()
        self.failed: set[str] = set()
        self.met: dict[tuple[str, str], list[int]] = {}
        self.current = ""
        builtins.token_hits = self.hits  # type: ignore[attr-defined]
        sys.dont_write_bytecode = True
        sys.meta_path.insert(0, Finder())
        sys.addaudithook(self.heard)

    def heard(self, event: str, args: Any) -> None:
        command = str(args) if event == "subprocess.Popen" else ""
        if event in ("os.fork", "os.posix_spawn") or re.search("python|pto", command):
            self.starters.add(self.current)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.current, self.began = nodeid, perf_counter()
        self.hits[:] = bytes(len(self.hits))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        number = len(self.seconds)
        self.seconds[nodeid] = round(perf_counter() - self.began, 3)
        for k, hit in enumerate(self.hits):
            if hit and number not in (tests := self.met.setdefault(self.keys[k], []))[-1:]:
                tests.append(number)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        met: dict[str, dict[str, list[int]]] = {}
        for (file, key), tests in self.met.items():
            met.setdefault(file, {})[key] = tests
        starters, failed = sorted(self.starters), sorted(self.failed)
        found = {"seconds": self.seconds, "starters": starters, "failed": failed, "met": met}
        Path(os.environ["TOKEN_MAP"]).write_text(json.dumps(found))


def renew_map(tree: Path) -> None:
    """Runs all tests once, in a copy, and notes who meets what."""
    MAP.parent.mkdir(exist_ok=True)
    code = "import sys, pytest; from tests.judges.token_mutants import Recorder; "
    code += "sys.exit(pytest.main(sys.argv[1:], plugins=[Recorder()]))"
    command = [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider"]
    subprocess.run(command, cwd=tree, env={**environment(tree), "TOKEN_MAP": str(MAP)})


def collected(tree: Path) -> list[str]:
    """The tests of today."""
    said = finished([sys.executable, "-m", "pytest", "--collect-only", "-q"], tree, 600) or ""
    return [line for line in said.splitlines() if "::" in line]


# ------------------------------------------------------------------------------- trying a change


class copied:
    """The tree in a temporary folder, without what is built."""

    def __enter__(self) -> Path:
        self.folder = tempfile.TemporaryDirectory(prefix="token_mutants_")
        tree = Path(self.folder.name) / ROOT.name
        skip = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", "*.pyc")
        shutil.copytree(ROOT, tree, ignore=skip)
        return tree

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()


def environment(tree: Path) -> dict[str, str]:
    """Python of the copy, in other processes too."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def verdict(change: Change, tree: Path, tests: Sequence[str], limit: float) -> str:
    """Who notices the change; "" if nobody does."""
    path = tree / change.file
    text = path.read_text()
    path.write_text(change.made(text))
    try:
        return failing_test(tree, tests, limit) or type_error(tree)
    finally:
        path.write_text(text)


def failing_test(tree: Path, tests: Sequence[str], limit: float) -> str:
    names = tree / "tests_to_run.txt"
    names.write_text("\n".join(tests))
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore", f"@{names.name}"]
    command = [sys.executable, "-m", "pytest", *options]
    done = finished(command, tree, limit)
    if done is None:
        return "no end"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done, re.MULTILINE)
    return failed.group(1) if failed else "" if " passed" in done else done.strip()[-200:]


def type_error(tree: Path) -> str:
    cache = ROOT / "build" / "token_mutants_types"
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache)]
    said = finished(command, tree, 600) or ""
    return "" if said.startswith("Success") else said.splitlines()[0]


def finished(command: Sequence[str], tree: Path, limit: float) -> str | None:
    """What a command says; None if it did not end in time, and then nothing of it is left."""
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return None


def within_budget(tests: Sequence[str], seconds: dict[str, float], budget: float) -> list[str]:
    """As many tests as take ``budget`` seconds together."""
    chosen: list[str] = []
    for test in tests:
        budget -= seconds[test] + 0.01
        if budget < 0 and chosen:
            break
        chosen.append(test)
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Draws changes, tries each, prints a line for each; 1 if one survived."""
    reader = argparse.ArgumentParser(
        prog="python -m tests.judges.token_mutants", description=__doc__
    )
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--count", type=int, default=10)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--skip", type=int, default=0, help="changes of the seed left out in front")
    reader.add_argument("--within", nargs="+", default=PLACES, help="files or folders")
    reader.add_argument("--at", nargs="+", default=(), help="FILE:LINE[:COLUMN]: all changes there")
    reader.add_argument("--map", action="store_true", help="find again which tests meet what")
    reader.add_argument("--budget", type=float, default=1e9, help="seconds of tests per change")
    args = reader.parse_args(argv)
    changes = at(args.at) if args.at else drawn(args.skip + args.count, args.seed, args.within)
    changes = changes[args.skip :]
    survivors = 0
    with copied() as tree:
        if args.map or not MAP.exists():
            renew_map(tree)
        known = Map.read(collected(tree))
        for n, change in enumerate(changes):
            tests = known.tests(change)
            chosen = within_budget(tests, known.seconds, args.budget)
            limit = 60 + 10 * sum(known.seconds[t] for t in chosen)
            print(f"{args.skip + n + 1}: {change}: ", end="", flush=True)
            began = perf_counter()
            by = verdict(change, tree, chosen, limit)
            survivors += not by
            word = f"killed by {by}" if by else f"SURVIVED {len(chosen)} of {len(tests)} tests"
            print(f"{word} ({perf_counter() - began:.0f} s)", flush=True)
            if not by:
                print(
                    "    " + (tree / change.file).read_text().splitlines()[change.line - 1].strip()
                )
    print(f"{len(changes)} changes, {len(changes) - survivors} killed, {survivors} survived")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
