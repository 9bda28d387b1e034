"""The published paged-attention kernel under the proof: docs/machine.md 8.4 to 8.6, pair by pair.

``tests/programs/original`` holds its cube and vector order as scheduled programs.  Two judges look at them:
the proof (``check`` for every trip count, ``check_unrolled`` for given ones), and section 9 read
literally (``tests/judges/section9.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from lowering import hazards
from lowering.execute import scheduled
from lowering.execute.inputs import bind
from lowering.hazards import check_unrolled
from lowering.hazards.violation import Access, Violation
from lowering.schedule import options_for, schedule
from pto.ir import Block, Kernel, Loop, Ref, Row
from pto.kernels import SHIPPED
from pto.text import parse
from tests import PROGRAMS
from tests.judges import oracles
from tests.judges.section9 import Order, Pair
from tests.lenient import IN_ORDER
from tests.lenient import check_in_order as check

ORIGINAL = PROGRAMS / "original"
FILES = ("drain", "no_drain", "head", "repair", "repair_no_drain")
CASES = (*FILES, "head_no_drain")
"""The programs looked at: the files, and the newest version without its drains."""

MEASURED = (5, 4)
"""The example of section 8.4: two work items of five and four blocks."""

MIXED = (5, 4, 1, 2, 2)
SHORT = (2, 2, 1, 1, 2)
"""Items so short that no slot of K or V is used twice in one of them."""


def text_of(name: str) -> str:
    return (ORIGINAL / f"{name}.ptoir").read_text()


def without_step_drains(block: Block, depth: int = 0) -> Block:
    """The same rows without the drains in the loop over blocks; the one at the end stays."""
    out = []
    for node in block:
        if isinstance(node, Loop):
            node = replace(node, body=without_step_drains(node.body, depth + 1))
        if not (isinstance(node, Row) and node.op == "drain" and depth == 2):
            out.append(node)
    return tuple(out)


@cache
def program(name: str) -> Kernel:
    if name == "head_no_drain":
        head = program("head")
        return replace(head, body=without_step_drains(head.body))
    return parse(text_of(name), f"{name}.ptoir")


def changed(name: str, *changes: tuple[str, str]) -> Kernel:
    text = text_of(name)
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse(text, f"{name}_changed.ptoir")


MENDED = (
    ("vector ub   pb[1]", "vector ub   pb[2]"),
    (" pb | wait", " pb[u] | wait"),
    (" pb = astype", " pb[u] = astype"),
    ("pb.full            V    -> MTE3 id 0", "pb.full            V    -> MTE3 id 0 2"),
    ("set pb.full\n", "set pb.full[u]\n"),
    ("wait pb.full\n", "wait pb.full[u]\n"),
    (
        "event vector in.full            MTE2 -> V    id 0\n",
        "event vector s.full MTE2 -> V id 0 2\nevent vector o.full MTE2 -> V id 3 4\n",
    ),
    ("pop sij | set in.full", "pop sij | set s.full[u]"),
    ("pop oi | set in.full", "pop oi | set o.full[u]"),
    ("scale | wait in.full", "scale | wait s.full[u]"),
    ("o[u] | wait in.full", "o[u] | wait o.full[u]"),
    (
        "      vector  0  V     l_old = mul l, 1.0",
        "      vector  0  V     barrier\n      vector  0  V     l_old = mul l, 1.0",
    ),
)


@cache
def mended(name: str) -> Kernel:
    """The program with a vector core that has no mistake, and with no order added between pipes:
    a second P tile, an id per slot, a barrier of V.  What is still wrong is the cube core's."""
    return changed(name, *MENDED)


@cache
def order(name: str, items: tuple[int, ...], overtaking: tuple[str, ...] = ()) -> Order:
    return Order(program(name), items, overtaking, named)


@cache
def pairs(name: str, items: tuple[int, ...], overtaking: tuple[str, ...] = ()) -> tuple[Pair, ...]:
    return tuple(order(name, items, overtaking).pairs())


def races(name: str, items: tuple[int, ...], core: str = "cube") -> set[tuple[str, ...]]:
    return {p.name for p in pairs(name, items) if p.race and p.core == core}


# --------------------------------------------------------------------------- names of accesses

NAMES = {
    "q": "TLOAD Q", "k": "TLOAD K", "p": "TPOP pij", "s": "TPOP sij", "o": "TPOP oi",
    "q_a": "TMOV Q", "k_b": "TMOV K", "p_a": "TMOV P", "v_b": "TMOV V",
    "s_c": "MAD QK", "o_c": "MAD PV",
}  # fmt: skip
"""What a cube row writes -> its name in section 8.4; also the pops of the vector core."""


def named(row: Row) -> str:
    """A row's name in docs/machine.md 8.4; the two loads of V apart; vector arithmetic as text."""
    if row.op in ("push", "push_data"):
        return f"TPUSH {row.out.name}"
    if isinstance(row.out, Ref) and row.out.name == "v":
        return "TLOAD V first" if row.shift < 0 else "TLOAD V next"
    if isinstance(row.out, Ref) and (row.core == "cube" or row.op == "pop"):
        return NAMES[row.out.name]
    return f"{row.op} {row.out.name}" if isinstance(row.out, Ref) else row.op


@cache
def lines(kernel: Kernel) -> dict[int, Row]:
    found: dict[int, Row] = {}

    def walk(block: Block) -> None:
        for node in block:
            if isinstance(node, Row):
                found[node.loc.line] = node
            elif isinstance(node, Loop):
                walk(node.body)
            else:
                walk((*node.then, *node.orelse))

    walk(kernel.body)
    return found


@cache
def violations(
    name: str, items: tuple[int, ...], assume: tuple[str, ...] = IN_ORDER
) -> tuple[Violation, ...]:
    return check_unrolled(program(name), items, assume=assume, limit=100_000).violations


def access(name: str, x: Access | None) -> str:
    return named(lines(program(name))[x.loc.line])


def reported(
    name: str, items: tuple[int, ...], core: str = "cube", assume: tuple[str, ...] = IN_ORDER
) -> dict[tuple[str, str, str, str], Violation]:
    """The races between rows of ``core`` ('': of the two cores) that the proof reports."""
    found = {}
    for v in violations(name, items, assume):
        if v.kind in ("RAW", "WAR", "WAW"):
            space = v.space + v.buffer.removeprefix("fifo") if v.space == "gm" else v.space
            cores = {v.first.core, v.second.core}
            if cores == ({core} if core else {"cube", "vector"}):
                found[space, v.kind, access(name, v.first), access(name, v.second)] = v
    return found


def double_sets(
    name: str, items: tuple[int, ...], assume: tuple[str, ...] = IN_ORDER
) -> set[tuple]:
    """(core, source, destination, id) of the double sets that the proof reports."""
    found = set()
    for v in violations(name, items, assume):
        if v.kind == "double set":
            core, src, dst, n = re.search(r"\((\w+) (\w+) -> (\w+) id (\d)\)", v.text).groups()
            found.add((core, src, dst, int(n)))
    return found


# ----------------------------------------------------------------------------- the files


def test_without_the_drain_is_the_same_text() -> None:
    for with_it, without in (("drain", "no_drain"), ("repair", "repair_no_drain")):
        assert without_step_drains(program(with_it).body) == program(without).body
        assert replace(program(with_it), name="", body=()) == replace(
            program(without), name="", body=()
        )
        assert program(with_it).body != program(without).body


def test_the_newest_version_differs_in_records_and_credit_only() -> None:
    old, new = program("drain"), program("head")
    assert all(f.credit for f in new.fifos) and not any(f.credit for f in old.fifos)
    assert new.buffers == old.buffers and new.events == old.events

    def without_records(block: Block) -> Block:
        out = []
        for node in block:
            if isinstance(node, Loop):
                node = replace(node, body=without_records(node.body))
            if isinstance(node, Row):
                if node.op == "record":
                    continue
                node = replace(node, op=node.op.replace("push_data", "push"))
            out.append(node)
        return tuple(out)

    assert without_records(old.body) == new.body


@pytest.mark.parametrize("name", FILES)
def test_the_files_compute_attention(name: str) -> None:
    """The transcription is not only in order: in the executor it gives the right numbers."""
    case = oracles.paged_case([0, 1, 128, 129, 513, 300])
    kernel = program(name)
    for blocks in (1, 4):
        out = scheduled.run(kernel, bind(kernel, case), block_num=blocks)["out"]
        assert np.abs(out - oracles.paged_attention(case)).max() <= oracles.paged_tolerance(case)


# ------------------------------------------------------------------- section 8.4, row by row

EVENTS, DRAIN = "events", "drain"


@dataclass(frozen=True)
class Line:
    """Pairs of one row of section 8.4 (0: a conflict that the table does not list).

    ``where``: item (both in one work item), edge (in two), any.  ``verdict``: what orders them.
    """

    row: int
    space: str
    kind: str
    pairs: tuple[tuple[str, str], ...]
    verdict: str
    where: str = "any"

    def __str__(self) -> str:
        return f"row {self.row} {self.space} {self.kind} {self.pairs[0][0]} {self.where}"

    def covers(self, p: Pair) -> bool:
        here = self.where in ("any", "edge" if p.edge else "item")
        return here and (p.space, p.kind) == (self.space, self.kind) and (p.first, p.second) in self.pairs  # fmt: skip


def line(row: int, space: str, kind: str, what: str, verdict: str, where: str = "any") -> Line:
    """``what``: pairs ``first > second``, separated by commas."""
    both = tuple(tuple(x.strip() for x in part.split(">")) for part in what.split(","))
    return Line(row, space, kind, both, verdict, where)


STEPS = "{0} QK > {1} PV, {0} PV > {1} QK, {0} QK > {1} QK, {0} PV > {1} PV"
L0A = "{0} > {2}, {1} > {3}, {0} > {3}, {1} > {2}"

TABLE = (
    line(1, "l1", "RAW", "TLOAD Q > TMOV Q", EVENTS),
    line(2, "l1", "WAR", "TMOV Q > TLOAD Q", EVENTS),
    line(3, "l1", "RAW", "TLOAD K > TMOV K", EVENTS),
    line(4, "l1", "WAR", "TMOV K > TLOAD K", DRAIN, "item"),
    line(6, "l1", "WAW", "TLOAD K > TLOAD K", DRAIN, "item"),
    line(6, "l1", "WAW", "TLOAD V first > TLOAD V next", DRAIN, "item"),
    line(6, "l1", "WAW", "TLOAD V next > TLOAD V first", DRAIN, "edge"),
    line(7, "l1", "WAR", "TMOV K > TLOAD K", EVENTS, "edge"),
    line(8, "l1", "RAW", "TPOP pij > TMOV P", EVENTS),
    line(9, "l1", "WAR", "TMOV P > TPOP pij", EVENTS),
    line(10, "l1", "RAW", "TLOAD V first > TMOV V, TLOAD V next > TMOV V", EVENTS),
    line(11, "l1", "WAR", "TMOV V > TLOAD V next", DRAIN, "item"),
    line(12, "l1", "WAR", "TMOV V > TLOAD V first", DRAIN, "edge"),
    line(13, "l0a", "RAW", "TMOV Q > MAD QK, TMOV P > MAD PV", EVENTS),
    line(13, "l0b", "RAW", "TMOV K > MAD QK, TMOV V > MAD PV", EVENTS),
    line(14, "l0a", "WAR", "MAD QK > TMOV P", DRAIN),
    line(15, "l0a", "WAR", "MAD PV > TMOV Q", DRAIN),
    line(16, "l0a", "WAR", "MAD QK > TMOV Q, MAD PV > TMOV P", DRAIN),
    line(17, "l0b", "WAR", "MAD QK > TMOV V, MAD PV > TMOV K", DRAIN),
    line(17, "l0b", "WAR", "MAD QK > TMOV K, MAD PV > TMOV V", DRAIN),
    line(18, "l0a", "WAW", "TMOV Q > TMOV P, TMOV P > TMOV Q", DRAIN),
    line(18, "l0a", "WAW", "TMOV Q > TMOV Q, TMOV P > TMOV P", DRAIN),
    line(18, "l0b", "WAW", "TMOV K > TMOV V, TMOV V > TMOV K", DRAIN),
    line(18, "l0b", "WAW", "TMOV K > TMOV K, TMOV V > TMOV V", DRAIN),
    line(19, "l0c", "RAW", "MAD QK > TPUSH sij, MAD PV > TPUSH oi", EVENTS),
    line(20, "l0c", "WAR", "TPUSH sij > MAD PV", DRAIN),
    line(21, "l0c", "WAR", "TPUSH oi > MAD QK", DRAIN),
    line(22, "l0c", "WAR", "TPUSH sij > MAD QK, TPUSH oi > MAD PV", DRAIN),
    line(23, "l0c", "WAW", "MAD QK > MAD PV, MAD PV > MAD QK", DRAIN),
    line(23, "l0c", "WAW", "MAD QK > MAD QK, MAD PV > MAD PV", DRAIN),
    line(24, "gm sij", "RAW", "TPUSH sij > TPOP sij", EVENTS),
    line(24, "gm oi", "RAW", "TPUSH oi > TPOP oi", EVENTS),
    line(25, "gm sij", "WAR", "TPOP sij > TPUSH sij", EVENTS),
    line(25, "gm oi", "WAR", "TPOP oi > TPUSH oi", EVENTS),
    line(26, "gm pij", "RAW", "TPUSH pij > TPOP pij", EVENTS),
    line(26, "gm pij", "WAR", "TPOP pij > TPUSH pij", EVENTS),
)
"""Rows 5 and 27 have tests of their own.  Row 12 in docs/machine.md 8.4 also names the prefetch of V
behind an item's edge; that one is ordered by the pop of P before it, so it is in ``BEYOND``."""

BEYOND = (
    line(12, "l1", "WAR", "TMOV V > TLOAD V next", EVENTS, "edge"),
    line(0, "l1", "WAW", "TLOAD Q > TLOAD Q", EVENTS),
    line(0, "l1", "WAW", "TPOP pij > TPOP pij", EVENTS),
    line(0, "l1", "WAW", "TLOAD K > TLOAD K", EVENTS, "edge"),
    line(0, "l1", "WAW", "TLOAD V next > TLOAD V next", EVENTS),
    line(0, "l1", "WAW", "TLOAD V first > TLOAD V next", EVENTS, "edge"),
    line(0, "l1", "WAW", "TLOAD V first > TLOAD V first", DRAIN, "edge"),
    line(0, "l0a", "RAW", "TMOV Q > MAD PV, TMOV P > MAD QK", EVENTS),
    line(0, "l0b", "RAW", "TMOV K > MAD PV, TMOV V > MAD QK", EVENTS),
    line(0, "l0c", "RAW", "MAD QK > TPUSH oi, MAD PV > TPUSH sij", EVENTS),
    line(0, "gm sij", "WAW", "TPUSH sij > TPUSH sij", EVENTS),
    line(0, "gm oi", "WAW", "TPUSH oi > TPUSH oi", EVENTS),
    line(0, "gm pij", "WAW", "TPUSH pij > TPUSH pij", EVENTS),
)
"""Conflicts that section 8.4 does not list, or lists with another verdict.  The reads from L0 among
them are of bytes that were written again in between: no value flows."""


@pytest.mark.parametrize("row", [*TABLE, *BEYOND], ids=str)
def test_row_of_the_table(row: Line) -> None:
    """Both judges: every pair of the row exists, and is unordered exactly where the table says."""
    for pair in row.pairs:
        one = replace(row, pairs=(pair,))
        hits = [p for p in pairs("no_drain", MIXED) if one.covers(p)]
        assert hits, f"no such accesses: {pair}"
        assert any(p.race for p in hits) == (row.verdict == DRAIN), pair
        assert not any(p.race for p in pairs("drain", MIXED) if one.covers(p)), pair

        key, core = (row.space, row.kind, *pair), "" if row.space.startswith("gm") else "cube"
        items = {"item": (5,), "edge": SHORT, "any": MIXED}[row.where]
        if pair == ("TLOAD V next", "TLOAD V first"):
            items = MEASURED  # a prefetch into slot 0 needs three blocks
        if row.verdict == DRAIN:
            v = reported("no_drain", items, core)[key]
            assert v.bytes in {(p.low, p.high) for p in hits if p.race}
        else:
            assert key not in reported("no_drain", items, core)
        assert key not in reported("drain", items, core)
        assert key not in reported("head", items, core)


def test_the_table_has_every_conflict() -> None:
    for p in (*pairs("no_drain", MIXED), *pairs("head_no_drain", MIXED)):
        if p.core in ("cube", "") or p.space.startswith("gm"):
            found = [row for row in (*TABLE, *BEYOND) if row.covers(p)]
            assert len(found) == 1, p


def test_row_5_is_no_conflict() -> None:
    """TMOV K[i] and TLOAD K[i+1] run at the same time, on different bytes."""
    o = order("drain", MEASURED)
    moves = [k for k, x in enumerate(o.all) if x.kind == "op" and named(x.row) == "TMOV K"]
    loads = [k for k, x in enumerate(o.all) if x.kind == "op" and named(x.row) == "TLOAD K"]
    together = [(m, n) for m in moves for n in loads if not o.ordered(m, n) and not o.ordered(n, m)]
    assert len(together) == sum(n - 1 for n in MEASURED)
    for m, n in together:
        (_, low, high), (_, start, end) = o.all[m].reads[0], o.all[n].writes[0]
        assert high <= start or end <= low


CUBE_FLAGS = {
    ("cube", *pipes, n) for pipes in (("MTE2", "MTE1"), ("MTE1", "M"), ("M", "FIX")) for n in (0, 1)
}


def test_row_27_every_id_is_set_again() -> None:
    for items in (MEASURED, MIXED):
        assert {f for f in double_sets("no_drain", items) if f[0] == "cube"} == CUBE_FLAGS
        assert {f for f in order("no_drain", items).double_sets() if f[0] == "cube"} == CUBE_FLAGS


@pytest.mark.parametrize("name", ["drain", "head"])
def test_flags_stay_clean_when_less_tells_them_apart(name: str) -> None:
    for reading, identity in (("source-flags", (0, 2)), ("destination-flags", (1, 2))):
        for items in (MEASURED, MIXED, SHORT):
            assert not {f for f in double_sets(name, items, (*IN_ORDER, reading)) if f[0] == "cube"}
            found = order(name, items).double_sets(identity)
            assert not {f for f in found if f[0] == "cube"}
        assert check(mended(name), assume=[reading]).ok


def test_classes_without_the_drain() -> None:
    """Section 8.4: 15 classes WAR, 15 WAW on the [5, 4] example; nothing else on the cube core."""
    found = reported("no_drain", MEASURED)
    expected = {
        (row.space, row.kind, *pair) for row in TABLE if row.verdict == DRAIN for pair in row.pairs
    }
    assert set(found) == expected == races("no_drain", MEASURED)
    by_kind = [[k for k in found if k[1] == kind] for kind in ("WAR", "WAW", "RAW")]
    assert [len(x) for x in by_kind] == [15, 15, 0]
    spaces = [[k for k in by_kind[0] if k[0] == s] for s in ("l1", "l0a", "l0b", "l0c")]
    assert [len(x) for x in spaces] == [3, 4, 4, 4]
    one_more = ("l1", "WAW", "TLOAD V first", "TLOAD V first")  # needs items of one or two blocks
    assert set(reported("no_drain", MIXED)) == expected | {one_more}
    assert not reported("no_drain", MIXED, "")


def test_classes_of_the_newest_version_without_the_drain() -> None:
    """Its credits order some of them: which ones depends on the parity of the push at the edge."""
    found = set(reported("head_no_drain", MEASURED))
    all_of_them = set(reported("no_drain", MEASURED))
    assert found == races("head_no_drain", MEASURED)
    assert all_of_them - found == {
        ("l1", "WAR", "TMOV V", "TLOAD V first"),
        ("l1", "WAW", "TLOAD V next", "TLOAD V first"),
    }
    assert set(reported("head_no_drain", (4, 5))) - found


@pytest.mark.parametrize(
    ("name", "count", "cross"),
    [("drain", 0, 0), ("no_drain", 217, 110), ("head", 0, 0), ("head_no_drain", 190, 97)],
)
def test_unordered_pairs_on_the_example(name: str, count: int, cross: int) -> None:
    """The numbers of section 8.4, counted over all pairs of instructions of the cube core."""
    found = [p for p in pairs(name, MEASURED) if p.race and p.core == "cube"]
    assert len(found) == count
    assert sum(not p.same_pipe for p in found) == cross
    assert not any(p.race for p in pairs(name, MEASURED) if p.space.startswith("gm"))


# ------------------------------------------------------------------------- both judges agree


@pytest.mark.parametrize("items", [MEASURED, MIXED, (1,), (2,), (3, 0, 2), (6, 1)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_the_proof_agrees_with_section_9(name: str, items: tuple[int, ...]) -> None:
    """The proof looks at neighbours only, section 9 at all pairs: the same classes come out."""
    for core in ("cube", ""):
        assert set(reported(name, items, core)) == races(name, items, core)
    lanes = [{f[1:] for f in order(name, items).double_sets() if f[0] == f"vector {n}"} for n in (0, 1)]  # fmt: skip
    assert lanes[0] == lanes[1]
    assert {f[1:] for f in double_sets(name, items) if f[0] == "vector"} == lanes[0]
    cube = {f for f in order(name, items).double_sets() if f[0] == "cube"}
    assert {f for f in double_sets(name, items) if f[0] == "cube"} == cube
    vector = {  # V reads before a later row of V writes: benign
        p.name
        for p in pairs(name, items)
        if p.race and p.core == "vector 0" and not (p.kind == "WAR" and p.same_pipe)
    }
    assert set(reported(name, items, "vector")) == vector


# ------------------------------------------------------------------ section 8.5: which races


@pytest.mark.parametrize("name", ["drain", "head"])
def test_the_cube_core_has_no_race(name: str) -> None:
    for items in (MEASURED, MIXED, SHORT, (1,), (7,)):
        at = [v.second or v.first for v in violations(name, items)]
        assert {x.core for x in at} <= {"vector"}
    proof = check(mended(name))
    assert proof.ok and "every trip count" in proof.message, proof.report()


VECTOR_RACES = {
    ("ub", "WAR", "TPUSH pij", "astype pb"),
    ("ub", "RAW", "row_sum l", "mul l_old"),
}
VECTOR_FLAGS = {("vector", "MTE2", "V", 0), ("vector", "V", "MTE3", 0)}


@pytest.mark.parametrize("name", FILES)
def test_the_races_of_the_vector_core(name: str) -> None:
    found = reported(name, MEASURED, "vector")
    assert set(found) == VECTOR_RACES
    assert {f for f in double_sets(name, MEASURED) if f[0] == "vector"} == VECTOR_FLAGS
    tile, total = (found[x] for x in sorted(VECTOR_RACES, reverse=True))
    assert (tile.buffer, tile.first.pipe, tile.second.pipe) == ("pb", "MTE3", "V")
    assert (total.buffer, total.first.pipe, total.second.pipe) == ("l", "V", "V")
    for v in (tile, total):  # the distance is one step, the first one in the prologue
        assert (v.first.iteration[-1], v.second.iteration[-1]) == (("i", 0), ("i", 1))


COPY = ("ub", "WAR", "copy m_old", "maximum m")


def test_the_copy_of_the_running_max_is_benign() -> None:
    """Nothing orders the two; the pipe reads before a later row of it writes."""
    assert COPY in {p.name for p in pairs("drain", MEASURED) if p.race}
    assert COPY not in reported("drain", MEASURED, "vector")


def test_the_copy_of_the_running_max_when_starts_are_unordered() -> None:
    assert COPY in reported("drain", MEASURED, "vector", ("unordered-starts",))


# -------------------------------------------------------------- smallest failing trip counts


@pytest.mark.parametrize(
    ("name", "whole", "cube"),
    [
        ("drain", (2,), None),
        ("no_drain", (2,), (2,)),
        ("head", (2,), None),
        ("repair", (2,), (0, 0)),
        ("repair_no_drain", (2,), (2,)),
    ],
)
def test_smallest_failing_trip_counts(
    name: str, whole: tuple[int, ...], cube: tuple[int, ...] | None
) -> None:
    """Of the whole program, and of the cube core alone (the vector core mended)."""
    assert check(program(name)).failing == whole
    assert check(mended(name)).failing == cube
    for items in ((1,), (2,)):
        assert check_unrolled(mended(name), items, IN_ORDER).ok == (items != cube)


# --------------------------------------------------------------------- section 8.6: the repair

PRIMED = {("cube", *pipes, n) for pipes in (("MTE1", "MTE2"), ("M", "MTE1")) for n in range(4)}


def test_the_repair_without_the_drain() -> None:
    """The events alone: MAD PV against the next copies to its bytes, and L0C, stay open."""
    found = reported("repair_no_drain", MIXED)
    war = {k for k in found if k[1] == "WAR"}
    assert war == {
        ("l0a", "WAR", "MAD PV", "TMOV Q"),
        ("l0b", "WAR", "MAD PV", "TMOV K"),
        *(("l0c", "WAR", *p) for row in TABLE if row.row in (20, 21, 22) for p in row.pairs),
    }
    assert set(found) - war == {
        ("l0a", "WAW", "TMOV P", "TMOV Q"),
        ("l0b", "WAW", "TMOV V", "TMOV K"),
        *(("l0c", "WAW", *p) for row in TABLE if row.row == 23 for p in row.pairs),
    }
    assert {f for f in double_sets("repair_no_drain", MIXED) if f[0] == "cube"} == PRIMED | {
        ("cube", "M", "FIX", 0),
        ("cube", "M", "FIX", 1),
    }


def test_the_repair_with_the_drain() -> None:
    """No race; eight flags are primed again without order behind the waits that cleared them."""
    assert not reported("repair", MIXED) and not reported("repair", MIXED, "")
    assert {f for f in double_sets("repair", MIXED) if f[0] == "cube"} == PRIMED
    assert not {f for f in double_sets("repair", (6,)) if f[0] == "cube"}  # one item: primed once
    assert {f for f in double_sets("repair", (1, 1)) if f[0] == "cube"} == PRIMED
    at = check(mended("repair")).violations
    assert {v.kind for v in at} == {"double set"} and {v.second.row for v in at} == {"sync"}


def test_the_repair_primed_once_is_proven() -> None:
    """What section 8.6 asks for: nothing but the place of the primes and their waits was wrong."""
    body = mended("repair").body
    (at,) = (k for k, node in enumerate(body) if isinstance(node, Loop))
    inner = body[at].body
    primes = [n for n in inner if isinstance(n, Row) and n.op == "sync" and n.set]
    clears = [n for n in inner if isinstance(n, Row) and n.op == "sync" and n.wait]
    rest = tuple(n for n in inner if n not in (*primes, *clears))
    moved = (*body[:at], *primes, replace(body[at], body=rest), *clears, *body[at + 1 :])
    proof = check(replace(mended("repair"), body=moved))
    assert proof.ok, proof.report()


# ------------------------------------- what the transcription decided, section 9's other reading


def cube_races(kernel: Kernel, items: Iterable[int]) -> set[tuple[str, ...]]:
    found = set()
    for v in check_unrolled(kernel, tuple(items), IN_ORDER, limit=100_000).violations:
        if v.kind in ("RAW", "WAR", "WAW") and v.second.core == "cube":
            both = (named(lines(kernel)[x.loc.line]) for x in (v.first, v.second))
            found.add((v.space, v.kind, *both))
    return found


def test_row_12_needs_the_load_of_v_before_the_pop_of_p() -> None:
    """The order p1, p1b of section 8.2: the other way round, the pop's wait orders row 12."""
    text = text_of("no_drain")
    load = re.search(r"    if i == 0:\n      cube   -1  MTE2  v.*\n", text)
    pop = re.search(r"    cube   -1  MTE2  p\[u\].*\n", text)
    swapped = changed("no_drain", (load.group() + pop.group(), pop.group() + load.group()))
    gone = set(reported("no_drain", MEASURED)) - cube_races(swapped, MEASURED)
    assert ("l1", "WAR", "TMOV V", "TLOAD V first") in gone
    assert all(k[3] == "TLOAD V first" for k in gone)


def test_the_repair_needs_the_drain_in_pv_too() -> None:
    drain = re.search(r"    cube   -1  S     drain FIX.*\n", text_of("repair")).group()
    assert {("l0a", "WAR", "MAD PV", "TMOV Q"), ("l0c", "WAR", "TPUSH oi", "MAD QK")} <= (
        cube_races(changed("repair", (drain, "")), MEASURED)
    )


@pytest.mark.parametrize(("name", "racing"), [("drain", {"pij"}), ("head", {"sij", "oi", "pij"})])
def test_a_signal_that_overtakes_its_data(name: str, racing: set[str]) -> None:
    """Section 9, the only difference in safety between the two versions."""
    found = reported(name, MEASURED, "", ())
    assert {k[0].split()[1] for k in found if k[1] == "RAW"} == racing
    literal = {p.name for p in pairs(name, MEASURED, ("data",)) if p.race and not p.core}
    assert {k[0].split()[1] for k in literal} == racing


def test_a_free_signal_that_overtakes_its_load() -> None:
    """Section 9 again, where nothing but the free signal orders a push behind a pop: the next push may
    overwrite what is still being popped.  The pushes of this kernel are drained, so that no data signal
    can overtake."""
    kernel = schedule(SHIPPED["gemm"].trace(), options_for("serial")).kernel
    items = (1,) * 6
    for signal, reading, racing in (
        ("data", "", set()),
        ("free", "overtaking-frees", {"total_fifo"}),
    ):
        found = check_unrolled(kernel, items, [reading] if reading else []).violations
        literal = [p for p in Order(kernel, items, (signal,)).pairs() if p.race and not p.core]
        assert {v.buffer.split()[-1] for v in found} == racing
        assert {p.name[0].split()[-1] for p in literal} == racing
        assert hazards.check(kernel, assume=[reading] if reading else []).ok == (not racing)
