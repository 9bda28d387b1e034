"""Each row of the tables of acceptance: what does not fit it is refused, at its line, by one message.

Legality and parser are one for traced kernels and for text; the proof never proves what they refuse.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pto
from lowering.execute import inputs, scheduled
from lowering.programs import parsed
from lowering.schedule import options_for as options
from lowering.schedule import schedule, stages
from lowering.schedule.passes.persist import persist
from lowering.simulate import simulate
from lowering.values.equivalence import same_values
from lowering.values.tokens import Scheduled
from lowering.values.world import World, worlds
from pto import ir
from pto.errors import LegalityError, PtoError, ScheduleError
from pto.legality import verify
from pto.ops import FORMS, OPS, SCHEDULED
from pto.text import parse, print_kernel
from pto.types import TileType
from tests.judges import random_kernels, random_programs
from tests.judges.small_programs import CUBE, ENDS, HEADER, OPERANDS, PRODUCE
from tests.lenient import check

TRACED = (
    "kernel t\nparam x in f32[rows, 64]\nparam h in i32[rows, 8]\nparam y out f32[rows, 64]\n"
    "param n scalar i32\nparam s scalar f32\ngrid cdiv(rows, 16)\n"
    "a: f32[16, 64] = load x[pid0 * 16:+16, :]\n"
)
SCHEDULED_HEAD = (
    HEADER.strip() + "\nbuffer vector ub m[1] f32[8, 1] dn at 12288 by 32\n"
    "event vector g V -> MTE2 id 0\nevent vector s S -> V id 0\n"
)
CUBE_HEAD = HEADER.strip() + "\n" + CUBE

ROWS = {
    # arity
    "row_max takes a tile, a tile, found 1": "vector 0 V m = row_max a\n",
    "add takes a tile, a tile or a scalar, found 1": "vector 0 V a = add a\n",
    "exp takes a tile, found 2": "vector 0 V a = exp a, a\n",
    "full takes a scalar, found 0": "vector 0 V a = full\n",
    "load takes a view of a tensor and at most a fill, found 0 operands": "vector 0 MTE2 a = load\n",
    "a load into UB fills nothing": "vector 0 MTE2 a = load src[0:+8, :], no_fill\n",
    "barrier takes no operand, found 1": "vector 0 V barrier 5\n",
    "drain takes a pipe, or waits for an event of one": "vector 0 S drain\n",
    "where takes a tile, a scalar, a number, found 2": "vector 0 V a = where a, 3\n",
    # kinds
    "load: operand 1 is a view of a tensor, found a number": "vector 0 MTE2 a = load 5\n",
    "copy: operand 1 is a tile, found a number": "vector 0 V a = copy 5\n",
    "read: operand 1 is an element of a tensor": "vector 0 S r = read src[0:+1, 0]\n",
    "load: operand 1 is a view of a tensor, found an element": "vector 0 MTE2 a = load src[0, 0]\n",
    "where: operand 3 is a number, found a scalar": "vector 0 V a = where a, 3, n\n",
    "full: operand 1 is a scalar, found a tile": "vector 0 V a = full c\n",
    "sync gives nothing": "vector 0 V a = sync\n",
    "barrier gives nothing": "vector 0 V a = barrier\n",
    "add gives a tile": "vector 0 V add a, c\n",
    "'q' is not a buffer": "vector 0 V q = add a, c\n",
    "store gives a view of a tensor": "vector 0 MTE3 a = store c\n",
    "'r' is not an op": "vector 0 V a = r c\n",
    "drain: the vector core has no pipe FIX": "vector 0 S drain FIX\n",
    "drain: the vector core has no pipe S": "vector 0 S drain S\n",
    # what text says is what is emitted
    "add: operand 2 cannot be transposed": "vector 0 V d = add a, c.T\n",
    "store: operand 1 cannot be transposed": "vector 0 MTE3 out[0:+8, :] = store a.T\n",
    # pipes, cores, flags
    "add cannot run on pipe 'MTE2'": "vector 0 MTE2 a = add a, c\n",
    "add: the cube core has no pipe V": "cube 0 V a = add a, c\n",
    "let has no wait and set": "vector 0 S k2 = let n | set s\n",
    "let has no wait": "vector 0 S k2 = let n | wait s\n",
    "a row of V cannot wait it": "vector 0 V a = full 1.0 | wait g\n",
    "1025 is not in -1024 .. 1024": "for i in 0 .. n:\n  vector +1025 V a = full 1.0\n",
    # scalars
    "division by zero": "vector 0 S k2 = let n // 0\n",
    "a trip count is an integer": "for i in 0 .. n / 2:\n  vector 0 V a = full 1.0\n",
    "a trip count is an integer, found a fraction": "for i in 0 .. 2.5:\n  vector 0 V a = full 1.0\n",
    "'i' is not a scalar known here": "for i in 0 .. n:\n  vector 0 V a = full 1.0\nvector 0 S q = let i\n",
    "a slot is an integer": "vector 0 V b[n / 2] = full 1.0\n",
    "an index of dimension 0 of 'src' is an integer": "vector 0 MTE2 a = load src[n / 2:+8, :]\n",
    # bounds
    "elements 32 to 95 are outside of dimension 1 of 'src'": "vector 0 MTE2 a = load src[0:+8, 32:+64]\n",
    "elements -1 to 6 are outside of dimension 0": "vector 0 MTE2 a = load src[-1:+8, :]\n",
    "elements 0 to 64 are outside of dimension 1": "for i in 0 .. 2:\n  vector 0 MTE2 a = load src[0:+8, i:+64]\n",
    "elements 0 to 71 are": "vector 0 MTE2 a = load src[0:+8, max(lane, 0) * 8:+64]\n",
    "elements 0 to 79 are": "for i in 0 .. 3:\n  vector 0 MTE2 a = load src[0:+8, i % 2 * 16:+64]\n",
    "elements 8 to 71 are": "vector 0 MTE2 a = load src[0:+8, (block_idx + 1) * 8:+64]\n",
    "elements -8 to 55 are": "for i in 0 .. n:\n  vector 0 MTE2 a = load src[0:+8, (i - 1) * 8:+64]\n",
    "element rows + 3 is outside of dimension 0": "vector 0 MTE2 a = load src[rows - 4:+8, :]\n",
    "element rows is outside of dimension 0": "vector 0 MTE2 a = load src[rows - 8 + lane:+8, :]\n",
    "elements 1 to 64 are": "vector 0 S k2 = let 1\nvector 0 MTE2 a = load src[0:+8, k2:+64]\n",
    # types
    "the result has one column": "vector 0 V c = row_max a, d\n",
    "the scratch tile is f32[8, 64]": "vector 0 V m = row_max a, m\n",
    "shape and dtype must follow the operands": "vector 0 V a = astype c, f16\n",
    "no instruction converts f32 to f32": "vector 0 V a = astype c, f32\n",
    "the view is f32[8, 32], the tile f32[8, 64]": "vector 0 MTE2 a = load src[0:+8, 0:+32]\n",
    "src is an input and is written": "vector 0 MTE3 src[0:+8, :] = store a\n",
}
VALUES = {
    "add: operand 2 cannot be transposed": "b: f32[16, 64] = add a, a.T\n",
    "the rows of the operand are the columns": "b: f32[16, 64] = transpose a\n",
    "columns of a multiple of 16": "c: f32[8, 64] = full 1.0\nb: f32[64, 8] = transpose c\n",
    "row_max takes a tile, found 2": "b: f32[16, 1] = row_max a, a\n",
    "matmul takes a tile, a tile and at most a tile, found 4": "b: f32[16, 16] = matmul a, a.T, a, n\n",
    "push belongs to a scheduled program": "q: f32[16, 64] = push a\n",
    "sync belongs to a scheduled program": "sync\n",
    "'a' is defined twice": "a: f32[16, 64] = exp a\n",
    "'n' is defined twice": "n: f32[16, 64] = exp a\n",
    "'b' is not defined here": "for i in 0 .. 3:\n  b: f32[16, 64] = exp a\ny[0:+16, :] = store b\n",
    "'k' is not a scalar known here": "if n == 1:\n  k = let 3\nl = let k\n",
    "wait and set belong to a scheduled program": "b: f32[16, 64] = exp a | wait q\n",
    "div: it takes f32, f16": "b: i32[16, 64] = full 1\nc: i32[16, 64] = div b, 2\n",
    "mul: the elements of an i32 tile are integers": "b: i32[16, 64] = full 1\nc: i32[16, 64] = mul b, 0.5\n",
    "add: the elements of an i32 tile are integers": "b: i32[16, 64] = full 1\nc: i32[16, 64] = add b, s\n",
    "full: the elements of an i32 tile are integers": "b: i32[16, 64] = full inf\n",
    "full: the elements of an i32 tile have 32 bits": "b: i32[16, 64] = full 2147483648\n",
    "where: the elements of an i32 tile are integers": "b: i32[16, 64] = full 1\nc: i32[16, 64] = where b, 3, -inf\n",
    "exp: it takes f32, f16": "b: i32[16, 64] = full 1\nc: i32[16, 64] = exp b\n",
    "an index of dimension 0 of 'x' is an integer": "r = read x[0, 0]\nb: f32[16, 64] = load x[r:+16, :]\n",
    "found a view of a tensor": "r = read h[0, 8:+1]\n",
    "element 8 is outside of dimension 1 of 'h'": "r = read h[0, 8]\n",
    "carry 'c' does not start from a f32[16, 1]": (
        "for i in 0 .. 3:\n  carry c: f32[16, 1] from a last d\n  e: f32[16, 1] = exp c\n  yield e\n"
    ),
    "a loop that counts on": "for i, u in 0 .. 3:\n  b: f32[16, 64] = exp a\n",
    "is scheduled and names no target": "vector 0 V b = exp a\n",
    "x is an input and is written": "x[0:+16, :] = store a\n",
    "'block_idx' is not a scalar known here": "r = let block_idx\n",
    "exp: the second operand must be": "b: f32[16, 32] = exp a\n",
    "add: the second operand must be": "b: f32[16, 32] = full 1.0\nc: f32[16, 64] = add a, b\n",
    "cdiv takes integers": "for i in 0 .. cdiv(rows, 1.5):\n  b: f32[16, 64] = exp a\n",
}
DECLARED = {
    "the vector core has no l1": "buffer vector l1 z[1] f32[16, 16] nz at 0 by 1024\n",
    "a tile in ub lies nd or dn, not nz": "buffer vector ub z[1] f32[16, 16] nz at 0 by 1024\n",
    "a column lies dn, every other tile nd": "buffer vector ub z[1] f32[8, 1] nd at 0 by 32\n",
    "a row is not a multiple of 32 bytes": "buffer vector ub z[1] f32[8, 20] nd at 0 by 1024\n",
    "rows and columns are multiples of 16": "buffer cube l1 z[1] f32[8, 16] nz at 0 by 1024\n",
    "l0c holds f32": "buffer cube l0c z[1] f16[16, 16] nz at 0 by 1024\n",
    "l0a holds f32 or f16 or bf16": "buffer cube l0a z[1] i32[16, 16] zz at 0 by 1024\n",
    "0 is not in 1 .. 256": "buffer vector ub z[0] f32[8, 16] nd at 0 by 1024\n",
    "99999999 is not in 1 .. 256": "buffer vector ub z[99999999] f32[8, 16] nd at 0 by 1024\n",
    "expected an integer, found '-'": "buffer vector ub z[-2] f32[8, 16] nd at 0 by 1024\n",
    "0 is not in 1 .. 1048576": "buffer vector ub z[1] f32[0, 16] nd at 0 by 1024\n",
    "the line ends where an integer is expected": "event vector z V -> MTE2 id\n",
    "16 is not in 0 .. 15": "event vector z V -> MTE2 id 16\n",
    "the vector core has no pipe MTE1": "event vector z V -> MTE1 id 0\n",
    "'a' is declared twice": "event vector a V -> MTE2 id 0\n",
    "'wait' is a word of the language": "event vector wait V -> MTE2 id 0\n",
    "expected 'credit'": "fifo z c2v [2] f32[16, 64] flag 0 no\n",
    "'up' is not a direction": "fifo z up [2] f32[16, 64] flag 0\n",
}
TEXTS = {
    "expected the grid": "kernel t\nparam x in f32[4]\na: f32[1, 4] = load x[:]\n",
    "the kernel has no rows": "kernel t\ngrid 1\n",
    "'for' has no rows": TRACED + "for i in 0 .. n:\n",
    "'if' has no rows": TRACED + "if n == 1:\nb: f32[16, 64] = exp a\n",
    "'else' has no rows": TRACED + "if n == 1:\n  b: f32[16, 64] = exp a\nelse:\n",
    "'n' is a parameter and a dimension": "kernel t\nparam x in f32[n]\nparam n scalar i32\ngrid 1\nk = let 1\n",
    "the grid is an integer": "kernel t\nparam x in f32[n]\ngrid n / 2\nk = let 1\n",
    "'pid0' is not known in the grid": "kernel t\nparam x in f32[n]\ngrid pid0\nk = let 1\n",
    "0 is not in 1 .. 2147483647": "kernel t\ngrid 0\nk = let 1\n",
    "no target is called 'a9'": HEADER.replace("a2a3", "a9") + "vector 0 V a = full 1.0\n",
    "is scheduled and names no target": HEADER.replace(" on a2a3", "") + "vector 0 V a = full 1.0\n",
    "has 5000 digits": TRACED + f"k = let {'9' * 5000}\n",
    "integers have 64 bits": TRACED + "k = let 9223372036854775808\n",
    "1e999 is more than f32 holds": TRACED + "k = let 1e999\n",
    "longer expressions want a name": TRACED + f"k = let {'(' * 70}n{')' * 70}\n",
    "65 is not in 0 .. 64": TRACED + f"k = let {' + '.join(['n'] * 66)}\n",
    "no kernel nests": TRACED + "".join(f"{'  ' * k}if n:\n" for k in range(20)) + "  " * 20 + "k = let 1\n",
    "a block is indented by spaces": TRACED + "if n:\n\tk = let 1\n",
    "'a' is no scalar": TRACED + "k = let 1 + a\n",
    "is not in -1024 .. 1024": HEADER + "for i in 0 .. n:\n  vector 100000000000000000000 V a = full 1.0\n",
    "a loop starts at 0": TRACED + "for i in 1 .. 2:\n  k = let 1\n",
    "'then' is too much": TRACED + "if n: then\n  k = let 1\n",
    "the line ends where the name of an event is expected": HEADER + "vector 0 V sync | wait\n",
}  # fmt: skip
CUBES = {
    "matmul on the cube core cannot read l0b here (y), only l0a": "cube 0 M acc = matmul y, x\n",
    "matmul: operand 1 cannot be transposed": "cube 0 M acc = matmul x.T, y\n",
    "matmul: operand 2 cannot be transposed": "cube 0 M acc = matmul x, y.T\n",
    "matmul on the cube core cannot write l0a": "cube 0 M x = matmul x, y\n",
    "move on the cube core cannot read l0a": "cube 0 MTE1 y = move x\n",
    "move on the cube core cannot write l1": "cube 0 MTE1 yl = move yl\n",
    "push of the c2v fifo f on the vector core": "vector 0 MTE3 f = push c\n",
    "record: no push_data belongs to it": "cube 0 FIX record f\n",
    "push gives a FIFO, which 'acc' is not": "cube 0 FIX acc = push acc\n",
}


def cases() -> Iterator[tuple[str, str]]:
    yield from ((m, SCHEDULED_HEAD + body) for m, body in ROWS.items())
    yield from ((m, TRACED + body) for m, body in VALUES.items())
    yield from ((m, HEADER + line + "vector 0 V a = full 1.0\n") for m, line in DECLARED.items())
    yield from TEXTS.items()
    yield from ((m, CUBE_HEAD + body) for m, body in CUBES.items())


@pytest.mark.parametrize("trips", ["i", "min(i, 1)", "q", "t"])
def test_a_loop_that_may_not_run_is_no_step_of_those_around_it(trips: str) -> None:
    """Where ``i`` is 0, nothing is loaded."""
    body = (
        "for i in 0 .. 2:\n  vector 0 S q = let i\n  vector 0 S t = read tab[i]\n"
        f"  for j in 0 .. {trips}:\n    vector 0 MTE2 a = load src[0:+8, (i - 1) * 64:+64]\n"
    )
    head = SCHEDULED_HEAD.replace("param n ", "param tab in i32[rows]\nparam n ")
    parsed(head + body, "good.ptoir")
    with pytest.raises(PtoError, match="elements -64 to 63"):
        parsed(head + body.replace(f".. {trips}:", ".. n:"), "bad.ptoir")


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i32"])
def test_a_product_is_rounded_to_floats_where_it_is_stored_from_l0c(dtype: str) -> None:
    head = CUBE_HEAD.replace("out    f32[", f"out    {dtype}[")
    rows = {"cube": "cube 0 FIX out[0:+16, :] = store acc\n", "vector": "vector 0 MTE3 out[0:+8, :] = store c\n"}  # fmt: skip
    for core, row in rows.items():
        if dtype == "f32" or (core == "cube" and dtype != "i32"):
            parsed(head + row, "good.ptoir")
        else:
            with pytest.raises(PtoError, match=rf"store: the view is {dtype}\["):
                parsed(head + row, "bad.ptoir")


@pytest.mark.parametrize(("message", "text"), list(cases()))
def test_refused(message: str, text: str) -> None:
    with pytest.raises(PtoError) as caught:
        parsed(text, "bad.ptoir")
    assert message in caught.value.message
    assert caught.value.loc is not None and caught.value.loc.line <= len(text.splitlines())


def test_every_op_has_a_row_in_which_something_is_wrong() -> None:
    """A table with a hole would let a row through: with no operand, and with one too many."""
    for op in OPS.values():
        name = "vector" if "vector" in op.on else "cube"
        row = ir.Row(op.name, None, (), name, op.on[name][0])
        wrong = [replace(row, args=(ir.Const(1),) * 9)]
        wrong += [row] if op.args else []
        wrong += [replace(row, out=ir.Scalar("q"))] if op.kind != "scalar" else []
        for r in wrong:
            kernel = replace(parse(HEADER + "vector 0 V a = full 1.0\n"), body=(r,))
            with pytest.raises(LegalityError):
                verify(kernel, SCHEDULED)
            assert not check(kernel).ok


def test_forms_are_in_the_order_of_the_passes() -> None:
    starts = [FORMS.index(a.start) for op in OPS.values() for a in op.args]
    assert min(starts) == 0 and max(starts) == FORMS.index(SCHEDULED)


# ---------------------------------------------------------------------------- random programs


def broken(kernel: ir.Kernel, rng: random.Random) -> Iterator[tuple[str, ir.Kernel]]:
    """A right or wrong program with something that no row of the tables accepts."""
    rows = list(ir.all_rows(kernel.body))
    scalars = [r for r in rows if OPS[r.op].kind == "scalar"]
    used = [r for r in rows if r.args and r.op != "matmul"]
    flags = [ir.Flag(e.name, ir.Const(0) if len(e.ids) > 1 else None) for e in kernel.events]

    def changed(old: ir.Row, **columns: object) -> ir.Kernel:
        new = replace(old, **columns)  # type: ignore[arg-type]
        return replace(kernel, body=ir.map_rows(kernel.body, lambda r: new if r is old else r))

    if scalars and flags:
        row, flag = rng.choice(scalars), rng.choice(flags)
        yield "a set on a scalar row", changed(row, set=(flag,))
        yield "a wait on a scalar row", changed(row, wait=(flag,))
    row = rng.choice(used)
    yield "an operand left out", changed(row, args=row.args[:-1])
    yield "an operand too many", changed(row, args=(*row.args, *row.args, *row.args))


def test_what_no_row_accepts_is_never_proven() -> None:
    """No judge gets a program of which the stages do not agree what it means."""
    seen: dict[str, int] = {}
    for seed in range(120):
        kernel, _ = random_programs.draw(seed)
        for what, k in broken(kernel, random.Random(seed)):
            proof = check(k, max_states=1)
            assert not proof.ok and not proof.refused, f"{seed}: {what}"
            with pytest.raises(PtoError):
                verify(k, SCHEDULED)
            seen[what] = seen.get(what, 0) + 1
    assert len(seen) == 4 and min(seen.values()) > 20


def branched(block: ir.Block, number: int, test: ir.Expr) -> ir.Block:
    """The program with row ``number`` inside of a branch."""
    count = iter(range(10**6))

    def node(n: ir.Node) -> ir.Node:
        if isinstance(n, ir.Loop):
            return replace(n, body=tuple(map(node, n.body)))
        return ir.Branch(test, (n,)) if next(count) == number else n

    return tuple(map(node, block))


@pytest.mark.parametrize("seed", range(6))
def test_a_branch_in_a_traced_program_is_never_dropped(seed: int) -> None:
    """Wherever it stands, whatever it tests: no pass and no value check goes past it."""
    kernel = random_kernels.draw(seed)[0].trace()
    done, persistent = schedule(kernel, options("serial")).kernel, persist(kernel)
    for test in (ir.Var("pid0"), ir.Const(1), ir.Const(0)):
        for number in places(kernel):
            with_branch = replace(kernel, body=branched(kernel.body, number, test))
            with pytest.raises(LegalityError, match="branch"):
                next(stages(with_branch, options("serial")))
        for number in places(persistent):
            lost = replace(persistent, body=branched(persistent.body, number, test))
            with pytest.raises(LegalityError, match="branch"):
                same_values(lost, done)


def places(kernel: ir.Kernel) -> list[int]:
    """The first row, one in the middle, the last."""
    rows = len(list(ir.all_rows(kernel.body)))
    return [0, rows // 2, rows - 1]


def test_every_test_goes_both_ways() -> None:
    """The made-up worlds of the value check take each side of a branch."""
    kernel = parse(
        HEADER + "if go == 1:\n  vector 0 V a = full 1.0\nelse:\n  vector 0 V c = full 2.0\n"
    )
    ways = set()
    for trips in worlds(kernel):
        world = World(trips, kernel)
        Scheduled(kernel).run(world)
        ways.add(world.values["go"] == 1)
    assert ways == {True, False}


# ----------------------------------------------------------------------------------- scratch

SPOIL = {
    "row_max": "buffer vector ub m[1] f32[8, 1] dn at 12288 by 32\n",
    "row_min": "buffer vector ub m[1] f32[8, 1] dn at 12288 by 32\n",
    "row_sum": "buffer vector ub m[1] f32[8, 1] dn at 12288 by 32\n",
    "col_sum": "buffer vector ub m[1] f32[1, 64] cols nd at 12288 by 256\n",
    "unary": "buffer vector ub m[1] f32[8, 64] nd at 12288 by 2048\n",
    "binary": "buffer vector ub m[1] f32[8, 64] nd at 12288 by 2048\n",
    "select": "buffer vector ub m[1] f32[8, 64] nd at 12288 by 2048\n",
}
"""A result, by op or kind of op."""
TAKES = {"select": "a, a, a, a", "binary": "a, a"}


@pytest.mark.parametrize(
    "op", [op.name for op in OPS.values() if op.scratch and op.spare is OPS["row_max"].spare]
)
def test_what_was_scratch_is_no_value(op: str) -> None:
    """Fresh or written before: whoever reads it must write it again first."""
    head = "vector 0 V a = full 1.0\nvector 0 V d = full 2.0\nvector 0 V barrier\n"
    operands = TAKES.get(OPS[op].kind, "a")
    spoil = f"vector 0 V m = {op} {operands}, d\nvector 0 V barrier\n"
    read = "vector 0 V c = copy d\n"
    again = "vector 0 V d = full 3.0\nvector 0 V barrier\n"
    for body, right in (
        (head + spoil + read, False),
        (head.replace("vector 0 V d = full 2.0\n", "") + spoil + read, False),
        (head + read + "vector 0 V barrier\n" + spoil, True),
        (head + spoil + again + read, True),
        (
            head
            + "for i in 0 .. n:\n  "
            + (read + "vector 0 V barrier\n" + spoil).replace("\nv", "\n  v"),
            False,
        ),
    ):
        result = SPOIL.get(op) or SPOIL[OPS[op].kind]
        header = HEADER.replace("f32[8, 64]", "f32[8, 64] cols") if "cols" in result else HEADER
        text = header + result + body
        if "f32" not in OPS[op].dtypes:
            text = text.replace("f32", "i32").replace(".0\n", "\n")
        proof = check(parse(text))
        assert proof.ok == right, body
        assert right or proof.violations[0].kind == "uninitialised"
        assert (
            right or "scratch" in proof.violations[0].text or "written" in proof.violations[0].text
        )


def test_the_value_check_sees_that_scratch_destroys() -> None:
    """A row reduction whose scratch is a live tile: well ordered, and wrong."""
    text = TRACED + "b: f32[16, 64] = exp a\nm: f32[16, 1] = row_max a\n"
    text += "c: f32[16, 64] = sub b, m\ny[pid0 * 16:+16, :] = store c\n"
    kernel = parse(text)
    made = dict(stages(kernel, options("serial")))
    done = made["sync"]
    same_values(made["persist"], done)
    row = next(r for r in ir.all_rows(done.body) if r.op == "row_max")
    live = next(r.out for r in ir.all_rows(done.body) if r.op == "exp")
    spoiled = replace(row, args=(row.args[0], live))  # type: ignore[arg-type]
    wrong = replace(done, body=ir.map_rows(done.body, lambda r: spoiled if r is row else r))
    with pytest.raises(AssertionError, match="stores another value"):
        same_values(made["persist"], wrong)


FLAT = """buffer vector ub r[2] f32[8, 64] nd at 16384 by 2048
for w, turn in 0 .. cdiv(rows - block_idx, block_num) flat:
  vector 0 V r[{front}] = full 0.0
  for i, u in 0 .. n:
    vector 0 V c = copy a
  vector 0 V r[{behind}] = full 0.0
"""


@pytest.mark.parametrize("place", ["front", "behind"])
def test_the_counter_of_the_inner_loop_is_known_beside_it_where_that_has_rows(place: str) -> None:
    text = SCHEDULED_HEAD + FLAT.format(**{"front": "turn", "behind": "turn", place: "u"})
    assert isinstance(parsed(text, "a"), ir.Kernel)
    elsewhere = text.replace("vector 0 V c = copy a", "cube 0 S k2 = let i")
    with pytest.raises(LegalityError, match="'u' is not a scalar known here"):
        parsed(elsewhere, "b")


@pytest.mark.parametrize("name", ["turn", "u"])
@pytest.mark.parametrize("place", ["vector 0 S k = let {}", "vector 0 S k = read h[{}]"])
def test_a_scalar_of_a_flat_loop_is_known_before_items_are_counted(name: str, place: str) -> None:
    text = SCHEDULED_HEAD.replace("param ", "param h in i32[64]\nparam ", 1)
    text += FLAT.format(front="turn", behind="turn")
    text = text.replace("  vector 0 V r", f"  {place.format(name)}\n  vector 0 V r", 1)
    with pytest.raises(LegalityError, match=f"'{name}' is not known yet"):
        parsed(text, "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"depth": 0}, "0 is not in 1 .. 256"), ({"flag": 16}, "16 is not in 0 .. 15")],
)
def test_what_is_declared_in_python_has_the_limits_of_text(
    change: dict[str, Any], message: str
) -> None:
    k = parse(SCHEDULED_HEAD + "vector 0 V a = full 1.0\n")
    fifo = replace(ir.Fifo("f", "c2v", 2, TileType("f32", 16, 64), 0), **change)
    with pytest.raises(LegalityError, match=message):
        verify(replace(k, fifos=(*k.fifos, fifo)), SCHEDULED)


@pytest.mark.parametrize(
    ("slots", "credit", "message"),
    [
        (5, "", "has 5 slots, a ring with credit has one of 1, 2, 3, 4, 6"),
        (16, "", "has 16 slots, at most 15 of its signals may be on their way"),
        (16, " no credit", "has 16 slots, at most 15 of its signals may be on their way"),
    ],
)
def test_a_ring_has_a_number_of_slots_that_rings_have(
    slots: int, credit: str, message: str
) -> None:
    """In every stage: the text, the proof, the executors, the simulator."""
    text = HEADER + CUBE.replace("f c2v [2]", f"f c2v [{slots}]")
    text = text.replace("flag 0", f"flag 0{credit}")
    text += OPERANDS + PRODUCE + "vector 0 MTE2 a = pop f\n" + ENDS
    with pytest.raises(ScheduleError, match=message):
        parsed(text, "ring.ptoir")
    kernel = parse(text)
    assert [v.kind for v in check(kernel).violations] == ["fifo"]
    bound = inputs.bind(kernel, {"src": np.ones((64, 64), np.float32), "n": 1, "k": 1, "go": 1})
    for run in (lambda: scheduled.run(kernel, bound), lambda: simulate(kernel, [1])):
        with pytest.raises(ScheduleError, match=message):
            run()


# ------------------------------------------------------------------------------------------ lanes

OF_LANES = {
    "it joins rows, of which each lane has a part only": (
        "buffer vector ub w[1] f32[1, 64] nd at 16384 by 256\n",
        "vector 0 V w = col_sum a, c\n",
    ),
    "it joins cols, of which each lane has a part only": (
        "buffer vector ub v[1] f32[8, 64] cols nd at 16384 by 2048\n"
        "buffer vector ub w[1] f32[8, 1] both dn at 18432 by 32\n",
        "vector 0 V w = row_max v, v\n",
    ),
    "the second operand must be a tile of that shape": (
        "buffer vector ub v[1] f32[8, 64] cols nd at 16384 by 2048\n",
        "vector 0 V a = add a, v\n",
    ),
    "only the vector core has lanes": (
        "buffer cube l1 w[1] f32[16, 64] cols nz at 65536 by 4096\n",
        "vector 0 V a = full 1.0\n",
    ),
    "a slot is what both lanes have together": (
        "fifo q c2v [2] f32[16, 64] both flag 4\n",
        "vector 0 V a = full 1.0\n",
    ),
}


@pytest.mark.parametrize("message", OF_LANES)
def test_what_lanes_hold_fits_the_row(message: str) -> None:
    declared, row = OF_LANES[message]
    with pytest.raises(LegalityError) as refused:
        verify(parse(HEADER.strip() + "\n" + declared + row, "t.ptoir"))
    assert message in str(refused.value)


def test_what_lanes_hold_is_no_word_of_a_traced_program() -> None:
    text = TRACED.replace("a: f32[16, 64]", "a: f32[16, 64] cols")
    with pytest.raises(LegalityError, match="belongs to the vector core of a scheduled program"):
        verify(parse(text, "t.ptoir"))


@pto.kernel(grid="2", x="f32[2, 32, 128]", out="f32[2, 128]", both="f32[2, 32, 8]")
def columns(x: pto.Tensor, out: pto.Tensor, both: pto.Tensor) -> None:
    b = pto.program_id(0)
    a = pto.load(x[b, :, :])
    pto.store(out[b, :], pto.col_sum(pto.where(pto.iota(1) < 100, a, 0.0)))
    y = pto.load(x[b, :, 0:8])
    pto.store(both[b, :, :], y - pto.row_max(y) + pto.col_max(y))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a[w] = load x[b, :, lane * 64:+64]", "a[w] = load x[b, :, 0:+64]"),
        ("a[w] = load x[b, :, lane * 64:+64]", "a[w] = load x[b, :, 64 - lane * 64:+64]"),
        ("100 - lane * 64", "100"),
        (":+32<32 - lane * 32, :] = store", ":+32<32, :] = store"),
    ],
)
def test_the_value_check_sees_lanes_that_do_not_follow_each_other(right: str, wrong: str) -> None:
    traced = columns.trace()
    made = dict(stages(traced, options("serial")))
    text = print_kernel(made["sync"])
    assert right in text, text
    with pytest.raises(AssertionError, match="stores another value"):
        same_values(made["persist"], parse(text.replace(right, wrong), "t.ptoir"))
