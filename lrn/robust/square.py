"""The Square attack (Andriushchenko et al. 2020): random search on the margin, without gradients.

A network that resists PGD and not Square hides its gradients and is not robust.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import margin
from lrn.robust.norms import by_example, narrow, widen
from lrn.types import Array, Key

# The numbers of queries, out of 10,000, after which the area of the patches is halved (section
# 5 of the paper).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@config
class SquareConfig:
    """Settings of the Square attack in the Linf ball.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    queries: the number of evaluations of the network for each example, with that of the striped start. The
        evaluation of the clean input, which stays as it is if the network is wrong there, does not count.
    initial_fraction: the share of the image that the first patches cover (p in the paper).
    """

    eps: float = 8 / 255
    queries: int = 1000
    initial_fraction: float = 0.8

    def __post_init__(self):
        check_eps(self.eps, "linf")
        check.integer("queries", self.queries, 1)
        check.positive("initial_fraction", self.initial_fraction)
        check.between("initial_fraction", self.initial_fraction, 0, 1)


def square(config: SquareConfig) -> Attack:
    """The attack: each query changes one square patch of each example, and keeps it if the margin grows.

    ``x`` is [batch, height, width, channels]. The number of queries is fixed, so that the attack compiles
    to one loop; an example stays as it is once the network is wrong.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        return search(key, logits_fn, x, y, config)[0]

    return attack


def search(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: SquareConfig) -> tuple[Array, Array]:
    """The search of `square`, with the margin after every query.

    Args:
        key, logits_fn, x, y: as for an `Attack`.
        config: the settings.

    Returns:
        The adversarial input [batch, height, width, channels], and the best margin so far [queries,
        batch], which is 0 or more once the network is wrong.

    Raises:
        ValueError: x is not [batch, height, width, channels], or `check_examples` refuses ``x`` and ``y``.
    """
    x, y = check_examples(logits_fn, x, y)
    if x.ndim != 4:
        raise check.InputError(
            f"the Square attack needs images [batch, height, width, channels], got shape {x.shape}; "
            "reshape x."
        )
    batch, height, width, channels = x.shape
    original = widen(x)
    eps = by_example(config.eps, original)
    # The search sets pixels only to the two ends of their range in the ball.
    low, high = narrow(jnp.maximum(original - eps, 0), x), narrow(jnp.minimum(original + eps, 1), x)
    rows, columns = jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]

    def score(z: Array) -> Array:
        value = margin(logits_fn(z), y)
        return jnp.where(jnp.isnan(value), jnp.inf, value)  # NaN counts as wrong, as in `is_correct`

    start_key, search_key = jax.random.split(key)
    clean = score(x)
    stripes = jnp.where(jax.random.bernoulli(start_key, shape=(batch, 1, width, channels)), high, low)
    z = jnp.where((clean >= 0)[:, None, None, None], x, stripes)
    best = jnp.where(clean >= 0, clean, score(z))

    def query(carry, step):
        z, best = carry
        i, side = step
        corner_key, sign_key = jax.random.split(jax.random.fold_in(search_key, i))
        free = jnp.stack([height - side + 1, width - side + 1])[None, :]
        corner = jax.random.randint(corner_key, (batch, 2), 0, free)[:, :, None, None, None]
        top, left = corner[:, 0], corner[:, 1]
        patch = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        # The paper adds +-2 eps and projects, which sets a pixel of the ball to one of these two ends.
        sign = jax.random.bernoulli(sign_key, shape=(batch, 1, 1, channels))
        proposal = jnp.where(patch, jnp.where(sign, high, low), z)
        value = score(proposal)
        accept = (best < 0) & (value > best)
        z = jnp.where(accept[:, None, None, None], proposal, z)
        best = jnp.where(accept, value, best)
        return (z, best), best

    steps = jnp.arange(1, config.queries), patch_sides(config, height, width)[1:]
    (z, _), trace = jax.lax.scan(query, (z, best), steps)
    return z, jnp.concatenate([best[None], trace])


def patch_sides(config: SquareConfig, height: int, width: int) -> Array:
    """The side of the square patch at each query, in pixels, int [queries].

    The paper's schedule for 10,000 queries is scaled to ``config.queries``.
    """
    spent = np.arange(config.queries) * 10_000 // config.queries
    halvings = np.searchsorted(_HALVINGS, spent)  # how many thresholds are below the number of queries spent
    area = config.initial_fraction * 0.5 ** jnp.asarray(halvings, jnp.float32) * (height * width)
    return jnp.clip(jnp.round(jnp.sqrt(area)).astype(jnp.int32), 1, min(height, width))
