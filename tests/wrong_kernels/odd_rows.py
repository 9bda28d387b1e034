"""Rows of which one number each is no whole unit."""

import pto


@pto.kernel(grid="items", x="f32[items, 15, 128]", out="f32[items, 15, 128]")
def kernel(x, out):
    item = pto.program_id(0)
    tile = pto.load(x[item, :, :])
    pto.store(out[item, :, :], tile - pto.row_max(tile))
