"""Stores that add need no order among themselves, in no direction; with all else they do."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lowering.execute import scheduled
from lowering.execute.adversarial import Orders
from lowering.execute.inputs import bind
from lowering.execute.instructions import Blocks
from lowering.values.unscheduled import unscheduled
from pto.errors import LegalityError, ScheduleError
from pto.ir import Kernel
from pto.legality import verify
from pto.text import parse, print_kernel
from tests.judges.exhaustive import explore, one_lane
from tests.lenient import check

HEAD = """kernel adds on a2a3
param out inout f32[rows, 64]
grid {grid}
buffer vector ub a[1] f32[8, 64] nd at 0    by 2048
buffer vector ub b[1] f32[8, 64] nd at 2048 by 2048
{events}
vector 0 V a = full 1.0
vector 0 S drain V
for w in 0 .. cdiv({grid} - block_idx, block_num):
"""
MINE, ALL, OWN = "lane * 32:+8", "0:+8", "block_idx * 64 + lane * 32:+8"
ADD, STORE = "vector 0 MTE3 out[{}, :] = store a, add", "vector 0 MTE3 out[{}, :] = store a"
LOAD = "vector 0 MTE2 barrier\n  vector 0 MTE2 b = load out[{}, :]"
BARRIER, DRAIN = "vector 0 MTE3 barrier", "vector 0 S drain MTE3"


def program(*rows: str, at: str = MINE, grid: str = "1", events: str = "", end: str = DRAIN) -> Kernel:  # fmt: skip
    body = "".join(f"  {row.format(at)}\n" for row in rows)
    return parse(HEAD.format(grid=grid, events=events) + body + end + "\n", "adds.ptoir")


def verdict(k: Kernel) -> set[str]:
    found = check(k)
    assert not found.refused
    return {v.kind for v in found.violations}


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ((ADD, ADD), set()),
        ((STORE, STORE), {"WAW"}),
        ((STORE, BARRIER, STORE), set()),
        ((ADD, STORE), {"WAW"}),
        ((STORE, ADD), {"WAW"}),
        ((ADD, BARRIER, STORE), set()),
        ((STORE, BARRIER, ADD, ADD), set()),
        ((STORE, BARRIER, ADD, ADD, BARRIER, STORE), set()),
        ((ADD, LOAD), {"RAW"}),
        ((LOAD, ADD), {"WAR"}),
        ((ADD, ADD, DRAIN, LOAD), set()),
        ((LOAD, "vector 0 S drain MTE2", ADD), set()),
    ],
)
def test_in_one_pipe(rows: tuple[str, ...], kinds: set[str]) -> None:
    assert verdict(program(*rows)) == kinds


@pytest.mark.parametrize(("at", "grid"), [(ALL, "1"), (MINE, "rows"), (ALL, "rows")])
def test_lanes_and_blocks(at: str, grid: str) -> None:
    """Both lanes and every hardware block add to the same elements; nothing could order them."""
    assert verdict(program(ADD, at=at, grid=grid)) == set()
    assert verdict(program(STORE, at=at, grid=grid)) == {"tensor"}
    assert verdict(program(ADD, BARRIER, STORE, at=at, grid=grid)) == {"tensor"}
    assert verdict(program(ADD, DRAIN, LOAD, at=at, grid=grid)) == {"tensor"}


def test_what_is_added_is_there_at_the_end() -> None:
    assert verdict(program(ADD, end="vector 0 V barrier")) == {"undrained"}


def test_on_chip_nothing_is_relaxed() -> None:
    """The tile may be overwritten once the add has read it."""
    write = "vector 0 V a = full 2.0\n  vector 0 S drain V"
    assert verdict(program(ADD, write)) == {"WAR"}
    assert verdict(program(ADD, DRAIN, write, ADD, DRAIN)) == set()


THERE, BACK = "MTE3 MTE2", "MTE2 MTE3"


def drawn(seed: int) -> Kernel:
    """Adds, stores and loads of overlapping rows, with barriers and hand-overs in between."""
    rng, rows, events = random.Random(seed), list[str](), list[str]()
    for _ in range(rng.randint(2, 5)):
        row = rng.choice([ADD, ADD, ADD, STORE, LOAD])
        rows.append(row.format(rng.choice([OWN, OWN, OWN.replace("32", "32 + 4")])))
        what = rng.choice(["", BARRIER, THERE, BACK])
        if what in (THERE, BACK):
            (source, target), n = what.split(), len(events)
            events.append(f"event vector x{n} {source} -> {target} id {n}")
            rows += [f"vector 0 {source} sync | set x{n}", f"vector 0 {target} sync | wait x{n}"]
        elif what:
            rows.append(what)
    head, _, _ = HEAD.format(grid="1", events="\n".join(events)).partition("for w")
    body = "\n".join([*rows, DRAIN, "vector 0 S drain MTE2"])
    return parse(f"{head}{body}\n".replace("\n  ", "\n"), "adds.ptoir")


def test_against_every_order() -> None:
    """The judge of all interleavings says the same, and both say either often."""
    right = 0
    for seed in range(120):
        k = drawn(seed)
        bound = bind(k, {"out": np.zeros((64, 64), np.float32)})
        orders = explore(one_lane(next(iter(Blocks(k, bound, 1)))))
        assert orders.ok == check(k).ok, (print_kernel(k), orders)
        right += orders.ok
    assert 30 < right < 90


def test_sums_have_the_same_bits_in_every_order() -> None:
    """Terms of very different sizes, which no order of float32 adds alike, and infinities."""
    rows = "".join(
        f"  vector 0 V {slot} = full {value}\n  vector 0 S drain V\n  {ADD.replace('store a', f'store {slot}').format(ALL)}\n"
        for slot, value in (("a", "1e8"), ("b", "3.14159"))
    )
    k = parse(f"{HEAD.format(grid='4', events='')}{rows}  vector 0 S drain MTE3\n{DRAIN}\n")
    start = np.zeros((8, 64), np.float32)
    start[0], start[1], start[2, 0], start[3, 0] = -8e8, 1e-30, np.inf, np.nan
    bound = bind(k, {"out": start})
    got = scheduled.run(k, bound)["out"]
    term = 8 * float(np.float32(3.14159))  # four work items, two lanes
    assert got[0, 5] == np.float32(term) and got[1, 0] == np.float32(8e8 + term)
    assert np.isposinf(got[2, 0]) and np.isnan(got[3, 0])
    for blocks in (1, 2, 4):
        orders = Orders(k, bound, blocks)
        assert not list(orders.differences(range(20)))
        assert orders.outputs["out"].tobytes() == got.tobytes()


def test_a_read_between_adds_sees_the_sum() -> None:
    """A store takes the place of the sum so far, and is where the next one starts."""
    copy = "vector 0 V a = copy b"
    k = program(ADD, ADD, DRAIN, LOAD, "vector 0 S drain MTE2", copy, "vector 0 S drain V", STORE, BARRIER, ADD)  # fmt: skip
    got = scheduled.run(k, bind(k, {"out": np.full((48, 64), 0.5, np.float32)}))["out"]
    assert (got[:8] == 5).all() and (got[8:32] == 0.5).all() and (got[32:40] == 5).all()


def test_values_of_both_lanes_at_once_are_added_once() -> None:
    """So where both lanes add to the same elements, there is no program of values."""
    with pytest.raises(ScheduleError, match="adds on both lanes to the same elements"):
        unscheduled(program(ADD, at=ALL))
    assert unscheduled(program(ADD, at="lane * 8:+8"))


def test_an_output_that_starts_from_nothing_is_not_added_to() -> None:
    text = print_kernel(program(ADD)).replace("inout", "out  ")
    with pytest.raises(LegalityError, match="what it holds before counts"):
        verify(parse(text))
