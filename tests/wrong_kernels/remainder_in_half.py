"""A remainder of f16."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    half = tile.astype('f16')
    pto.store(out[here, :], pto.remainder(half, 2).astype('f32'))
