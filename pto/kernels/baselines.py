"""What one would write by hand in JAX instead of a shipped kernel: the opponents of ``pto bench``.

In: arrays by parameter name (16-bit floats as values or as uint16 bits) and a number of devices.
Out: a callable without arguments that runs the jitted function on arrays already in place.
``BASELINES`` names them by kernel.  Each is written as well as its idea allows: 16-bit floats as
bits, float32 accumulation, the batch spread over devices where it divides, dealt by length or as it comes.

They mask scores, not values: unlike the kernels they want finite numbers everywhere.
JAX is imported inside the functions, so importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]
Prepare = Callable[[Arrays, int], Callable[[], Any]]
"""(arrays, devices) -> the call to time; it returns the output array."""


PER_REQUEST = ("query", "block_table", "context_lens")
"""The arrays with a line for each request."""


def _floats(bits: Any) -> Any:
    """bf16 from its bits; done behind every slice, else XLA widens the whole cache first."""
    import jax.numpy as jnp
    from jax import lax

    return lax.bitcast_convert_type(bits, jnp.bfloat16)


def _gather(query: Any, keys: Any, values: Any, table: Any, lengths: Any, scale: Any) -> Any:
    """All pages of a request side by side, then einsum, softmax, einsum."""
    import jax.numpy as jnp

    batch, heads, dim = query.shape
    kv = keys.shape[2]
    q = _floats(query).reshape(batch, kv, heads // kv, dim)
    k = _floats(keys[table]).reshape(batch, -1, kv, dim)
    v = _floats(values[table]).reshape(batch, -1, kv, dim)
    s = jnp.einsum("bkgd,bskd->bkgs", q, k, preferred_element_type=jnp.float32) * scale
    inside = jnp.arange(k.shape[1])[None, :] < lengths[:, None]
    s = jnp.where(inside[:, None, None, :], s, -jnp.inf)
    m = jnp.maximum(s.max(axis=-1, keepdims=True), -1e30)
    p = jnp.exp(s - m)
    total = jnp.maximum(p.sum(axis=-1, keepdims=True), 1e-30)
    o = jnp.einsum("bkgs,bskd->bkgd", p.astype(jnp.bfloat16), v, preferred_element_type=jnp.float32)
    return (o / total).reshape(batch, heads, dim)


def _product(a: Any, b: Any, inner: int) -> Any:
    """a[kv, group, x] with b[block, kv, dim] over dimension ``inner`` of b, for each kv head."""
    import jax.numpy as jnp
    from jax import lax

    if a.shape[0] == 1:  # a plain matmul is faster than a batch of one
        over = ((1,), (1 if inner == 2 else 0,))
        flat = lax.dot_general(a[0], b[:, 0], (over, ((), ())), preferred_element_type=jnp.float32)
        return flat[None]
    dims = (((2,), (inner,)), ((0,), (1,)))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _online(q: Any, page: Callable[[Any], tuple[Any, Any]], length: Any, scale: Any) -> Any:
    """(start, step) of the online softmax over pages; q is [kv, group, dim]."""
    import jax.numpy as jnp

    start = (
        jnp.full((*q.shape[:2], 1), -jnp.inf),
        jnp.zeros((*q.shape[:2], 1)),
        jnp.zeros(q.shape),
    )

    def step(i: Any, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        m, total, acc = carry
        k, v = page(i)  # [block, kv, dim]
        s = _product(q, k, 2) * scale
        columns = jnp.arange(k.shape[0]) + i * k.shape[0]
        s = jnp.where(columns < length, s, -jnp.inf)
        m_new = jnp.maximum(m, s.max(axis=-1, keepdims=True))
        safe = jnp.maximum(m_new, -1e30)  # a page without columns leaves -inf
        p, alpha = jnp.exp(s - safe), jnp.exp(m - safe)
        o = _product(p.astype(jnp.bfloat16), v, 0)
        return m_new, total * alpha + p.sum(axis=-1, keepdims=True), acc * alpha + o

    return start, step


def _pages(keys: Any, values: Any, row: Any, count: int = 1) -> Callable[[Any], tuple[Any, Any]]:
    """The keys and values of step i, ``count`` pages at once."""
    import jax.numpy as jnp
    from jax import lax

    size = (1, *keys.shape[1:])

    def taken(cache: Any, i: Any) -> Any:
        at = [(row[i * count + j], 0, 0, 0) for j in range(count)]
        return jnp.concatenate([_floats(lax.dynamic_slice(cache, a, size)[0]) for a in at])

    return lambda i: (taken(keys, i), taken(values, i))


def _scan(query: Any, keys: Any, values: Any, table: Any, lengths: Any, scale: Any) -> Any:
    """Online softmax, scanned over the columns of the table, mapped over requests."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    heads, dim = query.shape[1:]
    kv = keys.shape[2]

    def one(q: Any, row: Any, length: Any) -> Any:
        q = _floats(q).reshape(kv, heads // kv, dim)
        start, step = _online(q, _pages(keys, values, row), length, scale)
        over = jnp.arange(table.shape[1])
        (_, total, acc), _ = lax.scan(lambda c, i: (step(i, c), None), start, over)
        return (acc / jnp.maximum(total, 1e-30)).reshape(heads, dim)

    return jax.vmap(one)(query, table, lengths)


def _loop(
    query: Any, keys: Any, values: Any, table: Any, lengths: Any, scale: Any, count: int = 1
) -> Any:
    """Online softmax, request by request, over the pages that the request has, ``count`` a step."""
    import jax.numpy as jnp
    from jax import lax

    batch, heads, dim = query.shape
    block, kv = keys.shape[1:3]
    table = jnp.pad(table, ((0, 0), (0, -table.shape[1] % count)))

    def one(b: Any, out: Any) -> Any:
        q = _floats(query[b]).reshape(kv, heads // kv, dim)
        start, step = _online(q, _pages(keys, values, table[b], count), lengths[b], scale)
        _, total, acc = lax.fori_loop(0, -(-lengths[b] // (count * block)), step, start)
        o = (acc / jnp.maximum(total, 1e-30)).reshape(1, heads, dim)
        return lax.dynamic_update_slice(out, o, (b, 0, 0))

    return lax.fori_loop(0, batch, one, jnp.zeros((batch, heads, dim)))


def _dealt(lengths: Any, devices: int) -> Any:
    """The requests in the order in which devices take them: the longest first, there and back."""
    rounds = np.argsort(-lengths, kind="stable").reshape(-1, devices)
    rounds[1::2] = rounds[1::2, ::-1]
    return rounds.T.ravel()


def _prepared(function: Callable[..., Any], spread: bool, deal: bool = False) -> Prepare:
    """``function`` jitted; with ``spread`` each device takes a slice of the batch, with ``deal``
    of the batch in another order, which gives all of them about as much to do."""

    def prepare(arrays: Arrays, devices: int) -> Callable[[], Any]:
        import jax
        from jax.sharding import Mesh, NamedSharding
        from jax.sharding import PartitionSpec as P

        names = ("query", "key_cache", "value_cache", "block_table", "context_lens", "scale")
        given = [np.asarray(arrays[n]) for n in names]
        held = [a.view(np.uint16) if a.ndim and a.dtype.itemsize == 2 else a for a in given]
        held[-1] = held[-1].astype(np.float32)
        count = devices if spread and len(held[0]) % devices == 0 else 1
        order = _dealt(held[4], count) if deal else np.arange(len(held[0]))
        if deal:
            held = [a[order] if n in PER_REQUEST else a for n, a in zip(names, held, strict=True)]
        mesh = Mesh(np.array(jax.devices()[:count]), ("batch",))
        row, all_of_it = P("batch"), P()  # type: ignore[no-untyped-call]
        specs = (row, all_of_it, all_of_it, row, row, all_of_it)
        mapped = function
        if count > 1:
            mapped = jax.shard_map(
                function, mesh=mesh, in_specs=specs, out_specs=row, check_vma=False
            )
        placed = [
            jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(held, specs, strict=True)
        ]
        call = jax.jit(mapped).lower(*placed).compile()
        if not deal:
            return lambda: call(*placed)
        back = np.argsort(order)
        return lambda: np.asarray(call(*placed))[back]

    return prepare


def _both(name: str, function: Callable[..., Any]) -> dict[str, Prepare]:
    return {name: _prepared(function, False), f"{name}, shard_map": _prepared(function, True)}


BASELINES: Mapping[str, Mapping[str, Prepare]] = MappingProxyType(
    {
        "paged_attention": MappingProxyType(
            {
                **_both("gather, einsum", _gather),
                **_both("vmap of scan", _scan),
                **_both("fori_loop", _loop),
                **_both("fori_loop, 4 pages", partial(_loop, count=4)),
                "fori_loop, 4 pages, dealt, shard_map": _prepared(
                    partial(_loop, count=4), True, deal=True
                ),
            }
        )
    }
)
"""Opponents by kernel name, then by what they do."""
