"""A folder that the runtime's scene tests run: sources, a test module, cases with what is expected.

In: a kernel of the language, its trace and its schedule.  Out: file name -> bytes.  Invariant: the
test module needs the runtime, numpy and torch, but not this project; a case holds the inputs of
``pto run``, the outputs of the kernel's reference and the same tolerances.  Equal arguments give
equal files.  Non-goals: building or running anything.

The data lie in files beside the module, because a reference is any Python function of the user's:
its text need not stand alone, and a recorded case is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import Template
from types import MappingProxyType
from typing import Any

from lowering.ascend import emit
from lowering.ascend.orchestration import scalars_of, tensors_of, units_of
from lowering.ascend.text import FLOATS, INDENT, camel
from lowering.execute import cases, judge
from lowering.execute.access import DTYPES
from lowering.execute.inputs import bind
from lowering.programs import assignments, typed
from pto import ir
from pto.errors import InputError
from pto.kernel import Kernel
from pto.targets import target_of

SEEDS = 2
"""Random cases in a bundle: the seed that is asked for, and the next."""

CTYPE: Mapping[str, str] = MappingProxyType(
    {**dict.fromkeys(FLOATS, "ctypes.c_float"), "i32": "ctypes.c_int64"}
)
"""How a scalar travels: every float as the bits of a float32 (docs/machine.md 13)."""
KEPT = frozenset(("specs", "clone", "tensor_names", "add_tensor", "add_scalar"))
"""Names that the runtime's list of arguments has for itself."""


def bundle(
    kernel: Kernel, traced: ir.Kernel, scheduled: ir.Kernel, options: Sequence[str]
) -> dict[str, bytes]:
    """The files of the folder; ``options`` are those of the random case.

    Raises:
        InputError: the kernel draws no case, or not with these options.
        PtoError: the schedule cannot be emitted.
    """
    if kernel.draw_case is None:
        hint = "define a case with @KERNEL.case"
        raise InputError(f"{kernel.name} draws no random case, which a bundle needs", hint=hint)
    name, texts = scheduled.name, emit(scheduled)
    drawn = dict(cases_of(kernel, traced, options))
    files = {
        f"kernels/{core_folder(scheduled)}/{name}.cpp": texts[f"{name}.cpp"],
        f"kernels/orchestration/{name}_orchestration.cpp": texts[f"{name}_orchestration.cpp"],
        f"kernels/{name}.ptoir": texts[f"{name}.ptoir"],
        f"test_{name}.py": module(scheduled, list(drawn)),
    }
    written = {file: text.encode() for file, text in files.items()}
    return written | {f"cases/{case}.npz": data for case, data in drawn.items()}


# ------------------------------------------------------------------------------------ cases


def cases_of(
    kernel: Kernel, traced: ir.Kernel, options: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """(name, file) of every case: consecutive seeds."""
    given = assignments(options, "--case")
    first = int(typed(given.pop("seed", "0"), 0, "seed"))
    rest = [f"{n}={v}" for n, v in given.items()]
    for seed in range(first, first + SEEDS):
        arrays = cases.draw(kernel, traced, [*rest, f"seed={seed}"])
        yield f"seed{seed}", archive(kernel, traced, arrays)


def archive(kernel: Kernel, traced: ir.Kernel, arrays: Mapping[str, Any]) -> bytes:
    """A case as a file: inputs by name, and per output ``NAME.want`` and ``NAME.limit``."""
    bound = bind(traced, arrays)
    reference = None if kernel.oracle is None else cases.expected(kernel, traced, bound)
    masks = judge.unwritten(traced, bound)
    for left_out in judge.missing(bound, masks, reference):
        raise InputError(left_out.told(), hint=judge.START)
    wanted = judge.expected(traced, bound, reference, masks)
    held = dict(arrays)
    for e in wanted:
        held |= {f"{e.name}.want": e.want, f"{e.name}.limit": e.limit}
    return cases.archive_of(held)


# ----------------------------------------------------------------------------------- module

MODULE = Template('''\
"""$name as a scene test of the runtime, emitted by Tilewright; do not edit.

    python test_$name.py -p ${target}sim        # or on a device: -p $target -d 0

Below tests/st of the runtime's checkout, pytest --platform ${target}sim finds it, too.
A case is a file in cases/: the inputs (bf16 as uint16), and for every output what its reference
gives in float64 (NAME.want) and how far each element may lie from it (NAME.limit).
"""

import ctypes
from pathlib import Path

import numpy as np
import torch
from simpler.task_interface import ArgDirection as D
from simpler_setup import Scalar, SceneTestCase, TaskArgsBuilder, TensorArg, scene_test

TENSORS = {
$tensors
}
SCALARS = {$scalars}
HOST = [direction for _, direction in TENSORS.values()]
KERNEL = [*HOST$rings]


def load(case):
    with np.load(Path(__file__).parent / "cases" / f"{case}.npz") as archive:
        return dict(archive)


def as_tensor(array, dtype):
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(dtype)
    return torch.from_numpy(array)


def at_start(name, arrays):
    """An input, or what an output starts from: a value that no kernel leaves by accident."""
    dtype, _ = TENSORS[name]
    if name in arrays:
        return as_tensor(arrays[name], dtype)
    unset = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max
    return torch.full(arrays[f"{name}.want"].shape, unset, dtype=dtype)


@scene_test(level=2, runtime="tensormap_and_ringbuffer")
class Test$title(SceneTestCase):
    CALLABLE = {
        "orchestration": {
            "source": "kernels/orchestration/${name}_orchestration.cpp",
            "function_name": "aicpu_orchestration_entry",
            "signature": HOST,
        },
        "incores": [
$incores
        ],
    }

    CASES = [
$cases
    ]

    def generate_args(self, params):
        arrays = load(params["case"])
        tensors = [TensorArg(name, at_start(name, arrays)) for name in TENSORS]
        scalars = [Scalar(name, kind(arrays[name].item())) for name, kind in SCALARS.items()]
        return TaskArgsBuilder(*tensors, *scalars)

    def compute_golden(self, args, params):
        arrays = load(params["case"])
        for name, (_, direction) in TENSORS.items():
            if direction != D.IN:
                getattr(args, name).copy_(torch.from_numpy(arrays[f"{name}.want"]))

    def compare_outputs(self, test_args, golden_args, output_names, params):
        arrays = load(params["case"])
        for name in output_names:
            got = getattr(test_args, name).double().numpy()
            want, limit = arrays[f"{name}.want"], arrays[f"{name}.limit"]
            same = (got == want) | (np.isnan(got) & np.isnan(want))
            wrong = np.argwhere(~same & ~(np.abs(got - want) <= limit))
            if len(wrong):
                at = tuple(int(i) for i in wrong[0])
                raise AssertionError(
                    f"{len(wrong)} of {got.size} elements of {name} are wrong; {name}{list(at)} is "
                    f"{got[at]:.6g}, expected {want[at]:.6g} within {limit[at]:.2e}"
                )


if __name__ == "__main__":
    SceneTestCase.run_module(__name__)
''')


def module(kernel: ir.Kernel, names: Sequence[str]) -> str:
    """The text of the test module; ``names``: of the cases."""
    kept = [p.name for p in kernel.params if p.name in KEPT]
    if kept:
        raise InputError(f"the runtime's scene tests keep the name '{kept[0]}' for themselves")
    tensors = [
        f'"{p.name}": (torch.{DTYPES[p.dtype].name}, D.{p.direction.upper()}),'
        for p in tensors_of(kernel)
    ]
    scalars = [f'"{p.name}": {CTYPE[p.dtype]}' for p in scalars_of(kernel)]
    target = target_of(kernel).name
    both = f'"platforms": ["{target}sim", "{target}"]'
    listed = [f'{{"name": "{n}", {both}, "params": {{"case": "{n}"}}}},' for n in names]
    return MODULE.substitute(
        name=kernel.name,
        target=target,
        title=camel(kernel.name),
        tensors=block(tensors, 1),
        scalars=", ".join(scalars),
        rings=", D.OUT" * len(kernel.fifos),
        incores=block(incores(kernel), 3),
        cases=block(listed, 2),
    )


def incores(kernel: ir.Kernel) -> Iterator[str]:
    """What the two compilations of the kernel source are, as far as they have anything to do."""
    folder = core_folder(kernel)
    for unit in units_of(kernel).values():
        yield "{"
        yield f'    "func_id": {unit.number},'
        yield f'    "name": "{kernel.name}_{unit.core}",'
        yield f'    "source": "kernels/{folder}/{kernel.name}.cpp",'
        yield f'    "core_type": "{unit.core}",'
        yield '    "signature": KERNEL,'
        yield "},"


def core_folder(kernel: ir.Kernel) -> str:
    """Where the runtime's tests keep a source: by the cores that it is for."""
    first, *more = units_of(kernel).values()
    return "mix" if more else first.core


def block(lines: Iterable[str], depth: int) -> str:
    return "\n".join(f"{INDENT * depth}{line}" for line in lines)
