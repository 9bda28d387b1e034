"""Rows are sorted 32 elements at once."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 40]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    values, _ = pto.sort(tile)
    pto.store(out[here, 0:40], values)
