"""A tile that is made in one way is used behind the choice."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    tile = pto.load(x[b, :, :])
    made = []

    def twice():
        made.append(tile * 2.0)

    pto.when(lens[b] > 0, twice)
    pto.store(out[b, :, :], made[0])
