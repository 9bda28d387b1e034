"""Rules that hold for all of the code, read from its text: who may import whom, what never changes.

Each table is complete: an entry that is no longer needed fails too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests import ROOT


@cache
def modules() -> dict[str, ast.Module]:
    """Of the code itself, by path; not read where these tests are only collected."""
    return {
        path.relative_to(ROOT).with_suffix("").as_posix(): ast.parse(path.read_text())
        for package in ("lowering", "pto")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


INDEPENDENT = {
    "lowering/hazards": {"lowering.hazards", "lowering.svg"},
    "lowering/schedule/passes": {
        "lowering.schedule.passes",
        "lowering.schedule.options",
        "lowering.unroll",
    },
    "lowering/ascend": {"lowering.ascend"},
    "lowering/execute/sequential": {
        "lowering.execute.access",
        "lowering.execute.folds",
        "lowering.execute.inputs",
        "lowering.execute.scales",
        "lowering.execute.sums",
    },
    "pto": {"lowering.call", "lowering.lowered"},
}
"""Who judges or is judged shares no code with the other: what each may import from ``lowering``.  ``pto``
does so when a kernel is called (``test_importing_the_language``)."""

CHANGING = set(
    """
    lowering/ascend/flat._Nest lowering/ascend/text.Context
    lowering/hazards/counters.Counter lowering/hazards/trips.Replay
    lowering/hazards/instructions.LoopCode lowering/hazards/instructions.RowCode
    lowering/hazards/instructions.Test lowering/hazards/instructions.Stage
    lowering/hazards/instructions.Head lowering/hazards/instructions.Guard
    lowering/hazards/instructions.Flat lowering/hazards/instructions.Edge
    lowering/schedule/passes/groups.Group lowering/schedule/passes/lanes.Side lowering/schedule/passes/lives.Life
    lowering/schedule/passes/rings.Ring
    lowering/schedule/passes/sync.Edits pto/lexer.Line
    """.split()
)
"""Records of the compiler that are built up step by step; all others are values."""


WALKERS = {"lowering/unroll", "lowering/execute/core", "lowering/values/tokens"}
"""The domains of the one walk of a core; whoever judges it has its own."""


def test_who_walks() -> None:
    assert {
        name for name, tree in modules().items() if "lowering.walk" in imported(tree)
    } == WALKERS


def test_the_proof_has_its_own_rules_of_a_row() -> None:
    """What a row reads and writes, and when it runs: it judges those that share these."""
    shared = {"touched", "shift_of", "in_own_order"}
    for name, tree in modules().items():
        if name.startswith("lowering/hazards/"):
            used = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(tree)}
            assert not used & shared, name


@pytest.mark.parametrize("package", INDEPENDENT)
def test_who_imports_whom(package: str) -> None:
    found = set()
    for name, tree in modules().items():
        if name == package or name.startswith(f"{package}/"):
            found |= {m for m in imported(tree) if m.split(".")[0] == "lowering"}
    allowed = INDEPENDENT[package]
    assert not {m for m in found if not any(f"{m}.".startswith(f"{a}.") for a in allowed)}
    assert not {a for a in allowed if not any(f"{m}.".startswith(f"{a}.") for m in found)}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules by full name; of what is imported from a package, those that are modules themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                path = f"{node.module}.{alias.name}".replace(".", "/")
                is_module = not {path, f"{path}/__init__"}.isdisjoint(modules())
                yield dotted(path) if is_module else node.module or ""


def test_no_import_circle() -> None:
    """Modules import each other in one direction; an import for the type checker alone counts, one
    inside of a function does not."""
    left = {dotted(name): set(imported_at_once(tree)) for name, tree in modules().items()}
    while ground := [m for m, needed in left.items() if not needed & left.keys()]:
        for m in ground:
            del left[m]
    while top := left.keys() - {m for needed in left.values() for m in needed}:
        for m in top:
            del left[m]
    assert not {m: sorted(needed & left.keys()) for m, needed in left.items()}


def test_the_modules_of_the_proof_are_named_in_order() -> None:
    """``lowering/hazards/__init__.py`` names all of them, each behind those that it imports."""
    package = "lowering/hazards"
    said = ast.get_docstring(modules()[f"{package}/__init__"]) or ""
    named = [f"{package}/{name}" for name in re.findall(r"``(\w+)``", said)]
    assert sorted([*named, f"{package}/__init__"]) == [m for m in modules() if package in m]
    for k, name in enumerate(named):
        late = set(map(dotted, named[k:])) & set(imported_at_once(modules()[name]))
        assert not late, f"{name} imports {late}"


def dotted(name: str) -> str:
    return name.removesuffix("/__init__").replace("/", ".")


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """The modules of this project that a module imports outside of functions."""
    known = {dotted(name) for name in modules()}
    todo: list[ast.AST] = [*tree.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module or ""
        elif not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)


def test_records_are_values() -> None:
    """``@dataclass(frozen=True, slots=True)``; those in the table ``@dataclass(slots=True)``."""
    told = dict(dataclasses())
    assert {name for name, options in told.items() if "frozen=True" not in options} == CHANGING
    assert not [name for name, options in told.items() if "slots=True" not in options]


def dataclasses() -> Iterator[tuple[str, set[str]]]:
    for name, tree in modules().items():
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            made = [ast.unparse(d) for d in node.decorator_list if "dataclass" in ast.unparse(d)]
            if made and name.startswith(
                ("lowering/schedule/passes", "lowering/hazards", "lowering/ascend", "pto")
            ):
                yield f"{name}.{node.name}", set(re.findall(r"\w+=\w+", made[0]))


LOOSE_ZIPS = {
    "lowering/hazards/happens_before._first_difference": "the loops that two rows share",
    "lowering/hazards/tensor_conflicts._meet": "the loops that two rows share",
    "lowering/hazards/window.window": "a window may be empty",
    "lowering/simulate/gantt.numbered": "shades repeat without end",
    "lowering/simulate/timing.critical_path": "each with the end of the one before",
    "pto/slot_form.define": "the branches that two places share",
    "pto/slot_form.memories": "the last operands may be left out",
    "pto/checker.statement": "the last operands may be left out",
    "pto/row_rules.check_operands": "the last operands may be left out",
    "pto/row_rules.check_types": "the last operands may be left out",
}


def test_zips_are_strict() -> None:
    """Lists that go together are equally long; where they are not, this table says why."""
    found = {
        f"{name}.{function.name}"
        for name, tree in modules().items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "zip"
        if not ast.unparse(call).endswith("strict=True)")
    }
    assert found == set(LOOSE_ZIPS)
