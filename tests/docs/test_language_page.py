"""docs/language.md: its programs are read, legal and proven, its tables are printed."""

from __future__ import annotations

from lowering.schedule import options_for, schedule
from lowering.unroll import Counters, issued
from pto.ir import Define, Kernel, Loop, Ref, Row, Scalar, View, all_rows
from pto.ops import OPS
from pto.text import parse, print_kernel
from tests.conftest import Golden
from tests.docs.pages import DOCS, blocks, compare

PAGE = DOCS / "language.md"
COPIES = """
kernel copies
param x   in  f32[items, rows, 64]
param out out f32[items, rows, 64]
grid items

item = let pid0
for i in 0 .. cdiv(rows, 16):
  t: f32[16, 64] = load x[item, i * 16:+16, :]
  t_mul: f32[16, 64] = mul t, 2.0
  out[item, i * 16:+16, :] = store t_mul
"""


def programs() -> dict[str, Kernel]:
    """What the page shows, by (kernel, is it scheduled)."""
    sums = next(k for k in map(parse, blocks(PAGE, "ptoir")) if k.name == "sums" and not k.target)
    plain = options_for("best", flat=False)
    return {
        "sums, best": schedule(sums).kernel,
        "copies, not flat": schedule(parse(COPIES), plain).kernel,
    }


def test_printed(golden: Golden) -> None:
    made = programs()

    def printed(name: str) -> str:
        if name in made:
            return print_kernel(made[name])
        what, lengths = name.removeprefix("steps of ").split(", ")
        kernel = next(k for text, k in made.items() if text.startswith(what))
        return steps(kernel, "vector", [int(n) for n in lengths.split()])

    compare(PAGE, printed, golden)


def test_one_step_more_is_seen() -> None:
    """The table says what runs: another shift is another table."""
    kernel = programs()["sums, best"]
    text = print_kernel(kernel)
    other = parse(text.replace("vector +1  MTE2", "vector +2  MTE2"))
    assert other != kernel and steps(other, "vector", [2, 0, 1]) != steps(
        kernel, "vector", [2, 0, 1]
    )


# ------------------------------------------------------------------------------ tables of steps


def steps(kernel: Kernel, core: str, lengths: list[int]) -> str:
    """What ``core`` issues in each step, items of these lengths one behind the other."""
    outer = next(n for n in kernel.body if isinstance(n, Loop))
    lines: dict[str, list[str]] = {}
    for path, row, counters in issued(kernel, core, lengths):
        if OPS[row.op].kind != "sync" and len(path) > 1:
            inside = outer.inner == path[1]
            lines.setdefault(_step(outer, row, inside, counters, lengths), []).append(
                _entry(outer, row, inside, counters)
            )
    width = max(map(len, lines))
    return "".join(f"{step:{width}}  {', '.join(found)}\n" for step, found in lines.items())


def _step(outer: Loop, row: Row, inside: bool, at: Counters, lengths: list[int]) -> str:
    inner = outer.body[outer.inner]
    assert isinstance(inner, Loop)
    item = int(at[outer.index])
    if not outer.flat:
        return f"item {item}, step {int(at[inner.index]) - row.shift}" if inside else f"item {item}"
    if lengths[item] == 0:
        return f"item {item}"
    early = OPS[row.op].kind == "scalar" and not inside
    shift = max(r.shift for r in all_rows(outer.body)) if early else row.shift
    return f"step {int(at[inner.total]) - shift}"


def _entry(outer: Loop, row: Row, inside: bool, at: Counters) -> str:
    inner = outer.body[outer.inner]
    assert isinstance(inner, Loop)
    beside, within = (outer.index, outer.total), (outer.index, inner.index, inner.total)
    names = [n for n in (within if inside else beside) if n]
    assert isinstance(row.out, Define | Ref | Scalar | View)
    what = row.out.tensor if isinstance(row.out, View) else row.out.name
    return f"{what} = {row.op} ({' '.join(f'{n}={at[n]}' for n in names)})"
