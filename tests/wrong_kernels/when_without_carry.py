"""What is done changes a tile that nobody handed in."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])

    def twice():
        return tile * 2.0

    tile = pto.when(lens[b] > 0, twice)
    pto.store(out[b, :, :], tile)
