"""The README is one page, and its figures and its picture are what the commands give."""

from __future__ import annotations

import inspect

from lowering.schedule import NAMED, schedule
from lowering.simulate import Setup, gantt, simulate
from pto.kernels import SHIPPED
from tests.conftest import Golden
from tests.docs.pages import DOCS, README

KERNEL = SHIPPED["paged_attention"]
PAGE_LINES = 80


def test_it_is_one_page() -> None:
    assert len(README.read_text().splitlines()) <= PAGE_LINES


def test_figures() -> None:
    """Cycles of a request of 64 pages where a signal takes 500; the bound."""
    text = " ".join(README.read_text().split())
    timings = {
        n: simulate(schedule(KERNEL.trace(), n).kernel, [64], Setup(latency=500)) for n in NAMED
    }
    spans = {name: f"{timing.makespan:,}" for name, timing in timings.items()}
    hand = f"{spans['serial']}, {spans['prefetch']} and {spans['repair']}"
    assert f"takes {spans['best']} cycles where" in text
    assert f"by hand take {hand}, and" in text
    assert f"busy for {timings['best'].bound:,}." in text


def test_launches() -> None:
    """Microseconds as ``pto bench --launches`` prints them in the machine notes, where a signal takes 500."""
    printed = (DOCS / "machine.md").read_text().partition("bench --launches\n\n<!-- printed -->")[2]
    rows = [line.split("pages")[1].split() for line in printed.splitlines()[1:] if "pages" in line]
    (wide, deep) = ([x.replace(",", "") for x in row] for row in rows)
    seen, fitted, flat = (f"{wide[k]} and {deep[k]} µs" for k in (0, 2, 5))
    text = " ".join(README.read_text().split())
    assert f"that took them {seen} at best the simulator says {fitted}," in text
    assert f"fitted to device times, or {flat}, by flat rates (`pto bench --launches`)" in text


def test_length_of_the_kernel() -> None:
    """The lines of its body, from behind the docstring on."""
    body = inspect.getsource(KERNEL.function).partition('"""')[2].partition('"""')[2]
    lines = [line for line in body.splitlines() if line.strip()]
    assert f"is {len(lines)} lines of mathematics" in README.read_text()


def test_picture(golden: Golden) -> None:
    timing = simulate(schedule(KERNEL.trace()).kernel, [64])
    golden(DOCS / "paged_attention.svg", gantt.svg(timing))
