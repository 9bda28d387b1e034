"""`and` asks for a truth value."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]
    tile = pto.load(x[b, :, :])
    both = (n > 0) and (b > 0)
    pto.store(out[b, :, :], tile * both)
