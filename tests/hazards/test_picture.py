"""The pictures of a failed proof: whole texts and a whole SVG, the data behind them, and their rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lowering.cli import FAILED, GOOD, USAGE, main
from lowering.hazards import picture
from lowering.hazards.proof import report
from lowering.hazards.timeline import Box, place, races
from lowering.hazards.violation import Violation
from lowering.hazards.window import Mark, Moment
from pto.ir import Kernel, Row, map_rows
from pto.text import WIDTH, parse, print_kernel
from tests import HANDWRITTEN
from tests.conftest import Golden
from tests.hazards import test_rules
from tests.judges.mutants import row_mutants
from tests.judges.sanitiser import decoded, sanitised
from tests.judges.small_programs import (
    CONSUME_B,
    CUBE,
    END_B,
    ENDS,
    EVENTS_B,
    FREE_B,
    OF_THE_LIBRARY,
    OPERANDS,
    PRODUCE,
    loop,
    ring_periods,
    small,
)
from tests.judges.sync_bugs import PATTERNS
from tests.lenient import check

Say = Callable[..., tuple[int, str, str]]

OF_ORDER = {
    "RAW", "WAR", "WAW", "uninitialised", "overwritten", "wait", "double set", "leftover", "deadlock",
    "fifo", "undrained",
}  # fmt: skip
OF_PLACEMENT = {
    "illegal", "event", "id", "capacity", "alignment", "place", "input", "tensor", "index",
}  # fmt: skip

RULES = {
    f"{kind} {n}": (declarations, body or "vector 0 V a = full 0.0\n")
    for n, (kind, declarations, body) in enumerate(test_rules.RULES)
}
"""The smallest program for each rule, of the tests of the proof."""


def without(k: Kernel, event: str) -> Kernel:
    def keep(r: Row) -> Row:
        waits, sets = (tuple(f for f in flags if f.name != event) for flags in (r.wait, r.set))
        return replace(r, wait=waits, set=sets)

    events = tuple(e for e in k.events if e.name != event)
    return replace(k, body=map_rows(k.body, keep), events=events)


@pytest.fixture(scope="module")
def hand() -> Kernel:
    return parse(HANDWRITTEN.read_text(), HANDWRITTEN.name)


@pytest.fixture(scope="module")
def racy(hand: Kernel) -> Kernel:
    """A prefetch that overtakes the reader of its slot from three blocks on."""
    return without(hand, "k.free")


def programs(hand: Kernel) -> Iterator[Kernel]:
    yield from (p.wrong for p in PATTERNS)
    yield from (small(declarations, body) for declarations, body in RULES.values())
    yield from (k for _, k in list(row_mutants(hand))[::3])


@pytest.fixture(scope="module")
def violations(hand: Kernel) -> list[Violation]:
    """Every violation of many broken programs."""
    return [v for k in programs(hand) for v in check(k).violations]


def rule(name: str) -> Kernel:
    return small(*next(RULES[n] for n in RULES if n.startswith(name)))


def pattern(number: str) -> Kernel:
    return next(p.wrong for p in PATTERNS if p.name.startswith(f"{number}:"))


# ---------------------------------------------------------------------------------- whole texts


def test_the_report_of_a_missing_free_event(racy: Kernel, golden: Golden) -> None:
    golden("picture/missing_free_event.txt", check(racy).report() + "\n")


def test_the_svg_of_a_missing_free_event(racy: Kernel, golden: Golden) -> None:
    golden("picture/missing_free_event.svg", picture.svg(check(racy).violations[0]))


TOLD = {
    "long_stretch": lambda: pattern("2"),
    "no_set": lambda: pattern("5"),
    "set_too_early": lambda: pattern("6"),
    "leftover": lambda: pattern("8"),
    "second_reader": lambda: pattern("14"),
    "no_barrier": lambda: rule("RAW"),
    "set_twice": lambda: rule("double set"),
    "no_drain": lambda: rule("undrained"),
    "overwritten": lambda: rule("overwritten"),
    "not_popped": lambda: rule("fifo"),
    "deadlock": lambda: small(*[RULES[n] for n in RULES if n.startswith("deadlock")][-1]),
    "capacity": lambda: rule("capacity"),
}


@pytest.mark.parametrize("name", TOLD)
def test_reports(name: str, golden: Golden) -> None:
    golden(f"picture/{name}.txt", check(TOLD[name]()).report() + "\n")


CROSSED = (
    "fifo g v2c [2] f32[16, 64] flag 2\nbuffer vector ub q[1] f32[8, 64] nd at 16384 by 2048\n"
)


def test_two_cores_that_wait_for_each_other(golden: Golden) -> None:
    """Each pops before it pushes."""
    body = (
        "cube 0 MTE2 xl = pop g\nvector 0 MTE2 q = pop f\n"
        + OPERANDS.replace("cube 0 MTE2 xl = load src[0:+16, :]\n", "")
        + PRODUCE
        + ENDS
        + "vector 0 MTE3 g = push q\n"
    )
    proof = check(small(CUBE + CROSSED, body))
    assert [v.kind for v in proof.violations] == ["deadlock"], proof.report()
    golden("picture/crossed.txt", proof.report() + "\n")


# --------------------------------------------------------------------------------- every kind


def test_all_kinds_are_seen(violations: list[Violation]) -> None:
    assert {v.kind for v in violations if v.window} == OF_ORDER
    assert {v.kind for v in violations if not v.window} == OF_PLACEMENT


def test_every_text_picture_fits(violations: list[Violation]) -> None:
    for v in violations:
        lines = picture.text(v).splitlines()
        assert all(len(line) <= WIDTH and line == line.rstrip() for line in lines), report(v)
        assert len(lines) <= 14, report(v)
        assert bool(lines) == bool(v.window)


def test_every_access_and_mark_is_shown_once(violations: list[Violation]) -> None:
    for v in (v for v in violations if v.window):
        roles = [m.role for m in v.window if m.role]
        assert roles == [r for r, a in (("first", v.first), ("second", v.second)) if a], report(v)
        for role, access in (("first", v.first), ("second", v.second)):
            shown = [m for m in v.window if m.role == role]
            assert [(m.row, m.iteration) for m in shown] == (
                [(access.row, access.iteration)] if access else []
            )
        words = picture.text(v).splitlines()
        for mark in v.marks:
            assert sum(line.replace("|", "").strip() == mark.text for line in words) == 1, report(v)


def test_every_violation_of_order_says_where_the_edge_belongs(violations: list[Violation]) -> None:
    for v in violations:
        edge = v.kind in OF_ORDER - {"overwritten", "deadlock", "fifo"}
        assert bool(v.marks) == edge == (bool(v.missing) and bool(v.window)), report(v)


def test_every_svg_is_well_formed_and_names_its_rows(violations: list[Violation]) -> None:
    for v in violations:
        drawn = picture.svg(v)
        if not v.window:
            assert drawn == ""
            continue
        tree = ElementTree.fromstring(drawn)
        titles = [e.text or "" for e in tree.iter("{http://www.w3.org/2000/svg}title")]
        assert [t.split("   (")[0] for t in titles] == [m.row for m in v.window]
        assert v.kind == "".join(tree.itertext()).strip().split(":")[0]


TEXT = "{http://www.w3.org/2000/svg}text"


def words(drawn: str) -> list[tuple[float, float, float, str]]:
    """(left, right, baseline, words): of letters as wide as they are in usual fonts."""
    found = []
    for e in ElementTree.fromstring(drawn).iter(TEXT):
        width = len(str(e.text)) * float(e.get("font-size", 0)) * 0.58
        side = {"end": 1.0, "middle": 0.5}.get(e.get("text-anchor", ""), 0.0)
        left = float(e.get("x", 0)) - side * width
        found.append((left, left + width, float(e.get("y", 0)), str(e.text)))
    return found


def test_no_words_lie_over_others(violations: list[Violation]) -> None:
    """Events, captions, and where the missing edge belongs."""
    for v in (v for v in violations if v.window):
        drawn = words(picture.svg(v))
        for k, a in enumerate(drawn):
            for b in drawn[:k]:
                beside = a[0] >= b[1] - 1 or b[0] >= a[1] - 1
                assert beside or abs(a[2] - b[2]) >= 9, (a, b, report(v))


def test_what_is_written_in_a_program_is_no_markup(racy: Kernel) -> None:
    drawn = picture.svg(check(racy).violations[0])
    assert "0:+128&lt;left" in drawn and "+128<left" not in drawn
    page = check(racy)._repr_html_()
    assert "expected MTE1 -&gt; MTE2" in page and "MTE1 -> MTE2" not in page


# ------------------------------------------------------------------------------------ the data


def test_what_is_known_complete() -> None:
    """The read that sets the flag is complete when the slot is filled again; the one behind it not."""
    v = check(pattern("14")).violations[0]
    assert [(m.row, m.iteration[0][1], m.known) for m in v.window[:3]] == [
        ("c = copy b[u]", 0, True), ("d = copy b[u]", 0, False), ("barrier", 0, False),
    ]  # fmt: skip
    assert (v.window[0].sets, v.window[0].waits) == (("b.free[0]",), ("b.full[0]",))
    second = next(m for m in v.window if m.role == "second")
    assert second.after == ((v.window[0].number, "b.free[0]"),)
    assert v.marks == (
        Mark("vector", "V", "set here", "behind", v.window[1].number),
        Mark("vector", "MTE2", "wait here", "in front of", second.number),
    )


def overtaking_push() -> Violation:
    """Five slots, of which the library frees two at a time: the last one is pushed too early."""
    cube = CUBE.replace("[2] f32[16, 64] flag", "[5] f32[16, 64] flag")
    body = OPERANDS + FREE_B + loop(PRODUCE, CONSUME_B) + ENDS + END_B
    with ring_periods(OF_THE_LIBRARY):
        found = check(small(EVENTS_B + cube, body))
    return next(v for v in found.violations if v.space == "gm")


def test_between_the_cores_a_signal_is_missing(golden: Golden) -> None:
    v = overtaking_push()
    assert [(m.core, m.text) for m in v.marks] == [("vector", "signal here"), ("cube", "wait here")]
    golden("picture/overtaking_push.txt", report(v) + "\n")


def test_the_signals_of_a_fifo_are_arrows() -> None:
    window = overtaking_push().window
    pops = [m for m in window if m.row == "b[u] = pop f"]
    pushes = {m.iteration: m.number for m in window if m.row == "f = push acc"}
    met = [m for m in pops if m.iteration in pushes]
    assert met and all((pushes[m.iteration], "f") in m.after for m in met)


def test_rows_left_out_are_counted() -> None:
    v = check(pattern("2")).violations[0]
    assert [m.skipped for m in v.window if m.skipped] == [10]
    assert "... 10 more rows" in picture.text(v) and "... 10 more rows" in picture.svg(v)


# ---------------------------------------------------------------------------------- the timing


def fixed(x: Moment | Mark) -> float:
    return 100.0


def test_the_timing_is_one_that_the_schedule_allows(violations: list[Violation]) -> None:
    collisions = 0
    for v in (v for v in violations if v.window):
        boxes = place(v, fixed)
        at = {b.what.number: b for b in boxes if isinstance(b.what, Moment)}
        roles = {m.what.role: m for m in at.values() if isinstance(m.what, Moment)}
        for b in at.values():
            assert isinstance(b.what, Moment)
            assert all(at[n].right < b.x for n, _ in b.what.after), report(v)
            if "second" in roles and b.what.known:
                assert b.right < roles["second"].x, report(v)
        apart(boxes)
        if races(v):
            collisions += 1
            first, second = roles["first"], roles["second"]
            assert first.x < second.x < first.right < second.right, report(v)
    assert collisions > 50


def test_rows_ordered_by_a_pipe_that_is_not_shown_lie_behind_each_other() -> None:
    """V orders the load before the store; the window shows MTE2 and MTE3."""
    declarations = (
        "buffer vector ub z[1] f32[8, 64] nd at 1024 by 2048\n"
        "event vector a.full V -> MTE2 id 0\nevent vector z.full MTE2 -> V id 0\n"
        "event vector g V -> MTE3 id 0\n"
    )
    body = (
        "vector 0 V a = full 0.0 | set a.full\n"
        "vector 0 MTE2 z = load src[0:+8, :] | wait a.full | set z.full\n"
        "vector 0 V sync | wait z.full | set g\n"
        "vector 0 MTE3 out[block_idx * 16 + lane * 8:+8, :] = store a | wait g\n"
        "vector 0 S drain MTE3\n"
    )
    (v,) = check(small(declarations, body)).violations
    assert v.kind == "overwritten" and [m.after for m in v.window] == [(), ()]
    load, store = place(v, fixed)
    assert load.right < store.x


def apart(boxes: tuple[Box, ...]) -> None:
    """No two boxes of a rail lie over each other."""
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            same = (a.lane, a.rail) == (b.lane, b.rail)
            assert not same or b.right < a.x or a.right < b.x


# ----------------------------------------------------------------------- notebooks and commands


def test_a_notebook_shows_the_facts_and_the_first_drawings(racy: Kernel) -> None:
    proof = check(racy)
    page = proof._repr_html_()
    shown = sanitised(page)
    assert len(shown.sources()) == 2  # the third violation is about the rows of the first
    assert shown.said("code") == [proof.message, *(v.described() for v in proof.violations)]
    assert decoded(shown)[0] == picture.svg(proof.violations[0])


def test_a_notebook_shows_a_proof_in_one_line(hand: Kernel) -> None:
    proof = check(hand)
    assert proof._repr_html_() == f"<pre><code>{proof.message}</code></pre>"


def test_ipython_prints_the_report(racy: Kernel) -> None:
    from IPython.lib.pretty import pretty

    assert pretty(check(racy)) == check(racy).report()


LENIENT = ("--assume", "ordered-signals")


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    racy: Kernel,
    hand: Kernel,
) -> Say:
    """Runs a command line where a right, a racy and a misplaced program lie."""
    monkeypatch.chdir(tmp_path)
    Path("racy.ptoir").write_text(print_kernel(racy))
    Path("right.ptoir").write_text(print_kernel(hand))
    Path("misplaced.ptoir").write_text(print_kernel(rule("capacity")))

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(argv)
        return status, *capsys.readouterr()

    return run


def test_check_prints_the_picture(say: Say) -> None:
    status, out, _ = say("check", "racy.ptoir", *LENIENT)
    assert status == FAILED
    assert re.search(
        r"FIRST +\| .*k_b = move k\[u\]\.T[^\n]*\n +set here +\|\n +\| +wait here\n", out
    )


def test_check_carries_everything_as_data(say: Say) -> None:
    status, out, _ = say("check", "racy.ptoir", "--json", *LENIENT)
    v = json.loads(out)["violations"][0]
    assert status == FAILED
    assert (v["kind"], v["buffer"], v["space"], v["bytes"]) == ("WAR", "k[0]", "l1", [4096, 36864])
    assert v["trips"] == [3] and v["missing"].startswith("no event orders MTE1's read")
    lines = Path("racy.ptoir").read_text().splitlines()
    for access in (v["first"], v["second"]):
        assert access["row"] in lines[access["loc"]["line"] - 1]
    first, second = (next(m for m in v["window"] if m["role"] == r) for r in ("first", "second"))
    assert first["row"] == "k_b = move k[u].T" and first["iteration"] == [["w", 0], ["i", 0]]
    assert first["waits"] == ["k.full[0]", "k_b.free"] and first["known"] is False
    loaded = next(m for m in v["window"] if m["sets"] == ["k.full[0]"])
    assert first["after"] == [[loaded["number"], "k.full[0]"]]
    assert [(m["text"], m["side"], m["number"]) for m in v["marks"]] == [
        ("set here", "behind", first["number"]),
        ("wait here", "in front of", second["number"]),
    ]


def test_check_draws_the_first_violation(say: Say, racy: Kernel, golden: Golden) -> None:
    status, out, err = say("check", "racy.ptoir", "--svg", "race.svg", *LENIENT)
    assert (status, err) == (FAILED, "") and out.endswith("\nwrote race.svg\n")
    golden("picture/missing_free_event.svg", Path("race.svg").read_text())


def test_check_draws_beside_json(say: Say) -> None:
    status, out, err = say("check", "racy.ptoir", "--json", "--svg", "race.svg")
    assert (status, err) == (FAILED, "wrote race.svg\n") and json.loads(out)["proven"] is False


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("right.ptoir", GOOD, "nothing to draw: the schedule is proven"),
        ("misplaced.ptoir", FAILED, "nothing to draw: it failed before any row ran"),
    ],
)
def test_check_with_nothing_to_draw(say: Say, name: str, status: int, message: str) -> None:
    found, out, _ = say("check", name, "--svg", "none.svg", *LENIENT)
    assert (found, out.splitlines()[-1]) == (status, message)
    assert not Path("none.svg").exists()


SEVERAL = "--svg has no effect where several proofs are asked for: it draws the failure of one"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--svg", "x.svg", "--all"), SEVERAL),
        (("--svg", "x.svg", "--assume", "each"), SEVERAL),
        (("--svg", "nowhere/x.svg"), "nowhere/x.svg: there is no folder nowhere"),
    ],
)
def test_check_that_cannot_draw(say: Say, options: tuple[str, ...], message: str) -> None:
    status, out, err = say("check", "racy.ptoir", *options)
    assert (status, out, err) == (USAGE, "", f"error: {message}\n")
    assert not Path("x.svg").exists()
