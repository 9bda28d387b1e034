"""A part of an i8 tile begins at a box."""

import pto


@pto.kernel(grid="cdiv(rows, 32)", x="i8[rows, 128]", out="i32[rows, 32]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 32, 32)
    tile = pto.load(x[here, :])
    pto.store(out[here, :], tile[:, 16:80] @ tile[:, 16:80].T)
