"""A small trained network on 200 digits, with what pyautoattack finds there (references/*.md)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

REFERENCES = Path(__file__).parent / "references"
_SAVED = np.load(REFERENCES / "fab_square_digits.npz")
X = (_SAVED["x"] / 16).astype(np.float32).reshape(200, 8, 8, 1)
Y = _SAVED["y"].astype(np.int32)


def network(x):
    """The logits of a ReLU network with 32 hidden units, [batch, 10]."""
    hidden = jax.nn.relu(x.reshape(len(x), 64) @ jnp.asarray(_SAVED["w0"]) + jnp.asarray(_SAVED["b0"])[None])
    return hidden @ jnp.asarray(_SAVED["w1"]) + jnp.asarray(_SAVED["b1"])[None]
