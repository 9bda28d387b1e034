"""Emitted sources in front of real C++ compilers, with every warning an error.

``complaints(files)`` compiles the kernel source for both cores and the orchestration, the first with
the headers of ``lowering/native``, the second with ``tests/stubs``; syntax only, nothing is linked.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from lowering.native import build

STUBS = Path(__file__).parent / "stubs"
FOLDERS = (f"-I{build.HERE / 'include'}", f"-I{STUBS}")
STRICT = (build.STANDARD, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *FOLDERS)


@lru_cache
def installed() -> tuple[str, ...]:
    """The compilers at hand."""
    return tuple(c for c in ("g++", "clang++") if shutil.which(c))


def complaint(compiler: str, source: str, *options: str) -> str:
    """What a compiler has against a source; '' for nothing."""
    command = [compiler, *STRICT, *options, "-x", "c++", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def complaints(files: Mapping[str, str], compilers: tuple[str, ...] | None = None) -> Iterator[str]:
    """What the compilers have against what ``emit`` wrote."""
    for name, source in files.items():
        if not name.endswith(".cpp"):
            continue
        host = name.endswith("_orchestration.cpp")
        units = [()] if host else [(f"-D{d}", "-D__aicore__=") for d in build.UNITS.values()]
        for compiler in compilers or installed():
            for options in units:
                said = complaint(compiler, source, *options)
                if said:
                    yield f"{compiler} {' '.join(options)} {name}:\n{said}"
