"""Compiling an emitted kernel for the host machine, with a cache.

In: the text of a kernel source.  Out: the path of an executable that takes a job.  Invariant: a
cached executable was made by this compiler with these options from exactly these texts.
Non-goals: running it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lowering.progress import progress
from pto.errors import InputError, ScheduleError

HERE = Path(__file__).parent
COMPILERS = ("g++", "clang++", "c++")
STANDARD = "-std=c++20"
STRICT = ("-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
OPTIONS = (STANDARD, *STRICT)
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
RUNTIME = (HERE / "machine.cpp", HERE / "driver.cpp")
UNITS = {"cube": "__DAV_CUBE__", "vector": "__DAV_VEC__"}
"""The two compilations of a kernel source, and what each defines."""

SAID = 40
"""Lines of a compiler's message that are shown."""

PROBE = "#include <bit>\nint main() { return std::bit_cast<int>(1.0f) == 0; }\n"


@dataclass(frozen=True)
class Build:
    """How kernel sources become programs.

    ``compiler`` with ``options`` compiles them, and the sources ``runtime`` that they are linked
    with; ``links``: options of the linker.  ``headers`` is the text of everything included.
    """

    compiler: str
    options: tuple[str, ...]
    runtime: tuple[Path, ...]
    headers: str
    links: tuple[str, ...] = ()


@lru_cache
def compiler() -> str:
    """The C++20 compiler to use: ``CXX``, or the first one on PATH.

    Raises:
        InputError: when there is none, or it does not know C++20.
    """
    found = first_compiler(COMPILERS, STANDARD, PROBE)
    if found is None:
        named = os.environ.get("CXX")
        wanted = f"CXX={named} is none" if named else f"there is none of {', '.join(COMPILERS)}"
        raise InputError(
            f"executor native needs a C++20 compiler; {wanted}",
            hint="install g++ 11 or clang++ 14, or set CXX to the name of one, without options",
        )
    return found


def first_compiler(names: Sequence[str], standard: str, probe: str) -> str | None:
    """The first of ``CXX``, or else of ``names``, that makes code of the text ``probe``."""
    named = os.environ.get("CXX")
    for name in (named,) if named else names:
        found = shutil.which(name)
        if found is None:
            continue
        if "main" in _assembly([found, standard], probe).stdout:
            return found
    return None


def _assembly(command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    """A program that succeeds, as any may, has not yet made code."""
    whole = [*command, "-S", "-o", "-", "-x", "c++", "-"]
    try:
        return subprocess.run(whole, input=text, capture_output=True, text=True)
    except OSError:  # no program at all
        return subprocess.CompletedProcess(whole, 1, "", "")


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
    folders = (f"-I{HERE / 'include'}", f"-I{HERE}")
    options = (*OPTIONS, *folders, *(SANITIZERS if sanitize else ()), *extra_options())
    return program(source, Build(compiler(), options, RUNTIME, own_headers()))


def extra_options() -> list[str]:
    return os.environ.get("CXXFLAGS", "").split()


ROOM_BYTES = 1 << 20
"""What the cache and the folder for temporary files must have room for; a program takes a part."""


def _check_places(build: Build) -> None:
    """Finds out before the compiler runs whether it can be told its options, and write.

    Raises:
        InputError: what is wrong, and the variable that chooses another place.
    """
    flags = extra_options()
    done = _assembly([build.compiler, *flags], "int main() {}\n")
    if flags and done.returncode != 0:
        first = next(iter(done.stderr.strip().splitlines()), "it fails")
        raise InputError(f"CXXFLAGS={' '.join(flags)}: {first}")
    for variable, folder in (("PTO_CACHE", cache_folder), ("TMPDIR", _temporary_folder)):
        place = Path()
        try:
            place = folder()
            if place.exists() and not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(bytes(ROOM_BYTES))
                file.flush()
        except OSError as error:
            said = f"{place}: {error.strerror}" if place != Path() else str(error)
            hint = f"{variable} may name another folder"
            raise InputError(f"no place for compiled kernels: {said}", hint=hint) from None


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


def program(source: str, build: Build) -> Path:
    """The executable of a kernel's source, from the cache if it is there.

    Raises:
        ScheduleError: the compiler rejects the source; the message is the compiler's.
        InputError: it cannot be used, or there is no room for what it makes.
    """
    runtime = (part.read_text(encoding="utf-8") for part in build.runtime)
    place = cache_folder() / _key(build, source, *build.links, *runtime)
    if place.exists():
        return place
    _check_places(build)
    with progress(f"compiling the emitted source with {build.compiler}"):
        return _made(source, build, place)


def _made(source: str, build: Build, place: Path) -> Path:
    runtime = [_object(part, build) for part in build.runtime]
    with tempfile.TemporaryDirectory(prefix="pto-") as folder:
        objects = _units(source, Path(folder), build)
        made, parts = Path(folder) / "program", map(str, (*objects, *runtime))
        _call([build.compiler, *build.options, *parts, *build.links, "-o", str(made)])
        _keep(made, place)
    return place


def _units(source: str, folder: Path, build: Build) -> list[Path]:
    """The object files of both compilations."""
    kernel = folder / "kernel.cpp"
    kernel.write_text(source, encoding="utf-8")
    jobs = {
        folder / f"{unit}.o": (f"-D{define}", "-D__aicore__=", f"-Dkernel_entry={unit}_entry")
        for unit, define in UNITS.items()
    }
    _call(*(_compilation(build, kernel, made, defines) for made, defines in jobs.items()))
    return list(jobs)


def _object(source: Path, build: Build) -> Path:
    """A compiled part of the runtime itself."""
    kept = cache_folder() / f"{source.stem}-{_key(build, source.read_text(encoding='utf-8'))}.o"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="pto-") as folder:
            made = Path(folder) / "made.o"
            _call(_compilation(build, source, made))
            _keep(made, kept)
    return kept


def _compilation(build: Build, source: Path, made: Path, defines: Sequence[str] = ()) -> list[str]:
    return [build.compiler, *build.options, *defines, "-c", str(source), "-o", str(made)]


def _call(*commands: Sequence[str]) -> None:
    """Runs all of them at once; when this is interrupted, they end, too."""
    running = [
        subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    try:
        said = [process.communicate()[1] for process in running]
    except BaseException:
        for process in running:
            process.kill()
        raise
    for process, text in zip(running, said, strict=True):
        _check_done(process.returncode, "\n".join(text.strip().splitlines()[:SAID]))


def _check_done(status: int, said: str) -> None:
    if status < 0 or (status and any(fault in said for fault in MACHINE_FAULTS)):
        raise InputError(f"the C++ compiler could not work:\n{said}".strip())
    if status:
        raise ScheduleError(f"the C++ compiler rejects the emitted source:\n{said}")


MACHINE_FAULTS = (os.strerror(errno.ENOSPC), "Killed signal", "out of memory", "cannot execute")
"""In what a compiler says when the fault is not in what it compiles."""


def _keep(made: Path, place: Path) -> None:
    """Moves a file into the cache whole, also if others do so at this moment."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=place.parent) as beside:
        copy = Path(beside) / place.name
        shutil.copy(made, copy)
        copy.replace(place)


@lru_cache
def own_headers() -> str:
    return text_of(HERE, (".hpp", ".h"))


def text_of(folder: Path, suffixes: Sequence[str]) -> str:
    """Every file below ``folder`` with one of ``suffixes``, one behind the other."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in suffixes)
    return "\0".join(p.read_text(encoding="utf-8") for p in files)


def _key(build: Build, *texts: str) -> str:
    version = subprocess.run([build.compiler, "--version"], capture_output=True, text=True).stdout
    whole = "\0".join((version, build.headers, *build.options, *texts))
    return hashlib.sha256(whole.encode()).hexdigest()[:20]
