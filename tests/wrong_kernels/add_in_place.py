"""Python's += on a tensor."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 16, 128]", out="f32[16, 128]")
def kernel(x, out):
    out[:, :] += pto.load(x[pto.program_id(0), :, :])
