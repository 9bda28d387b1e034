"""The emitted C++ against the user's own checkout of the PTO tile library, in its simulator mode.

In: a scheduled kernel, bound arrays, a checkout.  Out: the outputs.  Invariant: the text compiled is
the text that ``pto emit`` writes, without a warning; the library's headers stay where they are.
Non-goals: order (the library executes no event: ``lowering/native``), fetching the library.

Numbers: its exp is computed in double, so the last bit may differ from ``lowering/native``, where
it is float's.  Kernels without exp give the same bits in both with g++; clang++ adds up the columns
of a row sum in vectors, because the library asks it to, so their last bits may differ, too.

The library's rules hold by its own checks; of the device's rules, UB is as small as there and no
memory starts as zero.  What only the device's headers reject is what ``lowering/native`` rejects.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from lowering.ascend import emit
from lowering.execute.access import Array
from lowering.execute.inputs import Bound
from lowering.execute.said import Heard, of_texts
from lowering.native.build import (
    HERE,
    STRICT,
    Build,
    extra_options,
    first_compiler,
    own_headers,
    program,
    text_of,
)
from lowering.native.job import execute
from pto.errors import InputError
from pto.ir import Kernel

VARIABLE = "PTO_ISA_ROOT"
HEADER = Path("include/pto/pto-inst.hpp")
ISA = HERE / "isa"
STANDARD = "-std=c++23"
COMPILERS = (
    *("g++", "clang++", "c++"),
    *(f"g++-{version}" for version in (16, 15, 14, 13)),
    *(f"clang++-{version}" for version in (22, 21, 20, 19, 18, 17)),
)
MODE = ("-D__CPU_SIM", "-DPTO_CPU_MAX_THREADS=1", "-Wno-pass-failed")
"""The simulator, one thread a core; clang++ lays failed wishes of the library at our door."""

LINKS = ("-pthread", "-rdynamic", "-ldl")
"""The library finds what the driver offers by name."""

PROBE = """template <typename T>
void chosen()
{
    if constexpr (sizeof(T) > 1) {
    } else {
        static_assert(false);
    }
}
int main() { chosen<int>(); }
"""
"""What one of the library's headers needs of C++23; g++ 12 rejects it."""

PROBE_BF16 = f"#include <stdfloat>\nstd::bfloat16_t one = 1.0bf16;\n{PROBE}"
"""Without this type the library takes fp16 for bf16, and says nothing."""


def checkout_of(given: Path | None) -> Path:
    """The checkout to compile against: ``given``, or what ``PTO_ISA_ROOT`` names.

    Raises:
        InputError: none is named, or the folder is none.
    """
    named = given or Path(os.environ.get(VARIABLE, ""))
    hint = f"set {VARIABLE}, or give --pto-isa DIR: the folder that has {HEADER}"
    if named == Path():
        raise InputError(
            "executor pto-isa compiles against your checkout of the PTO tile library; none is named",
            hint=hint,
        )
    if not (named / HEADER).is_file():
        raise InputError(f"{named} is no checkout of the PTO tile library", hint=hint)
    return named.resolve()


def run(
    kernel: Kernel,
    bound: Bound,
    checkout: Path,
    block_num: int | None = None,
    *,
    heard: Heard | None = None,
) -> dict[str, Array]:
    """Emits, compiles (or takes from the cache), and runs a scheduled kernel; ``heard`` hears what it prints, line by
    line; what the driver tells has tabs.

    Raises:
        ScheduleError: a schedule that cannot be emitted, that the compiler rejects, or that ends
            in a deadlock.
        InputError: there is no C++ compiler that the library can be compiled with.
    """
    source = emit(kernel)[f"{kernel.name}.cpp"]
    made = program(source, build(checkout, "bfloat16_t" in source))
    told, outputs = execute(made, kernel, bound, block_num)
    if heard is not None:
        heard.add(of_texts(line for line in told.splitlines() if "\t" not in line))
    return outputs


def build(checkout: Path, needs_bf16: bool) -> Build:
    """How a kernel is compiled against a checkout; warnings of its own headers do not count."""
    options = [STANDARD, *STRICT, *MODE, *["-DISA_NEEDS_BF16"] * needs_bf16]
    options += [f"-I{ISA}", "-isystem", str(checkout / "include"), *extra_options()]
    headers = own_headers() + headers_of(checkout)
    return Build(compiler(needs_bf16), tuple(options), (ISA / "driver.cpp",), headers, LINKS)


@lru_cache
def headers_of(checkout: Path) -> str:
    """What a program depends on: all that the simulator mode may include."""
    parts = (checkout / "include" / "pto" / part for part in ("common", "cpu"))
    return "\0".join(text_of(part, (".hpp", ".h")) for part in parts)


@lru_cache
def compiler(needs_bf16: bool) -> str:
    """The C++23 compiler to use: ``CXX``, or the first one on PATH.

    Raises:
        InputError: when none is there, or none that knows bf16 where that is needed.
    """
    found = first_compiler(COMPILERS, STANDARD, PROBE_BF16 if needs_bf16 else PROBE)
    if found is not None:
        return found
    named = os.environ.get("CXX")
    lacking = f"CXX={named} is none" if named else "there is none on PATH"
    if first_compiler(COMPILERS, STANDARD, PROBE) is None:
        message = f"executor pto-isa needs a C++23 compiler; {lacking}"
        raise InputError(message, hint="install g++ 13 or clang++ 17, or set CXX")
    raise InputError(
        f"bf16 needs a compiler with C++23's std::bfloat16_t; {lacking}, and without it the "
        "library silently takes fp16 for bf16",
        hint="install g++ 13 or later, or set CXX; a kernel in f16 needs no such compiler",
    )
