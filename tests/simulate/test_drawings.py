"""The trace and the picture of a timing."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from lowering.simulate import Setup, Timing, gantt, simulate
from lowering.simulate.trace import trace
from pto.ir import all_rows
from pto.text import parse
from tests.conftest import Golden
from tests.simulate.timed import (
    HEADER,
    TO_VECTOR,
    original,
    scheduled,
)


@cache
def example() -> Timing:
    return simulate(original("repair"), [6, 2], Setup("flat", 300))


def events() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trace(example()))["traceEvents"]
    return found


def test_the_trace_has_a_process_per_core_and_a_thread_per_unit() -> None:
    names = {(e["name"], e["pid"], e["tid"]): e["args"] for e in events() if e["ph"] == "M"}
    processes = {args["name"] for (kind, *_), args in names.items() if kind == "process_name"}
    assert processes == {"cube", "vector0", "vector1"}
    threads = [
        f"{names['process_name', pid, tid]['name']} {args['name']}"
        for (kind, pid, tid), args in names.items()
        if kind == "thread_name"
    ]
    assert threads == list(example().pipes)


def test_the_slices_of_a_thread_do_not_overlap_and_add_up() -> None:
    t = example()
    threads = defaultdict(list)
    for e in events():
        if e["ph"] == "X":
            threads[e["tid"]].append((e["ts"], e["ts"] + e["dur"], e["cat"]))
    for (unit, usage), slices in zip(t.pipes.items(), threads.values(), strict=True):
        slices.sort()
        for a, b in pairwise(slices):
            assert a[1] <= b[0] + 1e-6
        stalled = sum(b - a for a, b, kind in slices if kind == "stall")
        assert stalled == pytest.approx(t.seconds(sum(usage.stall.values())) * 1e6, abs=0.02)
        assert unit.endswith(" S") != any(kind == "row" for *_, kind in slices)


def test_a_slice_says_what_a_row_waited_for() -> None:
    slices = [e for e in events() if e.get("cat") == "row"]
    pops = [e for e in slices if e["name"] == "p[u] = pop pij"]
    assert [(e["args"]["w"], e["args"]["i"]) for e in pops] == [
        *((0, i) for i in range(6)),
        *((1, i) for i in range(2)),
    ]
    products = [e for e in slices if e["name"].startswith("s_c = matmul")]
    assert {e["args"]["waited for"] for e in products} == {"event qk.l0.full"}
    first = pops[0]
    assert first["ts"] == pytest.approx(first["args"]["from cycle"] / 1850, abs=1e-4)


def test_every_arrow_starts_in_one_slice_and_ends_at_another() -> None:
    rows = [e for e in events() if e.get("cat") == "row"]
    ends: dict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
    for e in events():
        if e["ph"] in "sf":
            ends[e["id"]][e["ph"]] = e
    assert len(ends) > 20
    for pair in ends.values():
        assert pair["s"]["tid"] != pair["f"]["tid"] and pair["s"]["ts"] <= pair["f"]["ts"]
        for e in pair.values():
            assert any(
                r["tid"] == e["tid"] and r["ts"] <= e["ts"] <= r["ts"] + r["dur"] for r in rows
            )


def drawing(t: Timing, steps: int | None = gantt.STEPS) -> ET.Element:
    return ET.fromstring(gantt.svg(t, steps))


SVG = "{http://www.w3.org/2000/svg}"


def boxes(root: ET.Element) -> dict[float, list[tuple[float, float, str]]]:
    """The rows by lane: (left, right, what the pointer shows)."""
    found: dict[float, list[tuple[float, float, str]]] = defaultdict(list)
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and float(rect.get("height", 0)) == gantt.LANE:
            x, width = float(rect.get("x", 0)), float(rect.get("width", 0))
            found[float(rect.get("y", 0))].append((x, x + width, str(title.text)))
    return found


@cache
def overlapped() -> Timing:
    return simulate(scheduled("paged_attention", "best"), [12], Setup("flat"))


@pytest.mark.parametrize("steps", [1, 4, None])
@pytest.mark.parametrize("timing", [example, overlapped])
def test_no_box_lies_over_another_or_outside(
    timing: Callable[[], Timing], steps: int | None
) -> None:
    t = timing()
    root = drawing(t, steps)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    lanes = boxes(root)
    assert len(lanes) == len([u for u in t.shown if not u.endswith(" S")])
    start, end = gantt.window(t, steps)
    visible = [s for s in t.spans if s.unit == "cube MTE2" and start < s.end and s.start < end]
    assert len(visible) == len(lanes[min(lanes)])
    for lane in lanes.values():
        lane.sort()
        for a, b in pairwise(lane):
            assert a[1] <= b[0] + 0.6  # a row of no length is half a pixel wide
        assert lane[0][0] >= gantt.LEFT and lane[-1][1] <= width - gantt.RIGHT + 0.6
    lowest = [float(e.get("y", 0)) for e in root.iter(f"{SVG}text")]
    assert max(lowest) < height


def test_the_numbers_in_the_boxes_are_those_of_the_legend() -> None:
    root = drawing(example())
    texts = [e for e in root.iter(f"{SVG}text") if e.text]
    mono = [e for e in texts if e.get("font-family")]
    numbers = [e.text for e in texts if e.get("text-anchor") == "end" and str(e.text).isdecimal()]
    assert numbers == [str(k + 1) for k in range(len(mono))]
    shown = {title.split("   ")[0] for lane in boxes(root).values() for *_, title in lane}
    assert shown == {e.text for e in mono}
    named = {str(e.text).split()[0] for e in texts if re.match(r"\d+( \w+)?( i=\d+)?$", e.text)}
    assert named <= set(numbers) | {"%"}


def test_a_window_of_the_steady_state() -> None:
    t = simulate(original("drain"), [64])
    start, end = gantt.window(t, 4)
    assert end - start == pytest.approx(4 * t.makespan / 64, rel=0.05)
    assert start < t.makespan / 2 < end
    assert gantt.window(t, None) == (0, t.makespan) == gantt.window(t, 64)
    inside = [s for s in t.spans if s.row.op == "load" and start <= s.start < end]
    assert len(inside) == 8


def test_where_the_rows_lead_to() -> None:
    t = simulate(original("drain"), [6])
    found = gantt.destinations(t)
    rows = {(r.op, getattr(r.out, "name", "")): found.get(id(r)) for r in all_rows(t.kernel.body)}  # fmt: skip
    assert rows["load", "k"] == rows["matmul", "s_c"] == "sij"
    assert rows["load", "v"] == rows["move", "p_a"] == "oi"
    assert rows["exp", "s"] == "pij" and rows["pop", "o"] == rows["div", "y"] == "out"


IN_PLACE = """kernel two on a2a3
param x in f32[16, 64]
param a out f32[16, 64]
param b out f32[16, 64]
grid 1
buffer vector ub t[1] f32[8, 64] nd at 0 by 2048
event vector t.full MTE2 -> V id 0
event vector t.made V -> MTE3 id 0 1
event vector t.free MTE3 -> V id 0

vector 0 MTE2 t = load x[lane * 8:+8, :] | set t.full
vector 0 V t = mul t, 2.0 | as twice | wait t.full | set t.made[0]
vector 0 MTE3 a[lane * 8:+8, :] = store t | wait t.made[0] | set t.free
vector 0 V t = exp t | as y | wait t.free
vector 0 V barrier
vector 0 V t = add t, 1.0 | as z | set t.made[1]
vector 0 MTE3 b[lane * 8:+8, :] = store t | wait t.made[1]
"""


def test_a_tile_that_is_updated_in_place_leads_where_each_value_does() -> None:
    """By the buffer alone, all of these would lead to ``a``."""
    t = simulate(parse(IN_PLACE, "two.ptoir"), [1])
    found = gantt.destinations(t)
    rows = {r.value: found[id(r)] for r in all_rows(t.kernel.body) if r.value}
    assert rows == {"twice": "a", "y": "b", "z": "b"}
    shown = {title.split("   ")[0] for lane in boxes(drawing(t)).values() for *_, title in lane}
    assert {"t = mul t, 2.0 as twice", "t = exp t as y", "t = add t, 1.0 as z"} <= shown


def test_the_picture(golden: Golden) -> None:
    t = simulate(parse(HEADER + TO_VECTOR.format(credit=""), "small.ptoir"), [1])
    golden("simulate/fifo.svg", gantt.svg(t))
    assert gantt.svg(example()) == gantt.svg(simulate(original("repair"), [6, 2], example().setup))
