"""The vector unit orders floats only."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="i32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    values, _ = pto.sort(tile)
    pto.store(out[here, :], values.astype('f32'))
