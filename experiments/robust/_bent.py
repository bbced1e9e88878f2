"""One network of one hidden layer whose units are ReLU, linear, quadratic or radial, by four floats.

All kinds have one structure, so networks of all kinds train side by side in one compiled program.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn.config import config
from lrn.types import Net


@config
class Units:
    """The weights of the four kinds of units in the activation.

    relu: max(h, 0). linear: h. quadratic: h^2. radial: exp(-|z - w|^2 / s), with trained centers and one
    trained s, starting from examples of the first batch and their mean squared distance.
    """

    relu: float = 0.0
    linear: float = 0.0
    quadratic: float = 0.0
    radial: float = 0.0


KINDS = {
    "ReLU": Units(relu=1.0),
    "linear": Units(linear=1.0),
    "quadratic": Units(quadratic=1.0),
    "RBF": Units(radial=1.0),
}


def bent(classes: int, width: int, units: Units, prepare: Any) -> Net:
    """The network.

    Args:
        classes: the number of outputs.
        width: the number of hidden units, at most the number of examples in the first batch.
        units: the kind of units; may be traced.
        prepare: from inputs [n, ...] to flat inputs [n, d], such as a standardization.
    """

    def init(key: Any, x: Any) -> tuple[Any, Any]:
        z = prepare(x)
        d = z.shape[1]
        first, middle, last = jax.random.split(key, 3)
        drawn = jax.random.normal(first, (d, width)) * (2 / d) ** 0.5
        centers = z[:width].T
        apart = jnp.mean(_squared(z, centers)) + 1e-6
        params = {
            "w": jnp.where(jnp.asarray(units.radial) > 0, centers, drawn),
            "b": units.quadratic * jax.random.normal(middle, (width,)),  # squares alone are even functions
            "log_s": jnp.log(apart / 4),
            "v": jax.random.normal(last, (width, classes)) / width**0.5,
            "c": jnp.zeros(classes),
        }
        return params, ()

    def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        del key, train
        z = prepare(x)
        h = z @ params["w"] + params["b"][None]
        near = jnp.exp(-_squared(z, params["w"]) / jnp.exp(params["log_s"]))
        active = units.relu * jnp.maximum(h, 0) + units.linear * h + units.quadratic * h**2 / 2
        return (active + units.radial * near) @ params["v"] + params["c"][None], state

    return Net(init, apply)


def _squared(z: Any, centers: Any) -> Any:
    """Squared distances [n, width] of points [n, d] to centers [d, width]."""
    return jnp.maximum((z**2).sum(1)[:, None] - 2 * z @ centers + (centers**2).sum(0)[None], 0)
