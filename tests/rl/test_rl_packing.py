"""Packing: unpacked arrays equal the packed ones bit for bit, also with other leading axes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.types import is_key
from lrn.xla.packing import packing

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


DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "bfloat16", "float32",
    "float8_e4m3fn", "complex64",
)  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0,), (3,), (4, 4), (17,)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_keeps_its_bits(dtype, shape):
    """All bit patterns of narrow dtypes, and random ones of other dtypes, beside a leaf that is packed."""
    dtype, n = jnp.dtype(dtype), 4
    size = int(np.prod(shape))
    if dtype == jnp.bool_:
        x = np.arange(n * size).reshape(n, *shape) % 3 == 0
    else:
        raw = np.random.default_rng(0).integers(0, 256, (n, size * dtype.itemsize), np.uint8)
        x = raw.view(dtype).reshape(n, *shape)
    tree = {"a": jnp.arange(4, dtype=jnp.int32), "x": jnp.asarray(x), "z": jnp.ones((4, 2))}
    form = packing(tree)
    packed = form.pack(tree)
    unpacked = form.unpack(packed)
    assert bits(unpacked) == bits(tree)
    narrow = str(dtype) in ("float32", "int32", "uint32", "bool") and size <= 16
    assert len(packed[1]) == (not narrow)
    assert np.asarray(unpacked["x"]).tobytes() == x.tobytes()


def test_rows_of_a_stretch():
    """Arrays packed as [time, n, ...] and sliced can be unpacked as [n, ...], and vice versa."""
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
