"""What was read is added to: other work items may have added already."""

import pto


@pto.kernel(grid="rows", x="f32[rows, 16, 128]", total="f32[16, 128]")
def kernel(x, total):
    tile = pto.load(x[pto.program_id(0), :, :]) * pto.load(total[:, :])
    pto.store(total[:, :], tile, add=True)
