"""Views of texts, arrays of token ids in which 0 is no token."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.ssl.views import View
from lrn.types import Array, Key


def dropped_tokens(rate: ArrayLike) -> View:
    """A view that leaves out each token [batch, length] with probability ``rate``: its id becomes 0.

    Raises:
        InputError: the rate is not in [0, 1]; from the view: the tokens are not integers.
    """
    check.between("rate", rate, 0, 1)

    def view(key: Key, x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise check.InputError(f"texts must be token ids, got {x.dtype}; tokenize them.")
        return jnp.where(jax.random.bernoulli(key, 1 - jnp.asarray(rate), x.shape), x, 0)

    return view
