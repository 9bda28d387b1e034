"""``pto simulate``: the report, the facts, the files, wrong options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lowering.cli import GOOD, USAGE, main
from lowering.simulate import Setup, gantt, memory_map, simulate
from lowering.simulate.advice import notes
from lowering.simulate.launch import launch
from lowering.simulate.trace import trace
from tests import PROGRAMS, ROOT, TESTS
from tests.conftest import Golden
from tests.simulate.timed import (
    HEADER,
    TO_CUBE,
    original,
    scheduled,
)

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Runs ``pto simulate`` in a folder with a program; exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    Path("drain.ptoir").write_text((PROGRAMS / "original/drain.ptoir").read_text())
    Path("stuck.ptoir").write_text(HEADER + TO_CUBE.split("cube ")[0])

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(("simulate", *argv))
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        return status, *capsys.readouterr()

    return run


def test_the_report(say: Say, golden: Golden) -> None:
    status, out, err = say("drain.ptoir", "--costs", "published")
    assert (status, err) == (GOOD, "")
    golden("simulate/report.txt", out)
    golden("simulate/items.txt", say("drain.ptoir", "--blocks", "3,1", "--items", "5")[1])
    golden("simulate/launch.txt", say("drain.ptoir", "--items", "60", "--blocks", "2,9", "--launch")[1])  # fmt: skip
    argv = ("gemm", "--launch", "--costs", "device", "--case", "m=1024", "--case", "n=2048")
    golden("simulate/l2.txt", say(*argv)[1])
    for name in ("report", "items", "launch", "l2"):
        text = (TESTS / f"goldens/simulate/{name}.txt").read_text()
        assert max(map(len, text.splitlines())) <= 100


def test_the_facts_for_machines(say: Say) -> None:
    status, out, err = say("paged_attention", "--schedule", "repair", "--json")
    assert (status, err) == (GOOD, "")
    found = json.loads(out)
    assert {"makespan_cycles", "bound_cycles", "bound_pipe", "pipes", "seconds"} <= set(found)
    assert (found["kernel"], found["schedule"]) == ("paged_attention", "repair")
    assert (found["costs"], found["latency"], found["blocks"]) == ("device", 650, [64])
    for pipe in found["pipes"].values():
        assert pipe["busy"] + sum(pipe["stall"].values()) == found["makespan_cycles"]
    assert found["bound_cycles"] == found["pipes"][found["bound_pipe"]]["busy"]
    assert found["seconds"] == pytest.approx(found["makespan_cycles"] / 1.85e9)
    t = simulate(scheduled("paged_attention", "repair"), [64])
    assert found["makespan_cycles"] == t.makespan
    assert [s["cycles"] for s in found["critical_path"]] == [s.cycles for s in t.critical_path()]
    assert list(found["makespan_cycles_by_latency"]) == ["650", "500", "1000"]


def test_the_options_reach_the_simulator(say: Say) -> None:
    argv = ("--blocks", "3,1,4", "--items", "5", "--cross-core-latency", "70", "--queue-depth", "1")
    found = json.loads(say("drain.ptoir", *argv, "--costs", "fitted", "--json")[1])
    t = simulate(original("drain"), (3, 1, 4, 3, 1), Setup("fitted", 70, 1))
    assert found["blocks"] == [3, 1, 4, 3, 1] and found["makespan_cycles"] == t.makespan
    assert list(found["makespan_cycles_by_latency"]) == ["70"]
    deep, flat = (
        json.loads(say("paged_attention", *o, "--json", "--cross-core-latency", "0")[1])
        for o in (("--lookahead", "1", "--no-flat"), ())
    )
    assert deep["makespan_cycles"] > flat["makespan_cycles"]
    smaller = json.loads(say("paged_attention", "-D", "block=64", "--json")[1])
    assert smaller["tensor_bytes"] < flat["tensor_bytes"]


def test_the_facts_of_a_launch(say: Say) -> None:
    argv = ("--launch", "--items", "30", "--blocks", "4")
    found = json.loads(say("paged_attention", *argv, "--json")[1])
    l = launch(scheduled("paged_attention", "best"), [4] * 30)
    assert [b["end_cycles"] for b in found["hardware_blocks"]] == list(l.ends)
    assert (found["makespan_cycles"], found["bound_cycles"]) == (l.makespan, l.bound)
    assert found["bound_pipe"] == l.bound_pipe and found["hbm_bytes_per_second"] == 1.45e12
    assert sum(len(b["blocks"]) for b in found["hardware_blocks"]) == 30


def test_a_launch_of_a_case_has_its_items(say: Say) -> None:
    """Sixteen items share a column of the right operand, eight a row of the left one; the depth is the case's."""
    argv = ("gemm", "--launch", "--costs", "device", "--case", "m=1024", "--case", "n=2048")
    found = json.loads(say(*argv, "--case", "k=192", "--json")[1])
    assert [n for b in found["hardware_blocks"] for n in b["blocks"]] == [3] * 128
    sizes = dict(m=1024, n=2048, k=192)
    l = launch(scheduled("gemm", "best"), [3] * 128, Setup("device"), sizes=sizes)
    assert (found["makespan_cycles"], found["notes"]) == (l.makespan, list(notes(l)))
    assert l.traffic and found["l2_hits"] == l.traffic.hits > 0.8
    flat = json.loads(say(*argv[:2], "--costs", "flat", "--items", "3", "--json")[1])
    assert (flat["l2_hits"], flat["notes"]) == (None, [])


def test_trace_and_picture_are_written(say: Say) -> None:
    argv = ("drain.ptoir", "--blocks", "5", "--trace", "t.json", "--svg", "t.svg", "--steps", "2")
    status, out, err = say(*argv)
    assert (status, err) == (GOOD, "") and out.endswith("wrote t.json\nwrote t.svg\n")
    t = simulate(original("drain"), [5])
    assert Path("t.json").read_text() == trace(t) and Path("t.svg").read_text() == gantt.svg(t, 2)
    status, out, err = say(*argv[:-2], "--steps", "all", "--json")
    assert (status, err) == (GOOD, "wrote t.json\nwrote t.svg\n") and json.loads(out)
    assert Path("t.svg").read_text() == gantt.svg(t, None)


def test_the_memories_are_drawn(say: Say) -> None:
    argv = ("drain.ptoir", "--blocks", "5", "--memory", "m.svg")
    t = simulate(original("drain"), [5])
    assert say(*argv)[1].endswith("wrote m.svg\n")
    assert Path("m.svg").read_text() == memory_map.svg(t) == memory_map.svg(t, 1)
    assert say(*argv, "--steps", "all")[0] == GOOD
    assert Path("m.svg").read_text() == memory_map.svg(t, None)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "--costs dear",
            "a2a3 has no costs 'dear'\n  help: one of: device, flat, fitted, published",
        ),
        ("--blocks 3,x", "argument --blocks: 'x' is no whole number from 0 to 1,000,000"),
        ("--blocks -1", "argument --blocks: '-1' is no whole number from 0 to 1,000,000"),
        ("--items 0", "argument --items: '0' is no whole number from 1 to 1,000,000"),
        ("--queue-depth 0", "argument --queue-depth: '0' is no whole number from 1 up"),
        (
            "--cross-core-latency 1.5",
            "argument --cross-core-latency: '1.5' is no whole number from 0 up",
        ),
        ("--svg no/x.svg", "no/x.svg: there is no folder no"),
        ("--trace x --svg x", "--trace and --svg both name x"),
        ("--svg x --memory x", "--svg and --memory both name x"),
        (
            "--launch --memory x",
            "--memory has no effect with --launch: it shows one hardware block",
        ),
        ("--steps 3", "--steps has no effect without a picture\n  help: --svg FILE --steps 8"),
        ("--svg x --steps few", "argument --steps: 'few' is neither 'all' nor a number from 1 up"),
        (
            "--launch --trace x",
            "--trace has no effect with --launch: it shows one hardware block",
        ),
        ("--case batch=2", "--case has no effect without --launch\n  help: --launch"),
        (
            "--launch --case batch=2",
            "a .ptoir program draws no random case\n  help: --blocks and --items",
        ),
        (
            "--launch --case batch=2 --items 3",
            "--items has no effect with --case, which says them",
        ),
        ("--schedule best", "drain.ptoir is scheduled already; no schedule can be chosen"),
    ],
)
def test_a_wrong_option_gives_one_message(say: Say, argv: str, message: str) -> None:
    status, out, err = say("drain.ptoir", *argv.split())
    usage = "\n  help: pto simulate --help" if message.startswith("argument") else ""
    assert (status, out, err) == (USAGE, "", f"error: {message}{usage}\n")
    assert sorted(p.name for p in Path().iterdir()) == ["drain.ptoir", "stuck.ptoir"]


def test_a_program_that_stands_still(say: Say) -> None:
    status, out, err = say("stuck.ptoir", "--svg", "x.svg")
    told = "the program stands still: vector0, vector1 wait forever\n  help: pto check"
    assert (status, out, err) == (USAGE, "", f"error: {told}\n") and not Path("x.svg").exists()


def test_neither_numpy_nor_jax_is_imported() -> None:
    code = (
        "import sys; from lowering.cli import main; main(['simulate', 'paged_attention', "
        "'--blocks', '2', '--launch']); sys.exit(bool({'numpy', 'jax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_partial_tiles_take_time_to_fill(say: Say) -> None:
    """In table device, and only if they are said to be there."""
    argv = ("paged_attention", "--costs", "device", "--blocks", "2", "--json")
    whole, partial = (json.loads(say(*argv, *more)[1]) for more in ((), ("--partial",)))
    assert partial["makespan_cycles"] > whole["makespan_cycles"]
    flat = [
        say("paged_attention", "--costs", "flat", "--blocks", "2", *m)[1]
        for m in ((), ("--partial",))
    ]
    assert flat[0] == flat[1]
