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

from lowering.ascend.text import braced, identifier, indented
from lowering.target import Target
from pto.errors import CapacityError
from pto.ir import Kernel, Param, all_rows

DATA_TYPE: Mapping[str, str] = MappingProxyType(
    {"f32": "FLOAT32", "f16": "FLOAT16", "bf16": "BFLOAT16", "i32": "INT32"}
)
ADD: Mapping[str, str] = MappingProxyType(
    {"in": "add_input", "inout": "add_inout", "out": "add_output"}
)
CUBE_ID, VECTOR_ID = 0, 1
"""Function ids that the two compilations of the kernel source are registered under."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One entry of the kernel's argument array; ``shape`` is None for a scalar."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str, ...] | None
    direction: str


def arguments(kernel: Kernel, target: Target) -> tuple[Argument, ...]:
    """Tensors in parameter order, a workspace per FIFO, scalars, symbolic dimensions.

    Raises:
        CapacityError: when the runtime cannot pass that many.
    """
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
            raise CapacityError(f"{kernel.name} passes {count} {what}, the runtime takes {limit}")
    for a in tensors:
        if len(a.shape or ()) > target.max_rank:
            raise CapacityError(
                f"{a.name} has {len(a.shape or ())} dimensions, the runtime takes {target.max_rank}"
            )
    return (*tensors, *rings, *scalars, *dims)


def tensors_of(kernel: Kernel) -> list[Param]:
    return [p for p in kernel.params if p.shape is not None]


def scalars_of(kernel: Kernel) -> list[Param]:
    return [p for p in kernel.params if p.shape is None]


def cores_of(kernel: Kernel) -> tuple[bool, bool]:
    """(the cube core has rows, the vector core has rows)."""
    cores = {r.core for r in all_rows(kernel.body)}
    return "cube" in cores, "vector" in cores


def manifest(kernel: Kernel, target: Target) -> str:
    """The arguments and the launch as JSON, for tools that call the kernel."""
    cube, vector = cores_of(kernel)
    units = [{"core": "aic", "func_id": CUBE_ID, "define": "__DAV_CUBE__"}] if cube else []
    units += [{"core": "aiv", "func_id": VECTOR_ID, "define": "__DAV_VEC__"}] if vector else []
    content = {
        "name": kernel.name,
        "entry": "kernel_entry",
        "target": target.name,
        "block_num": target.block_num,
        "source": f"{kernel.name}.cpp",
        "orchestration": f"{kernel.name}_orchestration.cpp",
        "units": units,
        "args": [asdict(a) for a in arguments(kernel, target)],
        "workspace_bytes_per_block": sum(f.depth * f.slot_bytes for f in kernel.fifos),
        "statics": dict(kernel.statics),
    }
    return json.dumps(content, indent=2) + "\n"


def orchestration_source(kernel: Kernel, target: Target) -> str:
    """The whole of ``NAME_orchestration.cpp``."""
    cube, vector = cores_of(kernel)
    host = len(kernel.params)
    ids = [f"constexpr int32_t CUBE_KERNEL = {CUBE_ID};  // built with -D__DAV_CUBE__"] * cube
    ids += [f"constexpr int32_t VECTOR_KERNEL = {VECTOR_ID};  // built with -D__DAV_VEC__"] * vector
    visible = '__attribute__((visibility("default")))'
    lines = [
        f"// Submits {kernel.name}, emitted by Tilewright from {kernel.name}.ptoir; do not edit.",
        "#include <stdint.h>",
        "",
        '#include "pto_orchestration_api.h"',
        "",
        *ids,
        f"constexpr uint32_t BLOCK_NUM = {target.block_num};",
        "",
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
        *indented(entry_body(kernel, target)),
        "}",
        "",
        '}  // extern "C"',
    ]
    return "\n".join(lines) + "\n"


def entry_body(kernel: Kernel, target: Target) -> list[str]:
    """Host tensors and their dimensions, the rings, the argument list, the submission."""
    lines = [
        f"const ChipTensor &{identifier(p.name)} = orch_args.tensor({k}).ref();"
        for k, p in enumerate(tensors_of(kernel))
    ]
    lines += [f"const int64_t {identifier(d)} = {dim_source(kernel, d)};" for d in kernel.dims]
    if kernel.fifos:
        lines += ["", "// One ring of FIFO slots per hardware block."]
    for f in kernel.fifos:
        shape = f"BLOCK_NUM, {f.depth}, {f.type.rows}, {f.type.cols}"
        name, dtype = identifier(f.name), f"DataType::{DATA_TYPE[f.type.dtype]}"
        lines.append(f"const uint32_t {name}_shape[4] = {{{shape}}};")
        lines.append(f"TensorCreateInfo {name}_ring({name}_shape, 4, {dtype});")
    lines += ["", *braced("PTO2_SCOPE()", submission(kernel, target))]
    return lines


def dim_source(kernel: Kernel, dim: str) -> str:
    """The host tensor and axis that a symbolic dimension is read from: the first that has it."""
    for p in tensors_of(kernel):
        if dim in (p.shape or ()):
            return f"{identifier(p.name)}.shapes[{(p.shape or ()).index(dim)}]"
    raise AssertionError(dim)


def submission(kernel: Kernel, target: Target) -> list[str]:
    """The argument list in the kernel's order, and the task: mixed, both vector cores, or cube."""
    cube, vector = cores_of(kernel)
    lines = ["CoreTaskArgs task_args;"]
    host = 0
    for a in arguments(kernel, target):
        name = identifier(a.name)
        if a.kind != "scalar":
            lines.append(f"task_args.{ADD[a.direction]}({name});")
        elif a.name in kernel.dims:
            lines.append(f"task_args.add_scalar({name});")
        else:
            lines.append(f"task_args.add_scalar(orch_args.scalar({host}));  // {a.name}")
            host += 1
    lines += ["task_args.launch_spec.set_block_num(BLOCK_NUM);", "", "MixedKernels task;"]
    lines += ["task.aic_kernel_id = CUBE_KERNEL;"] * cube
    lines += [f"task.aiv{lane}_kernel_id = VECTOR_KERNEL;" for lane in range(target.lanes)] * vector
    return [*lines, "rt_submit_task(task, task_args);"]
