"""Programs whose times are computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering.simulate import Machine, Setup
from lowering.simulate.timing import Usage
from pto.errors import InputError
from pto.targets.a2a3 import FLAT
from pto.text import parse
from tests.simulate.timed import (
    ADD,
    COPY,
    HEADER,
    KEYS,
    LOAD,
    NEXT,
    POP,
    POP_BACK,
    PUSH,
    PUSH_BACK,
    STORE,
    TO_CUBE,
    TO_VECTOR,
    check_critical_path,
    ran,
    run,
)

CHAIN = """
event vector a.full MTE2 -> V id 0
event vector c.full V -> MTE3 id 0
vector 0 MTE2 a = load src[0:+8, :] | set a.full
vector 0 V    c = copy a | wait a.full | set c.full
vector 0 MTE3 out[0:+8, :] = store c | wait c.full
"""


def test_a_load_a_row_and_a_store() -> None:
    """The unit issues load, set, wait, copy, set, wait, store in cycles 1 to 7."""
    t = run(CHAIN)
    assert ran(t, "vector0 MTE2") == [(1, 1 + LOAD)]
    assert ran(t, "vector0 V") == [(36, 36 + COPY)]
    assert ran(t, "vector0 MTE3") == [(40, 40 + STORE)]
    assert t.makespan == 59
    assert t.pipes["vector0 S"] == Usage(7, 7, t.pipes["vector0 S"].stalls)
    assert t.pipes["vector0 V"].stall == {"event a.full": 33, "end": 19, "issue": 3}
    assert t.pipes["vector0 MTE3"].stall == {"event c.full": 34, "issue": 6}
    assert t.tensor_bytes == 2 * (2048 + 2048)
    assert [(s.row.op, s.why) for s in t.critical()] == [
        ("load", "start"),
        ("copy", "event a.full"),
        ("store", "event c.full"),
    ]


FIVE = "vector 0 V c = add a, a\n" * 5 + "vector 0 MTE2 b = load src[0:+8, :]\n"


def test_a_full_queue_stops_the_scalar_unit() -> None:
    """With two entries the fourth row waits until the second starts, the fifth for the third; the
    load behind them comes late."""
    starts = [1 + NEXT * k for k in range(5)]
    t = run(FIVE, Setup("flat", queue_depth=2))
    assert ran(t, "vector0 V") == [(s, s + ADD) for s in starts]
    assert t.pipes["vector0 S"].stall["V queue full"] == (17 - 3) + (33 - 18)
    assert ran(t, "vector0 MTE2")[0][0] == 35
    assert t.pipes["vector0 MTE2"].stall["V queue full"] == 29
    deep = run(FIVE)
    assert deep.makespan == t.makespan == 1 + 4 * NEXT + ADD
    assert ran(deep, "vector0 MTE2")[0][0] == 6


def test_rows_of_a_pipe_overlap_unless_a_barrier_stands_between() -> None:
    row = "vector 0 V c = add a, a\n"
    assert run(row + row).makespan == 1 + NEXT + ADD
    t = run(row + "vector 0 V barrier\n" + row)
    assert t.makespan == 1 + ADD + ADD
    assert t.pipes["vector0 V"].work == 2 * NEXT and t.pipes["vector0 V"].busy == 2 * ADD


def test_a_drain_stops_the_scalar_unit() -> None:
    """Its set and its wait take a cycle each; the row behind it is issued one cycle later."""
    t = run("vector 0 MTE2 a = load src[0:+8, :]\nvector 0 S drain MTE2\nvector 0 V c = add a, a\n")
    assert ran(t, "vector0 V") == [(38, 38 + ADD)]
    assert t.pipes["vector0 S"].stall == {"end": ADD, "drain MTE2": 36 - 2}
    assert t.pipes["vector0 V"].stall == {"drain MTE2": 34, "issue": 4}
    assert [s.why for s in t.critical()] == ["start", "drain MTE2"]


def test_a_fence_keeps_the_scalar_unit_busy_and_no_pipe() -> None:
    """For its cycles (docs/machine.md 5.6) nothing is issued; what was issued goes on."""
    t = run("vector 0 MTE2 a = load src[0:+8, :]\nvector 0 S fence\nvector 0 V c = add a, a\n")
    assert ran(t, "vector0 MTE2") == [(1, 36)]
    assert ran(t, "vector0 V") == [(1 + 20 + 1, 22 + ADD)]
    assert t.pipes["vector0 S"].busy == 1 + 20 + 1


def test_a_barrier_on_all_pipes_waits_for_each() -> None:
    load = "vector 0 MTE2 a = load src[0:+8, :]\n"
    t = run(f"vector 0 V c = add a, a\n{load}vector 0 V barrier\n".replace("V barrier", "ALL barrier") + load)  # fmt: skip
    assert ran(t, "vector0 V") == [(1, 41)] and ran(t, "vector0 MTE2")[0] == (2, 37)
    assert ran(t, "vector0 MTE2")[1][0] == 41 + 2
    assert t.pipes["vector0 S"].stall["barrier"] == 41 - 4


def test_an_event_that_the_scalar_unit_waits_for() -> None:
    t = run(
        "event vector a.read MTE2 -> S id 0\nevent vector a.go S -> V id 0\n"
        "vector 0 MTE2 a = load src[0:+8, :] | set a.read\n"
        "vector 0 S sync | wait a.read | set a.go\n"
        "vector 0 V c = add a, a | wait a.go\n"
    )
    assert t.pipes["vector0 S"].stall["event a.read"] == 36 - 2
    assert ran(t, "vector0 V") == [(36 + 4, 40 + ADD)]


@pytest.mark.parametrize("latency", [0, 1, 500])
def test_a_fifo_of_one_slot(latency: int) -> None:
    """Three signals on the way: data, the freed slot, data."""
    t = run(TO_VECTOR.format(credit=""), Setup("flat", latency=latency))
    first = 1 + PUSH + latency + 2  # the wait and the pop take a cycle each
    again = first + POP + latency + 2
    last = again + PUSH + latency + 2
    assert ran(t, "cube FIX") == [(1, 102), (again, again + PUSH)]
    assert ran(t, "vector0 MTE2") == [(first, first + POP), (last, last + POP)]
    assert t.makespan == last + POP == 279 + 3 * latency
    assert t.pipes["cube S"].stall["fifo f full"] == first + POP + latency - 2
    check_critical_path(t)
    waits = [(s.row.op, s.why) for s in t.critical()][1:]
    assert waits == [("pop", "fifo f empty"), ("push", "fifo f full"), ("pop", "fifo f empty")]


@pytest.mark.parametrize("latency", [0, 500])
@pytest.mark.parametrize("slots", [1, 5, 15])
def test_a_fifo_without_credit(slots: int, latency: int) -> None:
    """The second push follows the first one; nothing comes back, of however many slots the ring is."""
    text = TO_VECTOR.format(credit=" no credit").replace("f c2v [1]", f"f c2v [{slots}]")
    t = run(text, Setup("flat", latency=latency))
    assert ran(t, "cube FIX") == [(1, 102), (102, 203)]
    assert t.makespan == 203 + latency + 2 + POP


@pytest.mark.parametrize("latency", [0, 500])
def test_a_fifo_towards_the_cube(latency: int) -> None:
    t = run(TO_CUBE.format(), Setup("flat", latency=latency))
    first = 1 + PUSH_BACK + latency + 2
    again = first + POP_BACK + latency + 2
    last = again + PUSH_BACK + latency + 2
    assert ran(t, "vector1 MTE3") == [(1, 11), (again, again + PUSH_BACK)]
    assert ran(t, "cube MTE2") == [(first, first + POP_BACK), (last, last + POP_BACK)]
    assert t.makespan == last + POP_BACK


def test_a_push_and_its_record_apart() -> None:
    """The signal is the record's: it leaves with the copy behind the push."""
    t = run(
        "fifo g v2c [2] bf16[16, 64] flag 0 no credit\n"
        "vector 0 MTE3 g = push_data b\n"
        "vector 0 MTE3 out[0:+8, :] = store c\n"
        "vector 0 MTE3 record g\n"
        "cube   0 MTE2 p = pop g\n"
    )
    assert ran(t, "cube MTE2") == [(1 + PUSH_BACK + STORE + 2, 32 + POP_BACK)]


@pytest.mark.parametrize("late", [1, 2])
def test_the_cube_waits_for_both_lanes(late: int) -> None:
    """One lane starts a thousand cycles late, then not at all."""
    program = parse(HEADER + TO_CUBE, "small.ptoir")
    machine = Machine(program, [1], Setup("flat"))
    machine.scalars[late].now = (1000, -1)
    machine.run()
    t = machine.timing()
    assert ran(t, "cube MTE2")[0][0] == 1000 + 1 + PUSH_BACK + 2
    machine = Machine(program, [1], Setup("flat"))
    del machine.scalars[late]
    machine.run()
    assert not machine.scalars[0].over
    with pytest.raises(InputError, match=r"cube, vector\d wait forever"):
        machine.timing()


def test_a_wait_that_nothing_ends() -> None:
    with pytest.raises(InputError, match="stands still: vector0 V, vector1 V wait forever"):
        run("event vector a.full MTE2 -> V id 0\nvector 0 V c = add a, a | wait a.full\n")


def test_pipes_and_flags_of_the_same_id_are_kept_apart() -> None:
    """Event ids repeat between pairs of pipes; a ring of two takes its slots in turn."""
    t = run(
        "event vector a.full MTE2 -> V id 0 1\nevent vector c.full V -> MTE3 id 0\n"
        "for w in 0 .. rows:\n  for i, u in 0 .. n:\n"
        "    vector 0 MTE2 a = load src[0:+8, :] | set a.full[u]\n"
        "    vector 0 V c = add a, a | wait a.full[u] | set c.full\n"
        "    vector 0 MTE3 out[0:+8, :] = store c | wait c.full\n",
        blocks=(2, 1),
    )
    loads = [1 + LOAD * k for k in range(3)]
    adds = [s + LOAD for s in loads]
    assert [s for s, _ in ran(t, "vector0 MTE2")] == loads
    assert [s for s, _ in ran(t, "vector0 V")] == adds
    assert ran(t, "vector0 MTE3")[-1] == (adds[-1] + ADD, t.makespan)
    assert [t.iteration(s) for s in t.spans if s.unit == "vector0 V"] == [
        {"w": 0, "i": 0},
        {"w": 0, "i": 1},
        {"w": 1, "i": 0},
    ]


def test_each_slot_has_a_flag_of_its_own() -> None:
    """The second load is waited for first."""
    load = "vector 0 MTE2 a = load src[0:+8, :] | set a.full[{0}]\n"
    t = run(
        "event vector a.full MTE2 -> V id 0 1\n"
        + load.format(0)
        + load.format(1)
        + "vector 0 V c = add a, a | wait a.full[1]\nvector 0 V sync | wait a.full[0]\n"
    )
    assert ran(t, "vector0 V") == [(1 + 2 * LOAD, 1 + 2 * LOAD + ADD)]


def test_a_matmul_of_four_bytes_takes_twice_as_long() -> None:
    """6 + 2 * 1 * (64 * 4 / 32) * 4, instead of 6 + 1 * (64 * 2 / 32) * 4."""
    tiles = "buffer cube l0a x[1] {0}[16, 64] zz at 0 by 4096\nbuffer cube l0b y[1] {0}[64, 64] zn at 0 by 16384\n"  # fmt: skip
    row = "cube 0 M s = matmul x, y\n"
    assert [run(tiles.format(t) + row).makespan for t in ("f32", "bf16")] == [1 + 70, 1 + 22]


def test_an_empty_program() -> None:
    t = run("vector 0 S drain MTE3\n")
    assert (t.makespan, t.critical(), t.critical_path()) == (2, [], [])
    assert t.pipes["vector0 MTE3"].stall == {"end": 1, "issue": 1}


@pytest.mark.parametrize(("word", "filled"), [("", 1764), (", fill_rows", 1764), (", no_fill", 0)])
def test_a_partial_load_fills_its_tile_in_the_last_trip(word: str, filled: int) -> None:
    """32768 bytes, 18.6 in a cycle; a whole load, or one that is told not to, fills nothing."""
    body = (
        "for w in 0 .. rows:\n  for i in 0 .. n:\n    cube 0 MTE2 k = load keys[0:+128{0}, :]{1}\n"
    )
    setup = Setup(replace(FLAT, zeros=1 / 18.58), partial=True)
    part = run(body.format("<rows", word), setup, blocks=(3, 0, 2))
    whole = run(body.format("", word), setup, blocks=(3, 0, 2))
    taken = [end - start for start, end in ran(part, "cube MTE2")]
    assert taken == [KEYS, KEYS, KEYS + filled, KEYS, KEYS + filled]
    assert (
        whole.makespan == run(body.format("<rows", word), blocks=(3, 0, 2)).makespan == 1 + 5 * KEYS
    )
