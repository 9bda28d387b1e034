"""The number of bits is a float that is read."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="i32[rows, 128]", n="f32[rows]", out="i32[rows, 128]")
def kernel(x, n, out):
    first = pto.program_id(0) * 16
    tile = pto.load(x[pto.ds(first, 16), :])
    pto.store(out[pto.ds(first, 16), :], tile << n[first])
