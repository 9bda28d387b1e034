"""Device times that others have published, beside what the simulator says of the same work.

In: a cost table.  Out: ``Line`` values: a launch or a busy unit of it, measured and predicted in
microseconds.  Each prediction is simulated (``lowering/simulate/launch.py``): few trips of the loop and
twice as many, the rest along the line through both.  Invariant: every row of the source that was
considered is in ``ROWS`` or, with the reason, in ``UNSAID``.  Non-goals: the fit (``fit``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, log
from statistics import median

from lowering.bench import crosscore, micro
from lowering.bench.measured import CORE, TASK, Measured, cube, vector
from lowering.bench.micro import Places
from lowering.simulate import Setup
from lowering.simulate.costs import ALONE, Shared
from lowering.simulate.l2 import Items, Launched, Traffic, traffic
from lowering.simulate.launch import beside, deal
from lowering.simulate.timing import costs_named
from pto.ir import Kernel, Row
from pto.targets import Costs


@dataclass(frozen=True, slots=True)
class Line:
    """One figure."""

    row: Measured
    unit: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Logarithm of predicted by measured."""
        return log(self.predicted / self.measured)

    @property
    def short(self) -> str:
        return self.unit.split()[-1]

    def __str__(self) -> str:
        change, unit = f"{exp(self.error) - 1:+8.0%}", self.short
        figures = f"{self.measured:>12,.2f}{self.predicted:>12,.2f}"
        return f"  {self.row.row:<5}{self.row.what:<58} {unit:<5}{figures}{change}"


MATRIX = 12288 * 12288 * 2
ADDED = 8192 * 8192 * 2


def _copied(
    row: str, what: str, kernel: Kernel, size: int, micros: Mapping[str, float], **more: float
) -> Measured:
    cores = 48 if "UB" in what else 24
    trips, hits = more.get("total", MATRIX) / size / cores, more.get("hits", 0)
    return Measured(row, what, kernel, trips, micros, hits=hits, readers=more.get("readers", 1))


COPIES = (
    _copied(
        "26", "GM to UB, 1 x 128 B", micro.copies("ub", 1, 64), 128, vector(564.84, MTE2=548.16)
    ),
    _copied(
        "27", "GM to UB, 64 x 128 B", micro.copies("ub", 64, 64), 8192, vector(233.54, MTE2=220.77)
    ),
    _copied(
        "28",
        "GM to UB, 64 x 2 KB",
        micro.copies("ub", 64, 1024),
        1 << 17,
        vector(215.82, MTE2=202.66),
    ),
    _copied(
        "29",
        "GM to UB, 64 x 2 KB, rows 24574 B apart",
        micro.copies("ub", 64, 1024, 12287),
        1 << 17,
        vector(275.3, MTE2=259.05),
    ),
    _copied(
        "30", "GM to L1, 64 x 128 B", micro.copies("l1", 64, 64), 8192, cube(300.7, MTE2=283.51)
    ),
    _copied(
        "31",
        "GM to L1, 64 x 512 B",
        micro.copies("l1", 64, 256),
        1 << 15,
        cube(230.24, MTE2=214.52),
    ),
    _copied(
        "32",
        "GM to L1, 64 x 512 B, rows 24574 B apart",
        micro.copies("l1", 64, 256, 12287),
        1 << 15,
        cube(438.76, MTE2=422.52),
    ),
    _copied(
        "33",
        "GM to UB four times, nothing in L2",
        micro.copies("ub", 64, 1024),
        1 << 17,
        {TASK: 828.06, CORE: 816.05},
        total=4 * MATRIX,
    ),
    _copied(
        "33",
        "GM to UB four times, 75 % in L2",
        micro.copies("ub", 64, 1024),
        1 << 17,
        {TASK: 365.74, CORE: 354.56},
        total=4 * MATRIX,
        hits=0.75,
    ),
    _copied(
        "34",
        "GM to L1 four times, nothing in L2",
        micro.copies("l1", 64, 1024),
        1 << 17,
        {TASK: 899.34, CORE: 872.19},
        total=4 * MATRIX,
    ),
    _copied(
        "34",
        "GM to L1 four times, 75 % in L2",
        micro.copies("l1", 64, 1024),
        1 << 17,
        {TASK: 414.96, CORE: 397.8},
        total=4 * MATRIX,
        hits=0.75,
    ),
    _copied(
        "35",
        "the same 6144 x 512 past L2 to each UB, in the same order",
        micro.copies("ub", 128, 64, 512),
        1 << 14,
        vector(539.42, MTE2=474.7),
        total=48 * 6144 * 1024,
        readers=48,
    ),
    _copied(
        "35",
        "the same 6144 x 512 past L2 to each UB, rotated",
        micro.copies("ub", 128, 64, 512),
        1 << 14,
        vector(328.88, MTE2=307.4),
        total=48 * 6144 * 1024,
    ),
    _copied(
        "36",
        "the same 6144 x 512 past L2 to each L1, in the same order",
        micro.copies("l1", 256, 64, 512),
        1 << 15,
        cube(278.56, MTE2=240.2),
        total=24 * 6144 * 1024,
        readers=24,
    ),
    _copied(
        "36",
        "the same 6144 x 512 past L2 to each L1, rotated",
        micro.copies("l1", 256, 64, 512),
        1 << 15,
        cube(221.34, MTE2=209.8),
        total=24 * 6144 * 1024,
    ),
)
KIB = 1 << 10
SMALL = micro.addition(1, 4096, (0, 32 * KIB, 64 * KIB))
LARGE = micro.addition(2, 8192, (0, 32 * KIB, 64 * KIB))
DOUBLE = micro.addition(2, 8192, (0, 32 * KIB, 64 * KIB), 2)
SAFE = micro.addition(1, 16256, (0, 32512, 128 * KIB), 2)
ADDITIONS = (
    Measured(
        "37",
        "z = x + y, one vector core, 8 KB",
        SMALL,
        ADDED / 8192,
        vector(6909.6, V=761.7, MTE2=6208.8, MTE3=2613.2),
        1,
    ),
    Measured(
        "38",
        "z = x + y, 8 KB",
        SMALL,
        ADDED / 8192 / 48,
        vector(306.58, V=15.9, MTE2=215.5, MTE3=54.3),
    ),
    Measured(
        "39",
        "z = x + y, 32 KB",
        LARGE,
        ADDED / 32768 / 48,
        vector(268.5, V=12.85, MTE2=184.4, MTE3=57.4),
    ),
    Measured(
        "40",
        "z = x + y, 32 KB, two slots",
        DOUBLE,
        ADDED / 32768 / 48,
        vector(264.02, V=12.85, MTE2=250.5, MTE3=85.0),
    ),
    Measured(
        "41",
        "z = x + y, two slots, inputs past L2",
        DOUBLE,
        ADDED / 32768 / 48,
        vector(187.68, V=12.85, MTE2=176.0, MTE3=160.3),
        hits=1 / 3,
    ),
    Measured(
        "42",
        "z = x + y, two slots, inputs past L2, banks apart",
        SAFE,
        ADDED / 32512 / 48,
        vector(184.52, V=6.95, MTE2=171.6, MTE3=121.4),
        hits=1 / 3,
    ),
    *(
        Measured(
            "43",
            f"1000 additions of 64 repeats, {what}",
            micro.additions(*places),
            1000,
            {"vector0 V": ticks / 50},
            1,
        )
        for what, places, ticks in (
            ("banks apart", (0, 0x10100, 0x20000), 2390),
            ("operands in one bank", (0, 0x4000, 0x10000), 4167),
            ("operands in one bank group", (0, 0x10000, 0x14100), 4167),
            ("result in step with an operand", (0, 0x10100, 0x4000), 2389),
            ("result one block behind it", (0, 0x10100, 0x4020), 3751),
            ("result over an operand", (0, 0x10100, 0x10100), 2390),
        )
    ),
)

TILES = 8192 * 8192 // (128 * 256) / 24
"""Of 128 x 256 on each core, on average; with 4 x 6 cores most of them have ``MOST_TILES``."""
MOST_TILES = 2048 * 1536 // (128 * 256)
SQUARE = micro.places(128, 256, 4, 16, 6)
"""4 x 6 cores, each one column of its tiles after the other."""
HALVES = micro.places(128, 256, 4, 16, 6, times=2)
"""The same for the upper half of the left operand, then for the lower one."""


def _packed(
    row: str,
    what: str,
    task: float,
    units: Mapping[str, float],
    k: int = 512,
    again: int = 2,
    at: Places = HALVES,
) -> Iterator[Measured]:
    """One load of ``k`` columns for several steps; units are busy as on an average core."""
    kernel = micro.packs(k, again, "f16", at)
    for told, tiles, micros in (("", MOST_TILES, cube(task)), (": an average core", TILES, units)):
        yield Measured(
            row, f"8192^3, {what}{told}", kernel, tiles, micros, hits=None, inner=8192 // k
        )


def _manual(size: int, task: float, mad: float, move: float, load: float, store: float) -> Measured:
    """Row 59: parts of the task in percent; 4 x 6 cores, each one row of its tiles after the other."""
    tiles_m, tiles_n = size // 4 // 128, size // 6 // 256
    units = {"M": mad, "MTE1": move, "MTE2": load, "FIX": store}
    micros = cube(task, **{unit: task * part / 100 for unit, part in units.items()})
    kernel = micro.packs(256, 1, "f32", micro.places(128, 256, 4, tiles_m, tiles_n, down=False))
    what = f"{size}^3, four steps per load"
    return Measured("59", what, kernel, tiles_m * tiles_n, micros, hits=None, inner=size // 256)


def _plain(
    row: str,
    what: str,
    tile: tuple[int, int],
    tiles: float,
    micros: Mapping[str, float],
    at: Places,
    cores: int = 24,
) -> Measured:
    """Products with one slot in L1, a load for each step."""
    kernel = micro.product(*tile, 64, 1, "f16", at)
    return Measured(row, f"8192^3, {what}", kernel, tiles, micros, cores, None, 128)


ALL_TILES = 8192 // 128, 8192 // 256
PRODUCTS = (
    _plain(
        "48",
        "one core, 64 x 64 x 64",
        (64, 64),
        128 * 128,
        cube(759364, M=141699, MTE1=162104, MTE2=582516),
        micro.places(64, 64, 1, 128, 128),
        1,
    ),
    _plain(
        "48",
        "one core, 128 x 256 x 64",
        (128, 256),
        2048,
        cube(249467, M=81477, MTE1=52004, MTE2=195613),
        micro.places(128, 256, 1, *ALL_TILES),
        1,
    ),
    _plain(
        "49",
        "2 x 12 cores",
        (128, 224),
        MOST_TILES,
        cube(12541, M=3463, MTE1=2261, MTE2=10178),
        micro.places(128, 224, 2, 32, 3),
    ),
    _plain("49", "4 x 6 cores", (128, 256), MOST_TILES, cube(12284), SQUARE),
    _plain(
        "49",
        "4 x 6 cores: an average core",
        (128, 256),
        TILES,
        cube(M=3395, MTE1=2167, MTE2=8617),
        SQUARE,
    ),
    *_packed(
        "50",
        "two steps per load",
        5039.9,
        cube(M=3116, MTE1=2333, MTE2=4051, FIX=44.7),
        128,
        1,
        SQUARE,
    ),
    *_packed(
        "51",
        "more in L1",
        4156.8,
        cube(M=3352, MTE1=2750, MTE2=3779, FIX=47.9),
        at=SQUARE,
    ),
    *_packed("52", "L2 blocking", 4088.4, cube(M=3254, MTE1=2681, MTE2=3625, FIX=47.4)),
    *_packed(
        "52",
        "L2 blocking, constant tiling",
        4053.4,
        cube(M=3164, MTE1=2610, MTE2=3514, FIX=45.8),
    ),
    *_packed("53", "unit flag", 4012.4, cube(M=3076, MTE1=2534, MTE2=3436)),
    *_packed("54", "basic interface", 4121.2, cube(M=3082, MTE1=2538, MTE2=3552), at=SQUARE),
    *_packed("54", "basic interface, L2 split", 4081.6, cube(M=3082, MTE1=2553, MTE2=3487)),
    _manual(1536, 38.8, 54.5, 42.2, 72.2, 7.7),
    _manual(3072, 206.7, 79, 62, 90.9, 5.8),
    _manual(6144, 1506, 86.7, 68.1, 95.2, 3.1),
    _manual(7680, 3168, 80.6, 63, 98.4, 2.4),
)
ROWS = (*COPIES, *ADDITIONS, *PRODUCTS, *crosscore.ROWS)


FEW, STEPS = 2, 8


def predicted(row: Measured, costs: Costs) -> dict[str, float]:
    """Microseconds by what was measured."""
    return along(row, simulated(row, costs), costs)


Cycles = dict[str, float]
"""By what can be measured."""


def simulated(row: Measured, costs: Costs) -> tuple[Cycles, Cycles, Cycles]:
    """A few work items, as many of twice the trips, and twice as many; they depend on the kernel, the cores
    and what L2 has, not on how much of it was measured."""
    items, trips = few(row)
    once = _simulated(row, items, trips, costs)
    longer = _simulated(row, items, 2 * trips, costs)
    return once, longer, _simulated(row, 2 * items, trips, costs) if row.inner else once


def along(row: Measured, found: tuple[Cycles, Cycles, Cycles], costs: Costs) -> dict[str, float]:
    """Microseconds by what was measured, from ``simulated``."""
    once, longer, more = found
    first, trips = few(row)
    items, steps = (row.trips, row.inner) if row.inner else (1, row.trips)
    micros = {}
    for u in row.micros:
        per_step = (longer[u] - once[u]) / (first * trips)
        per_item = (more[u] - once[u]) / first
        cycles = once[u] + (items - first) * per_item + items * (steps - trips) * per_step
        micros[u] = cycles / costs.clock_hz * 1e6
    return micros


def few(row: Measured) -> tuple[int, int]:
    """Work items, and trips of the inner loop, that are simulated at first.  Short items overlap, so that it
    takes some until each is like the one before; a long one of both kinds of core fills its own pipeline."""
    if 0 < row.inner < STEPS:
        return 2 * FEW, round(row.inner)
    return (FEW if row.inner and not row.kernel.fifos else 1), STEPS


def shared_of(row: Measured, moves: Row, costs: Costs) -> Shared:
    """How the cores share what a row of the kernel moves, on average over the whole launch."""
    if row.hits is not None:
        return Shared(row.hits, row.readers)
    if not costs.l2_bytes:
        return ALONE
    dealt = ((round(row.inner),) * ceil(row.trips),) * row.cores
    return _traffic(row.kernel, dealt, costs.l2_bytes).on_average(moves)


@cache
def _traffic(kernel: Kernel, dealt: tuple[Items, ...], capacity: int) -> Traffic:
    return traffic(kernel, Launched(dealt), capacity)


def _simulated(row: Measured, items: int, steps: int, costs: Costs) -> Cycles:
    dealt = deal([steps] * (items * row.cores), row.cores)
    found = beside(
        row.kernel, dealt, Setup(costs), lambda items, r, number: shared_of(row, r, costs)
    )
    (timing,) = found.timings.values()
    busy: Cycles = {unit: usage.busy for unit, usage in timing.pipes.items()}
    return busy | {TASK: found.makespan, CORE: timing.makespan}


def lines_of(row: Measured, found: Mapping[str, float]) -> Iterator[Line]:
    for unit, measured in row.micros.items():
        yield Line(row, unit, measured, found[unit])


def lines(costs: Costs, rows: Sequence[Measured] = ROWS) -> Iterator[Line]:
    for row in rows:
        yield from lines_of(row, predicted(row, costs))


def table(name: str) -> Costs:
    """A cost table by name.

    Raises:
        InputError: if there is none of this name.
    """
    return costs_named(ROWS[0].kernel, name or "device")


SOURCES = (
    ("26-36", "A2", "asc-devkit 82b89a15f, 05_best_practices/04_memory_access/data_copy"),
    ("37-42", "A2", "asc-devkit 82b89a15f, 00_vector_compute/add_high_performance"),
    ("43", "A2", "asc-devkit 82b89a15f, 04_memory_access/bank_conflict_ub"),
    ("48-54", "A2", "asc-devkit 82b89a15f, 01_matrix_compute"),
    ("59", "A3", "pto-isa, kernels/manual, gemm"),
    *crosscore.SOURCES,
)
"""Rows, chip, and where their times and schedules were published."""

UNSAID = (
    ("48-54", "busy time of the scalar unit: it is that of the vendor's own library code"),
    (
        "48, 49, 53, 54",
        "busy time of FIX: with the unit flag, the default of the library's plain products, it starts with "
        "the last product and its time includes waiting, as the source says",
    ),
    ("44, 45, 65, 66", "conversion of layouts in UB, the library's own reductions, scalar gathers"),
    *crosscore.UNSAID,
)
"""Rows of the source that are left out, and why."""

UNEXPLAINED = 0.3
"""Error from which a figure counts as not explained."""


def report(costs: Costs) -> Iterator[str]:
    """All figures, what is not explained, and what is left out."""
    title = f"device times in us, costs {costs.name}; row numbers as in docs/machine.md 11.5"
    yield title
    yield f"  {'row':<5}{'what':<58} {'unit':<5}{'measured':>12}{'predicted':>12}{'error':>8}"
    found = list(lines(costs))
    yield from map(str, found)
    yield f"  all: {summary([line.error for line in found])}"
    tasks = [line.error for line in found if line.unit in (TASK, CORE)]
    yield f"  whole launches: {summary(tasks)}"
    missed = [line for line in found if abs(line.error) > UNEXPLAINED]
    rows = ", ".join(dict.fromkeys(f"{line.row.row} {line.short}" for line in missed))
    yield f"  not explained, {len(missed)} figures: {rows}"
    yield from (f"  row {row}: on {chip}; {source}" for row, chip, source in SOURCES)
    yield from (f"  not said, row {row}: {why}" for row, why in UNSAID)


def summary(errors: Sequence[float]) -> str:
    """Parts of what was measured: the median, and what nine in ten do not pass."""
    sizes = sorted(abs(exp(e) - 1) for e in errors)
    most = sizes[ceil(0.9 * len(sizes)) - 1]
    return f"{len(sizes)} figures, median error {median(sizes):.0%}, nine in ten within {most:.0%}"
