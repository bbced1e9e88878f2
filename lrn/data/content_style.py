"""Content and style: observations of hidden Gaussians, whose views share the content and redraw the style.

A latent [content + style] is standard normal. A random network with an inverse, one leaky hidden layer and a
rotation, maps it to an observation in more dimensions. Labels are a function of the content alone. Two views
of an example have the same content, or correlated contents, and independent styles, or correlated ones (von
Kuegelgen et al. 2021). The network is a bijection onto its image, so the mutual information of two views is
that of their latents, which is known in closed form; so are the optimal critic and the best features, the
content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import above_zero, product
from lrn.config import config
from lrn.data import gaussians
from lrn.types import Array, Key


@config
class ContentStyleConfig:
    """Dials of the generator.

    content, style: the numbers of hidden dimensions. dim: that of the observations, content + style or more.
    classes: the number of labels.
    slope: of the hidden layer for negative inputs, in (0, 1]; with 1 the observations are linear.
    style_scale: the weight of the style in the hidden layer, above 0; that of the content is 1.
    content_correlation, style_correlation: the correlations of two views of an example in each dimension of
        their contents and of their styles, in [0, 1]. With 1 and 0 the content is shared and the style
        redrawn.

    Raises:
        InputError: a field is out of its range.
    """

    content: int = 8
    style: int = 8
    dim: int = 64
    classes: int = 10
    slope: float = 0.5
    style_scale: float = 1.0
    content_correlation: float = 1.0
    style_correlation: float = 0.0

    def __post_init__(self) -> None:
        check.counts(self, "content", "style")
        check.integer("classes", self.classes, 2)
        check.integer("dim", self.dim, self.content + self.style)
        for name in ("slope", "style_scale"):
            check.positive(name, getattr(self, name))
        check.between("slope", self.slope, 0, 1)
        check.between("content_correlation", self.content_correlation, 0, 1)
        check.between("style_correlation", self.style_correlation, 0, 1)


class World(NamedTuple):
    """The random weights of a generator.

    into: [content + style, dim], into the hidden layer. turn: [dim, dim], a rotation. back: [dim, content +
        style], the pseudo-inverse of ``into``. label: [content, classes], with columns of length 1.
    """

    into: Array
    turn: Array
    back: Array
    label: Array


def world(key: Key, config: ContentStyleConfig) -> World:
    """The weights of a generator, drawn by a key; only the sizes of the config matter."""
    c, hidden = config, config.content + config.style
    into_key, turn_key, label_key = jax.random.split(key, 3)
    into = jax.random.normal(into_key, (hidden, c.dim)) / math.sqrt(hidden)
    turn = jax.random.orthogonal(turn_key, c.dim)
    label = jax.random.normal(label_key, (c.content, c.classes))
    label = label / jnp.linalg.norm(label, axis=0)[None]
    return World(into, turn, jnp.linalg.pinv(into), label)


def latents(key: Key, n: int, config: ContentStyleConfig) -> Array:
    """Hidden variables [n, content + style], standard normal; the content comes first.

    Raises:
        InputError: n is below 1.
    """
    check.integer("n", n, 1)
    return jax.random.normal(key, (n, config.content + config.style))


def observe(of: World, latent: Array, config: ContentStyleConfig) -> Array:
    """The observations [n, dim] of latents [n, content + style].

    Raises:
        InputError: the latents have another form.
    """
    hidden = product(_check_rows("latents", latent, of.into.shape[0]) * _scale(config)[None], of.into)
    return product(jnp.where(hidden > 0, hidden, above_zero(config.slope) * hidden), of.turn)


def invert(of: World, x: Array, config: ContentStyleConfig) -> Array:
    """The latents [n, content + style] of observations [n, dim], exact to about 1e-5.

    Raises:
        InputError: the observations have another form.
    """
    hidden = product(_check_rows("observations", x, of.turn.shape[0]), of.turn.T)
    hidden = jnp.where(hidden > 0, hidden, hidden / above_zero(config.slope))
    return product(hidden, of.back) / _scale(config)[None]


def labels(of: World, latent: Array, config: ContentStyleConfig) -> Array:
    """The labels [n], int32: the class whose direction the content is nearest to.

    Raises:
        InputError: the latents have another form.
    """
    latent = _check_rows("latents", latent, of.into.shape[0])
    return jnp.argmax(product(latent[:, : config.content], of.label), axis=1).astype(jnp.int32)


def sample(key: Key, of: World, n: int, config: ContentStyleConfig) -> dict[str, Array]:
    """Examples: "x" [n, dim], "label" int32 [n] and "latent" [n, content + style].

    Raises:
        InputError: n is below 1.
    """
    latent = latents(key, n, config)
    return {"x": observe(of, latent, config), "label": labels(of, latent, config), "latent": latent}


def relatives(key: Key, latent: Array, config: ContentStyleConfig) -> Array:
    """Latents [n, content + style] of a view of each example; two draws have the correlations of the config.

    A view of the config's correlation r has the correlation sqrt(r) with the example itself.
    """
    part = _correlations(config)[None]
    return jnp.sqrt(part) * latent + jnp.sqrt(1 - part) * jax.random.normal(key, latent.shape)


def view(of: World, config: ContentStyleConfig) -> Callable[[Key, Array], Array]:
    """The view ``(key, x) -> x`` of observations [n, dim], for the methods of `lrn.ssl`.

    The view inverts the network, redraws the latents by `relatives`, and observes them again.
    """

    def draw(key: Key, x: Array) -> Array:
        return observe(of, relatives(key, invert(of, x, config), config), config)

    return draw


def information(config: ContentStyleConfig) -> Array:
    """The mutual information of two views of an example in nats; inf where the content or style is shared."""
    return -0.5 * jnp.sum(jnp.log1p(-jnp.square(_correlations(config))))


def log_ratio(a: Array, b: Array, config: ContentStyleConfig) -> Array:
    """The optimal critic of two views: log p(a_i, b_j) / (p(a_i) p(b_j)) [n, m], of their latents.

    Raises:
        InputError: a correlation is 1, so that the views have no joint density, or the latents have another
            form.
    """
    cut = config.content
    a, b = (_check_rows("latents", rows, cut + config.style) for rows in (a, b))
    content = gaussians.log_ratio(a[:, :cut], b[:, :cut], config.content_correlation)
    return content + gaussians.log_ratio(a[:, cut:], b[:, cut:], config.style_correlation)


def _correlations(config: ContentStyleConfig) -> Array:
    return _each(config, config.content_correlation, config.style_correlation)


def _scale(config: ContentStyleConfig) -> Array:
    return _each(config, 1.0, config.style_scale)


def _each(config: ContentStyleConfig, content: float, style: float) -> Array:
    """One number for each hidden dimension, [content + style]."""
    return jnp.concatenate([jnp.full(config.content, content), jnp.full(config.style, style)])


def _check_rows(name: str, rows: Array, dim: int) -> Array:
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise check.InputError(
            f"{name} must be [n, {dim}], got shape {rows.shape}; take those of this generator."
        )
    return rows
