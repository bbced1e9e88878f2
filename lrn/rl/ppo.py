"""Proximal policy optimization (Schulman et al. 2017), for discrete and continuous actions.

An iteration plays ``num_envs`` environments for ``rollout_length`` steps, then makes ``epochs`` passes of
``minibatches`` gradient steps over the rollout.

Details that a naive implementation misses, and this one has:
- A truncated episode is bootstrapped from its final observation; only a terminated one has value zero.
- Values are computed after the rollout, in one call of the network. Values of final observations are computed
  only if a time limit cut an episode of the rollout short (under vmap, always).
- Advantages are computed over the whole rollout and normalized in each minibatch.
- Adam's epsilon is 1e-5. The gradient is clipped by its global norm, not element by element.
- Rewards are divided by the running deviation of the discounted return, and never centered.
- All random numbers of a rollout are drawn in one call: on CPU the generator costs more than a small network.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.rl import minibatch, play, returns, running
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, as_float
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.rl.heads import check_actor_critic
from lrn.rl.policy_head import PolicyHead, check_log_std, policy_head
from lrn.rl.rates import check_iterations, learning_rate
from lrn.types import Array, Example, Goal, Key, Metrics, Net, NetState, Params, State
from lrn.xla.descend import clipped_step


@config
class PPOConfig:
    """Settings; the defaults are CleanRL's for CartPole.

    total_steps: environment steps of the training, at least those of one iteration.
    num_envs: environments played side by side.
    rollout_length: steps in each environment before an update.
    epochs: passes over a rollout.
    minibatches: gradient steps in a pass.
    learning_rate: step size of Adam.
    anneal: whether the learning rate falls linearly to zero over ``total_steps``.
    discount: discount per step, in [0, 1].
    gae_lambda: lambda of generalized advantage estimation, in [0, 1].
    clip: distance from 1 at which the probability ratio stops giving a gradient.
    clip_value: whether the value loss is clipped too, with the value within ``clip`` of the old value.
    entropy_coefficient: weight of the policy's entropy in the loss.
    value_coefficient: weight of the value loss.
    max_grad_norm: largest global norm of the gradient; a longer gradient is scaled down to it.
    normalize_advantages: whether advantages are scaled to mean 0 and deviation 1 in each minibatch, which
        then needs at least two rows.
    normalize_observations: whether observations are normalized by their running mean and deviation.
    normalize_rewards: whether rewards are divided by the running deviation of the discounted return.
    initial_log_std: log standard deviation of the policy over continuous actions at the start, in units of
        half the action range.
    """

    total_steps: int = 500_000
    num_envs: int = 4
    rollout_length: int = 128
    epochs: int = 4
    minibatches: int = 4
    learning_rate: float = 2.5e-4
    anneal: bool = True
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    clip_value: bool = True
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5
    normalize_advantages: bool = True
    normalize_observations: bool = False
    normalize_rewards: bool = False
    initial_log_std: float = 0.0

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "rollout_length", "epochs", "minibatches"):
            check.integer(name, getattr(self, name), low=1)
        check.positive("learning_rate", self.learning_rate)
        check.between("discount", self.discount, 0.0, 1.0)
        check.between("gae_lambda", self.gae_lambda, 0.0, 1.0)
        check.positive("clip", self.clip)
        check.non_negative("entropy_coefficient", self.entropy_coefficient)
        check.non_negative("value_coefficient", self.value_coefficient)
        check.positive("max_grad_norm", self.max_grad_norm)
        check_log_std(self.initial_log_std)
        minibatch.check_divides(self.num_envs, self.rollout_length, self.minibatches)
        if self.normalize_advantages:
            minibatch.check_normalized(self.interactions // self.minibatches, "a minibatch of PPO")
        check_iterations(self.total_steps, self.interactions)

    @property
    def interactions(self) -> int:
        """Environment steps of one iteration."""
        return self.num_envs * self.rollout_length


class PPOState(NamedTuple):
    """State of PPO.

    params: parameters, {"net": those of the network, "head": those of the policy head}.
    net_state: state of the network beside its parameters, () without one.
    opt_state: state of the optimizer.
    live: the environments in the middle of their episodes.
    observations: running moments of the observations, for ``normalize_observations``.
    scale: the running discounted return [num_envs] and its moments, for ``normalize_rewards``.
    bonus: state of the exploration bonus, () without one.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    live: play.Live
    observations: running.Moments
    scale: tuple[Array, running.Moments]
    bonus: State


class Minibatch(NamedTuple):
    """The data of a gradient step, leaves [batch, ...].

    observation: observations as the network gets them.
    action: actions as sampled, before `PolicyHead.to_env`.
    log_prob: log-probabilities of the actions under the policy that played.
    value: values that the network gave before the update.
    advantage: advantages of the actions.
    target: targets of the values.
    """

    observation: Array
    action: Array
    log_prob: Array
    value: Array
    advantage: Array
    target: Array


def log_ratio(log_prob: Array, old_log_prob: Array) -> Array:
    """``log_prob - old_log_prob`` [...], capped so that its exponential and the gradient of it are finite.

    Without the cap the ratio could be infinite, and its product with a zero gradient NaN. The cap lies at a
    ratio of 9e26 in float32, and above 1e215 in float64. The gradient keeps its direction at the cap.
    """
    change = jnp.asarray(log_prob - old_log_prob)
    most = 0.7 * math.log(float(jnp.finfo(jnp.result_type(change, 1.0)).max))
    return change - jax.lax.stop_gradient(jnp.maximum(change - most, 0.0))


def clipped_surrogate(log_prob: Array, old_log_prob: Array, advantage: Array, clip: Array | float) -> Array:
    """The clipped objective as a loss per sample [...] (Schulman et al. 2017, eq. 7).

    Args:
        log_prob: log-probabilities of the actions under the current policy, [...].
        old_log_prob: log-probabilities under the policy that played, [...].
        advantage: advantages, [...].
        clip: distance from 1 at which the ratio is clipped.

    The ratio is computed by `log_ratio`, so it does not overflow.
    """
    ratio = jnp.exp(log_ratio(log_prob, old_log_prob))
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def clipped_value_loss(value: Array, old_value: Array, target: Array, clip: Array | float) -> Array:
    """The clipped value loss of PPO's reference code, per sample [...].

    The loss is the larger of two halved squared errors: that of the value, and that of the value clipped to
    within ``clip`` of the old value.

    Args:
        value: values of the current network, [...].
        old_value: values before the update, [...].
        target: targets, [...].
        clip: the largest change of a value.
    """
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.maximum((value - target) ** 2, (near - target) ** 2)


# The metrics of `ppo_loss`, in its order: entropy and KL in nats, clipped as a fraction of the ratios.
MEASURED = ("policy_loss", "value_loss", "entropy", "approximate_kl", "clipped")


def ppo_loss(
    config: PPOConfig, head: PolicyHead, extra: Params, out: Array, value: Array, rows: Minibatch
) -> tuple[Array, Array]:
    """The loss of a minibatch, a scalar, and the metrics that `MEASURED` names, [5].

    Args:
        config: settings: the weights of the loss, and whether to clip and normalize.
        head: the policy head.
        extra: parameters of the head.
        out: policy outputs of the network for ``rows.observation``, [batch, k].
        value: values of the network for ``rows.observation``, [batch].
        rows: the minibatch, leaves [batch, ...].
    """
    log_prob = head.log_prob(extra, out, rows.action)
    advantage = rows.advantage
    if config.normalize_advantages:
        advantage = running.standardize(advantage)
    policy_loss = clipped_surrogate(log_prob, rows.log_prob, advantage, config.clip)
    if config.clip_value:
        value_loss = clipped_value_loss(value, rows.value, rows.target, config.clip)
    else:
        value_loss = 0.5 * (value - rows.target) ** 2
    gain = jnp.expm1(log_ratio(log_prob, rows.log_prob))  # the ratio less 1
    kl, clipped = gain - (log_prob - rows.log_prob), jnp.abs(gain) > config.clip
    # One mean over five stacked rows in place of five means: fewer kernels, see `lrn.xla.packing`.
    entropy = jnp.broadcast_to(head.entropy(extra, out), kl.shape)
    per_sample = jnp.stack([policy_loss, value_loss, entropy, kl, clipped])
    measured = per_sample.reshape(len(MEASURED), -1).mean(axis=1)
    weights = jnp.array([1.0, config.value_coefficient, -config.entropy_coefficient])
    return weights @ measured[:3], measured


def ppo(env: Env, net: Net, config: PPOConfig, bonus: Bonus | None = None) -> Agent:
    """PPO on ``env`` with an actor-critic network.

    Args:
        env: the environment, with discrete or continuous actions.
        net: maps observations [batch, ...] to ``(policy [batch, k], value [batch])``, where k is the number
            of actions, or of dimensions of a continuous action. `lrn.rl.heads.actor_critic` joins two
            networks into such a net.
        config: settings.
        bonus: an exploration bonus that is added to the rewards.

    Metrics: ``return`` and ``length`` of the episodes that ended; ``policy_loss``, ``value_loss``,
    ``entropy`` (nats), ``approximate_kl`` (nats, Schulman's k3), ``clipped`` (fraction of ratios); with a
    bonus also ``bonus`` (mean per step).

    Raises:
        ValueError: the network's outputs do not fit the environment.
    """
    check_actor_critic("the network of ppo", net, env)
    head = policy_head(env, config.initial_log_std)
    optimizer = ppo_optimizer(config)
    size = config.interactions // config.minibatches

    def init(key: Key, batch: Any = None) -> PPOState:
        net_key, env_key, bonus_key = jax.random.split(key, 3)
        live = play.start(env, env_key, config.num_envs)
        net_params, net_state = net.init(net_key, as_float(live.observation))
        params = {"net": net_params, "head": head.init()}
        return PPOState(
            params,
            net_state,
            optimizer.init(params),
            live,
            running.moments(env.observation_shape),
            (jnp.zeros(config.num_envs), running.moments()),
            bonus.init(bonus_key, live.observation) if bonus else (),
        )

    def see(stats: running.Moments, observation: Array) -> Array:
        return running.normalize(stats, observation) if config.normalize_observations else observation

    def evaluate(params: Params, net_state: NetState, observation: Array) -> Any:
        return net.apply(params["net"], net_state, as_float(observation))[0]

    def collect(key: Key, state: PPOState) -> tuple[play.Live, play.Trajectory, play.Ended]:
        noise_key, env_key = jax.random.split(key)
        shape = (config.rollout_length, config.num_envs)

        def act(noise: Array, observation: Array, memory: Any) -> Any:
            seen = see(state.observations, observation)
            out, _ = evaluate(state.params, state.net_state, seen)
            action = head.sample(state.params["head"], out, noise)
            return head.to_env(action), (action, out), memory

        noise = head.noise(noise_key, shape)
        live, _, trajectory, ended = play.unroll(
            env, env_key, state.live, act, (), noise, config.rollout_length
        )
        return live, trajectory, ended

    def prepare(state: PPOState, trajectory: play.Trajectory, reward: Array) -> Minibatch:
        """Values, advantages and targets of a rollout, flattened to [time * batch, ...]."""

        def value_of(observation: Array) -> Array:
            seen = see(state.observations, observation.reshape(-1, *env.observation_shape))
            return evaluate(state.params, state.net_state, seen)[1].reshape(observation.shape[:2])

        value = value_of(trajectory.observation)
        following = play.next_values(trajectory, value, value_of)
        advantage = returns.gae(
            reward, value, following, trajectory.terminated, trajectory.ended,
            config.discount, config.gae_lambda,
        )  # fmt: skip
        action, out = trajectory.extra
        log_prob = head.log_prob(state.params["head"], out, action)
        seen = see(state.observations, trajectory.observation)
        rows = Minibatch(seen, action, log_prob, value, advantage, advantage + value)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)

    def loss(params: Params, net_state: NetState, rows: Minibatch) -> tuple[Array, Array]:
        out, value = evaluate(params, net_state, rows.observation)
        return ppo_loss(config, head, params["head"], out, value, rows)

    def step(key: Key, state: PPOState, batch: Any = None) -> tuple[PPOState, Metrics]:
        play_key, bonus_key, shuffle_key = jax.random.split(key, 3)
        live, trajectory, ended = collect(play_key, state)
        reward, metrics = trajectory.reward, play.episode_metrics(ended)
        bonus_state = state.bonus
        if bonus:
            bonus_state, extra = pay_bonus(bonus, bonus_key, bonus_state, trajectory)
            reward, metrics = reward + extra, {**metrics, "bonus": extra.mean()}
        scale = state.scale
        if config.normalize_rewards:
            scale, reward = rescale_rewards(scale, reward, trajectory.ended, config.discount)
        take = minibatch.taker(prepare(state, trajectory, reward))

        def descend(carry: Any, index: Array) -> Any:
            params, opt_state = carry
            gradient, measured = jax.grad(loss, has_aux=True)(params, state.net_state, take(index))
            return clipped_step(optimizer, gradient, opt_state, params, config.max_grad_norm), measured

        order = minibatch.shuffled(shuffle_key, config.interactions, config.epochs).reshape(-1, size)
        (params, opt_state), measured = jax.lax.scan(descend, (state.params, state.opt_state), order)
        observations = state.observations
        if config.normalize_observations:
            observations = running.update(observations, trajectory.observation)
        state = PPOState(params, state.net_state, opt_state, live, observations, scale, bonus_state)
        return state, {**metrics, **dict(zip(MEASURED, measured.mean(axis=0)))}

    def act(state: PPOState, observation: Array) -> Array:
        out, _ = evaluate(state.params, state.net_state, see(state.observations, observation))
        return head.to_env(head.mode(state.params["head"], out))

    def sample(key: Key, state: PPOState, observation: Array) -> Array:
        out, _ = evaluate(state.params, state.net_state, see(state.observations, observation))
        noise = head.noise(key, observation.shape[:1])
        return head.to_env(head.sample(state.params["head"], out, noise))

    return Agent(init, step, memoryless(act, sample))


def ppo_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Adam with epsilon 1e-5; with ``config.anneal`` the rate falls linearly with the gradient steps."""
    updates = config.total_steps / config.interactions * config.epochs * config.minibatches
    rate = learning_rate(config.learning_rate, updates, config.anneal)

    return optax.chain(
        optax.scale_by_adam(eps=1e-5),
        optax.scale_by_learning_rate(rate),
    )


def pay_bonus(bonus: Bonus, key: Key, state: State, trajectory: play.Trajectory) -> tuple[State, Array]:
    """The state of the bonus after a rollout, and the bonus for each step of the rollout [time, num_envs]."""
    seen, action, following = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]),
        (trajectory.observation, trajectory.action, trajectory.final_observation),
    )
    state = bonus.update(key, state, Transitions(seen, action, following))
    return state, bonus.bonus(state, seen, action, following).reshape(trajectory.reward.shape)


def rescale_rewards(
    scale: tuple[Array, running.Moments], reward: Array, ended: Array, discount: Array | float
) -> tuple[tuple[Array, running.Moments], Array]:
    """Divide rewards by the running deviation of the discounted return, which these rewards update first.

    Args:
        scale: the running discounted return [num_envs] and its moments.
        reward: rewards of a rollout, [time, num_envs].
        ended: whether an episode ended with each step, [time, num_envs].
        discount: discount per step.

    Returns:
        ``(scale, reward)`` after the update; rewards are clipped to [-10, 10].
    """

    def add(total: Array, now: Any) -> tuple[Array, Array]:
        total = discount * total + now[0]
        return total * (1 - now[1]), total

    total, seen = jax.lax.scan(add, scale[0], (reward, ended))
    stats = running.update(scale[1], seen)
    return (total, stats), jnp.clip(reward / running.deviation(stats), -10.0, 10.0)


def example() -> Example:
    """A small actor-critic on the echo environment."""
    from lrn import nets
    from lrn.rl.heads import actor_critic
    from lrn.rl.identity import echo

    net = actor_critic(nets.mlp(3, (16,)), nets.mlp(1, (16,)))
    settings = PPOConfig(total_steps=20_000, rollout_length=8, epochs=2, minibatches=2, learning_rate=0.01)
    return Example(
        factory=lambda config: ppo(echo(), net, config),
        config=settings,
        solves=Goal("return", above=4.5),
    )
