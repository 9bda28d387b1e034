"""The host side of an emitted kernel: its arguments, their manifest, the source that submits it.

In: a scheduled ``Kernel``.  Out: ``Argument`` rows in the order of the kernel's int64 array, and
two texts made of them.  Invariant: kernel, orchestration and manifest number the arguments alike,
because all three read ``arguments``.  Non-goals: building or loading anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from lowering.ascend.functions import HOST_FUNCTIONS, top_lines, tops_of
from lowering.ascend.names import Names, said
from lowering.ascend.text import FLOATS, Place, braced, comment, condition, indented
from pto import ir
from pto.errors import CapacityError
from pto.printer import given
from pto.targets import target_of

DATA_TYPE: Mapping[str, str] = MappingProxyType(
    {
        "f32": "FLOAT32",
        "f16": "FLOAT16",
        "bf16": "BFLOAT16",
        "i32": "INT32",
        "i16": "INT16",
        "i8": "INT8",
        "u8": "UINT8",
    }
)
ADD: Mapping[str, str] = MappingProxyType(
    {"in": "add_input", "inout": "add_inout", "out": "add_output"}
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One compilation of the kernel source; ``core``: as the runtime calls it."""

    number: int
    core: str
    define: str


UNITS: Mapping[str, Unit] = MappingProxyType(
    {"cube": Unit(0, "aic", "__DAV_CUBE__"), "vector": Unit(1, "aiv", "__DAV_VEC__")}
)
"""Function ids that the two compilations of the kernel source are registered under."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One entry of the kernel's argument array; ``shape`` is None for a scalar."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str, ...] | None
    direction: str


def arguments(kernel: ir.Kernel) -> tuple[Argument, ...]:
    """Tensors in parameter order, a workspace per FIFO, scalars, symbolic dimensions.

    Raises:
        CapacityError: when the runtime cannot pass that many.
    """
    target = target_of(kernel)
    tensors = [
        Argument(p.name, "tensor", p.dtype, p.shape, p.direction) for p in tensors_of(kernel)
    ]
    rings = [
        Argument(
            f"{f.name}_ring",
            "workspace",
            f.type.dtype,
            (target.block_num, f.depth, f.type.rows, f.type.cols),
            "out",
        )
        for f in kernel.fifos
    ]
    scalars = [Argument(p.name, "scalar", p.dtype, None, "in") for p in scalars_of(kernel)]
    dims = [Argument(d, "scalar", "i64", None, "in") for d in kernel.dims]
    limits = (
        ("tensors", len(tensors) + len(rings), target.max_tensors),
        ("scalars", len(scalars) + len(dims), target.max_scalars),
    )
    for what, count, limit in limits:
        if count > limit:
            message = f"{kernel.name} passes {count} {what}, the runtime takes {limit}"
            raise CapacityError(message, kernel.loc)
    for a in tensors:
        if len(a.shape or ()) > target.max_rank:
            raise CapacityError(
                f"{a.name} has {len(a.shape or ())} dimensions, the runtime takes {target.max_rank}",
                kernel.loc,
            )
    return (*tensors, *rings, *scalars, *dims)


def tensors_of(kernel: ir.Kernel) -> list[ir.Param]:
    return [p for p in kernel.params if p.shape is not None]


def scalars_of(kernel: ir.Kernel) -> list[ir.Param]:
    return [p for p in kernel.params if p.shape is None]


def units_of(kernel: ir.Kernel) -> dict[str, Unit]:
    """By core, what is compiled: for cores that have rows."""
    return {core: UNITS[core] for core in ir.cores_of(kernel.body)}


def manifest(kernel: ir.Kernel) -> str:
    """The arguments and the launch as JSON, for tools that call the kernel: ``block_num``, and the rings
    of its workspaces, are of a whole chip; a launch of fewer blocks needs rings for those alone."""
    target, units = target_of(kernel), units_of(kernel).values()
    content = {
        "name": kernel.name,
        "entry": "kernel_entry",
        "target": target.name,
        "block_num": target.block_num,
        "source": f"{kernel.name}.cpp",
        "orchestration": f"{kernel.name}_orchestration.cpp",
        "units": [{"core": u.core, "func_id": u.number, "define": u.define} for u in units],
        "args": [asdict(a) for a in arguments(kernel)],
        "workspace_bytes_per_block": sum(f.depth * f.slot_bytes for f in kernel.fifos),
        "statics": dict(kernel.statics),
    }
    if stated := given(kernel.params):
        content["given"] = stated
    return json.dumps(content, indent=2) + "\n"


def orchestration_source(kernel: ir.Kernel) -> str:
    """The whole of ``NAME_orchestration.cpp``."""
    host = len(kernel.params)
    ids = [
        f"constexpr int32_t {core.upper()}_KERNEL = {unit.number};  // built with -D{unit.define}"
        for core, unit in units_of(kernel).items()
    ]
    body, words = entry_body(kernel)
    visible = '__attribute__((visibility("default")))'
    lines = [
        comment(
            f"Submits {kernel.name}, emitted by Tilewright from {kernel.name}.ptoir; do not edit."
        ),
        *(
            comment(f"The caller makes sure of: {name} {stated}.")
            for name, facts in given(kernel.params).items()
            for stated in facts
        ),
        "#include <stdint.h>",
        "",
        "#include <initializer_list>",
        "",
        '#include "pto_orchestration_api.h"',
        "",
        *ids,
        "",
        *top_lines(tops_of(words, HOST_FUNCTIONS), HOST_FUNCTIONS),
        'extern "C" {',
        "",
        f"{visible} PTO2OrchestrationConfig",
        "aicpu_orchestration_config(const ChipTaskArgs &orch_args)",
        "{",
        "    (void)orch_args;",
        f"    return PTO2OrchestrationConfig{{.expected_arg_count = {host}}};",
        "}",
        "",
        f"{visible} void",
        "aicpu_orchestration_entry(const ChipTaskArgs &orch_args)",
        "{",
        *indented(body),
        "}",
        "",
        '}  // extern "C"',
    ]
    return "\n".join(lines) + "\n"


def entry_body(kernel: ir.Kernel) -> tuple[list[str], frozenset[str]]:
    """Host tensors and their dimensions, what is demanded of them, the number of blocks, the rings, the
    submission; and the words that it says itself."""
    names = Names()
    lines = [
        f"const ChipTensor &{names.of('tensor', p.name)} = orch_args.tensor({k}).ref();"
        for k, p in enumerate(tensors_of(kernel))
    ]
    lines += [
        f"const int64_t {names.of('scalar', d)} = {dim_source(kernel, d, names)};"
        for d in kernel.dims
    ]
    lines += demands(kernel, names)
    blocks = names.fresh("blocks")
    lines += blocks_of_launch(blocks)
    if kernel.fifos:
        lines += ["", "// One ring of FIFO slots per hardware block."]
    for f in kernel.fifos:
        lines += workspace(f, blocks, names)
    lines += ["", *braced("PTO2_SCOPE()", submission(kernel, blocks, names))]
    words = said(lines)
    return names.spelled(lines, words), words


def blocks_of_launch(blocks: str) -> list[str]:
    """How many hardware blocks there are: the runtime knows (docs/machine.md 13), no table does."""
    enough = f"holds({blocks} > 0, {quoted('the runtime has no cluster for a launch')})"
    return [
        "",
        "// A hardware block for each cluster of this run; those beyond the work items have nothing to do.",
        f"const int32_t {blocks} = rt_available_cluster_count();",
        *braced(f"if (!{enough})", ["return;"]),
    ]


def workspace(fifo: ir.Fifo, blocks: str, names: Names) -> list[str]:
    """The ring of a FIFO, for as many blocks as are launched."""
    shape, dtype = names.fresh(f"{fifo.name}_shape"), f"DataType::{DATA_TYPE[fifo.type.dtype]}"
    sizes = f"static_cast<uint32_t>({blocks}), {fifo.depth}, {fifo.type.rows}, {fifo.type.cols}"
    return [
        f"const uint32_t {shape}[4] = {{{sizes}}};",
        f"TensorCreateInfo {ring(fifo, names)}({shape}, 4, {dtype});",
    ]


def ring(fifo: ir.Fifo, names: Names) -> str:
    """The workspace of a FIFO."""
    return names.of("ring", fifo.name, f"{fifo.name}_ring")


def demands(kernel: ir.Kernel, names: Names) -> list[str]:
    """The launch ends where a tensor is another than the kernel was made for, or where a condition of
    the kernel's does not hold."""
    wanted = [accepted(p, names) for p in tensors_of(kernel)]
    read, env = scalars_read(kernel, names)
    required = [
        (f"holds({condition(r.condition, env)},", quoted(r.message)) for r in kernel.requires
    ]
    return [*refused(wanted), *read, *refused(required)]


def accepted(p: ir.Param, names: Names) -> tuple[str, str]:
    """What a tensor must be: a call without its last argument, the text for who sees that it is not."""
    sizes = [names.of("scalar", d) if isinstance(d, str) else str(d) for d in p.shape or ()]
    shown = f"{p.name}: {p.dtype}[{', '.join(map(str, p.shape or ()))}]"
    call = f"accepts({names.of('tensor', p.name)}, DataType::{DATA_TYPE[p.dtype]}, {{{', '.join(sizes)}}},"
    return call, quoted(shown)


def scalars_read(kernel: ir.Kernel, names: Names) -> tuple[list[str], dict[str, Place]]:
    """The scalar parameters that conditions speak of, and where all scalars are."""
    env = {d: Place(names.of("scalar", d), least=1) for d in kernel.dims}
    spoken = {n for r in kernel.requires for n in ir.names_in(r.condition)}
    lines: list[str] = []
    for k, p in enumerate(scalars_of(kernel)):
        env[p.name] = Place(names.of("scalar", p.name))
        value = f"orch_args.scalar({k})"
        if p.name in spoken and p.dtype in FLOATS:
            lines.append(f"const float {env[p.name].text} = float_of({value});")
        elif p.name in spoken:
            lines.append(f"const int64_t {env[p.name].text} = static_cast<int64_t>({value});")
    return lines, env


def refused(calls: list[tuple[str, str]]) -> list[str]:
    """``return`` unless every call is true."""
    if not calls:
        return []
    margin = " " * 12
    parts = [[f"    !{call}", f"{margin} {text}) ||"] for call, text in calls]
    lines = [line for part in parts for line in part]
    lines[0], lines[-1] = f"if ({lines[0].strip()}", lines[-1].removesuffix(" ||") + ") {"
    return ["", *lines, "    return;", "}"]


def quoted(text: str) -> str:
    """A text of C++; what is not plain ASCII stands as its bytes."""
    plain = (
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()
    )
    return f'"{"".join(plain)}"'


def dim_source(kernel: ir.Kernel, dim: str, names: Names) -> str:
    """The host tensor and axis that a symbolic dimension is read from: the first that has it."""
    for p in tensors_of(kernel):
        if dim in (p.shape or ()):
            return f"{names.of('tensor', p.name)}.shapes[{(p.shape or ()).index(dim)}]"
    raise AssertionError(dim)


def submission(kernel: ir.Kernel, blocks: str, names: Names) -> list[str]:
    """The argument list in the kernel's order, and the task: mixed, both vector cores, or cube."""
    cores, target = ir.cores_of(kernel.body), target_of(kernel)
    lines = ["CoreTaskArgs task_args;"]
    for p in tensors_of(kernel):
        lines.append(f"task_args.{ADD[p.direction]}({names.of('tensor', p.name)});")
    lines += [f"task_args.{ADD['out']}({ring(f, names)});" for f in kernel.fifos]
    for k, p in enumerate(scalars_of(kernel)):
        lines.append(f"task_args.add_scalar(orch_args.scalar({k}));  // {p.name}")
    lines += [f"task_args.add_scalar({names.of('scalar', d)});" for d in kernel.dims]
    count = f"static_cast<int16_t>({blocks})"
    lines += [f"task_args.launch_spec.{target.launch}({count});", "", "MixedKernels task;"]
    lines += ["task.aic_kernel_id = CUBE_KERNEL;"] * ("cube" in cores)
    lanes = range(target.lanes * ("vector" in cores))
    lines += [f"task.aiv{lane}_kernel_id = VECTOR_KERNEL;" for lane in lanes]
    return [*lines, "rt_submit_task(task, task_args);"]
