"""Compiling an emitted kernel for the host machine, with a cache.

In: the text of a kernel source.  Out: the path of an executable that takes a job.  Invariant: a
cached executable was made by this compiler with these options from exactly these texts.
Non-goals: running it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from pto.errors import InputError, ScheduleError

HERE = Path(__file__).parent
COMPILERS = ("g++", "clang++", "c++")
STANDARD = "-std=c++20"
OPTIONS = (STANDARD, "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
RUNTIME = ("machine.cpp", "driver.cpp")
UNITS = {"cube": "__DAV_CUBE__", "vector": "__DAV_VEC__"}
"""The two compilations of a kernel source, and what each defines."""


@lru_cache
def compiler() -> str:
    """The C++20 compiler to use: ``CXX``, or the first one on PATH.

    Raises:
        InputError: when there is none, or it does not know C++20.
    """
    named = os.environ.get("CXX")
    for name in (named,) if named else COMPILERS:
        found = shutil.which(name)
        if found is None:
            continue
        probe = [found, STANDARD, "-fsyntax-only", "-x", "c++", "-"]
        text = "#include <source_location>\nint main() { return std::source_location::current().line() == 0; }\n"
        if subprocess.run(probe, input=text, capture_output=True, text=True).returncode == 0:
            return found
    wanted = f"CXX={named}" if named else " and ".join(COMPILERS)
    raise InputError(
        f"executor native needs a C++20 compiler; {wanted} cannot be used",
        hint="install g++ 11 or clang++ 16, or set CXX",
    )


def cache_folder() -> Path:
    """Where executables are kept: ``PTO_CACHE``, or the user's cache folder."""
    given = os.environ.get("PTO_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tilewright"


def executable(source: str, sanitize: bool = False) -> Path:
    """The program that runs the kernel whose source is ``source``; ``CXXFLAGS`` adds options.

    Raises:
        InputError: there is no compiler.
        ScheduleError: the compiler rejects the source; the message is the compiler's.
    """
    options = (*OPTIONS, *(SANITIZERS if sanitize else ()), *os.environ.get("CXXFLAGS", "").split())
    runtime = [_object(HERE / name, options) for name in RUNTIME]
    key = _key(source, *options, *(o.name for o in runtime))
    program = cache_folder() / key
    if program.exists():
        return program
    with tempfile.TemporaryDirectory(prefix="pto-") as folder:
        kernel = Path(folder) / "kernel.cpp"
        kernel.write_text(source, encoding="utf-8")
        objects = [Path(folder) / f"{unit}.o" for unit in UNITS]
        with ThreadPoolExecutor() as pool:
            jobs = [
                pool.submit(
                    _compile,
                    kernel,
                    o,
                    (*options, f"-D{UNITS[unit]}", "-D__aicore__=", f"-Dkernel_entry={unit}_entry"),
                )
                for unit, o in zip(UNITS, objects, strict=True)
            ]
            for job in jobs:
                job.result()
        made = Path(folder) / "program"
        _call([compiler(), *options, *map(str, (*objects, *runtime)), "-o", str(made)])
        _keep(made, program)
    return program


def _object(source: Path, options: Sequence[str]) -> Path:
    """A compiled part of the runtime itself."""
    key = _key(source.read_text(encoding="utf-8"), *options)
    kept = cache_folder() / f"{source.stem}-{key}.o"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="pto-") as folder:
            made = Path(folder) / "made.o"
            _compile(source, made, options)
            _keep(made, kept)
    return kept


def _compile(source: Path, made: Path, options: Sequence[str]) -> None:
    folders = (f"-I{HERE / 'include'}", f"-I{HERE}")
    _call([compiler(), *options, *folders, "-c", str(source), "-o", str(made)])


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise ScheduleError(f"the C++ compiler rejects the emitted source:\n{done.stderr.strip()}")


def _keep(made: Path, place: Path) -> None:
    """Moves a file into the cache whole, also if others do the same at this moment."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.copy(made, beside)
    beside.replace(place)


@lru_cache
def _headers() -> str:
    files = sorted(p for p in HERE.rglob("*") if p.suffix in (".hpp", ".h"))
    return "\0".join(p.read_text(encoding="utf-8") for p in files)


def _key(*texts: str) -> str:
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True).stdout
    whole = "\0".join((version, _headers(), *texts))
    return hashlib.sha256(whole.encode()).hexdigest()[:20]
