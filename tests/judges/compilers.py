"""Emitted sources in front of real C++ compilers, with every warning an error.

``complaints(files)`` compiles the kernel source for both cores and the orchestration, the first with
the headers of ``lowering/native``, the second with ``tests/stubs``; syntax only, nothing is linked.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from lowering.native import build
from tests import TESTS

STUBS = TESTS / "stubs"
FOLDERS = (f"-I{build.HERE / 'include'}", f"-I{STUBS}")
STRICT = (*build.OPTIONS, "-O0", "-D__aicore__=", *FOLDERS)
"""Those of ``lowering/native`` without its optimising: what is precompiled serves both."""
HEADERS = """#include <cstdint>
#include <pto/pto-inst.hpp>
#include <pto/common/fifo.hpp>
#include "tensor.h"
#include "intrinsic.h"
"""


@lru_cache
def installed() -> tuple[str, ...]:
    """The compilers at hand."""
    return tuple(c for c in ("g++", "clang++") if shutil.which(c))


@lru_cache
def precompiled(compiler: str) -> tuple[str, ...]:
    """The options that bring in the kernel's headers, compiled once per process.

    A compilation with other options than ``STRICT``, but for defines, reads them as text.
    """
    folder = Path(tempfile.mkdtemp(prefix="pto-headers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header = folder / "all.hpp"
    header.write_text(HEADERS)
    made = folder / ("all.hpp.gch" if compiler == "g++" else "all.hpp.pch")
    command = [compiler, *STRICT, "-x", "c++-header", str(header), "-o", str(made)]
    subprocess.run(command, check=True)
    return ("-include", str(header)) if compiler == "g++" else ("-include-pch", str(made))


def complaint(compiler: str, source: str, *options: str) -> str:
    """What a compiler has against a source; '' for nothing."""
    command = [compiler, *STRICT, *options, "-fsyntax-only", "-x", "c++", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def complaints(files: Mapping[str, str], compilers: tuple[str, ...] | None = None) -> Iterator[str]:
    """What the compilers have against what ``emit`` wrote."""
    for name, source in files.items():
        if not name.endswith(".cpp"):
            continue
        for compiler in installed() if compilers is None else compilers:
            units: list[tuple[str, ...]] = [()]
            if not name.endswith("_orchestration.cpp"):
                units = [(f"-D{d}", *precompiled(compiler)) for d in build.UNITS.values()]
            for options in units:
                said = complaint(compiler, source, *options)
                if said:
                    yield f"{compiler} {' '.join(options)} {name}:\n{said}"


COMPILATION = build._compilation


def quicker(b: build.Build, source: Path, made: Path, defines: Sequence[str] = ()) -> list[str]:
    """The command of ``build._compilation``; g++ takes the headers of a kernel precompiled where nothing
    is optimised."""
    command = COMPILATION(b, source, made, defines)
    short = {"-O0", FOLDERS[0]} <= {*b.options} and not {*build.SANITIZERS} & {*b.options}
    if defines and short and b.compiler == shutil.which("g++"):
        return [*command, *precompiled("g++")]
    return command
