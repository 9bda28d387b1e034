"""The loop body returns a tile, but the loop carries none."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i):
        return pto.load(x[i, :, :])

    total = pto.fori_loop(0, n, body)
    pto.store(out[b, :, :], total)
