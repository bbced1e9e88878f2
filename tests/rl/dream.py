"""Shared by the references of agents with a learned model: the ensemble and its imagination in plain NumPy.

Source: Chua et al. (2018, 1805.12114), section 4 and appendix A.1 for the ensemble, section 5.1 for the
particles. The code is for the environment `drift`, with observations and actions of two numbers each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import doubles
import jax
import jax.numpy as jnp
import numpy as np
from drift import linear
from plain import Adam, as_float64, assert_trees_close, gradient, numbers
from soft import to_env

from lrn.rl.model_based.dynamics import DynamicsConfig
from lrn.rl.model_based.imagine import Known

NET = linear(4, 6)  # means and log-variances of two changes and of a reward
KNOWN = Known(
    reward=lambda x, action, after: x[..., 0] - 0.3 * action[..., 1] + 0.4 * after[..., 1] * action[..., 0],
    terminates=lambda x, action, after: after[..., 0] - 0.2 * x[..., 1] + 0.3 * action[..., 0] > 0.6,
)


class Ensemble:
    """The reference of a `lrn.rl.model_based.dynamics.Model`, from before its first gradient step."""

    def __init__(self, model: Any, config: DynamicsConfig):
        self.params, self.config = as_float64(model.params), config
        self.x, self.y = as_float64((model.x, model.y))
        self.adam = Adam(self.params)

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Add played transitions to the moments."""
        x, y = data({name: numbers([row[name] for row in rows]) for name in rows[0]})
        self.x, self.y = doubles.pooled(self.x, x), doubles.pooled(self.y, y)

    def normal(self, params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and log-variances [members, n, 3] in normalized units."""
        out = np.einsum("mni,mio->mno", x, params.nets["w"]) + params.nets["b"][:, None]
        low, high = params.low[:, None], params.high[:, None]
        below = high - np.logaddexp(0, high - out[..., 3:])
        return out[..., :3], low + np.logaddexp(0, below - low)

    def learn(self, rows: dict[str, np.ndarray]) -> float:
        """A step of AdamW, each member on its own rows; returns the mean likelihood loss before the step."""
        x, y = data(rows)
        x, y = doubles.normalized(self.x, x, True), doubles.normalized(self.y, y, True)

        def nll(params: Any) -> np.ndarray:
            mean, log_var = self.normal(params, x)
            return 0.5 * (np.log(2 * np.pi) + log_var + (y - mean) ** 2 / np.exp(log_var)).mean((1, 2))

        def loss(params: Any) -> float:
            gap = (params.high - params.low).sum()
            return float(nll(params).sum() + self.config.bound_penalty * gap)

        told, rate = nll(self.params).mean(), self.config.learning_rate
        decay = jax.tree.map(lambda p: rate * self.config.weight_decay * p, self.params)
        moved = self.adam.step(self.params, gradient(loss, self.params), rate)
        self.params = jax.tree.map(lambda p, d: p - d, moved, decay)
        return told

    def imagine(
        self, luck: Luck, x: np.ndarray, act: Any, known: Known | None, propagation: str
    ) -> list[dict[str, Any]]:
        """Imagined steps of particles from x [particles, n, 2], each a dict of [particles, n, ...]."""
        particles, n, _ = x.shape
        members = len(self.params.low)
        alive, steps = np.ones((particles, n), bool), []
        for t, (deal, noise) in enumerate(zip(np.asarray(luck.deals), numbers(luck.noise))):
            if propagation == "ts1":
                x, alive = x[deal], alive[deal]
            action = act(t, x)
            seen = doubles.normalized(self.x, np.concatenate([x, action], -1), True)
            mean, log_var = self.normal(self.params, seen.reshape(members, -1, 4))
            mean, log_var = mean.reshape(particles, n, 3), log_var.reshape(particles, n, 3)
            drawn = mean + np.exp(log_var / 2) * noise
            drawn = numbers(self.y.mean) + np.sqrt(numbers(self.y.var) + 1e-8) * drawn
            after, reward = x + drawn[..., :2], drawn[..., 2]
            ends, said = np.zeros((particles, n), bool), (x, to_env(action), after)
            if known is not None:
                known_reward: Any = known.reward
                known_end: Any = known.terminates
                reward, ends = known_reward(*said), known_end(*said)
            steps.append({
                "observation": x, "action": action, "reward": reward, "terminated": ends,
                "final_observation": after, "alive": alive,
            })  # fmt: skip
            x, alive = after, alive & ~ends
        return steps

    def check(self, model: Any) -> None:
        """Assert that every leaf equals that of the reference."""
        assert_trees_close(model.params, self.params)
        adam = model.opt_state[0]
        assert_trees_close((adam.mu, adam.nu), (self.adam.mu, self.adam.nu))
        assert int(adam.count) == self.adam.count
        assert len(jax.tree.leaves(model.opt_state)) == 1 + 2 * len(jax.tree.leaves(self.params))
        assert_trees_close((model.x, model.y), (self.x, self.y))


class Luck(NamedTuple):
    """The random draws of an imagined rollout.

    deals: [length, particles]. noise: [length, particles, 1, 3].
    """

    deals: Any
    noise: Any


def luck(key: Any, length: int, particles: int) -> Luck:
    """The draws of a key; for use under jit."""
    deal_key, noise_key = jax.random.split(key)
    deals = jnp.argsort(jax.random.uniform(deal_key, (length, particles)), -1)
    return Luck(deals, jax.random.normal(noise_key, (length, particles, 1, 3)))


def data(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [..., 4] and targets [..., 3] of the networks."""
    x, after = rows["observation"], rows["final_observation"]
    return np.concatenate([x, rows["action"]], -1), np.concatenate([after - x, rows["reward"][..., None]], -1)


def check_init(key: Any, model: Any, members: int) -> None:
    """Assert that each member was drawn from a key of its own, and that moments are empty."""
    nets = jax.jit(
        lambda: jax.vmap(lambda k: NET.init(k, jnp.zeros((1, 4)))[0])(jax.random.split(key, members))
    )()
    assert_trees_close(model.params.nets, nets)
    np.testing.assert_array_equal(model.params.low, np.full((members, 3), -10.0))
    np.testing.assert_array_equal(model.params.high, np.full((members, 3), 0.5))
    for moments in (model.x, model.y):
        assert float(moments.seen) == 0


def narrowed(model: Any) -> Any:
    """The model with different bounds of the log-variances, narrow enough to take effect."""
    shape = model.params.low.shape
    low, high = np.linspace(-1.5, -0.9, model.params.low.size), np.linspace(0.3, 0.8, model.params.low.size)
    params = model.params._replace(
        low=jnp.asarray(low.reshape(shape), jnp.float32), high=jnp.asarray(high.reshape(shape), jnp.float32)
    )
    return model._replace(params=params)
