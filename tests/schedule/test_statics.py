"""Static parameters that a kernel leaves to a search: how they are declared, chosen for a call, searched,
kept when a search is interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pto
from lowering.cli import GOOD, USAGE, main
from lowering.schedule import Options
from lowering.schedule.estimate import SAMPLE, TYPICAL, rates
from lowering.schedule.journal import Journal, beside
from lowering.schedule.statics import Chooser
from lowering.schedule.tune import Candidate, Point, Search, Variant, found, judged, tune
from lowering.schedule.variants import variants_of
from lowering.simulate import Setup, simulate
from pto import Scalar, Tensor, Tile, ds
from pto.errors import InputError, TraceError
from tests.schedule.forms import FORMS, LONG, decode, mla

TUNED_FORMS = {"decode": decode, "mla": mla}


@pto.kernel(
    grid="cdiv(rows, tile)",
    x="f32[rows, 128]",
    steps="i32[1]",
    out="f32[rows, 128]",
    static=dict(times=1),
    tune=dict(tile=(8, 16, 64, 1024), halves=(False, True)),
)
def growing(x: Tensor, steps: Tensor, out: Tensor, *, tile: int, times: int, halves: bool) -> None:
    """x + steps, in tiles of rows; in halves it does twice as much for the same."""
    rows = ds(pto.program_id(0) * tile, tile, valid=x.shape[0] - pto.program_id(0) * tile)
    start = pto.load(x[rows, :])

    def step(i: Scalar, t: Tile) -> Tile:
        for _ in range(times):
            t = t + 0.5 + 0.5 if halves else t + 1.0
        return t

    pto.store(out[rows, :], pto.fori_loop(0, steps[0], step, start))


@growing.case
def draw(
    rng: np.random.Generator, *, rows: int = 2048, steps: int = 5, **_: Any
) -> Mapping[str, Any]:
    return {"x": rng.standard_normal((rows, 128), np.float32), "steps": np.array([steps], np.int32)}


def arrays(rows: int, steps: int) -> dict[str, Any]:
    return {"x": np.zeros((rows, 128), np.float32), "steps": np.array([steps], np.int32)}


def chosen(rows: int, **given: Any) -> dict[str, Any]:
    lowered = growing.lower(**arrays(rows, 1), **given)
    return {n: v for n, v in lowered.traced.statics if n in growing.tuned}


# -------------------------------------------------------------------------------------- declared


def test_the_first_value_is_the_default_and_static_may_name_another() -> None:
    assert growing.statics == dict(times=1, tile=8, halves=False)
    assert growing.tuned == dict(tile=(8, 16, 64, 1024), halves=(False, True))
    assert dict(growing.trace(tile=32).statics)["tile"] == 32  # whoever gives one is free


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no values": (dict(tune=dict(tile=())), "the values to try of 'tile' are"),
    "one value": (dict(tune=dict(tile=8)), "the values to try of 'tile' are"),
    "types": (dict(tune=dict(tile=(8, "x"))), "'tile' = 'x' is of type str"),
    "default": (dict(static=dict(tile=4), tune=dict(tile=(8,))), "the default of 'tile', 4, is none"),
    "no parameter": (dict(static=dict(tile=8), tune=dict(tiles=(8,))), "'copied' has no such parameter"),
    "shape": (dict(tune=dict(tile=(8,)), x="f32[rows, tile]"), "the arrays of a call show it"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_told_at_its_line(changes: dict[str, Any], message: str) -> None:
    given = {"x": "f32[rows, 128]", "out": "f32[rows, 128]", **changes}
    with pytest.raises(TraceError) as error:

        @pto.kernel(grid="rows", **given)
        def copied(x: Tensor, out: Tensor, *, tile: int) -> None:
            pto.store(out[0, :], pto.load(x[0, :]))

    assert message in error.value.message
    assert error.value.loc is not None and error.value.loc.file == __file__


# ------------------------------------------------------------------------------------- for a call


def test_a_call_gets_the_fastest_that_fits() -> None:
    """Of many rows larger tiles are faster; of 1024 rows a tile does not fit."""
    assert chosen(24 * 64 * 4) == dict(tile=64, halves=False)
    assert chosen(24 * 8) == dict(tile=8, halves=False)


def test_what_is_given_stays() -> None:
    assert chosen(24 * 64 * 4, tile=16) == dict(tile=16, halves=False)
    assert chosen(24 * 64 * 4, halves=True) == dict(tile=64, halves=True)


def test_without_sizes_the_defaults_stay() -> None:
    assert dict(growing.lower().traced.statics)["tile"] == 8


def test_the_contents_do_not_decide() -> None:
    """The same shapes always run the same program, so that they give the same bits."""
    results = [growing(**arrays(24 * 64, steps)) for steps in (0, 3)]
    assert [r[5, 5] for r in results] == [0, 3]
    used = {dict(p.traced.statics)["tile"] for p in vars(growing)["_calls"].programs.values()}
    assert 64 in used
    assert chosen(24 * 64) == dict(tile=64, halves=False)


def test_an_estimate_is_what_the_busiest_unit_does() -> None:
    """Of the schedule, too: it is linear in items and iterations."""
    for kernel in (growing.trace(tile=64), FORMS["decode, two pages of 64"].trace()):
        found = rates(kernel, "flat")
        assert found is not None
        for items in ((3, 5), (1,), (0, 2, 2)):
            timing = simulate(found.placed, items, Setup("flat"))
            assert found.cycles(items) == pytest.approx(timing.bound, rel=0.02)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.sweep) if n in LONG else n
        for n, f in FORMS.items()
        if f.quick
    ],
)
def test_no_schedule_is_faster_than_its_estimate(name: str) -> None:
    form = FORMS[name]
    found = rates(form.trace())
    assert found is not None
    setup = Setup(clusters=24)
    timing = simulate(form.made.kernel, form.lengths, setup)
    assert 0.4 * timing.makespan < found.cycles(form.lengths) <= timing.makespan


def test_the_items_of_a_block_stand_for_all() -> None:
    found = rates(growing.trace(tile=8))
    assert found is not None
    assert found.dealt({"rows": 8 * 24 * 100}) == (TYPICAL,) * 100
    assert found.dealt({"rows": 8 * (SAMPLE + 1)}) == (TYPICAL,)
    assert found.dealt({}) is None


# --------------------------------------------------------------------------------------- searched


def variants(**given: Any) -> list[Variant]:
    return variants_of(growing, given, ["rows=1536", "steps=5"])


def test_variants_have_the_same_work() -> None:
    """A block of many small tiles and one of few large ones; the default first."""
    made = {v.chosen: v for v in variants(halves=False)}
    assert list(made) == [(("tile", n),) for n in (8, 16, 64, 1024)]
    blocks = {v.chosen[0][1]: v.scenarios[0].blocks for v in made.values()}
    assert blocks == {8: (5,) * 8, 16: (5,) * 4, 64: (5,), 1024: ()}


def test_the_search_finds_the_fastest_of_all() -> None:
    result = tune(variants(), axes={}, workers=1)
    assert result.told(result.chosen) == "tile=64 halves=False"
    assert dict(result.kernel.statics) == dict(times=1, tile=64, halves=0)
    every = [judged(result.variants, "device", Point(k, Options())) for k in range(8)]
    assert min(every, key=lambda c: c.score).at == result.chosen.at
    refused = [c for c in result.candidates if c.refused]
    assert refused and all(result.variant(c).chosen[0] == ("tile", 1024) for c in refused)


def test_what_is_passed_over_is_slower_by_its_bound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = variants_of(growing, dict(times=4), ["rows=1536", "steps=10"])
    result = tune(slow, axes={}, workers=1)
    assert result.passed
    for number in result.passed:
        assert judged(slow, "device", Point(number, Options())).score > result.best.score
        assert slow[number].bound > result.best.score


def test_the_default_options_stay_for_the_variant_of_the_best() -> None:
    """No option is changed for less than what the costs are known by."""
    scores = {
        Point(0, Options()): 2000,
        Point(1, Options()): 1001,
        Point(1, Options(lookahead=4)): 1000,
    }
    run = judged(variants(), "device", Point(0, Options())).runs[0]
    tried = {at: Candidate(at, (replace(run, cycles=n),) * 4) for at, n in scores.items()}
    result = found(variants(), "device", tried)
    assert result.best.at.options.lookahead == 4
    assert result.chosen.at == Point(1, Options())


# ------------------------------------------------------------------------------- the command, files


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in an empty folder; the search tries the named schedules only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowering.schedule.tune.tune", partial(tune, axes={}, workers=1))

    def run(*argv: str) -> tuple[int, str, str]:
        return main([*argv]), *capsys.readouterr()

    return run


Say = Callable[..., tuple[int, str, str]]
KERNEL = f"{__name__}:growing"
COMMAND = ("tune", KERNEL, "--case", "rows=1536", "-o", "found.json")


def test_the_file_says_the_static_parameters_of_every_command_and_call(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = say(*COMMAND)
    assert status == GOOD and out.splitlines()[-2:] == [
        "chosen: tile=64 halves=False", "wrote found.json"
    ]  # fmt: skip
    assert json.loads(Path("found.json").read_text())["statics"]["tile"] == 64
    assert "static tile = 64" in say("show", KERNEL, "--tuned", "found.json")[1]
    assert "static tile = 16" in say("show", KERNEL, "--tuned", "found.json", "-D", "tile=16")[1]
    assert "static tile = 8" in say("show", KERNEL)[1]
    assert say("run", KERNEL, "--tuned", "found.json", "--executor", "numpy")[0] == GOOD
    assert chosen(24 * 8)["tile"] == 8
    monkeypatch.setenv("PTO_TUNED", "found.json")
    assert chosen(24 * 8)["tile"] == 64
    assert chosen(24 * 8, times=2)["tile"] == 8  # it is not for these


def test_an_interrupted_search_keeps_the_best_and_goes_on_to_the_same_end(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(*COMMAND)
    whole = Path("found.json").read_bytes()
    assert not beside(Path("found.json")).exists()
    counted: list[Point] = []

    def until(most: int) -> None:
        def stopped(variants: Any, costs: str, at: Point) -> Candidate:
            if len(counted) == most:
                raise KeyboardInterrupt
            counted.append(at)
            return judged(variants, costs, at)

        monkeypatch.setattr("lowering.schedule.tune.judged", stopped)

    until(6)
    status, out, err = say(*COMMAND)
    assert (status, err) == (130, "error: interrupted\n")
    assert "interrupted, the best so far" in out and "wrote found.json" in out
    kept = json.loads(Path("found.json").read_text())
    assert kept["complete"] is False and kept["candidates"] + kept["refused"] == 6
    part = beside(Path("found.json"))
    part.write_text(part.read_text() + '{"variant": 3, "opti')  # killed while it wrote
    before = len(counted)
    until(1000)
    status, out, err = say(*COMMAND)
    assert status == GOOD and "growing: 6 candidates are known from found.json.part\n" in err
    assert Path("found.json").read_bytes() == whole
    assert len(counted) - before == len(set(counted)) - before > 0  # nothing twice
    assert not part.exists()


def test_a_search_with_nothing_yet_is_only_interrupted(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Candidate:
        raise KeyboardInterrupt

    monkeypatch.setattr("lowering.schedule.tune.judged", stopped)
    assert say(*COMMAND) == (130, "", "error: interrupted\n")
    assert not Path("found.json").exists()


def test_what_another_search_has_tried_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    some = variants()[:1]
    first = Journal(path, some, "device")
    first[Point(0, Options())] = judged(some, "device", Point(0, Options()))
    assert dict(Journal(path, some, "device")) == dict(first)
    assert not Journal(path, some, "flat") and not Journal(path, some, "device")


MISTAKES = {
    f"tune {KERNEL} --case row=3": "no option 'row'",
    f"tune {KERNEL} -D tile=x": "tile = x: a value of type int is expected",
    "tune gemm --case nothing=1": "nothing",
    "tune done.ptoir --case m=3": "done.ptoir is scheduled already",
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_a_mistake_is_one_message(say: Say, argv: str) -> None:
    Path("done.ptoir").write_text(say("show", "rmsnorm")[1])
    status, out, err = say(*argv.split())
    assert (status, out) == (USAGE, "")
    assert MISTAKES[argv] in err and err.startswith("error: ")


def test_a_kernel_without_a_case_cannot_be_compared() -> None:
    @pto.kernel(grid="rows", x="f32[rows, 128]", out="f32[rows, 128]", tune=dict(tile=(8, 16)))
    def copied(x: Tensor, out: Tensor, *, tile: int) -> None:
        pto.store(out[0, :], pto.load(x[0, :]))

    with pytest.raises(InputError, match="copied leaves tile open, and has no case") as error:
        variants_of(copied, {}, [])
    assert error.value.loc is not None and error.value.loc.file == __file__


def test_a_search_of_one_program_is_the_same_as_before() -> None:
    """A case may be asked for where nothing is left open."""
    made = variants(tile=64, halves=False)
    assert [v.chosen for v in made] == [()]
    result: Search = tune(made, axes={}, workers=1)
    assert [s.name for s in result.scenarios] == ["case 0", "case 500", "case 1000", "queue 4"]


def test_choosing_again_takes_no_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = Chooser(growing, lambda statics: growing.trace(**statics))
    sizes = {"rows": 24 * 64}
    first = chooser.completed({"times": 1}, sizes)
    monkeypatch.setattr("lowering.schedule.statics.rates", lambda *_: pytest.fail("again"))
    assert chooser.completed({"times": 1}, {"rows": 24 * 64 * 9}) == first


@pytest.mark.sweep
@pytest.mark.parametrize(("name", "seconds"), [("decode", 120), ("mla", 300)])
def test_a_search_ends_by_itself(name: str, seconds: int) -> None:
    """Prints how long it takes, on all processors, and what it finds."""
    start = time.monotonic()
    result = tune(variants_of(TUNED_FORMS[name], {}, []))
    took = time.monotonic() - start
    print(f"\n{name}: {took:.0f} of {seconds} s, {len(result.candidates)} candidates of "
          f"{len(result.variants)} variants, {len(result.passed)} passed over; "
          f"{result.told(result.chosen)}: {result.chosen.score:,.0f}")  # fmt: skip
    wanted = {"decode": dict(pages_a_step=4, q_tile=64), "mla": dict(q_tile=32, dv=256)}[name]
    assert dict(result.variant(result.chosen).chosen) == wanted


@pytest.mark.sweep
def test_a_choice_takes_a_second() -> None:
    """Prints the seconds of the first choice for a shape and of one for another shape."""
    for kernel, sizes in (
        (TUNED_FORMS["decode"], {"batch": 64, "width": 128}),
        (TUNED_FORMS["mla"], {"batch": 8, "width": 128}),
    ):
        chooser = Chooser(kernel, lambda statics, kernel=kernel: kernel.trace(**statics))
        for batch in (sizes["batch"], 3):
            start = time.perf_counter()
            found = chooser.completed({}, {**sizes, "batch": batch})
            print(f"\n{kernel.name}, batch {batch}: {time.perf_counter() - start:.2f} s: {found}")
