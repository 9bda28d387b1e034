"""A tile is kept in a global cache from one trace to the next."""

import pto

cache = {}


@pto.kernel(
    grid="cdiv(rows, 16)",
    x="f32[rows, 128]",
    out="f32[rows, 128]",
    static=dict(scale=1.0),
)
def kernel(x, out, *, scale):
    here = pto.ds(pto.program_id(0) * 16, 16)
    if "tile" not in cache:
        cache["tile"] = pto.load(x[here, :])
    pto.store(out[here, :], cache["tile"] * scale)


kernel.trace(scale=0.5)
