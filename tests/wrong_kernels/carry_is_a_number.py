"""A loop carries a float."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i, scale):
        return scale * 0.5

    scale = pto.fori_loop(0, n, body, 1.0)
    pto.store(out[b, :, :], pto.load(x[b, :, :]) * scale)
