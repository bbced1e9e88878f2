"""Play a policy on problems drawn from a family, and compute its regret exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl import rates
from lrn.rl.bandits.policy import BanditPolicy
from lrn.rl.bandits.problem import Bandit
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, State


class PlayState(NamedTuple):
    """State of the problems that are played, leaves [problems, ...].

    means: true means of the arms, [problems, arms].
    pulls: number of pulls of each arm, int32 [problems, arms].
    policy: states of the policy.
    """

    means: Array
    pulls: Array
    policy: State


def play(bandit: Bandit, policy: BanditPolicy, problems: int = 1, pulls: int = 1) -> Learner:
    """A learner that plays several problems side by side.

    Metrics are means over the problems and the pulls of the step: ``reward``; ``gap``, the best mean less the
    mean of the arm pulled; ``optimal``, the fraction of pulls of a best arm. `regret` measures the regret.

    Args:
        bandit: the family of problems, from which each problem is drawn.
        policy: the policy.
        problems: number of problems.
        pulls: pulls of each problem in one step.

    Raises:
        ValueError: problems or pulls is below 1.
    """
    check.integer("problems", problems, low=1)
    check.integer("pulls", pulls, low=1)

    def init(key: Key, batch: Batch) -> PlayState:
        means = jax.vmap(bandit.sample)(jax.random.split(key, problems))
        policies = jax.tree.map(lambda x: jnp.broadcast_to(x, (problems, *x.shape)), policy.init())
        return PlayState(means, jnp.zeros((problems, bandit.arms), jnp.int32), policies)

    def pull(state: PlayState, keys: tuple[Key, Key]) -> tuple[PlayState, tuple[Array, Array]]:
        """One pull of one problem."""
        arm = policy.choose(keys[0], state.policy)
        reward = bandit.pull(keys[1], state.means, arm)
        after = policy.update(state.policy, arm, reward)
        gap = state.means.max() - state.means[arm]
        return PlayState(state.means, rates.count_at(state.pulls, arm), after), (reward, gap)

    def step(key: Key, state: PlayState, batch: Batch) -> tuple[PlayState, Metrics]:
        def body(state: PlayState, keys: Key) -> tuple[PlayState, Any]:
            return jax.vmap(pull)(state, (keys[0], keys[1]))

        state, (reward, gap) = jax.lax.scan(body, state, jax.random.split(key, (pulls, 2, problems)))
        optimal = (gap == 0).mean(dtype=jnp.float32)
        return state, {"reward": reward.mean(), "gap": gap.mean(), "optimal": optimal}

    return Learner(init, step)


def pseudo_regret(state: PlayState) -> Array:
    """The exact pseudo-regret of each problem so far, [problems]: the sum over arms of pulls times gap.

    It is the expected loss of the choices made; the luck of the rewards does not enter.
    """
    gaps = state.means.max(-1, keepdims=True) - state.means
    return (gaps * state.pulls).sum(-1)


def regret(learner: Any, config: Any, key: Key, state: PlayState, data: Any) -> Mapping[str, Array]:
    """A function for ``evaluate=`` of `lrn.train.fit`; measures ``regret``, the mean of `pseudo_regret`."""
    del learner, config, key, data
    return {"regret": pseudo_regret(state).mean()}


def example() -> Example:
    """UCB1 on ten Bernoulli arms."""
    from lrn.rl.bandits.problem import bernoulli
    from lrn.rl.bandits.ucb1 import UCB1Config, ucb1

    bandit = bernoulli(10)
    return Example(
        lambda config: play(bandit, ucb1(bandit.arms, config), 4, 3),
        UCB1Config(),
        solves=Goal("optimal", above=0.4),
    )
