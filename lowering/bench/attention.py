"""Attention as others have measured it: the shipped kernel by options, and steps of several pages.

In: shapes, options.  Out: scheduled kernels, whose one inner loop runs as often as ``blocks`` says.
Non-goals: results; nothing is computed with them, only timed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from lowering.schedule.options import Options
from lowering.schedule.scheduler import stages
from pto.ir import Kernel
from pto.kernels import SHIPPED
from pto.text import parse
from pto.types import DTYPE_BYTES


@cache
def paged(options: Options, q_tile: int, block: int, slots: int, credit: bool = False) -> Kernel:
    """The shipped kernel by ``options``; FIFOs of ``slots``, with or without free signals."""
    traced = SHIPPED["paged_attention"].trace(q_tile=q_tile, block=block, heads=q_tile)
    *_, (_, made) = stages(traced, replace(options, credit="always"))
    fifos = (replace(f, depth=slots, credit=credit) for f in made.fifos)
    return replace(made, fifos=tuple(fifos))


@cache
def stepped(q: int, block: int, parts: int, kv: int = 1, credit: bool = False) -> Kernel:
    """``parts`` pages of ``block`` keys in a step, ``q`` queries of one of ``kv`` heads of 128, bf16.

    Maximum and sum of a step are those of all its pages, its products with V add up in L0C; they follow
    two steps behind those with K.  Of the tiles of a step only the last one goes through a FIFO of eight
    slots, the others are stored before and loaded behind it: one signal stands for all.
    """
    sets = 2 if q * block * parts <= 1 << 14 else 1
    rings = [r if r[1] != "x" else (*r[:4], sets) for r in _RINGS]
    text = [
        *_tensors(block, kv),
        *_buffers(q, block, parts, sets),
        *_fifos(q, block, "" if credit else " no credit"),
        *_events(rings),
        *_frees(rings, "set"),
        "for w in 0 .. cdiv(batch - block_idx, block_num):",
        *(f"  {row.format(q=q)}" for row in _START),
        "  for i, u in 0 .. batch:",
        *(f"    {row}" for row in (*_scores(q, block, parts), *_sums(q, block, parts))),
        *(f"    {row}" for row in _vector(q // 2, block, parts)),
        *(f"  {row}" for row in _END),
        f"  vector 0 MTE3 result[0:+{q // 2}, :] = store acc | wait y.full | set y.free",
        *_frees(rings, "wait"),
    ]
    return parse("\n".join(text) + "\n", "stepped.ptoir")


def _tensors(block: int, kv: int) -> Iterator[str]:
    yield "kernel stepped on a2a3"
    yield "param query in bf16[batch, 128]"
    yield f"param keys in bf16[pages, {block}, {kv}, 128]"
    yield f"param values in bf16[pages, {block}, {kv}, 128]"
    yield "param table in i32[batch, width]"
    yield f"param scores inout f32[batch, {block}]"
    yield f"param weights inout bf16[batch, {block}]"
    yield "param result out f32[batch, 128]"
    yield "param scale scalar f32"
    yield "grid batch"


Tile = tuple[str, int, str, int, int, str]
"""Name, slots, element type, rows, columns, layout."""


def _side_by_side(memory: str, tiles: Sequence[Tile]) -> Iterator[str]:
    at = 0
    for name, slots, dtype, rows, cols, layout in tiles:
        size = rows * cols * DTYPE_BYTES[dtype]
        yield f"buffer {memory} {name}[{slots}] {dtype}[{rows}, {cols}] {layout} at {at} by {size}"
        at += slots * size


def _buffers(q: int, block: int, parts: int, sets: int) -> Iterator[str]:
    half, columns = q // 2, ("m", "m_old", "l", "mx", "sm")
    memories: dict[str, list[Tile]] = {
        "cube l1": [
            ("q", 1, "bf16", q, 128, "nz"),
            ("k", 2, "bf16", block, 128, "zn"),
            ("v", 2, "bf16", block, 128, "nz"),
            ("p", 2, "bf16", q, block, "nz"),
        ],
        "cube l0a": [("q_a", 1, "bf16", q, 128, "zz"), ("p_a", 1, "bf16", q, block, "zz")],
        "cube l0b": [("k_b", 1, "bf16", 128, block, "zn"), ("v_b", 1, "bf16", block, 128, "zn")],
        "cube l0c": [("s", 1, "f32", q, block, "nz"), ("o", 1, "f32", q, 128, "nz")],
        "vector ub": [
            *((name, 1, "f32", half, 1, "dn") for name in columns),
            ("alpha", 4, "f32", half, 1, "dn"),
            ("x", sets * parts, "f32", half, block, "nd"),
            ("e", 1, "bf16", half, block, "nd"),
            ("acc", 1, "f32", half, 128, "nd"),
            ("scratch", 1, "f32", half, block, "nd"),
            ("got", 1, "f32", half, 128, "nd"),
        ],
    }
    for memory, tiles in memories.items():
        yield from _side_by_side(memory, tiles)


def _fifos(q: int, block: int, credit: str) -> Iterator[str]:
    yield f"fifo s_fifo c2v [8] f32[{q}, {block}] flag 0{credit}"
    yield f"fifo p_fifo v2c [8] bf16[{q}, {block}] flag 2{credit}"
    yield f"fifo o_fifo c2v [8] f32[{q}, 128] flag 4{credit}"


Ring = tuple[str, str, str, str, int]
"""Core, name, the pipe that fills a slot, the one that frees it, slots with a flag of their own."""

_RINGS: tuple[Ring, ...] = (
    ("cube", "q", "MTE2", "MTE1", 1),
    ("cube", "k", "MTE2", "MTE1", 2),
    ("cube", "v", "MTE2", "MTE1", 2),
    ("cube", "p", "MTE2", "MTE1", 2),
    ("cube", "q_a", "MTE1", "M", 1),
    ("cube", "k_b", "MTE1", "M", 1),
    ("cube", "v_b", "MTE1", "M", 1),
    ("cube", "s", "M", "FIX", 1),
    ("cube", "o", "M", "FIX", 1),
    ("vector", "x", "MTE2", "V", 2),
    ("vector", "got", "MTE2", "V", 1),
    ("vector", "e", "V", "MTE3", 1),
    ("vector", "y", "V", "MTE3", 1),
)


def _events(rings: Sequence[Ring]) -> Iterator[str]:
    taken: Counter[tuple[str, str]] = Counter()
    for core, name, source, target, slots in rings:
        first = taken[source, target]
        taken[source, target] += slots
        ids = " ".join(str(first + k) for k in range(slots))
        yield f"event {core} {name}.full {source} -> {target} id {ids}"
        yield f"event {core} {name}.free {target} -> {source} id {ids}"


def _frees(rings: Sequence[Ring], what: str) -> Iterator[str]:
    """All slots are free in front, and awaited behind."""
    for core, name, source, target, slots in rings:
        pipe = target if what == "set" else source
        flags = " ".join(f"{name}.free[{k}]" for k in range(slots))
        yield f"{core} 0 {pipe} sync | {what} {flags}"


_START = (
    "cube 0 MTE2 q = load query[0:+{q}, :] | wait q.free | set q.full",
    "cube 0 MTE1 q_a = move q | wait q.full q_a.free | set q.free q_a.full",
    "cube 0 M sync | wait q_a.full",
    "vector 0 V m = full -inf",
    "vector 0 V l = full 0.0",
    "vector 0 V sync | wait y.free",
    "vector 0 V acc = full 0.0",
)
_END = (
    "cube 0 M sync | set q_a.free",
    "vector 0 V l = maximum l, 1e-30",
    "vector 0 V barrier",
    "vector 0 V acc = div acc, l | set y.full",
)


def _scores(q: int, block: int, parts: int) -> Iterator[str]:
    """A step's products with K."""
    for j in range(parts):
        slot = f"[{j % 2}]"
        out = f"scores[0:+{q}, 0:+{block}] = store" if j < parts - 1 else "s_fifo = push"
        yield f"cube 0 S page = read table[0, i * {parts} + {j}]"
        yield f"cube 0 MTE2 k{slot} = load keys[page, :, 0, :] | wait k.free{slot} | set k.full{slot}"
        yield f"cube 0 MTE1 k_b = move k{slot}.T | wait k.full{slot} k_b.free | set k.free{slot} k_b.full"
        yield "cube 0 M s = matmul q_a, k_b | wait k_b.full s.free | set k_b.free s.full"
        yield f"cube 0 FIX {out} s | wait s.full | set s.free"


def _sums(q: int, block: int, parts: int) -> Iterator[str]:
    """A step's products with V, which add up."""
    for j in range(parts):
        slot = f"[{j % 2}]"
        got = f"load weights[0:+{q}, 0:+{block}]" if j else "pop p_fifo"
        adds, wait = (", o", "") if j else ("", " o.free")
        yield f"cube -2 S page = read table[0, i * {parts} + {j}]"
        yield f"cube -2 MTE2 v{slot} = load values[page, :, 0, :] | wait v.free{slot} | set v.full{slot}"
        yield f"cube -2 MTE2 p{slot} = {got} | wait p.free{slot} | set p.full{slot}"
        yield f"cube -2 MTE1 v_b = move v{slot} | wait v.full{slot} v_b.free | set v.free{slot}"
        yield f"cube -2 MTE1 p_a = move p{slot} | wait p.full{slot} | set p.free{slot} v_b.full"
        yield "cube -2 M barrier"
        yield f"cube -2 M o = matmul p_a, v_b{adds} | wait v_b.full{wait} | set v_b.free"
    yield "cube -2 M sync | set o.full"
    yield "cube -2 FIX o_fifo = push o | wait o.full | set o.free"


def _vector(half: int, block: int, parts: int) -> Iterator[str]:
    """A step's softmax, and the update by the sums of the step before the one before."""
    x = [f"x[u * {parts} + {j}]" for j in range(parts)]
    mine = f"[lane * {half}:+{half}, 0:+{block}]"
    loads = ["pop s_fifo", *[f"load scores{mine}"] * (parts - 1)]
    yield "vector 0 MTE2 sync | wait x.free[u]"
    yield from (f"vector 0 MTE2 {t} = {load}" for t, load in zip(x, loads, strict=True))
    yield "vector 0 MTE2 sync | set x.full[u]"
    yield "vector 0 V m_old = copy m | wait x.full[u]"
    yield from (f"vector 0 V {t} = mul {t}, scale" for t in x)
    for t in x:
        yield "vector 0 V barrier"
        yield f"vector 0 V mx = row_max {t}, scratch"
        yield "vector 0 V barrier"
        yield "vector 0 V m = maximum m, mx"
    yield "vector 0 V barrier"
    yield "vector 0 V alpha[u] = sub m_old, m"
    yield from (f"vector 0 V {t} = sub {t}, m" for t in x)
    yield "vector 0 V barrier"
    yield "vector 0 V alpha[u] = exp alpha[u]"
    yield from (f"vector 0 V {t} = exp {t}" for t in x)
    yield "vector 0 V barrier"
    yield "vector 0 V l = mul l, alpha[u]"
    for j, t in enumerate(x):
        out = f"weights{mine} = store" if j < parts - 1 else "p_fifo = push"
        yield f"vector 0 V e = astype {t}, bf16 | wait e.free | set e.full"
        yield f"vector 0 MTE3 {out} e | wait e.full | set e.free"
        yield f"vector 0 V sm = row_sum {t}, scratch"
        yield "vector 0 V barrier"
        yield "vector 0 V l = add l, sm"
    yield "vector 0 V sync | set x.free[u]"
    yield "vector -2 MTE2 got = pop o_fifo | wait got.free | set got.full"
    yield "vector -2 V acc = mul acc, alpha[u]"
    yield "vector -2 V barrier"
    yield "vector -2 V acc = add acc, got | wait got.full | set got.free"
