"""Tuned schedules: files that say which options the search found for a kernel.

In: JSON files, written by ``pto tune -o FILE`` or packaged in ``lowering/schedule/tuned/`` (one per kernel
and set of static parameters that ships).  Out: the options that ``best`` stands for.

Which file counts, the first that there is:

* the one that the user names (``--tuned FILE``); it must be for this kernel and target;
* the one that the environment variable ``PTO_TUNED`` names, if it is for this kernel and target;
* the packaged one for exactly these static parameters, then for the defaults of the kernel.

The same order holds for the static parameters that a kernel lets a search choose (``statics_of``), for which
a file counts if all the others are as it says.

A file holds a choice, never a proof: what is chosen is proven anew, each time.  The packaged files
are written by ``pto tune KERNEL -D ... -o lowering/schedule/tuned/FILE``; after a change of the scheduler or of
the costs they are written again.
Non-goals: the search (``lowering/schedule/tune.py``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lowering.schedule.options import Options
from pto.errors import InputError, ScheduleError, did_you_mean
from pto.ir import Kernel
from pto.kernel import Kernel as Program
from pto.signature import Static
from pto.targets import target_of

VARIABLE = "PTO_TUNED"
PACKAGED = Path(__file__).parent / "tuned"
HINT = "pto tune KERNEL -o FILE writes one"


@dataclass(frozen=True, slots=True)
class Tuned:
    """The options found for one kernel with the static parameters ``statics``."""

    kernel: str
    target: str
    statics: Mapping[str, Static]
    options: Options

    def fits(self, kernel: Kernel) -> bool:
        return (self.kernel, self.target) == (kernel.name, target_of(kernel).name)

    def differs(self, kernel: Kernel) -> dict[str, Static]:
        """Static parameters of ``kernel`` that it was not tuned for."""
        return {n: v for n, v in kernel.statics if self.statics.get(n) != v}


def changes(options: Options) -> str:
    """The choices that are not the default, in words."""
    default = Options().choices
    changed = {n: v for n, v in options.choices.items() if v != default[n]}
    return " ".join(f"{n}={v}" for n, v in changed.items()) or "the default"


def read(path: Path) -> Tuned:
    """What a file holds.

    Raises:
        OSError: when it cannot be read.
        InputError: when it is no tuned schedule.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InputError(f"{path} holds no tuned schedule: it is no JSON", hint=HINT) from None
    parts = {"kernel": str, "target": str, "statics": dict, "options": dict}
    for name, kind in parts.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise InputError(f"{path} holds no tuned schedule: it has no '{name}'", hint=HINT)
    try:
        options = _options(found["options"])
    except (InputError, ScheduleError) as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from None
    return Tuned(found["kernel"], found["target"], found["statics"], options)


def _options(given: Mapping[str, Any]) -> Options:
    known = Options().choices
    for name, value in given.items():
        if name not in known:
            raise InputError(f"a schedule has no option '{name}'", hint=did_you_mean(name, known))
        if type(value) is not type(known[name]):
            kind = type(known[name]).__name__
            raise InputError(f"option {name} = {value!r}: a value of type {kind} is expected")
    return Options(**given)


def best_options(kernel: Kernel, named: Path | None = None) -> Options:
    """What ``best`` stands for, with its origin if that is no packaged default.

    ``named``: the file that the user asks for.

    Raises:
        OSError: when a file cannot be read.
        InputError: when it is no tuned schedule, or ``named`` is for another kernel or target.
    """
    if named is not None:
        tuned = read(named)
        if not tuned.fits(kernel):
            message = f"{named} is tuned for {tuned.kernel} on {tuned.target}"
            raise InputError(
                f"{message}, not for {kernel.name} on {target_of(kernel).name}", hint=HINT
            )
        return _from(tuned, named, kernel)
    variable = os.environ.get(VARIABLE)
    if variable:
        tuned = read(Path(variable))
        if tuned.fits(kernel):
            return _from(tuned, Path(variable), kernel)
    return _packaged(kernel)


def statics_of(
    program: Program, given: Mapping[str, Static], named: Path | None = None
) -> dict[str, Static] | None:
    """The tuned static parameters of a kernel as a file says them, None if none is for it; ``given``: those
    that are not the kernel's defaults.

    Raises:
        OSError: when a file cannot be read.
        InputError: when it is no tuned schedule.
    """
    variable = os.environ.get(VARIABLE)
    packaged = sorted(PACKAGED.glob(f"{program.name}*.json"))
    wanted = {**program.statics, **given}
    for path in (named, variable and Path(variable), *packaged):
        if not path:
            continue
        tuned = read(path)
        found = {n: tuned.statics.get(n) for n in program.tuned}
        fixed = {n: v for n, v in wanted.items() if n in given or n not in found}
        is_for = all(tuned.statics.get(n) == v for n, v in fixed.items())
        known = all(found[n] in values for n, values in program.tuned.items())
        if tuned.kernel == program.name and is_for and known:
            return {n: v for n, v in found.items() if v is not None}
    return None


def _packaged(kernel: Kernel) -> Options:
    paths = sorted(PACKAGED.glob(f"{kernel.name}*.json"))
    found = {path: tuned for path in paths if (tuned := read(path)).fits(kernel)}
    exact = [path for path, tuned in found.items() if not tuned.differs(kernel)]
    default = [path for path in found if path.stem == kernel.name]
    for path in (*exact, *default):
        options = found[path].options
        return options if options == Options() else _from(found[path], path, kernel)
    return Options()


def _from(tuned: Tuned, path: Path, kernel: Kernel) -> Options:
    other = " ".join(f"{n}={tuned.statics.get(n)}" for n in tuned.differs(kernel))
    origin = f"tuned: {path.name}" + (f", for {other}" if other else "")
    return replace(tuned.options, origin=origin)
