"""Scales of columns are pairs of words, no floats."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="i8[rows, 32]", scales="f32[32]", out="f16[rows, 32]")
def kernel(x, scales, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], tile @ tile.T, scale=pto.load(scales[:]))
