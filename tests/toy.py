"""A small regression learner and its data, for tests of the driver."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrn.config import config
from lrn.types import Learner, Mean, Sampler


@config
class ToyConfig:
    """A float field, which can be swept, and an int field, which cannot."""

    lr: float = 0.01
    width: int = 16


class ToyState(NamedTuple):
    """Parameters, optimizer state, and a key, which checkpoints must keep."""

    params: Any
    opt_state: Any
    key: jax.Array


def predict(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["w"]) @ params["v"]


def toy(config: ToyConfig) -> Learner:
    """Adam on the squared error of a two-layer net; noise in the gradient makes keys matter."""
    optimizer = optax.adam(config.lr)

    def init(key, batch):
        w, v, rest = jax.random.split(key, 3)
        params = {
            "w": jax.random.normal(w, (batch["x"].shape[1], config.width)),
            "v": jax.random.normal(v, (config.width,)) / config.width,
        }
        return ToyState(params, optimizer.init(params), rest)

    def step(key, state, batch):
        def loss(params):
            return jnp.mean((predict(params, batch["x"]) - batch["y"]) ** 2)

        value, grads = jax.value_and_grad(loss)(state.params)
        noise = 0.01 * jax.random.normal(key, state.params["v"].shape)
        grads["v"] = grads["v"] + noise
        updates, opt_state = optimizer.update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        sometimes = Mean(value, (jax.random.uniform(jax.random.fold_in(key, 1)) < 0.05).astype(jnp.float32))
        return ToyState(params, opt_state, jax.random.fold_in(state.key, 0)), {
            "loss": value,
            "rare": sometimes,
        }

    return Learner(init, step)


def toy_data(rows: int = 200) -> dict[str, np.ndarray]:
    x = np.random.RandomState(0).randn(rows, 4).astype(np.float32)
    return {"x": x, "y": (x[:, 0] * x[:, 1]).astype(np.float32)}


def _draw(key, data):
    rows = jax.random.randint(key, (32,), 0, data["x"].shape[0])
    return {"x": data["x"][rows], "y": data["y"][rows]}


toy_sampler = Sampler(_draw)


def toy_mse(learner, config, key, state, data):
    return {"mse": jnp.mean((predict(state.params, data["x"]) - data["y"]) ** 2)}


def same(a: Any, b: Any) -> bool:
    """Whether two pytrees of arrays are equal, bit for bit (NaN equals NaN)."""

    def bits(x):
        x = (
            jax.random.key_data(x)
            if jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)
            else x
        )
        return np.asarray(x)

    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return len(left) == len(right) and all(
        bits(x).tobytes() == bits(y).tobytes() if bits(x).dtype != object else list(bits(x)) == list(bits(y))
        for x, y in zip(left, right)
    )
