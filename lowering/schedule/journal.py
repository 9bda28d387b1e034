"""What a search has tried, kept beside its output while it runs: ``FILE.part``.

In: candidates, one by one.  Out: a file with a line for each, and the candidates of such a file.
Invariant: only what the same search has tried is read: of the same programs and costs, by the same version.
A last line that was cut off counts as not written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from lowering.files import PART, write_all
from lowering.schedule.options import Options
from lowering.schedule.tune import Candidate, Point, Run, Tried, Unit, Variant
from pto import __version__
from pto.text import print_kernel


class Journal(Tried):
    """Candidates by what they are of; each new one is written at once."""

    def __init__(self, path: Path, variants: Sequence[Variant], costs: str) -> None:
        self.path, self.key = path, _key(variants, costs)
        super().__init__(_read(path, self.key))
        self.resumed = len(self)
        write_all({path: "".join([_head(self.key), *map(_line, self.values())]).encode()})

    def __setitem__(self, at: Point, candidate: Candidate) -> None:
        super().__setitem__(at, candidate)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(candidate))

    def done(self) -> None:
        """The search is complete: its result is all that stays."""
        self.path.unlink()


def beside(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def _key(variants: Sequence[Variant], costs: str) -> str:
    told = [(print_kernel(v.kernel), v.chosen, v.scenarios) for v in variants]
    return sha256(repr((__version__, costs, told)).encode()).hexdigest()


def _head(key: str) -> str:
    return f'{PART.decode()}"{key}"}}\n'


def _line(candidate: Candidate) -> str:
    at = {"variant": candidate.at.variant, "options": candidate.at.options.choices}
    runs = [asdict(run) for run in candidate.runs]
    return json.dumps({**at, "runs": runs, "refused": candidate.refused}) + "\n"


def _read(path: Path, key: str) -> Tried:
    """The candidates of a file with this key; none of any other."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    if lines[:1] != [_head(key)]:
        return {}
    whole = (json.loads(line) for line in lines[1:] if line.endswith("\n"))
    return {c.at: c for c in map(_candidate, whole)}


def _candidate(facts: Mapping[str, Any]) -> Candidate:
    runs = tuple(
        Run(r["cycles"], r["pipe"], {u: Unit(**x) for u, x in r["units"].items()})
        for r in facts["runs"]
    )
    return Candidate(Point(facts["variant"], Options(**facts["options"])), runs, facts["refused"])
