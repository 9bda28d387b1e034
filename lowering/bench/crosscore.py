"""Device times of kernels that run on both kinds of core: attention, and a fused product.

In: nothing.  Out: ``ROWS`` for ``published``; row numbers as there.  Attention of rows 1 to 5 is the shipped
kernel by the options of its history; the others are stand-ins by text, as said at each.
Non-goals: what the simulator says of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from lowering.bench import micro
from lowering.bench.attention import paged, stepped
from lowering.bench.measured import TASK, Measured
from lowering.schedule.options import NAMED, Options

CLUSTERS = 24


def _cases(
    row: str,
    what: str,
    options: Options,
    slots: int,
    times: tuple[float, float],
    credit: bool = False,
) -> Iterator[Measured]:
    """Case1 and Case2 of docs/machine.md 11.4, each (queries, page, items, pages of an item)."""
    cases = (16, 128, 256, 64), (64, 64, 64, 128)
    for number, (case, micros) in enumerate(zip(cases, times, strict=True), 1):
        q, block, items, pages = case
        kernel = paged(options, q, block, slots, credit)
        told = f"paged attention, case {number}, {what}"
        yield Measured(row, told, kernel, ceil(items / CLUSTERS), {TASK: micros}, inner=pages)


SERIAL = NAMED["serial"]
HISTORY = (
    # isa#103: the library waited for the pop before in front of every push, so that two slots were one
    *_cases("1", "free signals", SERIAL, 1, (2892.6, 1458.1), credit=True),
    *_cases("2", "by flags", SERIAL, 2, (1495.0, 760.4)),
    *_cases("3", "two QK first", replace(SERIAL, lookahead=2), 4, (1627.6, 864.4)),
    *_cases("4", "no free signals", SERIAL, 2, (1507.0, 744.9)),
    *_cases("5", "repair", NAMED["repair"], 2, (1325.3, 694.4)),
)


def _beside(q: int, block: int, parts: int) -> float:
    """The part of the bytes of ``stepped`` that never leave L2: scores and weights beside the FIFOs."""
    scores, weights = q * block * 4, q * block * 2
    beside = 2 * (scores + weights) * (parts - 1)
    return beside / (beside + parts * 2 * block * 128 * 2)


def _stepped(
    row: str,
    what: str,
    q: int,
    block: int,
    parts: int,
    items: float,
    keys: float,
    micros: float,
    kv: int = 1,
) -> Measured:
    """``items`` on each cluster with ``keys`` each."""
    kernel = stepped(q, block, parts, kv)
    steps = keys / block / parts
    return Measured(
        row, what, kernel, items, {TASK: micros}, hits=_beside(q, block, parts), inner=steps
    )


PAGES = (
    # groups of up to 64 pages there, each a task of its own; here steps of 4
    _stepped("6", "paged attention, case 1, groups of pages", 16, 128, 4, 11, 8192, 1131.2),
    _stepped("6", "paged attention, case 2, groups of pages", 64, 64, 4, 3, 8192, 492.1),
    # one request, 8 heads of keys over 24 clusters: a third of the context each; their sum is not counted
    *(
        _stepped("13", f"one request of {n}, 32 heads on 8", 16, 128, 4, 1, n / 3, micros, 8)
        for n, micros in ((32768, 124.3), (131072, 565.2))
    ),
    _stepped("14", "16 requests of 4096, 40 heads on 8", 16, 128, 4, 6, 4096, 343, 8),
    _stepped("15", "16 requests of 3338, 40 heads on 8", 16, 128, 4, 128 / CLUSTERS, 3338, 235, 8),
)


def _flash(row: str, keys: int, micros: float, queries: int = 0) -> Measured:
    """One head of 128, ``queries`` (0: as many) by 128, keys by 256; all clusters read the same keys."""
    items = (queries or keys) // 128
    cores = min(items, CLUSTERS)
    what = f"flash attention, {queries or keys} queries, {keys} keys"
    kernel = stepped(128, 128, 2, 1, credit=True)
    return Measured(row, what, kernel, ceil(items / cores), {TASK: micros}, cores, 1, keys / 256)


FLASH = (
    *(
        _flash("17", keys, micros)
        for keys, micros in ((1024, 20.96), (2048, 32.46), (8192, 292.63), (32768, 3262.6))
    ),
    *(
        _flash("18", 8192, micros, cores * 128)
        for cores, micros in ((1, 74.5), (2, 75.2), (4, 86.3), (8, 107.3))
    ),
    *(
        _flash("19", 1024 << k, micros)
        for k, micros in enumerate((21, 38, 105, 239, 1001, 3185, 12106, 48062))
    ),
)
ONCE = 1 - (8192 * 1024 + 8 * 1024 * 8192) / (2048 * 384 * 1024)
"""What L2 has of the operands of 2048 tiles of row 56, each of 384 KiB, if it keeps all of them."""


def _fused(row: str, depth: int, lanes: int, task: float, **units: float) -> Measured:
    """An int8 product with K as an f16 product with K / 2, the same bytes and boxes; the vector work is that
    many rows of V as take the time that V was busy."""
    what = f"fused int8 product, ring of {depth}, {lanes} vector core{'s' * (lanes > 1)}"
    micros = {TASK: task} | {unit.replace("_", " "): t for unit, t in units.items()}
    kernel = micro.fused(depth, 128 // lanes, 19)
    return Measured(row, what, kernel, 2048 / CLUSTERS, micros, hits=ONCE, inner=4)


FUSED = (
    _fused(
        "56",
        1,
        1,
        583.5,
        cube_M=192.0,
        cube_MTE2=141.6,
        cube_MTE1=168.6,
        cube_FIX=79.5,
        vector0_MTE3=94.7,
    ),
    _fused("58", 4, 2, 299.3, cube_M=193.6, cube_MTE2=170.2, cube_MTE1=173.0, vector0_MTE3=56.6),
)
ROWS = (*HISTORY, *PAGES, *FLASH, *FUSED)
SOURCES = (
    ("1, 2", "A3", "simpler #671; pto-isa #99, #103"),
    ("3", "A3", "simpler #665"),
    ("4", "A3", "simpler #676, #694"),
    ("5", "A3", "simpler #708"),
    ("6", "A3", "simpler #694"),
    ("13", "A2 or A3", "pto-kernels #193"),
    ("14", "A2 or A3", "pypto-lib #622"),
    ("15", "A2 or A3", "pypto-lib #765"),
    ("17", "910B2", "pto-isa, kernels/manual, flash attention"),
    ("18", "A3", "pto-isa, kernels/manual, flash attention"),
    ("19", "910B2", "pto-isa, kernels/python, flash attention"),
    ("56, 58", "A2", "asc-devkit 82b89a15f, 03_fusion_compute/quant_group_matmul_high_performance"),
)
"""As ``SOURCES`` of ``published``."""

UNSAID = (
    ("7, 16", "kernels whose shapes or texts are not public"),
    ("8", "the kernel of row 6 with the whole runtime around it: the time of its dispatch"),
    ("10", "no time"),
    (
        "11, 12",
        "the kernel of row 13 with another time for the same shape, or with its compilation",
    ),
    ("13 of 4096, 8192", "the shorter takes longer than the longer: not the kernel's time"),
    ("18 but for 8192 keys", "2048 keys take longer than 4096: not the kernel's time"),
    (
        "20",
        "parts of a time: a free signal for every 4 tiles instead of 8 takes 10 to 12 % more; here M and FIX, "
        "which share L0C, hold row 17 up as long",
    ),
    ("21, 23, 24", "schedules of flash attention that are not public; gathers"),
    ("25, 67, 68, 77", "parts of a time, rates of one core, without shape"),
    ("46, 47, 69", "no times: widths and other fits, which the table takes or starts from"),
    ("55", "its sums go to a kernel of the library's own, GELU"),
    ("60, 62", "rates without times; another chip"),
    ("61, 64", "products whose schedules are not public"),
    ("70, 71, 73", "the runtime: registers of its host processor, switches of tasks, set-up"),
    (
        "72",
        "an empty kernel takes 20 to 21 us, as much as rows 26 to 36 leave beside their cores: 11 to 27",
    ),
    ("74, 76", "other engines than the cores': SDMA, and between devices"),
    (
        "75",
        "a vendor's model: 1000 cycles for a hand-over; here half or less, and turns of a scheduler",
    ),
)
"""As ``UNSAID`` of ``published``."""
