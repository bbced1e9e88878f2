"""The Threefry hash: known answers, and random numbers with the bits of JAX's own lowering."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core.primitives import threefry2x32_p

from lrn.xla import threefry

DRAWS = """
import jax, numpy as np
{use}
def draw(key):
    a, b = jax.random.split(key)
    return jax.random.bits(a, (7,)), jax.random.normal(b, (3, 5)), jax.random.permutation(b, 9)
draws = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(3), 4))
print([np.asarray(x).tobytes().hex() for x in draws])
"""


# From the authors' reference implementation (Random123, kat_vectors, threefry2x32 of 20 rounds).
@pytest.mark.parametrize(
    ("key", "count", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key, count, expected):
    threefry.use()
    words = [jnp.full(3, word, jnp.uint32) for word in (*key, *count)]
    for hashed in (threefry.hashed, jax.jit(threefry2x32_p.bind)):
        for result, word in zip(hashed(*words), expected):
            np.testing.assert_array_equal(np.asarray(result), np.full(3, word, np.uint32))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="only the CPU lowering changes")
def test_a_draw_is_compiled_without_a_loop():
    threefry.use()
    text = jax.jit(lambda key: jax.random.normal(key, (3, 5))).lower(jax.random.key(0)).as_text()
    assert 'inlineable = "false"' in text
    assert "while" not in text


def test_draws_have_the_bits_of_jax():
    said = [
        subprocess.run(
            [sys.executable, "-c", DRAWS.format(use=use)], capture_output=True, text=True, check=True
        ).stdout
        for use in ("", "from lrn.xla import threefry; threefry.use()")
    ]
    assert said[0] == said[1]
