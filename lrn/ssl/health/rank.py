"""Effective ranks of embeddings: RankMe, and LiDAR, which discounts what varies between views."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from lrn import check
from lrn.ssl.health import _input
from lrn.types import Array

_ROUNDING = 1e-12  # a variance of this share of the mean square is the rounding of a constant


def rank_me(z: Array, eps: float = 1e-7) -> Array:
    """The exponential of the entropy of the normalized singular values (Garrido et al. 2023, equation 1).

    The embeddings are not centered, as in the paper. The value lies between 1 and min(n, dim), up to eps, and
    does not change with the scale of z. Zero embeddings have the rank 1. The peer stable-pretraining takes
    eps = 1e-5.

    Args:
        z: embeddings [n, dim], n of 2 or more.
        eps: added to each share, above 0.

    Raises:
        InputError: the embeddings have a wrong form, or eps is not positive.
    """
    check.positive("eps", eps)
    z = _input.rows(z)
    return _effective_rank(jnp.linalg.svd(z, compute_uv=False), eps)


def lidar(z: Array, delta: ArrayLike = 1e-4, eps: float = 1e-8) -> Array:
    """The effective rank of the covariance between examples, whitened by that within examples.

    The eigenvalues are those of S_w^-1/2 S_b S_w^-1/2 (Thilak et al. 2023), where S_b is the covariance of
    the examples' means over views, and S_w the mean covariance of views around their mean, plus delta on its
    diagonal. Both covariances are unbiased, as in stable-pretraining. The value lies between 1 and
    min(n - 1, dim); the scale of z changes it only through delta. Constant embeddings have the rank 1.

    Args:
        z: embeddings [n, views, dim], with 2 examples and 2 views or more; the paper has 1,000 and 50.
        delta: the regularization of the within-example covariance, above 0; may be traced.
        eps: added to each share, above 0.

    Raises:
        InputError: the embeddings have a wrong form, or delta or eps is not positive.
    """
    check.positive("delta", delta)
    check.positive("eps", eps)
    z = _input.views(z)
    n, views, dim = z.shape
    means = jnp.mean(z, axis=1)
    within = (z - means[:, None]).reshape(n * views, dim) / jnp.sqrt(float(n * (views - 1)))
    # R of a QR decomposition has R^T R = S_w. The product is never formed, so that float32 is enough.
    ridge = jnp.sqrt(delta) * jnp.eye(dim, dtype=z.dtype)
    root = jnp.linalg.qr(jnp.concatenate([within, ridge]), mode="r")
    between = means - jnp.mean(means, axis=0)[None]
    whitened = solve_triangular(root, between.T, trans="T")
    # The eigenvalues of the product are the squares of the singular values of the whitened means.
    spectrum = jnp.square(jnp.linalg.svd(whitened, compute_uv=False))
    none = jnp.sum(jnp.square(between)) <= _ROUNDING * jnp.sum(jnp.square(means))
    return _effective_rank(jnp.where(none, 0.0, spectrum), eps)


def _effective_rank(spectrum: Array, eps: float) -> Array:
    total = jnp.sum(spectrum)
    none = total <= 0  # false for NaN
    share = jnp.where(none, 0.0, spectrum / jnp.where(none, 1.0, total)) + eps
    return jnp.exp(-jnp.sum(share * jnp.log(share)))
