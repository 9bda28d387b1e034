"""What is added to is read in the same kernel."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 16, 128]", total="f32[16, 128]", out="f32[rows, 16, 128]")
def kernel(x, total, out):
    row = pto.program_id(0)
    tile = pto.load(x[row, :, :])
    pto.store(total[:, :], tile, add=True)
    pto.store(out[row, :, :], tile / pto.load(total[:, :]))
