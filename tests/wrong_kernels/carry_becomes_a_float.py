"""An integer that a loop carries is a float behind its first iteration."""

import pto


@pto.kernel(grid="batch", x="f32[rows, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)

    def body(i, carry):
        acc, at = carry
        return acc + pto.load(x[pto.ds(at, 16), :]), at * 1.5

    acc, _ = pto.fori_loop(0, lens[b], body, (pto.zeros((16, 128)), b))
    pto.store(out[b, :, :], acc)
