"""Emits a scheduled kernel as Ascend C++: what ``pto emit`` writes.

In: a scheduled ``Kernel`` (every row with core and pipe; buffers, FIFOs and events placed), made by
the scheduler or parsed from text.  Out: file name -> text.  Invariant: the C++ runs the rows of
each core in the order written, with the slots, addresses and event ids of the program; equal
kernels give equal text.  Non-goals: checking the schedule (``lowering/hazards/``), improving it.

What the rows do not need is not declared: which core needs what is read off the lines themselves.

Rules of the library and of its runtime are docs/machine.md 12 to 15; the text suits the device and
the library's CPU simulator alike.  ``text`` spells parts, ``rows`` ops, ``blocks`` loops, ``names`` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

from lowering.ascend.blocks import block_lines, entries_of, live
from lowering.ascend.flat import flat_lines
from lowering.ascend.functions import FUNCTIONS, top_lines, tops_of
from lowering.ascend.names import Names, code_of, mentioned, said
from lowering.ascend.orchestration import (
    UNITS,
    arguments,
    manifest,
    orchestration_source,
    scalars_of,
)
from lowering.ascend.text import (
    CPP_TYPE,
    FLOATS,
    INDENT,
    Context,
    Place,
    camel,
    comment,
    indented,
    popped_buffer,
    shares_of,
)
from pto import ir
from pto.dead_rows import watches
from pto.targets import target_of
from pto.text import WIDTH, print_kernel


def emit(kernel: ir.Kernel) -> dict[str, str]:
    """The source files of a scheduled kernel, by name.

    ``NAME.cpp``: the kernel, compiled once per core; ``NAME_orchestration.cpp``: its submission;
    ``NAME.ptoir``: the schedule itself; ``manifest.json``: the arguments in the kernel's order.

    Raises:
        CapacityError: more arguments than the runtime passes.
        ScheduleError: a schedule that the library's fills cannot express.
        ShapeError: a tile or view whose layout the library cannot take.
    """
    return {
        f"{kernel.name}.cpp": kernel_source(kernel),
        f"{kernel.name}_orchestration.cpp": orchestration_source(kernel),
        f"{kernel.name}.ptoir": print_kernel(kernel),
        "manifest.json": manifest(kernel),
    }


# -------------------------------------------------------------------------------- one file

INCLUDES = """#include <cstdint>

#include <pto/pto-inst.hpp>
#include <pto/common/fifo.hpp>

#include "tensor.h"

#ifndef __gm__
#define __gm__
#endif
#ifndef __aicore__
#define __aicore__ [aicore]
#endif

#include "intrinsic.h"

using namespace pto;
"""


def kernel_source(kernel: ir.Kernel) -> str:
    """The whole of ``NAME.cpp``."""
    cores = ir.cores_of(kernel.body)
    types = Names("type ")
    entries = {core: types.of("function", core, f"{kernel.name}_{core}") for core in cores}
    bodies = {core: core_function(kernel, core, types) for core in cores}
    pipes = [line for f in kernel.fifos for line in pipe_type(kernel, f, types)]
    own = {core: tops_of(words, FUNCTIONS) for core, (_, words) in bodies.items()}
    shared = own["cube"] & own["vector"] if len(cores) > 1 else frozenset[str]()
    head = [f"{kernel.name}, emitted by Tilewright from {kernel.name}.ptoir; do not edit."]
    head += [PRINTS] * watches(kernel.body)
    lines = [*map(comment, [*head, *kernel.notes]), *INCLUDES.split("\n")]
    lines += [*ROUNDING * sums_products(kernel), *top_lines(shared, FUNCTIONS)]
    lines += [*pipes, ""] if pipes else []
    for core, (body, words) in bodies.items():
        head = [f"static __aicore__ void {entries[core]}(__gm__ int64_t *args)", "{"]
        if "args" not in words:
            body = ["(void)args;  // no row of this core names an argument", *body]
        section = [*top_lines(own[core] - shared, FUNCTIONS), *head, *indented(body), "}"]
        lines += [f"#ifdef {UNITS[core].define}", *section, f"#endif  // {UNITS[core].define}", ""]
    lines += ['extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)', "{"]
    lines += [f"{INDENT}(void)args;  // one of the cores has nothing to do"] * (len(cores) < 2)
    for core in cores:
        lines += [f"#ifdef {UNITS[core].define}", f"{INDENT}{entries[core]}(args);", "#endif"]
    lines += ["}"]
    spelled = types.spelled(lines, said(lines))
    return "\n".join(part for line in spelled for part in folded(line)) + "\n"


PRINTS = "What it prints needs -D_DEBUG --cce-enable-print of the device's compiler."

ROUNDING = (
    "// A product and a sum of floats are two roundings.",
    "#ifdef __clang__",
    "#pragma STDC FP_CONTRACT OFF",
    "#endif",
    "",
)


def sums_products(kernel: ir.Kernel) -> bool:
    """Whether scalars of a kernel are products and sums of floats."""
    exprs = [a for r in ir.all_rows(kernel.body) for a in r.args if isinstance(a, ir.Expr)]
    ops = {b.op for e in exprs for b in operators(e) if ir.is_float(b)}
    return "*" in ops and not ops.isdisjoint("+-")


def operators(e: ir.Expr) -> Iterator[ir.Bin]:
    """Every operator in ``e``."""
    if isinstance(e, ir.Bin):
        yield e
        yield from operators(e.a)
        yield from operators(e.b)


def folded(line: str) -> list[str]:
    """A line within the width: its comment goes in front, its arguments onto a line below."""
    if len(line) <= WIDTH or line.lstrip().startswith("//"):
        return [line]
    margin = line[: len(line) - len(line.lstrip())]
    code, mark, comment = line.partition("  // ")
    if mark:
        return [f"{margin}// {comment}", *folded(code)]
    head, bracket, rest = line.partition("(")
    return [head + bracket, f"{margin}{INDENT}{rest}"]


def pipe_type(kernel: ir.Kernel, fifo: ir.Fifo, types: Names) -> list[str]:
    """The FIFO's library type: first flag id, direction, slot bytes, slots, local slots."""
    depth = popped_buffer(kernel, fifo.name).depth
    direction = f"Direction::DIR_{fifo.direction.upper()}"
    sizes = f"{fifo.slot_bytes}, {fifo.depth}, {depth}"
    name = types.of("fifo", fifo.name, f"{camel(fifo.name)}Pipe")
    return [f"using {name} = TPipe<{fifo.flag}, {direction}, {sizes}>;"]


def core_function(kernel: ir.Kernel, core: str, types: Names) -> tuple[list[str], frozenset[str]]:
    """The body of ``NAME_cube`` or ``NAME_vector``: what its rows need, then the rows; and the words
    that it says itself."""
    mine = replace(kernel, body=live(kernel.body, core))
    ctx = Context(mine, target_of(kernel), core, Names(f"{core} "), types, shares_of(kernel))
    launch = {"block_idx": 0, "block_num": 1, "lane": 0}
    env = {name: Place(name, least=bound) for name, bound in launch.items()}
    for p in scalars_of(kernel):
        env[p.name] = Place(ctx.scalar(p.name), p.dtype in FLOATS)
    env |= {d: Place(ctx.scalar(d), least=1) for d in kernel.dims}
    body: list[str] = []
    for flat, run in groupby(entries_of(mine.body, core), key=lambda e: e.flat):
        if flat is None:
            body += block_lines(list(run), ctx, env)
        else:
            body += flat_lines(flat, ctx, env)
    body += pipe_ends(ctx)
    pipes = pipe_objects(ctx)
    used = mentioned(code_of(body))
    parts = [pipes, tile_declarations(ctx, used), list(ctx.constants.values()), ctx.counters, body]
    words = said(line for part in parts for line in part)
    head = [argument_declarations(ctx, used), launch_scalars(words)]
    lines = [line for part in (*head, *parts) if part for line in (*part, "")][:-1]
    words |= said(line for part in head for line in part)
    return ctx.names.spelled(lines, words), words


# ---------------------------------------------------------------------------- declarations


def argument_declarations(ctx: Context, used: frozenset[str]) -> list[str]:
    """The arguments that this core uses: tensors as pointers, scalars by value."""
    lines = []
    for k, arg in enumerate(arguments(ctx.kernel)):
        name = ctx.names.of("tensor" if arg.kind == "tensor" else "scalar", arg.name)
        if arg.kind == "workspace" or name not in used:
            continue
        if arg.kind == "tensor":
            cpp = CPP_TYPE[arg.dtype]
            lines.append(f"__gm__ {cpp} *{name} = data<{cpp}>(args[{k}]);")
        elif arg.dtype in FLOATS:
            lines.append(f"const float {name} = from_u64<float>(static_cast<uint64_t>(args[{k}]));")
        else:
            lines.append(f"const int64_t {name} = args[{k}];")
    return lines


LAUNCH: Mapping[str, str] = MappingProxyType(
    {"block_idx": "get_block_idx", "block_num": "get_block_num", "lane": "get_sub_block_id"}
)
"""Scalar that the launch provides -> the function of the runtime that reads it."""


def launch_scalars(words: frozenset[str]) -> list[str]:
    """Block and lane of this run, as far as the function says them."""
    return [
        f"const int64_t {name} = {call}(args);" for name, call in LAUNCH.items() if name in words
    ]


def pipe_objects(ctx: Context) -> list[str]:
    """One pipe per FIFO, which has an end on each core, on the ring of its own hardware block."""
    found: list[str] = []
    passed = enumerate(arguments(ctx.kernel))
    places = {a.name: k for k, a in passed if a.kind == "workspace"}
    shift = ctx.names.fresh("lane_shift")
    for f in used_fifos(ctx):
        found += pipe_object(ctx, f, places[f"{f.name}_ring"], shift)
    if found and ctx.core == "vector":
        why = [
            "// A pipe finds a lane's half of a slot by the built-in lane number, which reads 0 on",
            "// both lanes under this runtime: the missing difference goes into the entry offset.",
            f"const int64_t {shift} = lane - static_cast<int64_t>(get_subblockid());",
        ]
        return [*why, *found]
    return found


def used_fifos(ctx: Context) -> list[ir.Fifo]:
    """The FIFOs that rows of this core name."""
    used = {r.queue for r in ir.all_rows(ctx.kernel.body)}
    return [f for f in ctx.kernel.fifos if f.name in used]


def entry_offset(fifo: ir.Fifo, share: str, lanes: int, shift: str) -> str:
    """Bytes from where the library looks for a lane's part of a slot to where it is."""
    if share == "both":  # the first of parts as large as a slot
        return f"({shift} - lane) * {fifo.slot_bytes}"
    part = fifo.slot_bytes // lanes
    return f"{shift} * {part if share == 'rows' else part // fifo.type.rows}"


def pipe_object(ctx: Context, fifo: ir.Fifo, place: int, shift: str) -> list[str]:
    """The pipe of one FIFO; the vector side gets the byte offset of its lane."""
    buffer = popped_buffer(ctx.kernel, fifo.name)
    at = buffer.at if buffer.core == ctx.core else 0
    bases = f"{at}, 0" if fifo.direction == "c2v" else f"0, {at}"
    t, name = fifo.type, ctx.names.of("fifo", fifo.name)
    ring = f"data<{CPP_TYPE[t.dtype]}>(args[{place}])"
    elems = fifo.depth * t.rows * t.cols
    lines = [f"{ctx.pipe_type(fifo.name)} {name}({ring} + block_idx * {elems}, {bases});"]
    if ctx.core == "vector":
        side = "cons" if fifo.direction == "c2v" else "prod"
        offset = entry_offset(fifo, ctx.shares[fifo.name], ctx.target.lanes, shift)
        lines.append(f"{name}.{side}.entryOffset = static_cast<int>({offset});")
    lines += [] if fifo.credit else [f"without_credit({name}, 0);"]
    if not fifo.signal:
        lines.append(f"without_signal({name}, 0);")
    elif buffer.core != ctx.core and ctx.is_silent(fifo.name):
        lines.append(f"silent({name}, 0);")
    return lines


def pipe_ends(ctx: Context) -> list[str]:
    """A pipe's end waits for the free signals of what it pushed; where there are none it pushed nothing."""
    pushed = "c2v" if ctx.core == "cube" else "v2c"
    ends = [f for f in used_fifos(ctx) if f.direction == pushed and not f.credit]
    lines = [f"{ctx.names.of('fifo', f.name)}.prod.setTileId(0, 0);" for f in ends]
    why = "// At its end a pipe waits for the free signals of the tiles that it has counted."
    return [why, *lines] if lines else []


def tile_declarations(ctx: Context, used: frozenset[str]) -> list[str]:
    """Per memory the slots of every buffer that is used, each at its address."""
    named = [(ctx.names.of("buffer", b.name), b) for b in ctx.kernel.buffers]
    named += [(ctx.names.of("row", of), view) for of, view in ctx.rows.items()]
    lines: list[str] = []
    for space in ctx.target.spaces:
        here = [(name, b) for name, b in named if b.space == space and name in used]
        lines += [f"// {space.upper()}"] if here else []
        for name, b in here:
            lines += buffer_lines(ctx, name, b)
    return lines


def buffer_lines(ctx: Context, name: str, b: ir.Buffer) -> list[str]:
    """``Type name[depth];`` and the address of each slot."""
    if b.depth == 1:
        return [f"{ctx.tile_type(b)} {name};", f"TASSIGN({name}, {b.at});"]
    slots = [f"TASSIGN({name}[{s}], {b.at + s * b.stride});" for s in range(b.depth)]
    return [f"{ctx.tile_type(b)} {name}[{b.depth}];", *slots]
