"""Packing: what comes out is what went in, bit for bit, also of other leading axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn.rl.packing import packing
from lrn.types import is_key

TREE = {
    "wide": jnp.arange(4 * 35.0).reshape(4, 5, 7),
    "matrix": jnp.arange(24.0).reshape(4, 2, 3),
    "odd bits": jnp.array([jnp.nan, -0.0, 1e-42, jnp.inf]),
    "int": jnp.array([-(2**31), -1, 0, 2**31 - 1], jnp.int32),
    "unsigned": jnp.array([0, 1, 2**31, 2**32 - 1], jnp.uint32),
    "bool": jnp.array([True, False, False, True]),
    "byte": jnp.arange(4, dtype=jnp.uint8),
    "key": jax.random.split(jax.random.key(0), 4),
    "none": (),
}


def bits(tree):
    plain = jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)
    return [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(plain)]


def test_there_and_back():
    form = packing(TREE)
    table, wide = form.pack(TREE)
    assert table is not None
    assert (table.shape, table.dtype) == ((4, 6 + 1 + 1 + 1 + 1), jnp.int32)
    assert len(wide) == 3
    assert bits(form.unpack((table, wide))) == bits(TREE)
    assert bits(jax.jit(lambda x: form.unpack(form.pack(x)))(TREE)) == bits(TREE)


def test_rows_of_a_stretch():
    """Packed as [time, n, ...], sliced, unpacked as [n, ...]; and the other way round."""
    stretch = jax.tree.map(lambda x: jnp.stack([x, x[::-1], x]), TREE)
    table, wide = packing(stretch, axes=2).pack(stretch)
    one = packing(TREE)
    assert table is not None
    assert bits(one.unpack((table[1], [x[1] for x in wide]))) == bits(jax.tree.map(lambda x: x[::-1], TREE))
    assert bits(packing(TREE).unpack((table, wide))) == bits(stretch)


def test_nothing_to_pack():
    table, wide = packing({"wide": TREE["wide"]}).pack({"wide": TREE["wide"]})
    assert table is None
    np.testing.assert_array_equal(wide[0], TREE["wide"])
    assert packing(()).unpack(packing(()).pack(())) == ()
