"""The tables of targets: no row of a memory, a pipe or a chip lacks anything, and where others know of it
too (the proof, the native machine, the emitter), they know the same.

Each complaint names the row, what is missing and the file to go to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lowering.ascend.functions import FUNCTIONS
from lowering.hazards.places import MEMORY_OF, SPACES_OF
from pto.ops import OPS, STORE_PIPE, TILE
from pto.targets import GM, TARGETS, Pipe, Space, Target
from pto.targets.a2a3 import A2A3
from pto.targets.table import TileClass
from pto.types import LAYOUTS, UNIT_BYTES

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "lowering/native/include/native"
HEADER = (NATIVE / "machine.hpp").read_text()
FUNCTION_TEXT = "\n".join(line for text in FUNCTIONS.values() for line in text)

NO_OP_YET = {
    ("FIX", "l0c", "l1"): "L0C to L1 (docs/machine.md 3.1)",
    ("MTE3", "l1", GM): "L1 to GM (docs/machine.md 3.1)",
}
"""What a pipe of the machine can and no op does: the proof would judge it as any other."""


def native_rows(name: str) -> list[list[str]]:
    """The entries of a list of the native machine."""
    (text,) = re.findall(rf"#define {name}\(X\)((?:.*\\\n)*.*)\n", HEADER)
    return [re.split(r",\s*", entry) for entry in re.findall(r"X\(([^)]*)\)", text)]


def constant(name: str) -> int:
    (value,) = re.findall(rf"constexpr int {name} = (\d+);", HEADER)
    return int(value)


def moves_of_ops(target: Target, operands: int | None = None) -> set[tuple[str, str, str]]:
    """(pipe, from, to) of every op that moves tiles, from where its first ``operands`` are, or all; what is no tile
    is in GM."""
    found = set()
    for op in (o for o in OPS.values() if o.kind == "move" and o.out):
        ends = tuple(TILE not in x.kinds for x in (op.args[0], op.out) if x)
        told = (
            {s for a in op.args[:operands] for s in a.memory},
            set(op.out.memory if op.out else ()),
        )
        for core, pipes in op.on.items():
            homes = {GM, *(s.name for s in target.spaces.values() if s.core == core)}
            for name in pipes:
                moves = [m for m in target.pipes[name].moves if homes.issuperset(m)]
                found |= {
                    (name, *m)
                    for m in moves
                    if tuple(s == GM for s in m) == ends
                    and all(not known or s in known for known, s in zip(told, m, strict=True))
                }
    return found


# ------------------------------------------------------------------------------- what a row lacks


def lacks_of_space(s: Space, t: Target) -> Iterator[str]:
    row = f"{t.name}, memory {s.name}"
    if s.capacity_bytes <= 0 or s.align_bytes % UNIT_BYTES or s.capacity_bytes % s.align_bytes:
        yield f"{row}: its bytes are no multiple of its alignment, or that none of {UNIT_BYTES}"
    if not s.layouts or not set(s.layouts) <= set(LAYOUTS):
        yield f"{row}: pto/types.py does not know how a tile lies there"
    for made in s.layouts.values():
        if f"using {made.name} =" not in FUNCTION_TEXT:
            yield f"{row}: lowering/ascend/functions.py has no {made.name}"
    moves = {m for p in t.pipes.values() for m in p.moves}
    if s.name not in {b for _, b in moves} or s.name not in {a for a, _ in moves}:
        yield f"{row}: no pipe of the target writes it, or none reads it"
    if s.name not in SPACES_OF[t.name].get(s.core, ()):
        yield f"{row}: lowering/hazards/places.py has no {s.name} on the {s.core} core"
    native = {name.lower(): (size, align) for name, _, size, align in native_rows("NATIVE_SPACES")}
    size, align = native.get(s.name, ("0", "0"))
    k, _, shift = size.partition(" << ")
    if (int(k) << int(shift or 0), int(align)) != (s.capacity_bytes, s.align_bytes):
        yield f"{row}: lowering/native/include/native/machine.hpp has other bytes, or none"


def lacks_of_pipe(p: Pipe, t: Target) -> Iterator[str]:
    row = f"{t.name}, pipe {p.name}"
    homes = {t.spaces[s].core for m in p.moves for s in m if s in t.spaces}
    if not p.cores or not homes <= set(p.cores):
        yield f"{row}: a memory of its moves is on a core that has no such pipe"
    if any(s not in (*t.spaces, GM) for m in p.moves for s in m):
        yield f"{row}: a memory of its moves has no row"
    if not set(p.needs_barrier) <= {"reads", "writes", "overwrites"} or (
        p.needs_barrier and not p.barrier
    ):
        yield f"{row}: it needs a barrier that it does not have, or for what no row does"
    sides = tuple(tuple({m[k]: 0 for m in p.moves if m[k] != GM}) for k in (0, 1))
    judged = MEMORY_OF[t.name].get(p.name, ((), ()))
    if tuple(map(set, sides)) != tuple(map(set, judged)):
        yield f"{row}: lowering/hazards/places.py says that it reads and writes {judged}, not {sides}"
    if [p.name] not in native_rows("NATIVE_PIPES"):
        yield f"{row}: lowering/native/include/native/machine.hpp does not know it"
    if not any(
        p.name in pipes for op in OPS.values() if op.kind != "sync" for pipes in op.on.values()
    ):
        yield f"{row}: pto/ops.py has no op that runs on it"
    moved = moves_of_ops(t)
    for a, b in p.moves:
        known = (p.name, a, b) in moved or {a, b} <= computed(p.name, t)
        if not known and (p.name, a, b) not in NO_OP_YET:
            yield f"{row}: pto/ops.py has no op that moves {a} to {b}"
    for costs in t.costs.values():
        for name, a, b in moves_of_ops(t, 1):
            if name == p.name and (a, b) not in costs.transfer:
                yield f"{row}: its table of costs '{costs.name}' has no {a} to {b}"


def computed(pipe: str, t: Target) -> set[str]:
    """The memories of the operands and results of what computes on a pipe."""
    computes = [o for o in OPS.values() if o.kind not in ("move", "sync", "scalar")]
    if not any(pipe in pipes for o in computes for pipes in o.on.values()):
        return set()
    return {s for m in t.pipes[pipe].moves for s in m} - {GM}


def lacks_of_target(t: Target) -> Iterator[str]:
    if t.name not in SPACES_OF or t.name not in MEMORY_OF:
        yield f"{t.name}: lowering/hazards/places.py has no machine of that name"
        return
    for s in t.spaces.values():
        yield from lacks_of_space(s, t)
    for p in t.pipes.values():
        yield from lacks_of_pipe(p, t)
    told = {s for found in SPACES_OF[t.name].values() for s in found} | set(MEMORY_OF[t.name])
    for name in sorted(told - set(t.spaces) - set(t.pipes)):
        yield f"{t.name}: pto/targets has no row for {name}, which lowering/hazards/places.py knows"
    for op in OPS.values():
        for core, pipes in op.on.items():
            if op.kind not in ("sync", "debug") and not any(t.pipe_of(core, p) for p in pipes):
                yield f"{t.name}: {op.name} has no pipe on the {core} core"
        for operand in op.args:
            for memory in (m for m in operand.memory if m not in t.spaces):
                yield f"{t.name}: {op.name} wants a tile in {memory}, which has no row"
    numbers = {"LANES": t.lanes, "EVENT_IDS": t.event_ids, "MOST_SIGNALS": t.most_signals}
    for name, value in numbers.items():
        if constant(name) != value:
            yield f"{t.name}: lowering/native/include/native/machine.hpp has another {name}"
    if t.drain_id >= t.event_ids or max(t.ring_period) > t.most_signals:
        yield f"{t.name}: no flag for drains, or rings of more slots than signals"
    if not t.costs:
        yield f"{t.name}: it has no table of costs"


@pytest.mark.parametrize("name", TARGETS)
def test_no_row_lacks_anything(name: str) -> None:
    missing = list(lacks_of_target(TARGETS[name]))
    assert not missing, "\n".join(missing)


def test_only_tables_name_a_target() -> None:
    """Everybody else asks the target that the kernel names."""
    tables = ("pto/targets/", "lowering/hazards/places.py")
    for path in sorted(p for room in ("pto", "lowering") for p in (ROOT / room).rglob("*.py")):
        if path.relative_to(ROOT).as_posix().startswith(tables):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.Name):
                said = str(node.id if isinstance(node, ast.Name) else node.value)
                assert said.lower() not in TARGETS, f"{path}:{node.lineno}"


def test_what_no_op_does_is_what_a_pipe_can() -> None:
    moves = {(p.name, *m) for t in TARGETS.values() for p in t.pipes.values() for m in p.moves}
    moved = {m for t in TARGETS.values() for m in moves_of_ops(t)}
    assert set(NO_OP_YET) <= moves and not moved & set(NO_OP_YET)


def test_what_leaves_a_core_reaches_gm() -> None:
    for t in TARGETS.values():
        for core, pipe in STORE_PIPE.items():
            assert any(t.meets_gm(s.name) for s in t.reach(core, pipe, writes=False)), (
                t.name,
                core,
            )


WRONG_SPACES: Mapping[str, Space] = {
    "no multiple": Space("ub", "vector", 1000, 32, {"nd": TileClass("Ub")}),
    "how a tile lies": Space("ub", "vector", 184 << 10, 32, {"tt": TileClass("Ub")}),
    "functions.py has no Bt": Space("ub", "vector", 184 << 10, 32, {"nd": TileClass("Bt")}),
    "no pipe of the target writes it": Space("odd", "cube", 1024, 64, {"nd": TileClass("Ub")}),
    "places.py has no odd": Space("odd", "cube", 1024, 64, {"nd": TileClass("Ub")}),
    "machine.hpp has other bytes": Space("l1", "cube", 1024, 64, {"nz": TileClass("L1Nz")}),
}
WRONG_PIPES: Mapping[str, Pipe] = {
    "on a core that has no such pipe": Pipe("V", ("cube",), (("ub", "ub"),)),
    "has no row": Pipe("V", ("vector",), (("ub", "odd"),)),
    "a barrier that it does not have": Pipe("V", ("vector",), (("ub", "ub"),), False, ("reads",)),
    "places.py says": Pipe("MTE1", ("cube",), (("l1", "l0a"),)),
    "machine.hpp does not know it": Pipe("ODD", ("cube",)),
    "no op that runs on it": Pipe("ODD", ("cube",)),
    "no op that moves l1 to ub": Pipe("MTE3", ("cube", "vector"), (("l1", "ub"),)),
    "has no l0a to l0b": Pipe("MTE1", ("cube",), (("l0a", "l0b"),)),
}


@pytest.mark.parametrize("words", WRONG_SPACES)
def test_what_a_memory_lacks(words: str) -> None:
    told = list(lacks_of_space(WRONG_SPACES[words], A2A3))
    assert any(words in t for t in told), told


@pytest.mark.parametrize("words", WRONG_PIPES)
def test_what_a_pipe_lacks(words: str) -> None:
    p = WRONG_PIPES[words]
    told = list(lacks_of_pipe(p, replace(A2A3, pipes={**A2A3.pipes, p.name: p})))
    assert any(words in t for t in told), told


def test_what_a_target_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    (told,) = lacks_of_target(replace(A2A3, name="a3"))
    assert told == "a3: lowering/hazards/places.py has no machine of that name"
    monkeypatch.setitem(SPACES_OF, "a3", {})
    monkeypatch.setitem(MEMORY_OF, "a3", {**MEMORY_OF["a2a3"], "ODD": ((), ())})
    without = {n: s for n, s in A2A3.spaces.items() if n != "l0b"}
    wrong = replace(A2A3, name="a3", spaces=without, lanes=1, drain_id=8, costs={})
    told_all = "\n".join(lacks_of_target(wrong))
    for words in (
        "no row for ODD", "matmul wants a tile in l0b", "another LANES", "no flag for drains",
        "no table of costs",
    ):  # fmt: skip
        assert words in told_all
