"""What a call costs beside the executor that it runs: ``kernel(arrays)`` and the jitted program alone.

In: a kernel and a case.  Out: a ``Table``: before, the executor on arrays of numpy, or its program on one
device with the inputs in place; after, the call.  The first call is measured in a process of its own,
with all that it imports, traces, schedules, proves and compiles.
Non-goals: hand-written opponents (``lowering/bench/executors.py``).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from lowering.bench.executors import Call, Line, Table, measure, medians, seconds
from lowering.call.calls import calls_of
from lowering.execute.inputs import bind
from pto.kernel import Kernel

FIRST = """
import time
from lowering.execute import cases
from lowering.execute.inputs import bind
from pto.kernels import SHIPPED

kernel = SHIPPED["{name}"]
traced = kernel.trace()
bound = bind(traced, cases.draw(kernel, traced, {case!r}))
given = {{n: a for n, a in bound.arrays.items() if bound.directions[n] != "out"}}
start = time.perf_counter()
kernel(**given, **bound.scalars)
print(time.perf_counter() - start)
"""
"""Prints the seconds of the first call in a process that has imported numpy and drawn a case."""


def overhead(kernel: Kernel, title: str, case: Mapping[str, Any], rounds: int = 10) -> Table:
    """The calls of ``kernel`` with one case, on numpy's arrays, on JAX's, and inside of ``jax.jit``."""
    import jax

    from lowering.call.host import as_bits
    from lowering.jax_executor.executor import executed

    program = calls_of(kernel).named(kernel, (), case)[1]
    bound = bind(program.traced, case)
    given = {n: a for n, a in bound.arrays.items() if bound.directions[n] != "out"}
    on_host: dict[str, Any] = {**given, **bound.scalars}
    device = jax.devices()[0]
    in_jax = {n: jax.device_put(a, device) for n, a in on_host.items()}
    held = as_bits(in_jax, device)
    inside = jax.jit(lambda arrays: kernel(**arrays))

    def alone() -> dict[str, Any]:
        return program.executable.alone(held)

    pairs: dict[str, tuple[Call, Call]] = {
        "numpy": (
            lambda: executed(program.executable, bound),
            lambda: kernel(**on_host),
        ),
        "JAX": (alone, lambda: kernel(**in_jax)),
        "JAX, under jit": (alone, lambda: inside(in_jax)),
    }
    calls: dict[str, Call] = {}
    for name, (before, after) in pairs.items():
        calls |= {f"before {name}": before, f"after {name}": after}
    found = medians(measure(calls, rounds, warm=2))
    lines = [Line(n, found[f"before {n}"], found[f"after {n}"]) for n in pairs]
    return Table(f"{kernel.name}, {title}, a call beside its executor", tuple(lines), rounds)


def first_call(name: str, case: list[str]) -> str:
    """The first call of a shipped kernel in a new process, as a line."""
    code = FIRST.format(name=name, case=case)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return f"first call in a new process: {seconds(float(done.stdout))}"
