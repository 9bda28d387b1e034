"""The instructions of the tile library that no op becomes on a2a3, and why.

Names as the library's public header has them (isa:include/pto/common/pto_instr.hpp, 3186c381); those that an op
becomes stand in its row of ``pto/ops.py``, those of the emitted text itself in ``AROUND``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AROUND = ("TASSIGN", "TFREE", "TRESHAPE")
"""What emitted texts say around the instructions of ops: where a tile lies, what it is seen as, that a slot is free."""

_BY_REASON: Mapping[str, str] = MappingProxyType(
    {
        "the chip has none: other chips do": (
            "TADDC TADDSC TSUBC TSUBSC TDEINTERLEAVE TINTERLEAVE THISTOGRAM TRANDOM TGEMV_MX TMATMUL_MX TGET_SCALE_ADDR TPREFETCH_ASYNC"
        ),
        "computes nothing: events, places and slots are the schedule's": "TALLOC TSUBVIEW TSYNC",
        "a hint to the cache: loads begin early by the schedule": "TPREFETCH",
        "the device waits for its scalar unit for every row (docs/machine.md 12); made of other ops": (
            "TROWEXPAND TROWARGMAX TROWARGMIN TCOLARGMAX TCOLARGMIN"
        ),
        "the scalar unit writes what the vector unit reads, unordered (docs/machine.md 12); TSEL does it": "TSELS",
        "made of other ops: mul, where, power, remainder, leaky_relu, iota": (
            "TNEG TLRELU TPRELU TPOW TPOWS TREM TREMS TFMOD TFMODS TTRI"
        ),
        "it may round once where two ops round twice, which no source says; the two ops": (
            "TAXPY TFUSEDMULADD TFUSEDMULADDRELU TMULADDDST"
        ),
        "on the device no more than the two ops, one after the other": (
            "TROWEXPANDEXPDIF TCOLEXPANDEXPDIF"
        ),
        "TINSERT puts any number of tiles at any place": "TCONCAT",
        "the CPU simulator makes 0 of NaN, which the two ops keep": "TSUBRELU",
        "two ops in one that the CPU simulator has not": "TADDRELUCONV TSUBRELUCONV",
        "several ops in one: of scales, of a bias, which no pass chooses yet": (
            "TADDDEQRELU TMATMUL_BIAS TQUANT TDEQUANT"
        ),
        "the device's scalar unit shifts element by element (docs/machine.md 12); shifts by powers of two, each where the count has it": "TSHL TSHR",
        "two ops in one on tiles of two sizes, which no pass chooses yet": (
            "TPARTADD TPARTMAX TPARTMIN TPARTMUL TPARTARGMAX TPARTARGMIN"
        ),
        "products of elements and sums of pairs are no words of the language": (
            "TROWPROD TCOLPROD TPAIRREDUCESUM"
        ),
        "rows by an index are loads at numbers that the scalar unit reads; elements by one are no word of the language yet": (
            "MGATHER MSCATTER TSCATTER TGATHERB"
        ),
        "no op moves a sum from L0C to L1": "TEXTRACT_FP TINSERT_FP TMOV_FP",
        "TFILLPAD_INPLACE does it": "TFILLPAD TFILLPAD_EXPAND",
        "the product of one row is that of sixteen for the matmul unit": "TGEMV TGEMV_ACC TGEMV_BIAS",
        "of convolutions": "TIMG2COL",
    }
)

UNREACHED: Mapping[str, str] = MappingProxyType(
    {name: reason for reason, names in _BY_REASON.items() for name in names.split()}
)
"""Instruction -> why no op becomes it."""
