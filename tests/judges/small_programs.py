"""Small programs written by hand as text: a header with buffers, and rows that several tests share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

from pto.ir import Kernel
from pto.targets import TARGETS
from pto.text import parse

HEADER = """
kernel small on a2a3
param src          in     f32[rows, 64]
param out          out    f32[rows, 64]
param n            scalar i32
param k            scalar i32
param go           scalar i32
grid rows
buffer vector ub   a[1]  f32[8, 64]  nd  at 0      by 2048
buffer vector ub   b[2]  f32[8, 64]  nd  at 2048   by 4096
buffer vector ub   c[1]  f32[8, 64]  nd  at 4096   by 2048
buffer vector ub   d[1]  f32[8, 64]  nd  at 8192   by 2048
buffer vector ub   e[1]  f32[8, 64]  nd  at 10240  by 2048
"""

FREE_B = "vector 0 V sync | set b.free[0] b.free[1]\n"
END_B = "vector 0 MTE2 sync | wait b.free[0] b.free[1]\n"
EVENTS_B = "event vector b.full MTE2 -> V id 0 1\nevent vector b.free V -> MTE2 id 0 1\n"
LOAD_B = "vector 0 MTE2 b[u] = load src[0:+8, :] | wait b.free[u] | set b.full[u]\n"
USE_B = "vector 0 V c = copy b[u] | wait b.full[u] | set b.free[u]\n"


OF_THE_LIBRARY = {n: n if n < 3 else n // 2 for n in range(1, 16)}
"""The periods that the library would give to FIFOs of any depth."""


def ring_periods(periods: Mapping[int, int]) -> AbstractContextManager[object]:
    """The target of these programs has other FIFOs."""
    return patch.dict(TARGETS, a2a3=replace(TARGETS["a2a3"], ring_period=periods))


def small(declarations: str, body: str) -> Kernel:
    """A small vector program; the body may use the buffers and parameters of ``HEADER``."""
    return parse(HEADER + declarations + body, "small.ptoir")


def loop(*rows: str, trips: str = "n", index: str = "i, u") -> str:
    lines = "".join(rows).splitlines()
    return f"for {index} in 0 .. {trips}:\n" + "".join(f"  {line}\n" for line in lines)


STORE = (
    "buffer vector ub p[1] f32[8, 64] nd at 16384 by 2048\n"
    "event vector p.full V -> MTE3 id 0\nevent vector p.free MTE3 -> V id 0\n"
)
CUBE = """fifo f c2v [2] f32[16, 64] flag 0
buffer cube l0c acc[1] f32[16, 64] nz at 0 by 4096
buffer cube l0a x[1] f32[16, 64] zz at 0 by 4096
buffer cube l0b y[1] f32[64, 64] zn at 0 by 16384
buffer cube l1 xl[1] f32[16, 64] nz at 0 by 4096
buffer cube l1 yl[1] f32[64, 64] zn at 4096 by 16384
event cube l.full MTE2 -> MTE1 id 0
event cube o.full MTE1 -> M id 0
event cube acc.full M -> FIX id 0
event cube acc.free FIX -> M id 0
"""
OPERANDS = """cube 0 MTE2 xl = load src[0:+16, :]
cube 0 MTE2 yl = load src[0:+64, :] | set l.full
cube 0 MTE1 x = move xl | wait l.full
cube 0 MTE1 y = move yl | set o.full
cube 0 M sync | wait o.full
cube 0 FIX sync | set acc.free
"""
PRODUCE = "cube 0 M acc = matmul x, y | wait acc.free | set acc.full\ncube 0 FIX f = push acc | wait acc.full | set acc.free\n"
ENDS = "cube 0 M sync | wait acc.free\ncube 0 S drain FIX\n"
CONSUME_B = (
    "vector 0 MTE2 b[u] = pop f | wait b.free[u] | set b.full[u]\n" + USE_B + "vector 0 V barrier\n"
)

ROUND_TRIP = """\
kernel round_trip on a2a3
param src in  f32[rows, 64]
param out out f32[items, 16, 64]
grid items
buffer cube   l1  xl[1]  f32[16, 64] nz at 0     by 4096
buffer cube   l1  yl[1]  f32[64, 64] nz at 4096  by 16384
buffer cube   l1  p[1]   f32[16, 64] nz at 20480 by 4096
buffer cube   l0a x[1]   f32[16, 64] zz at 0     by 4096
buffer cube   l0b y[1]   f32[64, 64] zn at 0     by 16384
buffer cube   l0c acc[1] f32[16, 64] nz at 0     by 4096
buffer vector ub  t[1]   f32[8, 64]  nd at 0     by 4096
fifo f c2v [{depth}] f32[16, 64] flag 0 no credit
fifo g v2c [{depth}] f32[16, 64] flag 2 no credit
event cube   loaded   MTE2 -> MTE1 id 0
event cube   moved    MTE1 -> M    id 0
event cube   acc.full M    -> FIX  id 0
event cube   acc.free FIX  -> M    id 0
event cube   p.full   MTE2 -> FIX  id 0
event cube   p.free   FIX  -> MTE2 id 0
event vector t.full   MTE2 -> MTE3 id 0
event vector t.free   MTE3 -> MTE2 id 0

cube   0 MTE2 xl = load src[0:+16, :]
cube   0 MTE2 yl = load src[0:+64, :] | set loaded
cube   0 MTE1 x = move xl             | wait loaded
cube   0 MTE1 y = move yl             | set moved
cube   0 M    sync                    | wait moved
cube   0 FIX  sync                    | set acc.free p.free
vector 0 MTE3 sync                    | set t.free
for w in 0 .. cdiv(items - block_idx, block_num):
  cube   0  M    acc = matmul x, y, acc, w | wait acc.free | set acc.full
  cube   0  FIX  f = push acc      | wait acc.full | set acc.free
  cube   -{ahead} MTE2 p = pop g | wait p.free   | set p.full
  cube   -{ahead} FIX  sync | wait p.full   | set p.free
  vector 0  MTE2 t = pop f         | wait t.free   | set t.full
  vector 0  MTE3 g = push t        | wait t.full
  vector 0  MTE3 out[block_idx + w * block_num, lane * 8:+8, :] = store t | set t.free
cube   0 M    sync | wait acc.free
cube   0 MTE2 sync | wait p.free
cube   0 S    drain FIX
vector 0 MTE2 sync | wait t.free
vector 0 S    drain MTE3
"""
"""A step of the cube pushes, and pops what the vector core sent back ``ahead`` steps before."""


def round_trip(depth: int, ahead: int) -> Kernel:
    """Two FIFOs without credit.  Step n + ahead of the cube is behind the return of tile n, and step
    n + ahead + 1 of the vector core behind that: ``ahead + 1`` slots are enough, and one less is not."""
    return parse(ROUND_TRIP.format(depth=depth, ahead=ahead), "round_trip.ptoir")
