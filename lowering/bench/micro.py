"""Small programs for what published tables measure one thing with: copies, an addition, products.

In: shapes.  Out: scheduled kernels, whose one inner loop runs as often as ``blocks`` says.
Non-goals: results; nothing is computed with them, only timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pto.ir import Kernel
from pto.text import parse


@cache
def copies(space: str, rows: int, cols: int, width: int = 12288) -> Kernel:
    """Loads of ``rows`` x ``cols`` f16 out of rows of ``width``, back to back into one tile."""
    core, layout = ("vector", "nd") if space == "ub" else ("cube", "nz")
    return _parsed(
        "copies",
        [
            f"param x in f16[rows, {width}]",
            f"buffer {core} {space} a[1] f16[{rows}, {cols}] {layout} at 0 by {rows * cols * 2}",
        ],
        rows=[f"{core} 0 MTE2 a = load x[i:+{rows}, 0:+{cols}]"],
    )


Places = tuple[str, str]
"""Where the rows of the left and of the right operand of tile ``w`` begin."""


def places(
    m: int, n: int, cores: int, tiles_m: int, tiles_n: int, down: bool = True, times: int = 1
) -> Places:
    """Of tiles of ``m`` x ``n`` on a grid of cores of which so many stand below each other; each has
    ``tiles_m`` x ``tiles_n``, one below the other or (not ``down``) beside the other; ``times``: in so
    many parts of the left operand one after the other."""
    t = f"w % {tiles_m * tiles_n // times}"
    row, column = (f"{t} % {tiles_m // times}", f"{t} // {tiles_m // times}")
    if not down:
        row, column = (f"{t} // {tiles_n}", f"{t} % {tiles_n}")
    part = f"w // {tiles_m * tiles_n // times} * {cores} + " if times > 1 else ""
    left = f"(({part}block_idx % {cores}) * {tiles_m // times} + {row}) * {m}"
    return left, f"(block_idx // {cores} * {tiles_n} + {column}) * {n}"


@cache
def addition(rows: int, cols: int, places: Sequence[int], slots: int = 1) -> Kernel:
    """z = x + y in f16; ``places``: where in UB the first slots of x, y and z are, the others behind all."""
    size, ways = rows * cols * 2, ("in", "in", "out")
    ids = " ".join(map(str, range(slots)))
    freed = [" ".join(f"{e}[{s}]" for s in range(slots)) for e in ("free", "gone")]
    return _parsed(
        "addition",
        [
            *(f"param {t} {way} f16[rows, 8192]" for t, way in zip("xyz", ways, strict=True)),
            *(
                f"buffer vector ub {t}[{slots}] f16[{rows}, {cols}] nd at {at} by {size}"
                for t, at in zip("abc", places, strict=True)
            ),
            f"event vector full MTE2 -> V id {ids}",
            f"event vector free V -> MTE2 id {ids}",
            f"event vector done V -> MTE3 id {ids}",
            f"event vector gone MTE3 -> V id {ids}",
        ],
        before=[f"vector 0 V sync | set {freed[0]}", f"vector 0 MTE3 sync | set {freed[1]}"],
        rows=[
            f"vector 0 MTE2 a[u] = load x[i:+{rows}, 0:+{cols}] | wait free[u]",
            f"vector 0 MTE2 b[u] = load y[i:+{rows}, 0:+{cols}] | set full[u]",
            "vector 0 V c[u] = add a[u], b[u] | wait full[u] gone[u] | set free[u] done[u]",
            f"vector 0 MTE3 z[i:+{rows}, 0:+{cols}] = store c[u] | wait done[u] | set gone[u]",
        ],
        after=[f"vector 0 MTE2 sync | wait {freed[0]}", f"vector 0 V sync | wait {freed[1]}"],
    )


@cache
def additions(*places: int) -> Kernel:
    """Additions of 64 repeats of f32, each behind a barrier; where the operands and the result are."""
    return _parsed(
        "additions",
        [
            "param x in f32[rows, 64]",
            *(
                f"buffer vector ub {t}[1] f32[64, 64] nd at {at} by 16384"
                for t, at in zip("abc", places, strict=True)
            ),
        ],
        rows=["vector 0 V c = add a, b", "vector 0 V barrier"],
    )


@cache
def product(
    m: int, n: int, k: int, slots: int, out: str = "f32", at: Places = ("w", "w")
) -> Kernel:
    """Products of f16 tiles, the right ones transposed, summed in L0C and stored from there; as many slots
    in L1 as in L0."""
    ids = " ".join(map(str, range(slots)))
    frees = {level: " ".join(f"{level}.free[{s}]" for s in range(slots)) for level in ("l1", "l0")}
    a, b = m * k * 2, k * n * 2
    text = f"""
kernel product on a2a3
param x in f16[rows, 8192]
param y in f16[rows, 8192]
param z out {out}[rows, 8192]
grid rows
buffer cube l1 a[{slots}] f16[{m}, {k}] nz at 0 by {a}
buffer cube l1 b[{slots}] f16[{n}, {k}] zn at {slots * a} by {b}
buffer cube l0a left[{slots}] f16[{m}, {k}] zz at 0 by {a}
buffer cube l0b right[{slots}] f16[{k}, {n}] zn at 0 by {b}
buffer cube l0c c[1] f32[{m}, {n}] nz at 0 by {m * n * 4}
event cube l1.full MTE2 -> MTE1 id {ids}
event cube l1.free MTE1 -> MTE2 id {ids}
event cube l0.full MTE1 -> M id {ids}
event cube l0.free M -> MTE1 id {ids}
event cube c.full M -> FIX id 0
event cube c.free FIX -> M id 0
cube 0 MTE1 sync | set {frees["l1"]}
cube 0 M sync | set {frees["l0"]}
cube 0 FIX sync | set c.free
for w in 0 .. cdiv(rows - block_idx, block_num):
  cube 0 M sync | wait c.free
  for i, u in 0 .. rows:
    cube 0 MTE2 a[u] = load x[{at[0]}:+{m}, i * {k}:+{k}] | wait l1.free[u]
    cube 0 MTE2 b[u] = load y[{at[1]}:+{n}, i * {k}:+{k}] | set l1.full[u]
    cube 0 MTE1 left[u] = move a[u] | wait l1.full[u] l0.free[u]
    cube 0 MTE1 right[u] = move b[u].T | set l1.free[u] l0.full[u]
    cube 0 M c = matmul left[u], right[u], c, i | wait l0.full[u] | set l0.free[u]
  cube 0 M sync | set c.full
  cube 0 FIX z[{at[0]}:+{m}, {at[1]}:+{n}] = store c | wait c.full | set c.free
cube 0 MTE2 sync | wait {frees["l1"]}
cube 0 MTE1 sync | wait {frees["l0"]}
cube 0 M sync | wait c.free
cube 0 S drain FIX
"""
    return parse(text, "product.ptoir")


@cache
def packs(k: int, again: int, out: str, at: Places) -> Kernel:
    """Products of f16 tiles of 128 x 256, summed in L0C; two slots in L1, of which one has ``k`` columns of
    both operands, those of the right one in ``again`` loads, for as many steps of 64 as they are."""
    part = k // again
    steps = "".join(
        f"""
    cube 0 MTE1 left[{j % 2}] = move part_a | wait l0.free[{j % 2}]
    cube 0 MTE1 right[{j % 2}] = move part_b.T | set l0.full[{j % 2}]
    cube 0 M c = matmul left[{j % 2}], right[{j % 2}], c, {j or "i"} | wait l0.full[{j % 2}] | set l0.free[{j % 2}]"""
        for j in range(k // 64)
    )
    loads = "".join(
        f"""
    cube 0 MTE2 b[{f"u * {again} + {j}" if again > 1 else "u"}] = load y[{at[1]}:+256, i * {k} + {j * part}:+{part}]"""
        for j in range(again)
    )
    text = f"""
kernel packs on a2a3
param x in f16[rows, 8192]
param y in f16[rows, 8192]
param z out {out}[rows, 8192]
grid rows
buffer cube l1 a[2] f16[128, {k}] nz at 0 by {k * 256}
buffer cube l1 b[{2 * again}] f16[256, {part}] zn at {k * 512} by {part * 512}
buffer cube l1 part_a[1] f16[128, 64] nz at 0 by 16384
buffer cube l1 part_b[1] f16[256, 64] zn at {k * 512} by 32768
buffer cube l0a left[2] f16[128, 64] zz at 0 by 16384
buffer cube l0b right[2] f16[64, 256] zn at 0 by 32768
buffer cube l0c c[1] f32[128, 256] nz at 0 by 131072
event cube l1.full MTE2 -> MTE1 id 0 1
event cube l1.free MTE1 -> MTE2 id 0 1
event cube l0.full MTE1 -> M id 0 1
event cube l0.free M -> MTE1 id 0 1
event cube c.full M -> FIX id 0
event cube c.free FIX -> M id 0
cube 0 MTE1 sync | set l1.free[0] l1.free[1]
cube 0 M sync | set l0.free[0] l0.free[1]
cube 0 FIX sync | set c.free
for w in 0 .. cdiv(rows - block_idx, block_num):
  cube 0 M sync | wait c.free
  for i, u in 0 .. rows:
    cube 0 MTE2 a[u] = load x[{at[0]}:+128, i * {k}:+{k}] | wait l1.free[u]{loads}
    cube 0 MTE2 sync | set l1.full[u]
    cube 0 MTE1 sync | wait l1.full[u]{steps}
    cube 0 MTE1 sync | set l1.free[u]
  cube 0 M sync | set c.full
  cube 0 FIX z[{at[0]}:+128, {at[1]}:+256] = store c | wait c.full | set c.free
cube 0 MTE2 sync | wait l1.free[0] l1.free[1]
cube 0 MTE1 sync | wait l0.free[0] l0.free[1]
cube 0 M sync | wait c.free
cube 0 S drain FIX
"""
    return parse(text, "packs.ptoir")


@cache
def fused(depth: int, rows: int, works: int) -> Kernel:
    """Products of f16 tiles of 128 x 512 and 512 x 256 whose sums go through a FIFO of ``depth`` with free
    signals.  Each half of their inner dimension is loaded at once; ``blocks`` says how many steps it has.

    Each vector core has ``rows`` of a sum in its one slot, makes ``works`` rows of V of it, stores it in f16.
    """
    half = """
  cube 0 MTE2 a[{0}] = load x[w:+128, 0:+256] | wait l1.free[{0}]
  cube 0 MTE2 b[{0}] = load y[w:+256, 0:+256] | set l1.full[{0}]
  cube 0 MTE1 sync | wait l1.full[{0}]
  for i{0}, u{0} in 0 .. rows:
    cube 0 MTE1 left[u{0}] = move part_a | wait l0.free[u{0}]
    cube 0 MTE1 right[u{0}] = move part_b.T | set l0.full[u{0}]
    cube 0 M c = matmul left[u{0}], right[u{0}], c, i{0} | wait l0.full[u{0}] | set l0.free[u{0}]
  cube 0 MTE1 sync | set l1.free[{0}]"""
    work = "  vector 0 V barrier\n  vector 0 V got = mul got, 2.0\n" * works
    text = f"""
kernel fused on a2a3
param x in f16[rows, 512]
param y in f16[rows, 512]
param z out f16[rows, 8192]
grid rows
buffer cube l1 a[2] f16[128, 256] nz at 0 by 65536
buffer cube l1 b[2] f16[256, 256] zn at 131072 by 131072
buffer cube l1 part_a[1] f16[128, 64] nz at 0 by 16384
buffer cube l1 part_b[1] f16[256, 64] zn at 131072 by 32768
buffer cube l0a left[2] f16[128, 64] zz at 0 by 16384
buffer cube l0b right[2] f16[64, 256] zn at 0 by 32768
buffer cube l0c c[1] f32[128, 256] nz at 0 by 131072
buffer vector ub got[1] f32[{rows}, 256] nd at 0 by {rows * 1024}
buffer vector ub made[1] f16[{rows}, 256] nd at {rows * 1024} by {rows * 512}
fifo sums c2v [{depth}] f32[128, 256] flag 0
event cube l1.full MTE2 -> MTE1 id 0 1
event cube l1.free MTE1 -> MTE2 id 0 1
event cube l0.full MTE1 -> M id 0 1
event cube l0.free M -> MTE1 id 0 1
event cube c.full M -> FIX id 0
event cube c.free FIX -> M id 0
event vector got.full MTE2 -> V id 0
event vector got.free V -> MTE2 id 0
event vector made.full V -> MTE3 id 0
event vector made.free MTE3 -> V id 0
cube 0 MTE1 sync | set l1.free[0] l1.free[1]
cube 0 M sync | set l0.free[0] l0.free[1]
cube 0 FIX sync | set c.free
vector 0 V sync | set got.free
vector 0 MTE3 sync | set made.free
for w in 0 .. cdiv(rows - block_idx, block_num):
  cube 0 M sync | wait c.free{half.format(0)}{half.format(1)}
  cube 0 M sync | set c.full
  cube 0 FIX sums = push c | wait c.full | set c.free
  vector 0 MTE2 got = pop sums | wait got.free | set got.full
  vector 0 V sync | wait got.full
{work}  vector 0 V barrier
  vector 0 V made = astype got, f16 | wait made.free | set got.free made.full
  vector 0 MTE3 z[w:+{rows}, 0:+256] = store made | wait made.full | set made.free
cube 0 MTE2 sync | wait l1.free[0] l1.free[1]
cube 0 MTE1 sync | wait l0.free[0] l0.free[1]
cube 0 M sync | wait c.free
vector 0 MTE2 sync | wait got.free
vector 0 V sync | wait made.free
"""
    return parse(text, "fused.ptoir")


def _parsed(
    name: str,
    head: Sequence[str],
    rows: Sequence[str],
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Kernel:
    params = [line for line in head if line.startswith("param")]
    places = [line for line in head if line not in params]
    loops = ["for w in 0 .. cdiv(rows - block_idx, block_num):", "  for i, u in 0 .. rows:"]
    body = [*before, *loops, *(f"    {row}" for row in rows), *after]
    text = [f"kernel {name} on a2a3", *params, "grid rows", *places, *body]
    return parse("\n".join(text) + "\n", f"{name}.ptoir")
