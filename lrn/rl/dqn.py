"""DQN: Q-learning with a network, from replayed transitions and a slow target network (Mnih et al. 2015).

Its usual extensions are options:

- double DQN (van Hasselt et al. 2016) and n-step returns: ``double`` and ``n_step``;
- dueling networks (Wang et al. 2016): `lrn.rl.heads.dueling`;
- prioritized replay (Schaul et al. 2016): ``prioritized``;
- noisy networks (Fortunato et al. 2018): ``noisy`` and `lrn.nets.noisy_mlp`;
- a network that predicts the distribution of the return, C51 (Bellemare et al. 2017) and QR-DQN (Dabney et
  al. 2018): ``head`` and `lrn.rl.return_heads`;
- a bonus for exploration: ``bonus``.

The first four with C51 are Rainbow (Hessel et al. 2018).

The defaults of `DQNConfig` are those of CleanRL (Huang et al. 2022) for 500,000 steps of CartPole. CleanRL
plays one environment and trains every ten steps; the defaults here play ten environments side by side and
train after each step of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import env as envs
from lrn.rl import heads, play, priorities, rates, replay
from lrn.rl.agent import Agent, memoryless
from lrn.rl.distributions import of_action
from lrn.rl.env import Env, as_float
from lrn.rl.epsilon import epsilon_at, epsilon_greedy
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.rl.exploration.schedules import linear_schedule
from lrn.rl.replay import Played, Transition
from lrn.rl.return_heads import ReturnHead, expected
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
    loss: "huber" (squared up to an error of 1, linear beyond), or "squared"; a ``head`` replaces it.
    prioritized: whether rows are drawn in proportion to a power of their last error, see `lrn.rl.priorities`;
        else all rows are equally likely.
    priority_exponent: that power, in [0, 1].
    importance_exponent: the exponent of the weights that undo the preference, in [0, 1]; it rises from this
        value to 1 over ``total_steps``.
    noisy: whether the network explores by noise of its own: it is called with a key and ``train=True`` when
        it plays and learns, once for all rows of a batch. Such an agent needs no epsilon; set
        ``epsilon_start`` and ``epsilon_end`` to 0.
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
    prioritized: bool = False
    priority_exponent: float = 0.5
    importance_exponent: float = 0.4
    noisy: bool = False
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
        for name in ("double", "prioritized", "noisy"):
            check.boolean(name, getattr(self, name))
        check.positive("exploration_fraction", self.exploration_fraction)
        for name in (
            "discount",
            "target_rate",
            "epsilon_start",
            "epsilon_end",
            "exploration_fraction",
            "priority_exponent",
            "importance_exponent",
        ):
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
        if self.prioritized and self.buffer_size < 4 * self.interactions + window:
            raise check.InputError(
                f"prioritized replay needs a buffer_size of {4 * self.interactions + window:,} or more, for "
                f"four rounds and n_step steps of each environment, got {self.buffer_size:,}; enlarge it."
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
    priorities: the `lrn.rl.priorities.Priorities` of the replay's rows, () without prioritized replay.
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
    priorities: State = ()


def dqn(
    env: Env, net: Net, config: DQNConfig, bonus: Bonus | None = None, head: ReturnHead | None = None
) -> Agent:
    """Deep Q-learning with a replay and a target network.

    The target of a truncated transition bootstraps from its final observation; the target of a terminated
    transition does not. A network that keeps a state (BatchNorm) is used in evaluation mode.

    Args:
        env: the environment, with discrete actions.
        net: maps observations [batch, ...] to values [batch, actions]; with a head that predicts more than
            the mean, to [batch, actions * numbers], the numbers of an action side by side. A value of -inf
            marks an action that is not allowed in that state: the agent neither plays it nor bootstraps from
            it.
        config: settings.
        bonus: an exploration bonus that is added to rewards as they are learned from.
        head: what the network predicts about the return; None is `lrn.rl.return_heads.expected` with
            ``config.loss``.

    Metrics: ``return`` and ``length`` of the exploring episodes that ended, ``loss``, ``q`` (mean value of
    the actions in the sampled transitions), ``epsilon``; with a bonus also ``bonus``, its mean over the
    transitions of this step.

    Raises:
        InputError: the actions are continuous, or the network's output has another shape.
    """
    actions = envs.require_discrete(env, "dqn")
    head = expected(config.loss) if head is None else head
    heads.check_output("the network of dqn", net, env.observation_shape, actions * head.numbers)
    rate = rates.learning_rate(config.learning_rate, config.gradient_steps, config.anneal)
    optimizer = optax.adam(rate)

    def outputs(params: Params, net_state: NetState, observation: Array, key: Key | None = None) -> Array:
        return net.apply(params, net_state, as_float(observation), key=key, train=key is not None)[0]

    def values(params: Params, net_state: NetState, observation: Array, key: Key | None = None) -> Array:
        return head.values(outputs(params, net_state, observation, key))

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
            priorities=priorities.start(config.buffer_size) if config.prioritized else (),
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
        ready = steps >= config.learning_starts
        ranks = state.priorities
        if config.prioritized:
            behind = (config.n_step - 1) * config.num_envs
            ranks = priorities.follow(ranks, state.replay, buffer, config.interactions, behind)
        state = state._replace(live=live, replay=buffer, steps=steps)

        shape = (config.updates, config.batch_size)
        noise_key, sample_key = jax.random.split(sample_key) if config.noisy else (None, sample_key)
        if config.prioritized:
            draws = jax.random.uniform(sample_key, shape)
        else:
            draws = replay.draw(sample_key, state.replay, shape, config.n_step, config.num_envs)
        noise = None if noise_key is None else jax.random.split(noise_key, config.updates)
        # The loop carries only what learning changes; the replay stays outside of it.
        before = (state.params, state.target, state.opt_state, state.updates)
        (after, ranks), (loss, q) = jax.lax.scan(
            lambda carry, given: learn(state, ready, *carry, *given), (before, ranks), (draws, noise)
        )
        # Before learning starts, updates are masked, not skipped: a `cond` around the state copies the ring.
        after = jax.tree.map(lambda new, old: jnp.where(ready, new, old), after, before)
        state = DQNState(*after, *state[len(after) :])._replace(priorities=ranks)
        metrics["loss"] = Mean(loss.mean(), ready.astype(jnp.float32))
        metrics["q"] = Mean(q.mean(), ready.astype(jnp.float32))
        metrics["epsilon"] = epsilon_at(config, steps)
        return state, metrics

    def collect(key: Key, state: DQNState) -> tuple[play.Live, Transition, play.Ended]:
        """Play a round. Transitions have leaves [rollout_length * num_envs, ...], step after step."""
        noise_key, env_key = jax.random.split(key)
        net_keys = None
        if config.noisy:
            noise_key, net_key = jax.random.split(noise_key)
            net_keys = jax.random.split(net_key, config.rollout_length)
        uniform = jax.random.uniform(noise_key, (config.rollout_length, config.num_envs))
        ahead = config.num_envs * jnp.arange(config.rollout_length)
        epsilon = epsilon_at(config, rates.count(state.steps, ahead))

        def act(noise: tuple[Array, Array, Key | None], observation: Array, memory: PyTree):
            q = values(state.params, state.net_state, observation, noise[2])
            return epsilon_greedy(noise[0], q, noise[1]), (), memory

        live, _, played, ended = play.unroll(
            env, env_key, state.live, act, (), (uniform, epsilon, net_keys), config.rollout_length
        )
        fresh = Transition(*(getattr(played, name) for name in Transition._fields))
        return live, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fresh), ended

    def rows_of(state: DQNState, ranks: Any, draws: Array) -> tuple[Array, Array | None]:
        """The windows of a gradient step [batch, n_step], and the weights of the losses."""
        if not config.prioritized:
            return draws.reshape(config.batch_size, -1), None
        first, chance = priorities.draw(ranks, draws)
        ahead = config.num_envs * jnp.arange(config.n_step)[None]
        exponent = linear_schedule(state.steps, config.importance_exponent, 1.0, config.total_steps)
        choices = state.replay.filled - (config.n_step - 1) * config.num_envs
        weight = priorities.importance(chance, choices, exponent)
        return (first[:, None] + ahead) % config.buffer_size, weight

    def learn(
        state: DQNState, ready: Array, learned: tuple, ranks: Any, draws: Array, key: Key | None
    ) -> tuple[tuple, tuple[Array, Array]]:
        """One gradient step on the n-step transitions that begin at the rows drawn."""
        params, target_params, opt_state, updates = learned
        windows, importance = rows_of(state, ranks, draws)
        batch, weight = replay.take_n_step(state.replay, windows, config.discount, reward_of(state))
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        following = outputs(target_params, state.net_state, batch.final_observation, keys[0])
        online = None
        if config.double:
            online = outputs(params, state.net_state, batch.final_observation, keys[1])
        target = head.target(following, online, batch.reward, weight)

        def objective(params: Params) -> tuple[Array, tuple[Array, Array]]:
            out = outputs(params, state.net_state, batch.observation, keys[2])
            loss, surprise = head.loss(out, batch.action, target)
            loss = jnp.mean(loss if importance is None else importance * loss)
            return loss, (of_action(head.values(out), batch.action).mean(), surprise)

        (loss, (q, surprise)), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        params, opt_state = clipped_step(optimizer, gradient, opt_state, params, config.max_grad_norm)
        updates = rates.count_in_periods(updates, config.target_period)
        fraction = jnp.where(updates % config.target_period == 0, config.target_rate, 0.0)
        target_params = jax.tree.map(lambda t, p: t + fraction * (p - t), target_params, params)
        if config.prioritized:
            rank = (surprise + _SURPRISE_FLOOR) ** config.priority_exponent
            ranks = priorities.write(ranks, jnp.where(ready, windows[:, 0], -1), rank)
        return ((params, target_params, opt_state, updates), ranks), (loss, q)

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


_SURPRISE_FLOOR = 1e-6  # so that a row without an error can be drawn again


def example() -> Example:
    """Double dueling DQN with two-step returns on an environment of three symbols."""
    from lrn import nets
    from lrn.rl.identity import echo

    env, net = echo(3), heads.dueling(nets.mlp(4, (16,)))
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
