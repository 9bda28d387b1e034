"""A function of other languages."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 16, 128]", out="f32[16, 128]")
def kernel(x, out):
    pto.atomic_add(out[:, :], pto.load(x[pto.program_id(0), :, :]))
