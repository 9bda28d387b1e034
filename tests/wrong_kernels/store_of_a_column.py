"""A column for a whole region."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], pto.row_max(tile))
