"""What the README shows is what the commands print, and what it tells a stranger to type works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pto
from lowering.bench.schedules import WIDE_PAGES, report
from lowering.schedule import NAMED, schedule
from lowering.simulate import gantt, simulate
from pto.kernels import SHIPPED
from pto.text import print_kernel
from tests import ROOT
from tests.conftest import Golden

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "paged_attention.svg"
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in FENCE.findall(README.read_text()) if name == language]


def page_loop() -> str:
    """The cube rows of the page loop, without their indentation."""
    lines = print_kernel(schedule(SHIPPED["paged_attention"].trace()).kernel).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("  for i"))
    stop = next(n for n in range(start, len(lines)) if lines[n].startswith("    vector"))
    return "".join(line[2:] + "\n" for line in lines[start:stop])


def schedule_table() -> str:
    """The first lines of ``pto bench --schedules``, below the title."""
    traced = SHIPPED["paged_attention"].trace()
    programs = {name: schedule(traced, name).kernel for name in NAMED}
    told: list[str] = []
    report("", programs, WIDE_PAGES, launches=False, workers=1, tell=told.append)
    return "".join(line + "\n" for line in told[1:])


def test_quality(golden: Golden) -> None:
    """The table and the picture are what the commands beside them make."""
    table = schedule_table()
    timing = simulate(schedule(SHIPPED["paged_attention"].trace()).kernel, [64])
    old = README.read_text()
    golden(README, old.replace(f"```\n{blocks('')[1]}```", f"```\n{table}```"))
    golden(PICTURE, gantt.svg(timing))


def test_every_function_is_told() -> None:
    table = README.read_text().partition("| in a kernel | |\n")[2].partition("\n\n")[0]
    inside = {n for n in pto.__all__ if n.islower()} - {"kernel", "parse", "print_kernel"}
    assert not inside - set(re.findall(r"[a-z_]+", table))


def test_schedule(golden: Golden) -> None:
    old = README.read_text()
    golden(README, old.replace(f"```\n{blocks('')[0]}```", f"```\n{page_loop()}```"))


def test_kernel_is_the_shipped_one() -> None:
    source = (ROOT / "pto" / "kernels" / "paged_attention.py").read_text()
    plain = re.sub(r": Scalar|: tuple\[[^)]*?\](?=\))| -> tuple\[.*?\](?=:)", "", source)
    assert blocks("python")[0] in plain


def test_own_kernel(tmp_path: Path) -> None:
    """Every command of "Your own", in a fresh folder."""
    code = blocks("python")[1]
    name = code.splitlines()[0].removeprefix("# ")
    (tmp_path / name).write_text(code)
    what = f"{name}:softmax_rows"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    make_case = next(line for line in README.read_text().splitlines() if "np.savez" in line)
    exec(make_case.split('"')[1].replace("'case'", f"'{tmp_path}/case'"))
    for command in (
        ["check", what],
        ["run", what, "--executor", "numpy"],
        ["run", what, "--executor", "sequential"],
        ["run", what, "--inputs", "case.npz", "--executor", "numpy", "--out", "result.npz"],
        ["emit", what, "-o", "build/softmax"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lowering", *command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "softmax" / "softmax_rows.cpp").exists()
