"""An integer that a loop carries goes by what a tile holds."""

import pto


@pto.kernel(grid="batch", x="f32[batch, 64, 128]", lens="i32[batch]", out="f32[batch, 16, 128]")
def kernel(x, lens, out):
    b = pto.program_id(0)

    def body(i, carry):
        acc, at = carry
        tile = pto.load(x[b, pto.ds(at, 16), :])
        return acc + tile, at + pto.row_max(tile)

    acc, _ = pto.fori_loop(0, lens[b], body, (pto.zeros((16, 128)), 0))
    pto.store(out[b, :, :], acc)
