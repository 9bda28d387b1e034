"""Events where the ids of a pair of pipes are short: which handovers one of them stands for."""

from __future__ import annotations

from dataclasses import replace

from lowering.schedule import options_for, stages
from lowering.schedule.passes.budget import as_one, in_turns, within_ids
from lowering.schedule.passes.handovers import Handover, all_handovers, without_implied
from pto.ir import Const, Kernel, Var, binary
from tests.schedule.forms import FORMS


def needed(kernel: Kernel) -> list[Handover]:
    """What needs an event, before ids are counted."""
    placed = dict(stages(kernel, options_for()))["place"]
    return without_implied(list(all_handovers(placed)))[0]


def test_neighbours_are_joined_as_far_as_ids_ask_for() -> None:
    found = needed(FORMS["latent, by one loop"].trace())
    assert max(ids_of(within_ids(found, 99)).values()) == 12
    joined = within_ids(found, 8)
    assert max(ids_of(joined).values()) == 8
    shared = {tuple(h.name for h in x.those) for x in joined if len(x.those) > 1}
    assert shared == {
        ("qn.full", "qr.full"), ("qn.free", "qr.free"), ("c.full", "kr.full"), ("c.free", "kr.free"),
    }  # fmt: skip
    assert sorted(h.name for x in joined for h in x.those) == sorted(h.name for h in found)


def test_places_of_a_step_are_not_one_slot() -> None:
    """What two pops of a step bring lies in one ring, in slots of its own: neither waits for the other's event."""
    placed = dict(stages(FORMS["decode, four pages of 64"].trace(), options_for()))["place"]
    joined = in_turns(without_implied(list(all_handovers(placed)))[0])
    assert len({h.buffer.at for x in joined for h in x.those if h.buffer.name == "qk_v"}) == 2
    assert all(len({h.buffer.at for h in x.those}) == 1 for x in joined)


def ids_of(joined: list) -> dict[tuple[str, str, str], int]:
    counts: dict[tuple[str, str, str], int] = {}
    for x in joined:
        counts[x.pair] = counts.get(x.pair, 0) + x.turns
    return counts


def test_what_is_joined_covers_both_and_is_set_before_it_is_waited_for() -> None:
    for x in within_ids(needed(FORMS["latent, by one loop"].trace()), 8):
        (event,) = x.in_turns
        for h in x.those:
            assert h.first.end.surely_before(event.first.end)
            assert event.then.begin.surely_before(h.then.begin)
            assert event.first.end.surely_before(event.then.begin, h.distance)


def test_what_turns_otherwise_is_not_joined() -> None:
    found = {h.name: h for h in needed(FORMS["latent, by one loop"].trace())}
    c, kr = found["c.full"], found["kr.full"]
    both = as_one(c, kr)
    assert both is not None and (both.first, both.then) == (kr.first, c.then)
    assert as_one(kr, c) == replace(both, buffer=kr.buffer)
    assert as_one(c, found["c.free"]) is None  # the way back
    assert as_one(c, found["qn.full"]) is None  # of another block
    assert as_one(c, found["v.full"]) is None  # loaded when c is used already
    turned = replace(kr.first, index=binary("+", Var("u"), Const(1)))
    assert as_one(c, replace(kr, first=turned)) is None
    assert as_one(c, replace(kr, turns=3)) is None
