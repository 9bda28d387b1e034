"""The search for schedule options, the files that hold its result, and what ``best`` makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lowering.cli import FAILED, GOOD, USAGE, main
from lowering.schedule import NAMED, PASSES, Options, options_for, schedule, tuned
from lowering.schedule.scheduler import Judge
from lowering.schedule.tune import (
    AXES,
    EQUAL,
    MARGIN,
    SCENARIOS,
    SHORT,
    Axes,
    Candidate,
    Point,
    Run,
    Search,
    Unit,
    Variant,
    gain,
    judged,
    result,
    simplicity,
    told_as_default,
    tune,
)
from lowering.simulate import Setup, Timing
from pto.errors import InputError, ScheduleError
from pto.ir import Kernel
from pto.kernels import SHIPPED
from tests.lenient import check

SMALL: Axes = {"lookahead": (1, 3), "fifo_depth": (0, 8)}
GEMM = SHIPPED["gemm"].trace()
REFERENCE = dict(heads=64, q_tile=64, block=64)


@cache
def small() -> Search:
    return tune(GEMM, axes=SMALL, workers=1)


def written(search: Search) -> str:
    return json.dumps(result(search), indent=2)


def save(path: str | Path, **changes: Any) -> Path:
    """A result for gemm; the arguments go over what it holds."""
    facts = {"kernel": "gemm", "target": "a2a3", "statics": dict(GEMM.statics), "options": {}}
    Path(path).write_text(json.dumps(facts | changes))
    return Path(path)


# -------------------------------------------------------------------------------------- the search


def test_the_result_does_not_depend_on_the_processes() -> None:
    again = tune(GEMM, axes=SMALL, workers=2)
    assert again.candidates == small().candidates
    assert written(again) == written(small())


def test_every_candidate_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that forgets the events of serial schedules: the proof keeps them out, whatever they
    would take."""

    def forgetful(kernel: Kernel, options: Options, judge: Judge) -> Kernel:
        return kernel if options.prefetch == 0 else sync(kernel, options, judge)

    sync = PASSES["sync"].run
    monkeypatch.setitem(PASSES, "sync", replace(PASSES["sync"], run=forgetful))
    found = tune(GEMM, axes=SMALL, workers=1)
    for c in found.proven:
        assert check(schedule(GEMM, c.options).kernel).ok and len(c.runs) == len(SCENARIOS)
        assert all(r.cycles >= r.bound for r in c.runs)
    refused = found.candidates[len(found.proven) :]
    assert refused and not any(c.options.prefetch for c in refused)
    assert all(c.options.prefetch for c in found.proven)
    assert all(found.why(c).startswith("refused: gemm: failed") for c in refused)
    assert {*map(told_as_default, NAMED.values())} <= {c.options for c in found.candidates}


def test_a_program_that_stands_still_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(kernel: Kernel, blocks: Sequence[int], setup: Setup) -> Timing:
        raise InputError("the program stands still")

    monkeypatch.setattr("lowering.schedule.tune.simulate", simulate)
    assert (
        judged([Variant(GEMM)], "flat", Point(0, Options())).refused == "the program stands still"
    )


def test_the_search_ends_where_no_option_alone_is_better() -> None:
    scores = {c.options: c.score for c in small().candidates}
    lowest = min(scores, key=lambda o: scores[o])
    ways = [replace(lowest, **{name: v}) for name, values in SMALL.items() for v in values]  # type: ignore[arg-type]
    assert scores[lowest] <= min(scores[o] for o in ways)


def test_another_cost_table() -> None:
    found = tune(GEMM, "fitted", {}, workers=1)
    assert found.costs == "fitted" and found.best.score != small().best.score
    with pytest.raises(InputError, match="a2a3 has no costs 'fited'"):
        tune(GEMM, "fited", {}, workers=1)


def test_a_kernel_that_fits_with_no_options() -> None:
    with pytest.raises(ScheduleError, match=r"no schedule of rmsnorm can be proven.*ub needs"):
        tune(SHIPPED["rmsnorm"].trace(dim=8192), axes={}, workers=1)


def test_simplicity_tells_all_options_apart() -> None:
    every = [Options(**dict(zip(AXES, values, strict=True))) for values in product(*AXES.values())]  # type: ignore[arg-type]
    assert len({simplicity(Point(0, o)) for o in every}) == len(every)
    less, default, more = (
        simplicity(Point(0, o)) for o in (Options(lookahead=2), Options(), Options(local_depth=3))
    )
    assert less < default < more


def test_the_short_work_items_are_drawn_evenly() -> None:
    assert len(SHORT) == 64
    assert [SHORT.count(n) for n in (1, 2, 3, 4)] == [16, 15, 16, 17]


# ------------------------------------------------------------------------------- which one is used


def candidate(cycles: int, stall: int = 0, busy: int = 90, **changes: Any) -> Candidate:
    """The same in every scenario."""
    run = Run(cycles, "cube M", {"cube M": Unit(busy, {"event k.full": stall})})
    return Candidate(Point(0, Options(**changes)), (run,) * len(SCENARIOS))


def search(*candidates: Candidate) -> Search:
    return Search((Variant(GEMM),), "flat", candidates)


@pytest.mark.parametrize(("cycles", "changed"), [(1000, False), (991, False), (989, True)])
def test_the_default_stays_unless_a_change_is_worth_it(cycles: int, changed: bool) -> None:
    default, other = candidate(1000), candidate(cycles, lookahead=4)
    found = search(other, default)
    assert (gain(default, other) > MARGIN) == changed
    assert found.chosen is (other if changed else default)


def test_why_each_candidate_lost() -> None:
    best = candidate(1000, 10, lookahead=4)
    default, equal = candidate(1005), candidate(1000, lookahead=4, fifo_depth=8)
    slow, busy = candidate(1100, 110, prefetch=0), candidate(1200, busy=300, prefetch=2)
    no = Candidate(Point(0, Options(local_depth=3)), refused="too large")
    found = search(best, equal, default, slow, busy, no)
    assert [found.why(c) for c in found.candidates] == [
        "the best, only 0.50 % faster than the default; "
        "long 0: cube M waits 10 cycles on event k.full",
        "as fast as the best, but not as simple",
        "chosen, 0.50 % behind the best; long 0: cube M waits 0 cycles on event k.full",
        "10.00 % behind at long 0; cube M spends 100 cycles more on event k.full",
        "20.00 % behind at long 0; cube M spends 210 cycles more with its rows",
        "refused: too large",
    ]
    assert search(candidate(900, lookahead=4), default).why(default).startswith("11.67 % behind")


def test_of_equal_ones_the_simplest_is_the_best() -> None:
    found = small()
    lowest = min(c.score for c in found.candidates)
    equal = [c for c in found.candidates if c.score <= lowest / (1 - EQUAL)]
    assert found.best is min(equal, key=lambda c: simplicity(c.at)) and len(equal) > 1


# ------------------------------------------------------------------------------------ best reads it


def test_best_is_what_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "mine.json", options={"lookahead": 1, "moves": "late"})
    for variable, named in (("", path), (str(path), None)):
        monkeypatch.setenv("PTO_TUNED", variable)
        options = options_for("best", GEMM, named)
        assert options == Options(lookahead=1, moves="late")
        assert options_for("repair", GEMM, named) == NAMED["repair"]
    made = schedule(GEMM)
    assert made.options == options and made.proof.ok
    assert made.kernel.notes[:2] == ("lookahead 1, prefetch 1", "tuned: mine.json")
    assert schedule(GEMM, Options()).kernel.notes[1:] == made.kernel.notes[2:]


def test_given_options_override_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.json", options={"lookahead": 1, "moves": "late"})
    options = options_for("best", GEMM, path, prefetch=0, lookahead=2)
    assert options == Options(lookahead=2, prefetch=0, moves="late")
    assert options.origin == "tuned: mine.json; given: prefetch=0 lookahead=2"


def test_other_static_parameters_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.json", options={"lookahead": 1})
    options = options_for("best", SHIPPED["gemm"].trace(tile_k=32), path)
    assert (options.lookahead, options.origin) == (1, "tuned: mine.json, for tile_k=64")


def test_a_file_for_another_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named on the command line it is a mistake; the variable leaves other kernels alone."""
    path = save(tmp_path / "mine.json", kernel="rmsnorm", options={"lookahead": 1})
    with pytest.raises(InputError, match="tuned for rmsnorm on a2a3, not for gemm on a2a3"):
        options_for("best", GEMM, path)
    monkeypatch.setenv("PTO_TUNED", str(path))
    assert options_for("best", GEMM) == Options()
    assert options_for("best", SHIPPED["rmsnorm"].trace()).lookahead == 1


WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("lookahead = 1", "holds no tuned schedule: it is no JSON"),
    "no text": ("\x00", "it is no JSON"),
    "a list": ("[1]", "it has no 'kernel'"),
    "no options": ('{"kernel": "gemm", "target": "a2a3", "statics": {}}', "it has no 'options'"),
    "unknown": (json.dumps({"options": {"lookahed": 1}}), "a schedule has no option 'lookahed'"),
    "type": (json.dumps({"options": {"flat": 1}}), "flat = 1: a value of type bool is expected"),
    "value": (json.dumps({"options": {"moves": "soon"}}), "moves 'soon'"),
    "number": (json.dumps({"options": {"lookahead": -1}}), "lookahead and prefetch count steps"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    if text.startswith('{"options"'):
        save(path, **json.loads(text))
    monkeypatch.setenv("PTO_TUNED", str(path))
    with pytest.raises(InputError) as error:
        schedule(GEMM)
    assert error.value.message.startswith(str(path)) and message in str(error.value)


# --------------------------------------------------------------------------------- what is packaged


def packaged() -> list[tuple[Path, Kernel]]:
    paths = sorted(tuned.PACKAGED.glob("*.json"))
    found = [(path, tuned.read(path)) for path in paths]
    return [(path, SHIPPED[t.kernel].trace(**t.statics)) for path, t in found]


def test_each_shipped_kernel_has_a_result() -> None:
    kernels = {path.stem: kernel for path, kernel in packaged()}
    defaults = {name: kernel.trace() for name, kernel in SHIPPED.items()}
    wide = {"paged_attention-heads64-q_tile64-block64": defaults["paged_attention"]}
    wide = {name: SHIPPED["paged_attention"].trace(**REFERENCE) for name in wide}
    assert kernels == defaults | wide
    for path, kernel in packaged():
        facts = json.loads(path.read_bytes())
        assert facts["options"] == options_for("best", kernel).choices
        assert list(facts["cycles"]) == [s.name for s in SCENARIOS]


def test_a_packaged_default_is_not_worth_a_note() -> None:
    for _, kernel in packaged():
        options = options_for("best", kernel)
        assert (options.origin == "") == (options == Options())


def test_the_packaged_result_for_the_same_static_parameters_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SHIPPED["gemm"].trace(tile_k=32)
    save(tmp_path / "gemm-tile_k32.json", statics=dict(other.statics), options={"lookahead": 2})
    monkeypatch.setattr(tuned, "PACKAGED", tmp_path)
    assert tuned.best_options(GEMM) == Options()
    save(tmp_path / "gemm.json", options={"lookahead": 1})
    save(tmp_path / "gemm-a3.json", target="a3", options={"lookahead": 4})
    save(tmp_path / "gemm_wide.json", kernel="gemm_wide", options={"lookahead": 4})
    assert schedule(GEMM).kernel.notes[1] == "tuned: gemm.json"
    assert tuned.best_options(other).lookahead == 2
    third = tuned.best_options(SHIPPED["gemm"].trace(tile_k=16))
    assert (third.lookahead, third.origin) == (1, "tuned: gemm.json, for tile_k=64")


@pytest.mark.sweep
@pytest.mark.parametrize(("path", "kernel"), packaged(), ids=lambda x: getattr(x, "stem", ""))
def test_the_packaged_results_are_what_the_search_finds(path: Path, kernel: Kernel) -> None:
    """After a change of the scheduler or the costs: pto tune KERNEL -D ... -o lowering/schedule/tuned/..."""
    assert written(tune(kernel)) + "\n" == path.read_text()


# ------------------------------------------------------------------------------------- the command


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in an empty folder; the search tries the named schedules only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowering.schedule.tune.tune", partial(tune, axes={}, workers=1))

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main(argv)
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        return status, *capsys.readouterr()

    return run


Say = Callable[..., tuple[int, str, str]]


def test_the_table(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowering.schedule.tune.tune", lambda *_, **__: small())
    status, out, err = say("tune", "gemm", "--top", "all")
    assert (status, err) == (GOOD, "")
    assert max(map(len, out.splitlines())) <= 100
    assert all(f"schedule {name}" in out for name in NAMED)
    assert out.splitlines()[-1] == "chosen: the default"
    assert "--top all" not in out


def test_how_much_of_the_table_is_shown(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones, the named ones and the chosen one."""
    others = [candidate(1010 + k, lookahead=1, local_depth=k + 2) for k in range(5)]
    found = search(
        candidate(1000, lookahead=4), *others, candidate(1100, lookahead=2), candidate(1005)
    )
    monkeypatch.setattr("lowering.schedule.tune.tune", lambda *_, **__: found)
    out = say("tune", "gemm", "--top", "2")[1]
    numbers = [x.split()[0] for x in out.splitlines() if x[:4].strip().isdecimal()]
    assert numbers == ["1", "2", "8"] and "of 8 different ones; all: --top all" in out
    assert say("tune", "gemm", "--top", "all")[1].count("local_depth=") == 4


def test_the_file_is_the_same_each_time_and_is_read_back(say: Say) -> None:
    assert say("tune", "gemm", "-D", "tile_k=32", "-o", "a.json")[0] == GOOD
    status, out, err = say("tune", "gemm", "-D", "tile_k=32", "-o", "b.json", "--json")
    assert (status, err) == (GOOD, "wrote b.json\n")
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    found = json.loads(out)
    assert found.items() >= json.loads(Path("a.json").read_bytes()).items()
    assert len(found["table"]) == found["candidates"] + found["refused"]
    notes = json.loads(say("check", "gemm", "--tuned", "a.json", "--json")[1])["notes"]
    assert "tuned: a.json, for tile_k=32" in notes
    status, out, _ = say("show", "gemm", "--tuned", "a.json", "--lookahead", "2")
    assert status == GOOD and "note tuned: a.json, for tile_k=32; given: lookahead=2" in out


def test_every_command_takes_the_file(say: Say) -> None:
    save("mine.json", options={"lookahead": 1, "prefetch": 0})
    for argv in ("show gemm --stage skew", "check gemm --all", "emit gemm -o out"):
        assert say(*argv.split(), "--tuned", "mine.json")[0] == GOOD
    assert "// tuned: mine.json" in Path("out/gemm.cpp").read_text()


MISTAKES = {
    "tune nowhere.ptoir": "nowhere.ptoir: No such file",
    "tune done.ptoir": "done.ptoir is scheduled already",
    "tune gemm -o nowhere/x.json": "there is no folder nowhere",
    "tune gemm --costs fited": "a2a3 has no costs 'fited'",
    "tune gemm --top few": "'few' is neither 'all' nor a number",
    "tune gemm -D tile=1": "gemm has no static parameter 'tile'",
    "check gemm --tuned nowhere.json": "nowhere.json: No such file",
    "check gemm --tuned done.ptoir": "done.ptoir holds no tuned schedule",
    "check rmsnorm --tuned gemm.json": "gemm.json is tuned for gemm on a2a3, not for rmsnorm",
    "check gemm --tuned gemm.json --schedule serial": "--schedule serial has no use for it",
    "check done.ptoir --tuned gemm.json": "done.ptoir is scheduled already",
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_a_mistake_is_one_message(say: Say, argv: str) -> None:
    Path("done.ptoir").write_text(say("show", "rmsnorm")[1])
    save("gemm.json")
    status, out, err = say(*argv.split())
    assert (status, out) == (USAGE, "")
    assert MISTAKES[argv] in err and err.startswith("error: ")


def test_a_file_whose_schedule_cannot_be_proven(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds no proof: what it says is proven, or refused, like anything else."""
    save("gemm.json", options={"lookahead": 2})
    monkeypatch.setitem(PASSES, "sync", replace(PASSES["sync"], run=lambda k, *_: k))
    status, out, _ = say("check", "gemm", "--tuned", "gemm.json")
    assert status == FAILED and "gemm: failed" in out


def test_neither_numpy_nor_jax_is_imported(tmp_path: Path) -> None:
    code = """
import sys
from functools import partial
import lowering.schedule.tune as t
from lowering.cli import main
t.tune = partial(t.tune, axes={}, workers=1)
status = main(["tune", "rmsnorm", "-o", "rmsnorm.json"])
status = status or main(["check", "rmsnorm", "--tuned", "rmsnorm.json"])
heavy = [m for m in ("jax", "numpy", "ml_dtypes") if m in sys.modules]
sys.exit(f"status {status}, imported {heavy}" if status or heavy else 0)
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
