"""A2C: advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016); discrete and continuous.

An iteration plays ``num_envs`` environments for a few steps and takes one gradient step on all of these
steps. With ``gae_lambda=1`` the advantages are those of the paper: they sum rewards up to the end of the
rollout and add the critic's value there. PPO with one epoch, one minibatch and no clipping equals A2C (Huang
et al. 2022) except for the optimizer: A2C uses RMSprop, with an epsilon that stands inside the root and is
large enough to matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax

from lrn import check
from lrn.config import config
from lrn.rl import minibatch, play, returns, running
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, as_float
from lrn.rl.heads import check_actor_critic
from lrn.rl.policy_head import check_log_std, policy_head
from lrn.rl.rates import check_iterations, learning_rate
from lrn.rl.reinforce import policy_gradient_loss
from lrn.types import Array, Example, Goal, Key, Metrics, Net, NetState, Params
from lrn.xla.descend import clipped_step
from lrn.xla.serial import serial_alone


@config
class A2CConfig:
    """Settings; the defaults are those of OpenAI's baselines.

    total_steps: environment steps of the training, at least those of one iteration.
    num_envs: environments played side by side.
    rollout_length: steps in each environment before an update.
    optimizer: "rmsprop" or "adam".
    learning_rate: step size of the optimizer.
    anneal: whether the learning rate falls linearly to zero over ``total_steps``.
    discount: discount per step, in [0, 1].
    gae_lambda: lambda of generalized advantage estimation, in [0, 1].
    entropy_coefficient: weight of the policy's entropy in the loss.
    value_coefficient: weight of the value loss.
    normalize_advantages: whether advantages are scaled to mean 0 and deviation 1 over the rollout, which then
        needs at least two steps.
    max_grad_norm: largest global norm of the gradient; a longer gradient is scaled down to it.
    initial_log_std: log standard deviation of the policy over continuous actions at the start, in units of
        half the action range.
    """

    total_steps: int = 500_000
    num_envs: int = 16
    rollout_length: int = 5
    optimizer: str = "rmsprop"
    learning_rate: float = 7e-4
    anneal: bool = True
    discount: float = 0.99
    gae_lambda: float = 1.0
    entropy_coefficient: float = 0.01
    value_coefficient: float = 0.5
    normalize_advantages: bool = False
    max_grad_norm: float = 0.5
    initial_log_std: float = 0.0

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "rollout_length"):
            check.integer(name, getattr(self, name), low=1)
        check.choice("optimizer", self.optimizer, ("adam", "rmsprop"))
        check.positive("learning_rate", self.learning_rate)
        check.between("discount", self.discount, 0.0, 1.0)
        check.between("gae_lambda", self.gae_lambda, 0.0, 1.0)
        check.non_negative("entropy_coefficient", self.entropy_coefficient)
        check.non_negative("value_coefficient", self.value_coefficient)
        check.positive("max_grad_norm", self.max_grad_norm)
        check_log_std(self.initial_log_std)
        if self.normalize_advantages:
            minibatch.check_normalized(self.interactions, "a rollout of A2C")
        check_iterations(self.total_steps, self.interactions)

    @property
    def interactions(self) -> int:
        """Environment steps of one iteration."""
        return self.num_envs * self.rollout_length


class A2CState(NamedTuple):
    """State of A2C.

    params: parameters, {"net": those of the network, "head": those of the policy head}.
    net_state: state of the network beside its parameters, () without one.
    opt_state: state of the optimizer.
    live: the environments in the middle of their episodes.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    live: play.Live


def a2c(env: Env, net: Net, config: A2CConfig) -> Agent:
    """A2C on ``env`` with an actor-critic network.

    Args:
        env: the environment, with discrete or continuous actions.
        net: maps observations [batch, ...] to ``(policy [batch, k], value [batch])``, where k is the number
            of actions, or of dimensions of a continuous action. `lrn.rl.heads.actor_critic` joins two
            networks into such a net.
        config: settings.

    Metrics: ``return`` and ``length`` of the episodes that ended; ``policy_loss``, ``value_loss``,
    ``entropy`` (nats), ``gradient_norm``.

    Raises:
        ValueError: the network's outputs do not fit the environment.
    """
    check_actor_critic("the network of a2c", net, env)
    head = policy_head(env, config.initial_log_std)
    optimizer = _optimizer(config)

    def init(key: Key, batch: Any = None) -> A2CState:
        net_key, env_key = jax.random.split(key)
        live = play.start(env, env_key, config.num_envs)
        net_params, net_state = net.init(net_key, as_float(live.observation))
        params = {"net": net_params, "head": head.init()}
        return A2CState(params, net_state, optimizer.init(params), live)

    def collect(key: Key, state: A2CState) -> tuple[play.Live, play.Trajectory, play.Ended]:
        noise_key, env_key = jax.random.split(key)

        def act(noise: Array, observation: Array, memory: Any) -> Any:
            (out, _), _ = net.apply(state.params["net"], state.net_state, as_float(observation))
            action = head.sample(state.params["head"], out, noise)
            return head.to_env(action), action, memory

        noise = head.noise(noise_key, (config.rollout_length, config.num_envs))
        live, _, trajectory, ended = play.unroll(
            env, env_key, state.live, act, (), noise, config.rollout_length
        )
        return live, trajectory, ended

    def evaluate(params: Params, net_state: NetState, observation: Array) -> tuple[Array, Array]:
        """Policy outputs [time, batch, k] and values [time, batch]."""
        lead = observation.shape[:2]
        flat = observation.reshape(-1, *env.observation_shape)
        (out, value), _ = net.apply(params["net"], net_state, as_float(flat))
        return out.reshape(*lead, -1), value.reshape(lead)

    def loss(params: Params, net_state: NetState, seen: play.Trajectory) -> tuple[Array, Metrics]:
        out, value = evaluate(params, net_state, seen.observation)
        _, following = evaluate(params, net_state, seen.final_observation)
        # The advantage weighs the policy gradient and makes the critic's target; no gradient flows through.
        advantage = jax.lax.stop_gradient(
            returns.gae(
                seen.reward, value, following, seen.terminated, seen.ended, config.discount, config.gae_lambda
            )
        )
        target, weight = advantage + jax.lax.stop_gradient(value), advantage
        if config.normalize_advantages:
            weight = running.standardize(weight)
        log_prob = head.log_prob(params["head"], out, seen.extra)
        policy_loss = policy_gradient_loss(log_prob, weight).mean()
        value_loss = 0.5 * ((value - target) ** 2).mean()
        entropy = head.entropy(params["head"], out).mean()
        total = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * entropy
        return total, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}

    def step(key: Key, state: A2CState, batch: Any = None) -> tuple[A2CState, Metrics]:
        live, seen, ended = collect(key, state)
        gradient, measured = jax.grad(loss, has_aux=True)(state.params, state.net_state, seen)
        params, opt_state = clipped_step(
            optimizer, gradient, state.opt_state, state.params, config.max_grad_norm
        )
        measured = {**measured, "gradient_norm": optax.tree.norm(gradient)}
        return A2CState(params, state.net_state, opt_state, live), {**play.episode_metrics(ended), **measured}

    def act(state: A2CState, observation: Array) -> Array:
        (out, _), _ = net.apply(state.params["net"], state.net_state, as_float(observation))
        return head.to_env(head.mode(state.params["head"], out))

    def sample(key: Key, state: A2CState, observation: Array) -> Array:
        (out, _), _ = net.apply(state.params["net"], state.net_state, as_float(observation))
        noise = head.noise(key, observation.shape[:1])
        return head.to_env(head.sample(state.params["head"], out, noise))

    return Agent(init, serial_alone(step), memoryless(act, sample))


def _optimizer(config: A2CConfig) -> optax.GradientTransformation:
    updates = config.total_steps / config.interactions
    rate = learning_rate(config.learning_rate, updates, config.anneal)

    adaptive = (
        optax.scale_by_adam(eps=1e-5)
        if config.optimizer == "adam"
        else optax.scale_by_rms(decay=0.99, eps=1e-5)
    )
    return optax.chain(adaptive, optax.scale_by_learning_rate(rate))


def example() -> Example:
    """A small actor-critic on the echo environment."""
    from lrn import nets
    from lrn.rl.heads import actor_critic
    from lrn.rl.identity import echo

    net = actor_critic(nets.mlp(3, (16,)), nets.mlp(1, (16,)))
    return Example(
        factory=lambda config: a2c(echo(), net, config),
        config=A2CConfig(total_steps=20_000, num_envs=4, learning_rate=0.01),
        solves=Goal("return", above=4.5),
    )
