"""PQN: parallelized Q-learning, without replay or target network (Gallici et al. 2024, arXiv 2407.04811).

An iteration plays many environments for a short rollout, and fits Q to the lambda-returns of the rollout in
minibatches. The network needs LayerNorm, such as ``nets.mlp(..., layer_norm=True)``: without it training can
diverge.

Settings of the paper for 10 million steps of MinAtar (here with an MLP on the flattened frame, not its CNN):

    PQNConfig(total_steps=10_000_000, num_envs=128, rollout_length=32, minibatches=32, epochs=2,
              learning_rate=5e-4, lambda_=0.65, exploration_fraction=0.1)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl import heads, minibatch, play, rates, returns
from lrn.rl.agent import Agent, memoryless
from lrn.rl.distributions import of_action
from lrn.rl.env import Env, as_float
from lrn.rl.epsilon import epsilon_at, epsilon_greedy
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.ppo import pay_bonus
from lrn.rl.return_heads import q_learning_loss
from lrn.types import Array, Example, Goal, Key, Metrics, Net, NetState, Params, PyTree, State
from lrn.xla.descend import clipped_step


@config
class PQNConfig:
    """Settings; the defaults are for CartPole and a network with two layers of 64 units.

    total_steps: environment steps of the training.
    num_envs: environments played side by side.
    rollout_length: steps in each environment before an update.
    epochs: passes over a rollout.
    minibatches: gradient steps in a pass.
    learning_rate: step size of RAdam.
    anneal: whether the learning rate falls linearly to zero over ``total_steps``.
    discount: discount per step, in [0, 1].
    lambda_: lambda of the returns, in [0, 1]; 0 is one-step Q-learning.
    epsilon_start: chance of a random action at the first step.
    epsilon_end: chance of a random action from the end of the schedule on.
    exploration_fraction: fraction of ``total_steps`` over which the chance falls linearly.
    max_grad_norm: largest global norm of the gradient; a longer gradient is scaled down to it.
    """

    total_steps: int = 500_000
    num_envs: int = 16
    rollout_length: int = 64
    epochs: int = 4
    minibatches: int = 8
    learning_rate: float = 3e-3
    anneal: bool = True
    discount: float = 0.99
    lambda_: float = 0.9
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    exploration_fraction: float = 0.3
    max_grad_norm: float = 10.0

    def __post_init__(self) -> None:
        rates.check_total_steps(self.total_steps)
        for name in ("num_envs", "rollout_length", "epochs", "minibatches"):
            check.integer(name, getattr(self, name), 1)
        rates.check_iterations(self.total_steps, self.interactions)
        check.boolean("anneal", self.anneal)
        check.positive("learning_rate", self.learning_rate)
        check.positive("exploration_fraction", self.exploration_fraction)
        for name in ("discount", "lambda_", "epsilon_start", "epsilon_end", "exploration_fraction"):
            check.between(name, getattr(self, name), 0, 1)
        check.positive("max_grad_norm", self.max_grad_norm)
        minibatch.check_divides(self.num_envs, self.rollout_length, self.minibatches)

    @property
    def interactions(self) -> int:
        """Steps of the environment in one learner step."""
        return self.num_envs * self.rollout_length


class PQNState(NamedTuple):
    """State of PQN.

    params: parameters of the network.
    net_state: state of the network beside its parameters, () without one.
    opt_state: state of the optimizer.
    bonus: state of the exploration bonus, () without one.
    live: the environments in the middle of their episodes.
    steps: int32, environment steps so far.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    bonus: State
    live: play.Live
    steps: Array


def pqn(env: Env, net: Net, config: PQNConfig, bonus: Bonus | None = None) -> Agent:
    """Parallel Q-learning without replay or target network.

    The lambda-returns are Peng's: they use ``max_a Q`` at every step and do not correct for exploring
    actions. A truncated episode bootstraps from its final observation; a terminated episode does not.

    Args:
        env: the environment, with discrete actions.
        net: maps observations [batch, ...] to values [batch, actions]. A value of -inf marks an action that
            is not allowed in that state: the agent neither plays it nor bootstraps from it.
        config: settings.
        bonus: an exploration bonus that is added to the rewards.

    Metrics: ``return`` and ``length`` of the exploring episodes that ended, ``loss``, ``q`` (mean value of
    the actions taken), ``epsilon``; with a bonus also ``bonus``, its mean over the rollout.

    Raises:
        InputError: the actions are continuous, or the network's output is not [batch, actions].
    """
    actions = envs.require_discrete(env, "pqn")
    heads.check_output("the network of pqn", net, env.observation_shape, actions)
    optimizer = _optimizer(config)
    size = config.interactions // config.minibatches

    def values(params: Params, net_state: NetState, observation: Array) -> Array:
        return net.apply(params, net_state, as_float(observation))[0]

    def init(key: Key, batch: Any = None) -> PQNState:
        net_key, env_key, bonus_key = jax.random.split(key, 3)
        live = play.start(env, env_key, config.num_envs)
        params, net_state = net.init(net_key, as_float(live.observation))
        bonus_state = () if bonus is None else bonus.init(bonus_key, live.observation)
        return PQNState(params, net_state, optimizer.init(params), bonus_state, live, jnp.int32(0))

    def collect(key: Key, state: PQNState) -> tuple[play.Live, play.Trajectory, play.Ended]:
        noise_key, env_key = jax.random.split(key)
        epsilon = epsilon_at(config, state.steps)

        def act(uniform: Array, observation: Array, memory: PyTree):
            q = values(state.params, state.net_state, observation)
            return epsilon_greedy(uniform, q, epsilon), (), memory

        uniform = jax.random.uniform(noise_key, (config.rollout_length, config.num_envs))
        live, _, played, ended = play.unroll(
            env, env_key, state.live, act, (), uniform, config.rollout_length
        )
        return live, played, ended

    def targets(state: PQNState, played: play.Trajectory, reward: Array) -> Array:
        following = played.final_observation.reshape(-1, *env.observation_shape)
        next_q = values(state.params, state.net_state, following).max(-1).reshape(reward.shape)
        next_q = jnp.where(played.terminated, 0.0, next_q)  # -inf if no action is allowed after the end
        return returns.lambda_returns(
            reward, next_q, played.terminated, played.ended, config.discount, config.lambda_
        )

    def step(key: Key, state: PQNState, batch: Any = None) -> tuple[PQNState, Metrics]:
        play_key, bonus_key, shuffle_key = jax.random.split(key, 3)
        live, played, ended = collect(play_key, state)
        reward, metrics = played.reward, dict(play.episode_metrics(ended))
        bonus_state = state.bonus
        if bonus is not None:
            bonus_state, extra = pay_bonus(bonus, bonus_key, bonus_state, played)
            reward, metrics["bonus"] = reward + extra, extra.mean()
        rows = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:]),
            (played.observation, played.action, targets(state, played, reward)),
        )
        take = minibatch.taker(rows)

        def loss(params: Params, rows: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            observation, action, target = rows
            q = values(params, state.net_state, observation)
            value = q_learning_loss(q, action, target)
            return value, (value, of_action(q, action).mean())

        def descend(carry: Any, index: Array) -> Any:
            params, opt_state = carry
            gradient, measured = jax.grad(loss, has_aux=True)(params, take(index))
            return clipped_step(optimizer, gradient, opt_state, params, config.max_grad_norm), measured

        order = minibatch.shuffled(shuffle_key, config.interactions, config.epochs).reshape(-1, size)
        (params, opt_state), (losses, q) = jax.lax.scan(descend, (state.params, state.opt_state), order)
        steps = rates.count(state.steps, config.interactions)
        metrics |= {"loss": losses.mean(), "q": q.mean(), "epsilon": epsilon_at(config, steps)}
        return PQNState(params, state.net_state, opt_state, bonus_state, live, steps), metrics

    def greedy(state: PQNState, observation: Array) -> Array:
        return jnp.argmax(values(state.params, state.net_state, observation), -1)

    def sample(key: Key, state: PQNState, observation: Array) -> Array:
        q = values(state.params, state.net_state, observation)
        uniform = jax.random.uniform(key, observation.shape[:1])
        return epsilon_greedy(uniform, q, epsilon_at(config, state.steps))

    return Agent(init, step, memoryless(greedy, sample))


def _optimizer(config: PQNConfig) -> optax.GradientTransformation:
    """RAdam; with ``config.anneal`` the rate falls linearly with the gradient steps."""
    updates = config.total_steps / config.interactions * config.epochs * config.minibatches
    rate = rates.learning_rate(config.learning_rate, updates, config.anneal)

    return optax.chain(
        optax.scale_by_radam(),
        optax.scale_by_learning_rate(rate),
    )


def example() -> Example:
    """A small network on an environment of three symbols."""
    from lrn import nets
    from lrn.rl.identity import echo

    env, net = echo(3), nets.mlp(3, (16,), layer_norm=True)
    return Example(
        factory=lambda config: pqn(env, net, config),
        config=PQNConfig(
            total_steps=20_000, learning_rate=0.003, num_envs=4, rollout_length=8, epochs=2, minibatches=2
        ),
        solves=Goal("return", above=3.0),
    )
