"""Every element is shifted by another number, which is of another type."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="i32[rows, 128]", n="i16[rows, 128]", out="i32[rows, 128]")
def kernel(x, n, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile, counts = pto.load(x[here, :]), pto.load(n[here, :])
    pto.store(out[here, :], tile >> counts)
