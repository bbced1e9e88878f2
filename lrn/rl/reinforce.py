"""REINFORCE: the policy gradient from Monte-Carlo returns (Williams 1992), and its estimators.

The gradient of the discounted return from the start is the mean over episodes of the sum over their steps of
``grad log pi(a_t | s_t) * weight_t``. Three choices of the weight give an unbiased estimate, in the order of
their usual variance, largest first:

- the return of the whole episode, ``over_episode(discounted_returns(...), ended)``;
- the rewards to go, ``discounted_returns(...)``, since an action does not change earlier rewards;
- the rewards to go less a baseline of the state, such as a learned value.

The last two weights are exact only with the factor ``discount^t``, `episode_discounts`. Nearly all code
leaves the factor out. It then follows a direction that is not the gradient of any function (Nota and Thomas
2020), but it also learns from late steps. ``discount_states`` puts the factor in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.rl import minibatch, play, returns, running
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, as_float
from lrn.rl.heads import check_output, policy_size
from lrn.rl.policy_head import check_log_std, policy_head
from lrn.rl.rates import check_iterations, learning_rate
from lrn.rl.running import average
from lrn.types import Array, Example, Goal, Key, Mean, Metrics, Net, NetState, Params
from lrn.xla.descend import clipped_step


@config
class ReinforceConfig:
    """Settings; the defaults are for CartPole.

    total_steps: environment steps of the training, at least those of one iteration.
    num_envs: environments played side by side.
    rollout_length: steps in each environment before an update.
    whole_episodes: True resets the environments for each update and learns from one episode in each; the
        rollout must be as long as the horizon, and steps after the end of an episode are played but not
        learned from. False plays on from where the environments stand, and returns end with the rollout.
    estimator: "to_go" for the rewards to go, or "return" for the return of the whole episode.
    discount_states: whether step t is weighed by ``discount^t``, as in the exact gradient; for "to_go".
    learning_rate: step size of Adam.
    anneal: whether the learning rate falls linearly to zero over ``total_steps``.
    discount: discount per step, in [0, 1].
    normalize_weights: whether weights are scaled to mean 0 and deviation 1 over the rollout, which then needs
        at least two weights. This lowers the variance and adds a little bias.
    baseline_coefficient: weight of the baseline's squared error in the loss.
    entropy_coefficient: weight of the policy's entropy in the loss.
    max_grad_norm: largest global norm of the gradient; a longer gradient is scaled down to it.
    initial_log_std: log standard deviation of the policy over continuous actions at the start, in units of
        half the action range.
    """

    total_steps: int = 500_000
    num_envs: int = 8
    rollout_length: int = 500
    whole_episodes: bool = True
    estimator: str = "to_go"
    discount_states: bool = False
    learning_rate: float = 1e-2
    anneal: bool = False
    discount: float = 0.99
    normalize_weights: bool = True
    baseline_coefficient: float = 0.5
    entropy_coefficient: float = 0.0
    max_grad_norm: float = 0.5
    initial_log_std: float = 0.0

    def __post_init__(self) -> None:
        for name in ("total_steps", "num_envs", "rollout_length"):
            check.integer(name, getattr(self, name), low=1)
        check.choice("estimator", self.estimator, ("return", "to_go"))
        check.positive("learning_rate", self.learning_rate)
        check.between("discount", self.discount, 0.0, 1.0)
        check.non_negative("baseline_coefficient", self.baseline_coefficient)
        check.non_negative("entropy_coefficient", self.entropy_coefficient)
        check.positive("max_grad_norm", self.max_grad_norm)
        check_log_std(self.initial_log_std)
        if self.normalize_weights:
            minibatch.check_normalized(self.interactions, "a rollout of REINFORCE", "normalize_weights")
        if self.normalize_weights and self.whole_episodes and self.estimator == "return":
            # All steps of an episode have the same weight.
            minibatch.check_normalized(self.num_envs, "a rollout of whole returns", "normalize_weights")
        check_iterations(self.total_steps, self.interactions)

    @property
    def interactions(self) -> int:
        """Environment steps of one iteration."""
        return self.num_envs * self.rollout_length


class ReinforceState(NamedTuple):
    """State of REINFORCE.

    params: parameters, {"net": those of the policy network, "head": those of the policy head}, and
        "baseline" with a baseline.
    net_state: states of the policy network and, with one, of the baseline, in a tuple.
    opt_state: state of the optimizer.
    live: the environments in the middle of their episodes.
    """

    params: Params
    net_state: NetState
    opt_state: optax.OptState
    live: play.Live


def policy_gradient_loss(log_prob: Array, weight: ArrayLike) -> Array:
    """The loss per sample [...] whose gradient is ``-weight * grad log_prob`` (Williams 1992).

    Args:
        log_prob: log-probabilities of the actions, [...].
        weight: weights, [...]; no gradient flows through them.
    """
    return -log_prob * jax.lax.stop_gradient(weight)


def over_episode(x: Array, ended: Array) -> Array:
    """Copy the value of ``x`` at the first step of each episode to all steps of the episode, [time, ...].

    Applied to rewards to go, this gives the return of the whole episode. An episode that began before the
    stretch counts from the first step of the stretch.

    Args:
        x: numbers, [time, ...].
        ended: whether an episode ended with each step, [time, ...].
    """

    def body(carry: tuple[Array, Array], now: tuple[Array, Array]) -> Any:
        held, first = carry
        held = jnp.where(first, now[0], held)
        return (held, now[1].astype(bool)), held

    start = (jnp.zeros_like(x[0]), jnp.ones(x.shape[1:], bool))
    return jax.lax.scan(body, start, (x, ended))[1]


def episode_discounts(ended: Array, discount: ArrayLike) -> Array:
    """``discount^t`` [time, ...], with t counted from the start of each episode, or of the stretch.

    Args:
        ended: whether an episode ended with each step, [time, ...].
        discount: discount per step.
    """

    def body(factor: Array, now: Array) -> tuple[Array, Array]:
        return jnp.where(now.astype(bool), 1.0, factor * discount), factor

    return jax.lax.scan(body, jnp.ones(ended.shape[1:]), ended)[1]


def first_episodes(ended: Array) -> Array:
    """1.0 at the steps of the first episode of a stretch, its last step included, and 0.0 after, [time, ...].

    Args:
        ended: whether an episode ended with each step, [time, ...].
    """
    before = jnp.cumsum(ended.astype(jnp.int32), 0) - ended
    return (before == 0).astype(jnp.float32)


def reinforce(env: Env, net: Net, config: ReinforceConfig, baseline: Net | None = None) -> Agent:
    """REINFORCE on ``env``, for discrete and continuous actions.

    Args:
        env: the environment.
        net: the policy network; maps observations [batch, ...] to [batch, k], where k is the number of
            actions, or of dimensions of a continuous action.
        config: settings.
        baseline: a value network; maps observations to [batch, 1] and is trained on the returns. It also
            completes returns that a time limit or the end of the rollout cut short. Without a baseline such
            returns stop there, as if nothing followed.

    Metrics: ``return`` and ``length`` of the episodes that ended; ``policy_loss``, ``entropy`` (nats),
    ``gradient_norm``, and ``baseline_loss`` with a baseline.

    Raises:
        ValueError: the output of a network does not fit the environment, or the rollout is shorter than a
            whole episode.
    """
    check_output("the policy of reinforce", net, env.observation_shape, policy_size(env))
    if baseline is not None:
        check_output("the baseline of reinforce", baseline, env.observation_shape, 1)
    if config.whole_episodes and config.rollout_length < env.horizon:
        raise check.InputError(
            f"whole episodes of {env.name} last up to {env.horizon} steps and rollout_length is "
            f"{config.rollout_length}; set it to {env.horizon}, or whole_episodes=False."
        )
    if config.whole_episodes and config.normalize_weights:
        rows = config.num_envs * env.horizon
        minibatch.check_normalized(rows, f"a rollout of one step in {env.name}", "normalize_weights")
    head = policy_head(env, config.initial_log_std)
    optimizer = _optimizer(config)

    def init(key: Key, batch: Any = None) -> ReinforceState:
        net_key, baseline_key, env_key = jax.random.split(key, 3)
        live = play.start(env, env_key, config.num_envs)
        params, state = net.init(net_key, as_float(live.observation))
        params, states = {"net": params, "head": head.init()}, [state]
        if baseline is not None:
            params["baseline"], state = baseline.init(baseline_key, as_float(live.observation))
            states.append(state)
        return ReinforceState(params, tuple(states), optimizer.init(params), live)

    def collect(key: Key, state: ReinforceState) -> tuple[play.Live, play.Trajectory, play.Ended]:
        noise_key, env_key, start_key = jax.random.split(key, 3)

        def act(noise: Array, observation: Array, memory: Any) -> Any:
            out, _ = net.apply(state.params["net"], state.net_state[0], as_float(observation))
            action = head.sample(state.params["head"], out, noise)
            return head.to_env(action), action, memory

        live = play.start(env, start_key, config.num_envs) if config.whole_episodes else state.live
        noise = head.noise(noise_key, (config.rollout_length, config.num_envs))
        live, _, trajectory, ended = play.unroll(env, env_key, live, act, (), noise, config.rollout_length)
        return live, trajectory, ended

    def values_of(params: Params, state: ReinforceState, observation: Array) -> Array:
        """Values of the baseline [time, batch]; zeros without a baseline."""
        lead = observation.shape[:2]
        if baseline is None:
            return jnp.zeros(lead)
        flat = as_float(observation).reshape(-1, *env.observation_shape)
        return baseline.apply(params["baseline"], state.net_state[1], flat)[0].reshape(lead)

    def loss(
        params: Params, state: ReinforceState, seen: play.Trajectory, counted: Array
    ) -> tuple[Array, Metrics]:
        lead = seen.reward.shape
        flat = as_float(seen.observation).reshape(-1, *env.observation_shape)
        out, _ = net.apply(params["net"], state.net_state[0], flat)
        out = out.reshape(*lead, -1)
        log_prob = head.log_prob(params["head"], out, seen.extra)
        value = values_of(params, state, seen.observation)
        following = values_of(params, state, seen.final_observation)
        to_go = jax.lax.stop_gradient(
            returns.lambda_returns(seen.reward, following, seen.terminated, seen.ended, config.discount, 1.0)
        )
        weight = to_go - jax.lax.stop_gradient(value)
        if config.estimator == "return":
            weight = over_episode(weight, seen.ended)
        elif config.discount_states:
            weight = weight * episode_discounts(seen.ended, config.discount)
        if config.normalize_weights:
            weight = running.standardize(weight, counted)
        entropy = average(head.entropy(params["head"], out), counted)
        # For whole episodes: a sum over steps and a mean over episodes. Dividing by the number of steps,
        # which is random, would bias the gradient.
        scale = config.num_envs if config.whole_episodes else counted.size
        policy_loss = (policy_gradient_loss(log_prob, weight) * counted).sum() / scale
        total = policy_loss - config.entropy_coefficient * entropy
        measured = {"policy_loss": policy_loss, "entropy": entropy}
        if baseline is not None:
            baseline_loss = average(0.5 * (value - to_go) ** 2, counted)
            total = total + config.baseline_coefficient * baseline_loss
            measured["baseline_loss"] = baseline_loss
        return total, measured

    def step(key: Key, state: ReinforceState, batch: Any = None) -> tuple[ReinforceState, Metrics]:
        live, seen, ended = collect(key, state)
        if config.whole_episodes:
            counted = first_episodes(seen.ended)
            episodes = _first(seen, counted)
        else:
            counted, episodes = jnp.ones_like(seen.reward), play.episode_metrics(ended)
        gradient, measured = jax.grad(loss, has_aux=True)(state.params, state, seen, counted)
        params, opt_state = clipped_step(
            optimizer, gradient, state.opt_state, state.params, config.max_grad_norm
        )
        state = ReinforceState(params, state.net_state, opt_state, live)
        return state, {**episodes, **measured, "gradient_norm": optax.tree.norm(gradient)}

    def act(state: ReinforceState, observation: Array) -> Array:
        out, _ = net.apply(state.params["net"], state.net_state[0], as_float(observation))
        return head.to_env(head.mode(state.params["head"], out))

    def sample(key: Key, state: ReinforceState, observation: Array) -> Array:
        out, _ = net.apply(state.params["net"], state.net_state[0], as_float(observation))
        noise = head.noise(key, observation.shape[:1])
        return head.to_env(head.sample(state.params["head"], out, noise))

    return Agent(init, step, memoryless(act, sample))


def _first(seen: play.Trajectory, counted: Array) -> Metrics:
    """Mean return and length of the first episode of each environment, over the episodes that ended."""
    done = (seen.ended * counted).max(0)
    count = jnp.maximum(done.sum(), 1.0)
    return {
        "return": Mean(((seen.reward * counted).sum(0) * done).sum() / count, done.sum()),
        "length": Mean((counted.sum(0) * done).sum() / count, done.sum()),
    }


def _optimizer(config: ReinforceConfig) -> optax.GradientTransformation:
    updates = config.total_steps / config.interactions
    rate = learning_rate(config.learning_rate, updates, config.anneal)

    return optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(rate))


def example() -> Example:
    """A small policy and baseline on the echo environment, with whole episodes."""
    from lrn import nets
    from lrn.rl.identity import echo

    env, net, baseline = echo(), nets.mlp(3, (16,)), nets.mlp(1, (16,))
    settings = ReinforceConfig(total_steps=1000, rollout_length=env.horizon)
    return Example(
        factory=lambda config: reinforce(env, net, config, baseline),
        config=settings,
        solves=Goal("return", above=4.0),
    )
