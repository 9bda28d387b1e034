"""The loop body forgets its return."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i, acc):
        acc = acc + pto.load(x[i, :, :])

    total = pto.fori_loop(0, n, body, pto.zeros((16, 128)))
    pto.store(out[b, :, :], total)
