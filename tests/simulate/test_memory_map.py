"""What the memories hold, against a recomputation by names of rows and times alone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict

import pytest

from lowering.simulate import Timing, memory_map, simulate
from lowering.simulate.held import Held, held
from lowering.simulate.timing import LANE
from pto import ir
from pto.row_rules import touched
from tests.simulate.timed import original, scheduled

SVG = "{http://www.w3.org/2000/svg}"
RUNS = {
    "best": lambda: simulate(scheduled("paged_attention", "best"), [9]),
    "serial": lambda: simulate(scheduled("paged_attention", "serial"), [3, 1]),
    "gemm": lambda: simulate(scheduled("gemm", "best"), [4, 4]),
    "rmsnorm": lambda: simulate(scheduled("rmsnorm", "best"), [1, 1, 1]),
    "by hand": lambda: simulate(original("repair"), [4, 2]),
}


@pytest.fixture(params=RUNS)
def timing(request: pytest.FixtureRequest) -> Timing:
    return RUNS[request.param]()


def in_time(t: Timing) -> dict[tuple[str, int], list[tuple[int, int, str]]]:
    """By slot: (start, end, name) of every value, from the accesses sorted by time: a write starts a
    value, the reads until the next write hold it."""
    buffers = {b.name: b for b in t.kernel.buffers}
    events: dict[tuple[str, int], list[tuple[int, int, int, str, str]]] = defaultdict(list)
    for s in t.spans:
        if s.unit.startswith(("cube", LANE)):
            reads, writes = touched(s.row, lambda e, s=s: bool(ir.evaluate(e, s.scope.__getitem__)))
            for kind, refs in ((0, reads), (1, writes)):
                for x in refs:
                    if isinstance(x, ir.Ref):
                        at = (
                            0 if x.index is None else int(ir.evaluate(x.index, s.scope.__getitem__))
                        )
                        name = s.row.value if kind and x == s.row.out and s.row.value else x.name
                        slot = x.name, at % buffers[x.name].depth
                        events[slot].append((s.start, kind, s.end, name, s.unit))
    found: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for slot, accesses in events.items():
        mine: list[list[int | str]] = []
        last = 0, ""
        for start, kind, end, name, unit in sorted(accesses):
            if kind and mine and last[1] == unit:  # a pipe reads and writes in order
                mine[-1][1] = min(int(mine[-1][1]), start)
            last = (end, unit) if kind else max(last, (end, unit))
            if kind:
                mine.append([start, end, name])
            elif mine:
                mine[-1][1] = max(int(mine[-1][1]), end)
        found[slot] = [(int(a), int(b), str(name)) for a, b, name in mine]
    return found


def by_slot(values: list[Held]) -> dict[tuple[str, int], list[tuple[int, int, str]]]:
    found: dict[tuple[str, int], list[tuple[int, int, str]]] = defaultdict(list)
    for v in values:
        found[v.buffer.name, v.slot].append((v.start, v.end, v.name))
    return dict(found)


def test_what_is_held_and_when(timing: Timing) -> None:
    """In a right schedule the order of issue and that in time say the same of every slot."""
    assert by_slot(held(timing)) == in_time(timing)


def test_no_bytes_hold_two_values_at_one_time(timing: Timing) -> None:
    values = sorted(held(timing), key=lambda v: (v.start, v.end))
    assert values
    for k, a in enumerate(values):
        for b in values[k + 1 :]:
            same = a.buffer.space == b.buffer.space
            meet = a.bytes[0] < b.bytes[1] and b.bytes[0] < a.bytes[1]
            assert not (same and meet) or a.end <= b.start, (a, b)


def boxes(root: ET.Element) -> list[tuple[str, float, float, float]]:
    """(what the pointer shows, left, top, bottom)."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            y = float(rect.get("y", 0))
            found.append(
                (str(title.text), float(rect.get("x", 0)), y, y + float(rect.get("height", 0)))
            )
    return found


@pytest.mark.parametrize("steps", [1, None])
def test_the_picture_has_every_value_of_its_time(timing: Timing, steps: int | None) -> None:
    drawing = memory_map._Drawing(timing, steps)
    root = ET.fromstring(memory_map.svg(timing, steps))
    shown = boxes(root)
    want = [v for v in held(timing) if v.start < drawing.end and v.end > drawing.start]
    assert len(shown) == len(want)
    assert {s[0].split(" in ")[0] for s in shown} == {v.name for v in want}
    text = [str(e.text) for e in root.iter(f"{SVG}text")]
    for part in drawing.parts:
        buffers = [b for b in timing.kernel.buffers if b.space == part.space]
        mark = max(b.at + (b.depth - 1) * b.stride + b.type.size_bytes for b in buffers)
        (title,) = (x for x in text if x.startswith(f"{part.space} ("))
        assert f"{part.capacity:,} bytes: high-water mark {mark:,} " in title
        least = max(v.buffer.type.size_bytes for v in part.values) if part.values else 0
        assert least <= part.most <= mark
        lines = [x for line in part.lines for x in (line.start, line.end)]
        assert (lines[0], lines[-1]) == (0, part.capacity) and sorted(lines) == lines


def test_a_value_has_the_name_of_the_user() -> None:
    shown = boxes(ET.fromstring(memory_map.svg(RUNS["best"]())))
    assert [s for s in shown if re.match(r"p in qk_v\[[01]\]   w=0 i=\d+ ", s[0])]
