"""DQN: Q-learning with a network, from replayed transitions and a slow target network (Mnih et al. 2015).

With its usual extensions as options: double (van Hasselt et al. 2016), dueling (Wang et al. 2016; a network,
see `dueling`), n-step returns, and a bonus for exploration.

The defaults of `DQNConfig` are those of CleanRL (Huang et al. 2022) for 500,000 steps of CartPole, with ten
environments side by side in place of one that trains every ten steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl import heads, play, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.distributions import of_action
from lrn.rl.env import Env, as_float
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.rl.exploration.schedules import linear_schedule
from lrn.rl.replay import Played, Transition
from lrn.types import Array, Example, Key, Mean, Metrics, Net, NetState, Params, PyTree, State
from lrn.xla.descend import clipped_step


@config
class DQNConfig:
    """Settings; steps are of the environment, all environments together, unless said otherwise.

    total_steps: what the schedule of epsilon runs over, and if ``anneal`` that of the rate.
    num_envs, rollout_length: environments side by side, and steps in each between two rounds of updates.
    updates: gradient steps in a round.
    buffer_size: transitions kept, see `lrn.rl.replay.start`. batch_size: transitions in a gradient step.
    learning_starts: steps before the first update.
    learning_rate: of Adam; falls linearly to zero, from the first update on, if ``anneal``. A constant one
        does for a curve, but what is then left as the last policy is a matter of luck: on CartPole the mean
        of ten was 393 of 500.
    target_period, target_rate: every ``target_period`` gradient steps the target network moves by this share
        of its distance to the other: (50, 1.0) copies it now and then, (1, 0.005) is Polyak averaging.
    epsilon_start, epsilon_end, exploration_fraction: the chance of a random action falls linearly from the
        first to the second over this fraction of ``total_steps``.
    double: choose the next action by the online network, and value it by the target network.
    n_step: rewards summed before bootstrapping. Beyond 1 these hold exploring actions: no correction.
    loss: "huber" (squared up to an error of 1), or "squared".
    max_grad_norm: the gradient's global norm is cut here.
    """

    total_steps: int = 500_000
    num_envs: int = 10
    rollout_length: int = 1
    updates: int = 1
    buffer_size: int = 10_000
    batch_size: int = 128
    learning_starts: int = 10_000
    learning_rate: float = 2.5e-4
    anneal: bool = False
    discount: float = 0.99
    target_period: int = 50
    target_rate: float = 1.0
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    exploration_fraction: float = 0.5
    double: bool = False
    n_step: int = 1
    loss: str = "squared"
    max_grad_norm: float = 10.0

    def __post_init__(self):
        rates.check_total_steps(self.total_steps)
        for name in (
            "num_envs",
            "rollout_length",
            "updates",
            "buffer_size",
            "batch_size",
            "target_period",
            "n_step",
        ):
            check.integer(name, getattr(self, name), 1)
        check.positive("learning_rate", self.learning_rate)
        check.positive("max_grad_norm", self.max_grad_norm)
        check.boolean("anneal", self.anneal)
        check.boolean("double", self.double)
        check.positive("exploration_fraction", self.exploration_fraction)
        for name in ("discount", "target_rate", "epsilon_start", "epsilon_end", "exploration_fraction"):
            check.between(name, getattr(self, name), 0, 1)
        check.choice("loss", self.loss, ("huber", "squared"))
        rates.check_warm_up(self.learning_starts, self.total_steps, self.interactions)
        window = self.n_step * self.num_envs
        if self.buffer_size < max(window, self.interactions) or self.buffer_size % self.num_envs:
            raise check.InputError(
                f"buffer_size must be a multiple of num_envs ({self.num_envs}) and hold {self.n_step} steps "
                f"of each and a round of {self.interactions}, got {self.buffer_size}; choose such a size."
            )
        if self.learning_starts < window:
            raise check.InputError(
                f"learning_starts must be at least n_step * num_envs = {window}, got {self.learning_starts}; "
                "raise it, so that there is something to sample."
            )
        replay.check_sizes(self.buffer_size, self.batch_size)

    @property
    def interactions(self) -> int:
        """Steps of the environment in one learner step."""
        return self.num_envs * self.rollout_length

    @property
    def gradient_steps(self) -> float:
        """Those of a training, from the round in which learning starts to the last."""
        waiting = max(-(-self.learning_starts // self.interactions), 1) - 1
        return (self.total_steps / self.interactions - waiting) * self.updates


class DQNState(NamedTuple):
    """State of an agent.

    updates: gradient steps so far, and steps: those of the environment; see `lrn.rl.rates` for 2^31 of them.
    bonus: state of the exploration bonus, () without one.
    """

    params: Params
    target: Params
    opt_state: optax.OptState
    updates: Array
    net_state: NetState
    bonus: State
    live: play.Live
    replay: Played
    steps: Array


def dqn(env: Env, net: Net, config: DQNConfig, bonus: Bonus | None = None) -> Agent:
    """Learn Q with ``net``, which maps observations [batch, ...] to values [batch, actions].

    An action whose value the network gives as -inf is not allowed there, and neither played nor bootstrapped
    from.

    The target of a truncated transition bootstraps from its final observation; that of a terminated one does
    not. A network that keeps a state (BatchNorm) is used in evaluation mode.

    Metrics: ``return`` and ``length`` of the exploring episodes that ended, ``loss``, ``q`` (mean value of
    the sampled actions), ``epsilon``; and with a bonus ``bonus``, its mean over what was just collected.

    Raises:
        InputError: continuous actions, or a network of another output.
    """
    actions = envs.require_discrete(env, "dqn")
    heads.check_output("the network of dqn", net, env.observation_shape, actions)
    rate = rates.learning_rate(config.learning_rate, config.gradient_steps, config.anneal)
    optimizer = optax.adam(rate)

    def values(params: Params, net_state: NetState, observation: Array) -> Array:
        return net.apply(params, net_state, as_float(observation))[0]

    def init(key: Key, batch: Any = None) -> DQNState:
        net_key, env_key, bonus_key = jax.random.split(key, 3)
        live = play.start(env, env_key, config.num_envs)
        params, net_state = net.init(net_key, as_float(live.observation))
        return DQNState(
            params=params,
            target=jax.tree.map(jnp.copy, params),  # a state that is donated may not hold a buffer twice
            opt_state=optimizer.init(params),
            updates=jnp.int32(0),
            net_state=net_state,
            bonus=() if bonus is None else bonus.init(bonus_key, live.observation),
            live=live,
            replay=replay.start(live.observation, jnp.int32(0), config.buffer_size, config.interactions),
            steps=jnp.int32(0),
        )

    def step(key: Key, state: DQNState, batch: Any = None) -> tuple[DQNState, Metrics]:
        play_key, bonus_key, sample_key = jax.random.split(key, 3)
        live, fresh, ended = collect(play_key, state)
        metrics = dict(play.episode_metrics(ended))
        if bonus is not None:
            seen = Transitions(fresh.observation, fresh.action, fresh.final_observation)
            state = state._replace(bonus=bonus.update(bonus_key, state.bonus, seen))
            metrics["bonus"] = bonus.bonus(state.bonus, *seen).mean()
        steps = rates.count(state.steps, config.interactions)
        buffer = replay.record(state.replay, fresh, live.observation)
        state = state._replace(live=live, replay=buffer, steps=steps)

        shape = (config.updates, config.batch_size)
        windows = replay.draw(sample_key, state.replay, shape, config.n_step, config.num_envs)
        # Only what learning changes is carried; the ring stays outside of the loop.
        before = (state.params, state.target, state.opt_state, state.updates)
        after, (loss, q) = jax.lax.scan(lambda carry, rows: learn(state, carry, rows), before, windows)
        # Masked, not skipped, until learning starts: a `cond` around the state would copy the ring.
        ready = steps >= config.learning_starts
        after = jax.tree.map(lambda new, old: jnp.where(ready, new, old), after, before)
        state = DQNState(*after, *state[len(after) :])
        metrics["loss"] = Mean(loss.mean(), ready.astype(jnp.float32))
        metrics["q"] = Mean(q.mean(), ready.astype(jnp.float32))
        metrics["epsilon"] = epsilon_at(config, steps)
        return state, metrics

    def collect(key: Key, state: DQNState) -> tuple[play.Live, Transition, play.Ended]:
        """Play a round; its transitions, [rollout_length * num_envs, ...], step after step."""
        noise_key, env_key = jax.random.split(key)
        uniform = jax.random.uniform(noise_key, (config.rollout_length, config.num_envs))
        ahead = config.num_envs * jnp.arange(config.rollout_length)
        epsilon = epsilon_at(config, rates.count(state.steps, ahead))

        def act(noise: tuple[Array, Array], observation: Array, memory: PyTree):
            q = values(state.params, state.net_state, observation)
            return epsilon_greedy(noise[0], q, noise[1]), (), memory

        live, _, played, ended = play.unroll(
            env, env_key, state.live, act, (), (uniform, epsilon), config.rollout_length
        )
        fresh = Transition(*(getattr(played, name) for name in Transition._fields))
        return live, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fresh), ended

    def learn(state: DQNState, carry: tuple, windows: Array) -> tuple[tuple, tuple[Array, Array]]:
        """One gradient step on the n-step transitions that begin at rows ``windows`` [batch(, n_step)]."""
        params, target_params, opt_state, updates = carry
        batch, weight = replay.take_n_step(
            state.replay, windows.reshape(config.batch_size, -1), config.discount, reward_of(state)
        )
        next_q = values(target_params, state.net_state, batch.final_observation)
        if config.double:
            online = values(params, state.net_state, batch.final_observation)
            target = double_q_target(online, next_q, batch.reward, weight)
        else:
            target = q_target(next_q, batch.reward, weight)

        def objective(params: Params) -> tuple[Array, Array]:
            q = values(params, state.net_state, batch.observation)
            return q_learning_loss(q, batch.action, target, config.loss), taken(q, batch.action).mean()

        (loss, q), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        params, opt_state = clipped_step(optimizer, gradient, opt_state, params, config.max_grad_norm)
        updates = rates.count_in_periods(updates, config.target_period)
        fraction = jnp.where(updates % config.target_period == 0, config.target_rate, 0.0)
        target_params = jax.tree.map(lambda t, p: t + fraction * (p - t), target_params, params)
        return (params, target_params, opt_state, updates), (loss, q)

    def reward_of(state: DQNState):
        """The rewards learned from: with the bonus as it is now, not as it was when they were stored."""
        if bonus is None:
            return None

        value = bonus.bonus

        def reward(rows: Transition) -> Array:
            return rows.reward + value(state.bonus, rows.observation, rows.action, rows.final_observation)

        return reward

    def greedy(state: DQNState, observation: Array) -> Array:
        return jnp.argmax(values(state.params, state.net_state, observation), -1)

    def sample(key: Key, state: DQNState, observation: Array) -> Array:
        q = values(state.params, state.net_state, observation)
        uniform = jax.random.uniform(key, observation.shape[:1])
        return epsilon_greedy(uniform, q, epsilon_at(config, state.steps))

    return Agent(init, step, memoryless(greedy, sample))


def q_target(next_q: Array, reward: Array, weight: Array) -> Array:
    """Targets of Q-learning, ``r + weight * max_a Q'(s', a)``: [batch].

    Args:
        next_q: [batch, actions], of the target network; -inf for an action that is not allowed.
        reward: [batch], summed over n steps.
        weight: [batch], discount ** n, and 0 where terminated.
    """
    return reward + _weighed(next_q.max(-1), weight)


def double_q_target(next_q_online: Array, next_q: Array, reward: Array, weight: Array) -> Array:
    """Targets of double DQN (van Hasselt et al. 2016, eq. 4): `q_target` at the online network's choice."""
    return reward + _weighed(taken(next_q, jnp.argmax(next_q_online, -1)), weight)


def _weighed(value: Array, weight: Array) -> Array:
    """``weight * value``: 0 where nothing follows, even if no action is allowed there."""
    return weight * jnp.where((weight == 0) & jnp.isneginf(value), 0.0, value)


def q_learning_loss(q: Array, action: Array, target: Array, loss: str = "squared") -> Array:
    """Mean loss of ``Q(s, a)`` against targets [batch], through which no gradient flows.

    Args:
        q: [batch, actions]; -inf for an action that is not allowed.
        action: int [batch], the action taken; NaN comes out, in value and gradient, for one out of range.
        target: [batch].
        loss: "squared" is half the squared error; "huber" is the same up to an error of 1, then linear.

    Raises:
        InputError: an unknown loss.
    """
    check.choice("loss", loss, ("huber", "squared"))
    error = taken(q, action) - jax.lax.stop_gradient(target)
    return jnp.mean(optax.losses.huber_loss(error) if loss == "huber" else 0.5 * error**2)


def taken(q: Array, action: Array) -> Array:
    """The values [...] of actions [...] among ``q`` [..., actions]; see `lrn.rl.distributions.of_action`."""
    return of_action(q, action)


def epsilon_greedy(uniform: Array, q: Array, epsilon: Array) -> Array:
    """Actions [...] for values ``q`` [..., actions], greedy but for a chance ``epsilon``, a scalar.

    One number of ``uniform`` [...] in [0, 1) decides both: given that it lies below epsilon, its place there
    is uniform again, and names one of the actions that are allowed: those whose value is not -inf.
    (`lrn.rl.exploration.select` has the version that takes a key.)
    """
    allowed = ~jnp.isneginf(q)
    n = allowed.sum(-1)
    place = jnp.minimum(uniform / jnp.maximum(epsilon, 1e-6) * n, n - 1).astype(jnp.int32)
    random = jnp.argmax(jnp.cumsum(allowed, -1) > place[..., None], -1).astype(jnp.int32)
    return jnp.where(uniform < epsilon, random, jnp.argmax(q, -1).astype(jnp.int32))


def epsilon_at(config: Any, steps: ArrayLike) -> Array:
    """The chance of a random action after so many steps; of any config with `DQNConfig`'s fields for it."""
    duration = config.exploration_fraction * config.total_steps
    return linear_schedule(steps, config.epsilon_start, config.epsilon_end, duration)


def dueling(net: Net) -> Net:
    """A dueling head (Wang et al. 2016, eq. 9): ``Q = V + A - mean(A)``.

    ``net`` maps to [batch, 1 + actions]: the value of the state, then an advantage for each action, -inf for
    one that is not allowed, which the mean leaves out.
    """

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        out, state = net.apply(params, state, x, key=key, train=train)
        advantage = out[..., 1:]
        allowed = ~jnp.isneginf(advantage)
        count = jnp.maximum(allowed.sum(-1, keepdims=True), 1)
        mean = jnp.where(allowed, advantage, 0.0).sum(-1, keepdims=True) / count
        return out[..., :1] + advantage - mean, state

    return Net(net.init, apply)


def example() -> Example:
    """Double dueling DQN with two-step returns on an environment of three symbols."""
    from lrn import nets
    from lrn.rl.identity import echo

    env, net = echo(3), dueling(nets.mlp(4, (16,)))
    return Example(
        factory=lambda config: dqn(env, net, config),
        config=DQNConfig(
            total_steps=1000,
            num_envs=4,
            rollout_length=2,
            updates=2,
            buffer_size=64,
            batch_size=8,
            learning_starts=16,
            target_period=4,
            double=True,
            n_step=2,
            loss="huber",
        ),
    )
