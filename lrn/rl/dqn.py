"""DQN: Q-learning with a network, from replayed transitions and a slow target network (Mnih et al. 2015).

Its usual extensions are options: double DQN (van Hasselt et al. 2016), dueling networks (`dueling`; Wang et
al. 2016), n-step returns, and a bonus for exploration.

The defaults of `DQNConfig` are those of CleanRL (Huang et al. 2022) for 500,000 steps of CartPole. CleanRL
plays one environment and trains every ten steps; the defaults here play ten environments side by side and
train after each step of them.
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
from lrn.types import Array, Example, Goal, Key, Mean, Metrics, Net, NetState, Params, PyTree, State
from lrn.xla.descend import clipped_step


@config
class DQNConfig:
    """Settings. Unless said otherwise, steps are environment steps, summed over all environments.

    total_steps: environment steps of the training.
    num_envs: environments played side by side.
    rollout_length: steps in each environment between two rounds of updates.
    updates: gradient steps in a round.
    buffer_size: transitions that the replay keeps, see `lrn.rl.replay.start`.
    batch_size: transitions in a gradient step.
    learning_starts: environment steps before the first update.
    learning_rate: step size of Adam.
    anneal: whether the learning rate falls linearly to zero, from the first update to ``total_steps``. With a
        constant rate the curve of returns is fine, but the quality of the last policy is a matter of luck: on
        CartPole the mean return of ten last policies was 393 of 500.
    discount: discount per step, in [0, 1].
    target_period: gradient steps between two moves of the target network.
    target_rate: share of the distance to the online network by which the target network moves. A period of 50
        with a rate of 1 copies the online network now and then; a period of 1 with a rate of 0.005 is Polyak
        averaging.
    epsilon_start: chance of a random action at the first step.
    epsilon_end: chance of a random action from the end of the schedule on.
    exploration_fraction: fraction of ``total_steps`` over which the chance falls linearly.
    double: whether the online network chooses the next action and the target network values it; else the
        target network does both.
    n_step: rewards summed before bootstrapping. Above 1 the sums include rewards of exploring actions, which
        nothing corrects.
    loss: "huber" (squared up to an error of 1, linear beyond), or "squared".
    max_grad_norm: largest global norm of the gradient; a longer gradient is scaled down to it.
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

    def __post_init__(self) -> None:
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
        """Gradient steps of a whole training, from the round in which learning starts to the last."""
        waiting = max(-(-self.learning_starts // self.interactions), 1) - 1
        return (self.total_steps / self.interactions - waiting) * self.updates


class DQNState(NamedTuple):
    """State of DQN.

    params: parameters of the online network.
    target: parameters of the target network.
    opt_state: state of the optimizer.
    updates: int32, gradient steps so far; `lrn.rl.rates` describes how counters near 2^31 behave.
    net_state: state of the network beside its parameters, () without one.
    bonus: state of the exploration bonus, () without one.
    live: the environments in the middle of their episodes.
    replay: the transitions that are kept.
    steps: int32, environment steps so far; counted like ``updates``.
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
    """Deep Q-learning with a replay and a target network.

    The target of a truncated transition bootstraps from its final observation; the target of a terminated
    transition does not. A network that keeps a state (BatchNorm) is used in evaluation mode.

    Args:
        env: the environment, with discrete actions.
        net: maps observations [batch, ...] to values [batch, actions]. A value of -inf marks an action that
            is not allowed in that state: the agent neither plays it nor bootstraps from it.
        config: settings.
        bonus: an exploration bonus that is added to rewards as they are learned from.

    Metrics: ``return`` and ``length`` of the exploring episodes that ended, ``loss``, ``q`` (mean value of
    the actions in the sampled transitions), ``epsilon``; with a bonus also ``bonus``, its mean over the
    transitions of this step.

    Raises:
        InputError: the actions are continuous, or the network's output is not [batch, actions].
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
            target=jax.tree.map(jnp.copy, params),  # a donated state must not hold the same buffer twice
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
        # The loop carries only what learning changes; the replay stays outside of it.
        before = (state.params, state.target, state.opt_state, state.updates)
        after, (loss, q) = jax.lax.scan(lambda carry, rows: learn(state, carry, rows), before, windows)
        # Before learning starts, updates are masked, not skipped: a `cond` around the state copies the ring.
        ready = steps >= config.learning_starts
        after = jax.tree.map(lambda new, old: jnp.where(ready, new, old), after, before)
        state = DQNState(*after, *state[len(after) :])
        metrics["loss"] = Mean(loss.mean(), ready.astype(jnp.float32))
        metrics["q"] = Mean(q.mean(), ready.astype(jnp.float32))
        metrics["epsilon"] = epsilon_at(config, steps)
        return state, metrics

    def collect(key: Key, state: DQNState) -> tuple[play.Live, Transition, play.Ended]:
        """Play a round. Transitions have leaves [rollout_length * num_envs, ...], step after step."""
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
        """The function from rows to rewards: stored reward plus the bonus of the current bonus state."""
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
        next_q: values of the target network at the next state, [batch, actions]; -inf for an action that is
            not allowed.
        reward: [batch], discounted sum of the rewards of n steps.
        weight: [batch], discount ** n, and 0 where the episode terminated.
    """
    return reward + _weighed(next_q.max(-1), weight)


def double_q_target(next_q_online: Array, next_q: Array, reward: Array, weight: Array) -> Array:
    """Targets of double DQN (van Hasselt et al. 2016, eq. 4), [batch].

    Args:
        next_q_online: values of the online network at the next state, [batch, actions]; they choose the
            action.
        next_q: values of the target network there, [batch, actions]; they value the chosen action.
        reward: [batch], discounted sum of the rewards of n steps.
        weight: [batch], discount ** n, and 0 where the episode terminated.
    """
    return reward + _weighed(taken(next_q, jnp.argmax(next_q_online, -1)), weight)


def _weighed(value: Array, weight: Array) -> Array:
    """``weight * value``, and 0 where the weight is 0 even if the value is -inf (no action is allowed)."""
    return weight * jnp.where((weight == 0) & jnp.isneginf(value), 0.0, value)


def q_learning_loss(q: Array, action: Array, target: Array, loss: str = "squared") -> Array:
    """Mean loss of ``Q(s, a)`` against targets [batch], through which no gradient flows.

    Args:
        q: values [batch, actions]; -inf for an action that is not allowed.
        action: int [batch], the action taken. An action out of range makes the loss and its gradient NaN.
        target: targets of the values of the actions, [batch].
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
    """Epsilon-greedy actions, int32 [...].

    One uniform number decides whether to explore and which action to play: given that it lies below epsilon,
    ``uniform / epsilon`` is uniform in [0, 1) again and picks one of the allowed actions.
    (`lrn.rl.exploration.select` has a version that takes a key.)

    Args:
        uniform: [...], numbers drawn uniformly from [0, 1).
        q: values [..., actions]; -inf for an action that is not allowed.
        epsilon: scalar, the chance of a random action.
    """
    allowed = ~jnp.isneginf(q)
    n = allowed.sum(-1)
    place = jnp.minimum(uniform / jnp.maximum(epsilon, 1e-6) * n, n - 1).astype(jnp.int32)
    random = jnp.argmax(jnp.cumsum(allowed, -1) > place[..., None], -1).astype(jnp.int32)
    return jnp.where(uniform < epsilon, random, jnp.argmax(q, -1).astype(jnp.int32))


def epsilon_at(config: Any, steps: ArrayLike) -> Array:
    """The chance of a random action after ``steps`` environment steps [...], of the same shape.

    The config may be of any class that has `DQNConfig`'s fields ``total_steps``, ``exploration_fraction``,
    ``epsilon_start`` and ``epsilon_end``.
    """
    duration = config.exploration_fraction * config.total_steps
    return linear_schedule(steps, config.epsilon_start, config.epsilon_end, duration)


def dueling(net: Net) -> Net:
    """A dueling network (Wang et al. 2016, eq. 9): ``Q = V + A - mean(A)``, [batch, actions].

    Args:
        net: maps observations to [batch, 1 + actions]: the value of the state, then an advantage for each
            action. An action that is not allowed has advantage -inf, and the mean leaves it out.
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
        solves=Goal("return", above=1.1),
    )
