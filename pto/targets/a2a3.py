"""A2 and A3: what is known of the chip, with sources: sections of docs/machine.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pto.targets.table import GM, Costs, Line, Pipe, Space, Target, TileClass

CLOCK_HZ = 1.85e9  # docs/machine.md 11
GIB = 2**30


def _per_byte(gib_per_second: float) -> Line:
    return 0.0, CLOCK_HZ / (gib_per_second * GIB)


FLAT = Costs(
    name="flat",
    about="flat bandwidths, four bytes per accumulator element",
    # docs/machine.md 11.1, column "flat"
    transfer=MappingProxyType(
        {
            (GM, "l1"): _per_byte(135),
            (GM, "ub"): _per_byte(100.9),
            ("ub", GM): _per_byte(188.46),
            ("l0c", GM): _per_byte(70),
            ("l1", "l0a"): _per_byte(441),
            ("l1", "l0b"): _per_byte(220.5),
            ("l1", "fb"): _per_byte(32),
            ("ub", "ub"): _per_byte(1024),
        }
    ),
    accumulator_bytes=4,  # docs/machine.md 11.1
    mad=(6, 1),  # docs/machine.md 11.2
    # docs/machine.md 11.2; what it does not list is its generic 6 + 2, or (reciprocal: div;
    # min: max; rsqrt: its sqrt, then its div) the figure of its nearest relative
    vector=MappingProxyType(
        {
            **{(op, ""): (24, 2) for op in ("add", "sub", "maximum", "minimum")},
            ("mul", ""): (25, 2),
            ("div", ""): (30, 4),
            **{(op, "scalar"): (31, 1) for op in ("add", "sub", "maximum", "minimum")},
            ("mul", "scalar"): (26, 1),
            ("div", "scalar"): (30, 4),
            ("exp", ""): (31, 2),
            ("log", ""): (33, 2),
            ("sqrt", ""): (39, 2),
            ("reciprocal", ""): (30, 4),
            ("rsqrt", ""): (69, 6),
            ("abs", ""): (29, 1),
            ("relu", ""): (23, 1),
            ("astype", ""): (27, 1),
            ("full", ""): (6, 2),
            # a comparison and a choice, of which no source has a figure: the generic ones, one after the other
            **{(f"select_{name}", ""): (12, 4) for name in ("lt", "le", "gt", "ge", "eq")},
            # thirteen instructions of the generic 6 + 2, and one more for every 64 numbers: docs/machine.md 12, TCI
            ("iota", ""): (13 * (6 + 2), 6 + 2),
            ("expand", ""): (6, 2),
            # of each of their instructions, of which no source has a figure (``lowering/simulate/costs.py``)
            **{(op, ""): (6, 2) for op in ("largest", "take", "cumsum", "transpose")},
            # of no source has a figure: the generic one for every instruction of theirs (docs/machine.md 12)
            **{(op, ""): (6, 2) for op in ("bitwise_and", "bitwise_or", "bitwise_not")},
            **{(op, "scalar"): (12, 4) for op in ("bitwise_and", "bitwise_or")},
            ("bitwise_xor", ""): (24, 8),
            ("bitwise_xor", "scalar"): (36, 12),
            **{(op, ""): (6, 2) for op in ("left_shift", "right_shift")},
            ("where", ""): (6, 0),  # it writes the padding, of which a whole tile has none
            ("pad", ""): (6, 0),
        }
    ),
    # docs/machine.md 11.2: the fitted table for 64 and for 128 columns
    reduction=MappingProxyType(
        {
            "row_max": ((32, 0.1094), (48, 0.0625)),
            "row_min": ((32, 0.1094), (48, 0.0625)),
            "row_sum": ((44, 0.1094), (61.5, 0.0625)),
        }
    ),
    column_reduction=(6, 2),  # the generic figure: docs/machine.md 11.2
    repeat_bytes=256,
    issue=1,
    read=1,  # docs/machine.md 11.2
    fence=20,  # docs/machine.md 5.6: 7 to 14 ns
    queue_depth=16,  # an assumption: docs/machine.md 3.4 and 10 know it for two pipes only
    clock_hz=CLOCK_HZ,
    hbm_bytes_per_second=1.6e12,  # docs/machine.md 11.3
)

FITTED = replace(
    FLAT,
    name="fitted",
    about="L0C to GM with its fixed cycles (1216 and 23.9 bytes per cycle), all else flat",
    transfer=MappingProxyType({**FLAT.transfer, ("l0c", GM): (1216, 1 / 23.9)}),
)
PUBLISHED = replace(
    FLAT,
    name="published",
    about="as published: two bytes per accumulator element, row reductions per repeat",
    accumulator_bytes=2,
    # docs/machine.md 11.2: row maximum 31 + 1, row sum 38 + 1; a repeat is 64 elements
    reduction=MappingProxyType(
        {
            op: ((start, 1 / 64),) * 2
            for op, start in (("row_max", 31), ("row_min", 31), ("row_sum", 38))
        }
    ),
)

FIT: Mapping[str, float] = MappingProxyType(
    {
        "dma_start": 15,
        "run": 3.5,
        "ub_rate": 110,
        "l1_rate": 110,
        "store_rate": 29,
        "flight": 480,
        "near": 30,
        "in_flight": 92,
        "granule": 1.3,
        "hbm": 1.45,
        "l2": 6.2,
        "launch": 19500,
        "vector_start": 24,
        "mad_head": 3,
        "mad_flight": 61,
        "move_start": 46,
        "drain_rate": 78,
        "issue": 11,
        "signal": 650,
        "signal_turn": 34,
        "wait": 1,
    }
)
"""What published device times say (``pto bench --published``; the fit is ``python -m lowering.bench.fit``):
cycles, bytes per cycle, TB/s for ``hbm`` and ``l2``."""


def device(fit: Mapping[str, float]) -> Costs:
    """The table of these unknowns; what is no unknown has its source in docs/machine.md 11.5."""
    start, run, move = fit["dma_start"], fit["run"], fit["move_start"]
    head = fit["vector_start"]
    into = {(GM, "l1"): (start, 1 / fit["l1_rate"]), (GM, "ub"): (start, 1 / fit["ub_rate"])}
    out = {("ub", GM): (start, 1 / fit["store_rate"]), ("l0c", GM): (164, 1 / fit["drain_rate"])}
    moves = {("l1", "l0a"): (move, 1 / 256), ("l1", "l0b"): (move, 1 / 128)}
    moves |= {("l1", "fb"): (20, 1 / 32)}
    simple = ("add", "sub", "mul", "maximum", "minimum")
    return replace(
        FLAT,
        name="device",
        about="fitted to published device times",
        transfer=MappingProxyType({**FLAT.transfer, **into, **out, **moves}),
        accumulator_bytes=0,
        mad=(fit["mad_head"], 1),
        vector=MappingProxyType(
            {**FLAT.vector, **{(op, form): (head, 1) for op in simple for form in ("", "scalar")}}
        ),
        reduction=PUBLISHED.reduction,
        issue=round(fit["issue"]),
        hbm_bytes_per_second=fit["hbm"] * 1e12,
        run=MappingProxyType({**dict.fromkeys((*into, ("ub", GM)), run), ("l0c", GM): 4.45}),
        flight=MappingProxyType(dict.fromkeys(into, round(fit["flight"]))),
        near=MappingProxyType(dict.fromkeys(into, round(fit["near"]))),
        granule_bytes=512,
        granule_cycles=fit["granule"],
        in_flight=fit["in_flight"],
        write_back=True,
        mad_flight=round(fit["mad_flight"]),
        vector_head=round(head),
        conflict=2,
        l2_bytes_per_second=fit["l2"] * 1e12,
        l2_bytes=192 << 20,
        launch=round(fit["launch"]),
        signal=round(fit["signal"]),
        signal_turn=fit["signal_turn"],
        wait=round(fit["wait"]),
        zeros=1 / 18.6,  # docs/machine.md 11.2
        queue_depths=MappingProxyType({"MTE1": 32, "M": 32}),
    )


DEVICE = device(FIT)

CUBE, VECTOR, BOTH = ("cube",), ("vector",), ("cube", "vector")
BOX, SUMS = 512, 1024  # docs/machine.md 2.2: whole fractals of operands, and of the accumulator
OPERANDS = ("f32", "f16", "bf16", "i8")  # docs/machine.md 12: of a product
END = 256  # docs/machine.md 2.1: bytes at the end of UB and L1 that nobody may use; of L1 so a fractal
# docs/machine.md 2.1; UB: below its end 8 KiB are scratch of library ops.  The library keeps an L1 tile
# in layout zn as its transpose: that is how the matrix unit takes a right operand (docs/machine.md 12).
SPACES = (
    Space("l1", "cube", (512 << 10) - BOX, BOX, {"nz": TileClass("L1Nz"), "zn": TileClass("L1Zn", turned=True), "pairs": TileClass("L1Scales")}),
    Space("l0a", "cube", 64 << 10, BOX, {"zz": TileClass("L0A")}, OPERANDS),
    Space("l0b", "cube", 64 << 10, BOX, {"zn": TileClass("L0B")}, OPERANDS),
    Space("l0c", "cube", 128 << 10, SUMS, {"nz": TileClass("L0C")}, ("f32", "i32")),
    Space("fb", "cube", 2 << 10, 128, {"pairs": TileClass("Scales")}, ("i32",)),
    Space("ub", "vector", (184 << 10) - END, 32, {"nd": TileClass("Ub"), "dn": TileClass("UbColumn")}),
)  # fmt: skip

# docs/machine.md 1, 3.1.  What needs a barrier, R8 and 6.3: rows of V start before others have written, but
# read in time; M adds to a product in order only behind one, and a new product over an old one is ordered
# through the pipe that reads between them; scales that FIX brings into its buffer it reads and writes over itself.
REUSES = ("reads", "writes", "overwrites")
PIPES = (
    Pipe("MTE2", BOTH, ((GM, "l1"), (GM, "ub"))),
    Pipe("MTE1", CUBE, (("l1", "l0a"), ("l1", "l0b"))),
    Pipe("M", CUBE, (("l0a", "l0c"), ("l0b", "l0c"), ("l0c", "l0c")), needs_barrier=("reads",)),
    Pipe("V", VECTOR, (("ub", "ub"),), needs_barrier=("reads", "writes")),
    Pipe("FIX", CUBE, (("l0c", GM), ("fb", GM), ("l0c", "l1"), ("l1", "fb")), needs_barrier=REUSES),
    Pipe("MTE3", BOTH, (("ub", GM), ("l1", GM))),
    Pipe("S", BOTH, barrier=False),
)

A2A3 = Target(
    name="a2a3",
    spaces=MappingProxyType({s.name: s for s in SPACES}),
    pipes=MappingProxyType({p.name: p for p in PIPES}),
    lanes=2,  # docs/machine.md 1: one cube core and two vector cores per cluster
    block_num=24,  # docs/machine.md 1: clusters per die
    event_ids=8,  # docs/machine.md 4.2
    drain_id=7,  # docs/machine.md 4.6: id 7 with destination S is left for drains
    flag_ids=16,  # docs/machine.md 5.1
    fifo_flags=11,  # docs/machine.md 5.1: cross-core flag ids 0..10 are free for FIFOs
    most_signals=15,  # docs/machine.md 5.1: a counter of 4 bits
    box_row_stride=65535,  # docs/machine.md 12: 16 bits
    most_rows=4095,  # docs/machine.md 2.4
    drains=MappingProxyType({"f32": ("f32", "f16", "bf16"), "i32": ("i32",)}),  # docs/machine.md 12
    scaled_drains=MappingProxyType(
        {"f32": ("i8", "u8"), "i32": ("f16", "i8", "u8")}
    ),  # docs/machine.md 12
    drains_alike=MappingProxyType({"f32": ("bf16",)}),  # docs/machine.md 12: others saturate
    launch="set_block_num",  # docs/machine.md 13
    # docs/machine.md 13: 48 arguments; the runtime's headers split them and bound the rank
    max_tensors=32,
    max_scalars=16,
    max_rank=5,
    # docs/machine.md 5.3: period = slots up to two slots, else half of them; with an odd number of
    # five or more slots the two do not keep apart.  5.1: at most 15 signals outstanding.
    ring_period=MappingProxyType(
        {n: n if n <= 2 else n // 2 for n in (1, 2, 3, 4, 6, 8, 10, 12, 14)}
    ),
    costs=MappingProxyType({c.name: c for c in (DEVICE, FLAT, FITTED, PUBLISHED)}),
)
