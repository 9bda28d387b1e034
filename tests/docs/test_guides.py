"""docs/guides: what their tables and programs show of the shipped kernel, and the options that they name."""

from __future__ import annotations

import re

from lowering.cli.options import OPTION_FLAGS
from lowering.hazards import check, picture
from lowering.schedule import schedule
from pto.kernels import SHIPPED
from pto.text import parse, print_kernel
from tests.bench.test_bench_schedules import reported
from tests.conftest import Golden
from tests.docs.pages import DOCS, blocks, compare, rows

GUIDES = DOCS / "guides"


def page_loop(name: str) -> str:
    """The cube rows of the page loop, without their indentation."""
    lines = print_kernel(schedule(SHIPPED["paged_attention"].trace()).kernel).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("  for i"))
    stop = next(n for n in range(start, len(lines)) if lines[n].startswith("    vector"))
    return "".join(line[2:] + "\n" for line in lines[start:stop])


def schedules(name: str) -> str:
    """The first lines of ``pto bench --schedules``, below the title."""
    _, told = reported(True)
    return "".join(line + "\n" for line in told[1:])


def test_printed(golden: Golden) -> None:
    compare(GUIDES / "schedule.md", page_loop, golden)
    compare(GUIDES / "options.md", schedules, golden)


def test_the_failed_proof_is_drawn(golden: Golden) -> None:
    """What ``pto check --svg`` writes for the broken schedule of the page."""
    _, text, _ = blocks(GUIDES / "proof.md", "python")[0].split('"""')
    proof = check(parse(text.removeprefix("\\\n"), "broken.ptoir"))
    golden(GUIDES / "broken.svg", picture.svg(picture.pictured(proof.violations)[0]))


def test_every_option_is_told() -> None:
    told = re.findall(
        r"`--([a-z0-9-]+)",
        " ".join(r[0] for r in rows(GUIDES / "options.md", "Schedules and options")),
    )
    assert {name.replace("_", "-") for name in OPTION_FLAGS} == {t for t in told if t[:3] != "no-"}
