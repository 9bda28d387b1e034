"""What no execution is needed to see is wrong: places, flags, FIFOs and what a row names.

Of each rule the last thing that is right and the first that is wrong, with its whole message.
"""

from __future__ import annotations

import pytest

from lowering.hazards.compiler import compiled
from tests.judges.small_programs import CUBE, small

ROW = "vector 0 V a = full 0.0\n"
TO_VECTOR = "fifo f c2v [2] f32[16, 64] flag 0\n"
TO_CUBE = "fifo f v2c [2] f32[16, 64] flag 0\n"


def faults(declarations: str, body: str = ROW) -> list[str]:
    code = compiled(small(declarations, body))
    return [f"{f.kind}: {f.text}" for f in code.faults]


DECLARATIONS: dict[str, list[str]] = {
    "buffer vector ub z[1] f32[8, 64] nd at 186112 by 2048": [],
    "buffer vector ub z[1] f32[8, 64] nd at 186144 by 2048": [
        "capacity: z ends at byte 188192 of 188160 in ub"
    ],
    "buffer vector ub z[2] f32[8, 64] nd at 184064 by 2048": [],
    "buffer vector ub z[2] f32[8, 64] nd at 184096 by 2048": [
        "capacity: z ends at byte 188192 of 188160 in ub"
    ],
    "buffer vector ub z[1] f32[8, 64] nd at 32 by 2048": [],
    "buffer vector ub z[1] f32[8, 64] nd at 20496 by 2048": [
        "alignment: z at 20496 by 2048: ub needs multiples of 32 bytes"
    ],
    "buffer vector ub z[1] f32[8, 64] nd at 20480 by 2064": [],
    "buffer vector ub z[2] f32[8, 64] nd at 20480 by 2064": [
        "alignment: z at 20480 by 2064: ub needs multiples of 32 bytes"
    ],
    "buffer cube l1 z[1] f32[16, 64] nz at 512 by 4096": [],
    "buffer cube l1 z[1] f32[16, 64] nz at 256 by 4096": [
        "alignment: z at 256 by 4096: l1 needs multiples of 512 bytes"
    ],
    "buffer cube l0c z[1] f32[16, 64] nz at 1024 by 4096": [],
    "buffer cube l0c z[1] f32[16, 64] nz at 512 by 4096": [
        "alignment: z at 512 by 4096: l0c needs multiples of 1024 bytes"
    ],
    "buffer cube ub z[1] f32[16, 64] nd at 0 by 4096": ["place: z: the cube core has no ub"],
    "event vector g V -> MTE2 id 7": [],
    "event vector g V -> MTE2 id 8": ["id: g: id 8 is not in 0..7"],
    "event vector g V -> S id 6": [],
    "event vector g V -> S id 7": ["id: g: V -> S id 7 is left for drains"],
    "event vector g V -> S id 0": [],
    "event vector g V -> S id 0\nfifo f c2v [2] f32[16, 64] flag 0": [
        "id: g: V -> S id 0 is used inside TPUSH"
    ],
    "event vector g V -> S id 1\nfifo f c2v [2] f32[16, 64] flag 0": [],
    "event cube g M -> S id 0\nfifo f c2v [2] f32[16, 64] flag 0": [],
    "event vector g V -> V id 3": ["event: g: an event from V to itself; write a barrier"],
    "event vector g V -> MTE2 id 0 1\nevent vector h V -> MTE2 id 1 2": [
        "id: h[0] and g[1] are one flag: vector V -> MTE2 id 1"
    ],
    "event vector g V -> MTE2 id 0 1\nevent vector h V -> MTE3 id 1 2": [],
    "fifo f c2v [14] f32[16, 64] flag 0": [],
    "fifo f c2v [16] f32[16, 64] flag 0": [
        "fifo: fifo f: 16 slots, the counter of a flag ends at 15"
    ],
    "fifo f c2v [5] f32[16, 64] flag 0": [
        "fifo: fifo f: the free signals of the library do not fit 5 slots"
    ],
    "fifo f c2v [5] f32[16, 64] flag 0 no credit": [],
    "fifo f c2v [15] f32[16, 64] flag 0 no credit": [],
    "fifo f c2v [16] f32[16, 64] flag 0 no credit": [
        "fifo: fifo f: 16 slots, the counter of a flag ends at 15"
    ],
    "fifo f c2v [2] f32[16, 64] flag 9": [],
    "fifo f c2v [2] f32[16, 64] flag 10": ["id: fifo f: cross-core flag 11 is not in 0..10"],
    "fifo f c2v [2] f32[16, 64] flag 0\nfifo g v2c [2] f32[16, 64] flag 1": [
        "id: fifo g and fifo f share cross-core flag 1"
    ],
    "fifo f c2v [2] f32[16, 64] flag 0\nfifo g v2c [2] f32[16, 64] flag 2": [],
}

ROWS: list[tuple[str, str, list[str]]] = [
    ("", "vector 0 V a = copy nobody\n", []),
    (
        "",
        "vector 0 MTE2 a = load src[0:+8, :] | wait nobody\n",
        ["event: no event is called nobody"],
    ),
    ("event vector g V -> MTE3 id 0\n", "vector 0 V a = full 0.0 | set g\n", []),
    ("event vector g V -> MTE3 id 0\n", "vector 0 MTE3 sync | wait g\n", []),
    (
        "event vector g V -> MTE3 id 0\n",
        "vector 0 V a = full 0.0 | wait g\n",
        ["event: wait g belongs on vector MTE3, the row is on vector V"],
    ),
    (
        "event vector g V -> MTE3 id 0\n",
        "vector 0 MTE3 sync | set g\n",
        ["event: set g belongs on vector V, the row is on vector MTE3"],
    ),
    (
        "event cube g M -> FIX id 0\n",
        "vector 0 V a = full 0.0 | set g\n",
        ["event: set g belongs on cube M, the row is on vector V"],
    ),
    ("", "vector 0 MTE2 a = full 0.0\n", ["pipe: full runs on V, not on MTE2"]),
    ("", "vector 0 V a = load src[0:+8, :]\n", ["pipe: load runs on MTE2, not on V"]),
    (
        "",
        "vector 0 MTE3 src[block_idx * 16 + lane * 8:+8, :] = store a\n",
        ["input: src is an input and is written"],
    ),
    (CUBE, "vector 0 V a = copy x\n", ["place: x is on the cube core, the row on the vector core"]),
    (
        CUBE,
        "cube 0 M acc = matmul x, a\n",
        ["place: a is on the vector core, the row on the cube core"],
    ),
    (
        CUBE,
        "cube 0 FIX x = push acc\n",
        ["fifo: push names no fifo", "pipe: FIX does not write l0a (x)"],
    ),
    (CUBE, "cube 0 FIX xl = move acc\n", ["pipe: move runs on MTE1, not on FIX"]),
    (CUBE, "cube 0 MTE1 x = move acc\n", ["pipe: MTE1 does not read l0c (acc)"]),
    (CUBE, "cube 0 MTE2 x = load src[0:+16, :]\n", ["pipe: MTE2 does not write l0a (x)"]),
    (TO_VECTOR, "vector 0 MTE2 a = pop f\n", []),
    (
        TO_VECTOR + "buffer vector ub h[1] f32[16, 64] both nd at 20480 by 4096\n",
        "vector 0 MTE2 h = pop f\n",
        [],
    ),
    (
        TO_VECTOR,
        "vector 0 MTE2 c = pop f\nvector 0 MTE2 d = pop f\n",
        ["fifo: fifo f is popped into c and d; it has one local ring"],
    ),
    (TO_VECTOR, "vector 0 MTE2 b[0] = pop f\n", []),
    (
        TO_VECTOR + "buffer vector ub r[2] f32[8, 64] nd at 20480 by 2048\n",
        "vector 0 MTE2 r[0] = pop f\n",
        ["fifo: r: slots of a popped buffer lie 4096 bytes apart, as those of fifo f, not 2048"],
    ),
    (
        TO_VECTOR + "buffer vector ub r[1] f32[8, 64] nd at 20480 by 2048\n",
        "vector 0 MTE2 r = pop f\n",
        [],
    ),
    (
        TO_VECTOR + "buffer vector ub r[1] f32[8, 32] nd at 20480 by 1024\n",
        "vector 0 MTE2 r = pop f\n",
        [
            "fifo: r holds f32[8, 32], fifo f holds f32[16, 64], which is no f32[16, 32] of both lanes"
        ],
    ),
    (
        TO_VECTOR + "buffer vector ub r[1] f16[8, 64] nd at 20480 by 1024\n",
        "vector 0 MTE2 r = pop f\n",
        [
            "fifo: r holds f16[8, 64], fifo f holds f32[16, 64], which is no f16[16, 64] of both lanes"
        ],
    ),
    (
        TO_VECTOR + "buffer vector ub r[1] f32[4, 64] nd at 20480 by 1024\n",
        "vector 0 MTE2 r = pop f\n",
        [
            "fifo: r holds f32[4, 64], fifo f holds f32[16, 64], which is no f32[8, 64] of both lanes"
        ],
    ),
    (TO_VECTOR, "vector 0 MTE3 f = push a\n", ["fifo: push of the c2v fifo f on the vector core"]),
    (TO_CUBE, "vector 0 MTE3 f = push a\n", []),
    (
        TO_CUBE + "buffer vector ub h[1] f32[16, 64] nd at 20480 by 4096\n",
        "vector 0 MTE3 f = push h\n",
        [
            "fifo: h holds f32[16, 64], fifo f holds f32[16, 64], which is no f32[32, 64] of both lanes"
        ],
    ),
    (
        TO_CUBE + "buffer vector ub h[1] f32[16, 64] both nd at 20480 by 4096\n",
        "vector 0 MTE3 f = push h\n",
        [],
    ),
    (
        TO_CUBE + "buffer vector ub h[1] f32[16, 32] cols nd at 20480 by 2048\n",
        "vector 0 MTE3 f = push h\n",
        [],
    ),
    (
        TO_CUBE + "buffer vector ub h[1] f32[16, 32] cols nd at 20480 by 2048\n",
        "vector 0 MTE3 f = push h\nvector 0 MTE3 f = push a\n",
        ["fifo: lanes push cols of some slots of fifo f and rows of others"],
    ),
    (
        TO_VECTOR + "buffer vector ub h[1] f32[16, 32] cols nd at 20480 by 2048\n",
        "vector 0 MTE2 h = pop f\n",
        [],
    ),
    (
        "fifo f v2c [2] f32[15, 64] flag 0\nbuffer vector ub h[1] f32[15, 64] both nd at 20480 by 3840\n",
        "vector 0 MTE3 f = push h\n",
        ["fifo: h has 15 rows, of which the lanes cannot push half each"],
    ),
    (
        TO_CUBE + "buffer cube l1 w[1] f32[16, 64] nz at 32768 by 4096\n",
        "cube 0 MTE2 w = pop f\n",
        [],
    ),
    (TO_CUBE, "vector 0 MTE2 a = pop f\n", ["fifo: pop of the v2c fifo f on the vector core"]),
    (
        TO_CUBE + "buffer cube l1 w[1] f32[32, 64] nz at 32768 by 4096\n",
        "cube 0 MTE2 w = pop f\n",
        ["fifo: w holds f32[32, 64], fifo f holds f32[16, 64]"],
    ),
    (
        TO_VECTOR,
        "vector 0 MTE3 f = push src[0:+8, :]\n",
        ["fifo: push of f moves no tile", "fifo: push of the c2v fifo f on the vector core"],
    ),
    (
        TO_VECTOR,
        "vector 0 MTE2 a = pop c\n",
        ["fifo: pop names no fifo", "pipe: MTE2 does not read ub (c)"],
    ),
    (CUBE, "cube 0 FIX record f\n", []),
    (CUBE, "cube 0 FIX f = push_data acc\n", []),
    ("", "vector 0 V nobody = full 0.0\n", []),
]


@pytest.mark.parametrize("text", DECLARATIONS)
def test_declarations(text: str) -> None:
    assert faults(text + "\n") == DECLARATIONS[text]


@pytest.mark.parametrize(("declarations", "rows", "found"), ROWS)
def test_rows(declarations: str, rows: str, found: list[str]) -> None:
    assert faults(declarations, rows) == found
