"""Parts that off-policy agents for continuous actions share: twin critics, playing into a replay, checks.

Inside an agent actions are [dim] in [-1, 1]; `to_env` converts them to the environment's units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl import heads, play, replay
from lrn.rl.env import Env, as_float, require_continuous
from lrn.rl.replay import Played, Replay, Transition
from lrn.types import Array, Key, Mean, Net, Params


class Twin(NamedTuple):
    """Two critics, independently initialized.

    An actor that maximizes one noisy critic exploits its errors, so values are overestimated. Using the
    smaller of two estimates limits this (Fujimoto et al. 2018, section 4).

    init: ``init(key) -> (params, params)``, the parameters of the two critics.
    values: ``values(params, observation [batch, ...], action [batch, dim]) -> [2, batch]``, with actions in
        [-1, 1].
    """

    init: Callable[[Key], Params]
    values: Callable[[Params, Array, Array], Array]


def twin(critic: Net, observation_shape: tuple[int, ...], action_size: int) -> Twin:
    """Two critics with the architecture of one network.

    Args:
        critic: maps flattened observations joined with actions, [batch, size + dim], to [batch, 1].
        observation_shape: shape of one observation.
        action_size: dim, the dimensions of an action.
    """
    width = math.prod(observation_shape) + action_size

    def init(key: Key) -> Params:
        first, second = jax.random.split(key)
        return tuple(critic.init(k, jnp.zeros((1, width)))[0] for k in (first, second))

    def values(params: Params, observation: Array, action: Array) -> Array:
        x = jnp.concatenate([as_float(observation).reshape(observation.shape[0], -1), action], -1)
        # Two calls, not one batched network: on CPU its wider kernels would be split between threads, slower.
        return jnp.stack([critic.apply(p, (), x)[0][:, 0] for p in params])

    return Twin(init, values)


def to_env(env: Env, unit: Array) -> Array:
    """Convert actions [n, dim] in [-1, 1] to the environment's units and shape, [n, *shape]."""
    box = require_continuous(env, "this agent")
    return box.scale(unit.reshape(unit.shape[0], *box.shape))


def start_replay(env: Env, live: play.Live, capacity: int, at_once: int) -> Played:
    """An empty replay for play that continues from ``live``, with actions [dim] in [-1, 1].

    Args:
        env: the environment.
        live: the environments at the start of play.
        capacity: the largest number of transitions that the replay keeps.
        at_once: transitions that are written at a time.
    """
    action = jnp.zeros(require_continuous(env, "this agent").size)
    return replay.start(live.observation, action, capacity, at_once)


def empty_replay(env: Env, capacity: int) -> Replay:
    """An empty replay of any `Transition`s, such as imagined ones, with actions [dim] in [-1, 1]."""
    observation, false = jnp.zeros(env.observation_shape), jnp.array(False)
    action = jnp.zeros(require_continuous(env, "this agent").size)
    return replay.init(Transition(observation, action, jnp.float32(0), false, false, observation), capacity)


def collect(
    env: Env, key: Key, live: play.Live, act: Callable[[Array, Array], Array], noise: Array, random: Array
) -> tuple[play.Live, Transition, play.Ended]:
    """Play a stretch in n environments.

    Args:
        env: the environment.
        key: key of the environments.
        live: the n environments at the start.
        act: ``act(noise [n, dim], observation [n, ...]) -> action [n, dim]`` in [-1, 1].
        noise: exploration noise [time, n, dim], every entry N(0, 1).
        random: scalar bool; True plays uniformly random actions instead.

    Returns:
        ``(live, transitions, ended)``: the environments after the stretch, transitions with leaves
        [time * n, ...], step after step, and sums over the episodes that ended.
    """

    def move(noise_t: Array, observation: Array, memory: tuple[()]):
        unit = explored(noise_t, act(noise_t, observation), random)
        return to_env(env, unit), unit, memory

    live, _, rows, ended = play.unroll(env, key, live, move, (), noise, noise.shape[0])
    transitions = Transition(
        rows.observation, rows.extra, rows.reward, rows.terminated, rows.truncated, rows.final_observation
    )
    return live, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions), ended


def explored(noise: Array, unit: Array, random: Array) -> Array:
    """The actions ``unit`` [n, dim], or uniform actions in [-1, 1] if ``random``.

    Args:
        noise: N(0, 1) noise [n, dim], from which the uniform actions are computed.
        unit: actions of the policy [n, dim] in [-1, 1].
        random: scalar bool.
    """
    # The normal distribution function maps the noise to uniform numbers and keeps its color.
    return jnp.where(random, jax.scipy.special.erf(noise / math.sqrt(2.0)), unit)


T = TypeVar("T")


def once_ready(ready: Array, new: T, old: T, losses: Mapping[str, Array]) -> tuple[T, dict[str, Mean]]:
    """``new`` and the mean losses if ``ready``, else ``old`` and losses of weight 0.

    The update is masked, not skipped, since under vmap a `cond` computes both branches anyway.

    Args:
        ready: scalar bool, whether learning has started.
        new: the learned state after the updates.
        old: the learned state before the updates.
        losses: arrays of any shape, averaged.
    """
    kept = jax.tree.map(lambda new, old: jnp.where(ready, new, old), new, old)
    return kept, {name: Mean(x.mean(), ready.astype(jnp.float32)) for name, x in losses.items()}


def check_networks(who: str, env: Env, actor: Net, critic: Net, outputs: int) -> None:
    """Check the networks of an off-policy agent.

    Args:
        who: name of the agent, for messages.
        env: the environment, with continuous actions.
        actor: must map observations to [batch, outputs].
        critic: must map flattened observations joined with actions to [batch, 1].
        outputs: number of outputs of the actor.

    Raises:
        ValueError: the actions are discrete, or a network has other outputs or keeps a state (BatchNorm).
    """
    width = math.prod(env.observation_shape) + require_continuous(env, who).size
    heads.check_output(f"the actor of {who}", actor, env.observation_shape, outputs)
    heads.check_output(f"the critic of {who}, which sees (observation, action),", critic, (width,), 1)
    for name, net, shape in (("actor", actor, env.observation_shape), ("critic", critic, (width,))):
        key = jax.eval_shape(lambda: jax.random.key(0))
        _, state = jax.eval_shape(net.init, key, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
        if jax.tree.leaves(state):
            raise check.InputError(
                f"the {name} of {who} keeps a state beside its parameters, such as BatchNorm's; "
                "use a network without a state (LayerNorm keeps none)."
            )
