"""A tuple in the carry."""

import pto


@pto.kernel(grid="cdiv(rows, 16)", x="f32[rows, 128]", out="f32[rows, 128]")
def kernel(x, out):
    here = pto.ds(pto.program_id(0) * 16, 16)
    tile = pto.load(x[here, :])
    def body(i, carry):
        (a, b), count = carry
        return (a + tile, b), count + 1

    (total, _), _ = pto.fori_loop(0, 3, body, ((tile, pto.zeros((16, 128))), 0))
    pto.store(out[here, :], total)
