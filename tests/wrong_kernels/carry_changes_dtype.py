"""The carry starts in f32 and comes back in bf16."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 16, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)
    n = lens[b]

    def body(i, carry):
        m, acc = carry
        tile = pto.load(x[i, :, :])
        return pto.maximum(m, pto.row_max(tile)), (acc + tile).astype("bf16")

    start = pto.zeros((16, 1)), pto.zeros((16, 128))
    m, acc = pto.fori_loop(0, n, body, start)
    pto.store(out[b, :, :], acc * m)
