"""The named schedules side by side in simulated time: what the tables hold, and what they must show."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest

from lowering.bench.schedules import (
    REFERENCES,
    WIDE_PAGES,
    WIDE_QUERIES,
    Reference,
    Report,
    report,
)
from lowering.cli import GOOD, USAGE, main
from lowering.schedule import NAMED, schedule
from lowering.schedule.tune import LATENCIES, SHORT
from lowering.simulate import Setup
from lowering.simulate.launch import launch
from pto.ir import Kernel
from pto.kernels import SHIPPED
from pto.targets.a2a3 import A2A3


def programs(kernel: str, case: Reference) -> dict[str, Kernel]:
    traced = SHIPPED[kernel].trace(**case.statics)
    return {name: schedule(traced, name).kernel for name in NAMED}


@cache
def reported(pages: bool) -> tuple[Report, tuple[str, ...]]:
    """Of the reference case with wide pages, or of that with many queries, and what is told of it; docs/guides shows
    the first."""
    case, told = WIDE_PAGES if pages else WIDE_QUERIES, list[str]()
    made = programs("paged_attention", case)
    found = report("", made, case, launches=False, workers=1, tell=told.append)
    return found, tuple(told)


@pytest.mark.parametrize(
    ("pages", "times"),
    [(True, 1.3), pytest.param(False, 1.7, marks=pytest.mark.sweep)],
    ids=["pages", "queries"],
)
def test_what_the_tables_must_show(pages: bool, times: float) -> None:
    """The default is next to the busiest pipe, never slower than another schedule, and much faster
    than the repair; the others follow their history (docs/machine.md 16.2 and 16.3): the prefetch was
    fast, the repair of its failure gave a part of that back."""
    found, _ = reported(pages)
    for section, most in zip(found.sections, (1.10, 1.25), strict=True):
        assert tuple(section.figures) == LATENCIES
        for by_name in section.figures.values():
            assert tuple(by_name) == tuple(NAMED)
            assert 1 <= by_name["best"].ratio <= most
            assert by_name["best"].cycles == min(f.cycles for f in by_name.values())
    by_name = found.sections[0].figures[0]
    assert by_name["repair"].cycles >= times * by_name["best"].cycles
    assert by_name["prefetch"].cycles < by_name["repair"].cycles < by_name["serial"].cycles


@pytest.mark.sweep
def test_a_launch() -> None:
    """A case small enough: 26 work items on 24 clusters."""
    case = Reference(WIDE_PAGES.statics, 4, 26, {"serial": (1, 2), "repair": (3, 3)}, 4)
    made = programs("paged_attention", case)
    told: list[str] = []
    few = {n: made[n] for n in ("serial", "repair", "best")}
    found = report("title", few, case, workers=1, tell=told.append)
    even, uneven = found.sections[2:]
    for latency in LATENCIES:
        want = launch(made["best"], [4] * 26, Setup(latency=latency))
        got = even.figures[latency]["best"]
        assert (got.cycles, got.bound_cycles, got.bound_pipe) == (
            want.makespan,
            want.bound,
            want.bound_pipe,
        )
        assert uneven.figures[latency]["best"].cycles < got.cycles
    assert max(map(len, told)) <= 100
    assert "24 clusters, 26 work items of 4, 0, 2, 1, 3 blocks in turn, us" in told[-4]
    measured = told[told.index("    K and V once at 1.6 TB/s: 4") - 1]
    assert measured.split() == ["an", "A3", "1-2", "3", "-"]
    assert found.facts()["situations"][2]["measured_us"] == {"serial": (1, 2), "repair": (3, 3)}


def test_the_sizes_of_the_reference_cases() -> None:
    """The memory moves K and V once in the time that docs/machine.md 11.3 says."""
    for case in REFERENCES["paged_attention"]:
        pages = SHIPPED["paged_attention"].trace(**case.statics).statics
        block, dim = dict(pages)["block"], dict(pages)["dim"]
        assert case.blocks * int(block) == 8192
        size = 2 * case.items * 8192 * int(dim) * 2  # K and V, two bytes
        once = size / A2A3.costs["flat"].hbm_bytes_per_second
        assert once * 1e6 == pytest.approx(case.once, rel=0.01)
    assert len(SHORT) == 64


# ------------------------------------------------------------------------------------- the command

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(("bench", *argv))
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        return status, *capsys.readouterr()

    return run


def test_the_table(say: Say) -> None:
    argv = ("--schedules", "gemm", "--no-launch", "-D", "tile_k=32", "--local-depth", "3")
    status, out, _ = say(*argv)
    assert status == GOOD and max(map(len, out.splitlines())) <= 100
    title, after, head, *lines = out.splitlines()
    assert title.startswith("gemm ") and title.endswith("tile_k=32 activation=relu, costs device")
    assert after == "  before: repair, after: best (local_depth=3)"
    assert head.split() == [*NAMED, "delta", "best", "/", "bound"]
    assert [x.split()[:2] for x in lines[1:4]] == [["latency", str(c)] for c in LATENCIES]


def test_the_facts_for_machines(say: Say) -> None:
    status, out, _ = say("--schedules", "gemm", "--no-launch", "--json", "--costs", "fitted")
    (found,) = json.loads(out)
    assert status == GOOD and "costs fitted" in found["title"]
    for situation in found["situations"]:
        for by_name in situation["by_latency"].values():
            assert list(by_name) == list(NAMED)
            assert all(f["cycles"] >= f["bound_cycles"] for f in by_name.values())


@pytest.mark.parametrize(
    ("argv", "message"),
    {
        "--schedules --schedule serial": "--schedule has no effect with --schedules, which measures nothing",
        "--schedules --no-jax": "--no-jax has no effect with --schedules, which measures nothing",
        "--schedules rmsnorm --costs fited": "a2a3 has no costs 'fited'",
        "--schedules nowhere.ptoir": "nowhere.ptoir: No such file",
        "--costs fitted": "--costs has no effect where nothing is simulated\n  help: --schedules",
        "--no-jax --json": "--json has no effect where nothing is simulated\n  help: --schedules",
    }.items(),
)
def test_a_mistake_is_one_message(say: Say, argv: str, message: str) -> None:
    status, out, err = say(*argv.split())
    assert (status, out) == (USAGE, "")
    assert err.startswith("error: ") and message in err
