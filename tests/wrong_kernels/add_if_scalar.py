"""Whether a store adds cannot depend on data."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 16, 128]", adds="i32[rows]", out="f32[16, 128]")
def kernel(x, adds, out):
    row = pto.program_id(0)
    pto.store(out[:, :], pto.load(x[row, :, :]), add=adds[row])
