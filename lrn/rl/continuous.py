"""What off-policy agents for continuous actions share: twin critics, playing into a replay, checks.

Inside an agent actions are [dim] in [-1, 1]; the environment's units appear only where it is stepped.
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

    The smaller of their two estimates checks the overestimation that an actor, by maximizing a noisy critic,
    feeds on (Fujimoto et al. 2018, section 4).

    init: ``init(key) -> (params, params)``, of one critic each.
    values: ``values(params, observation [batch, ...], action [batch, dim]) -> [2, batch]``, with actions in
        [-1, 1].
    """

    init: Callable[[Key], Params]
    values: Callable[[Params, Array, Array], Array]


def twin(critic: Net, observation_shape: tuple[int, ...], action_size: int) -> Twin:
    """Two critics from one network on flattened observations joined with actions."""
    width = math.prod(observation_shape) + action_size

    def init(key: Key) -> Params:
        first, second = jax.random.split(key)
        return tuple(critic.init(k, jnp.zeros((1, width)))[0] for k in (first, second))

    def values(params: Params, observation: Array, action: Array) -> Array:
        x = jnp.concatenate([as_float(observation).reshape(observation.shape[0], -1), action], -1)
        # Not one batched network: on CPU its wider kernels would be split between threads, at a loss.
        return jnp.stack([critic.apply(p, (), x)[0][:, 0] for p in params])

    return Twin(init, values)


def to_env(env: Env, unit: Array) -> Array:
    """Actions [n, dim] of [-1, 1] in the environment's units and shape, [n, *shape]."""
    box = require_continuous(env, "this agent")
    return box.scale(unit.reshape(unit.shape[0], *box.shape))


def start_replay(env: Env, live: play.Live, capacity: int, at_once: int) -> Played:
    """A replay of what is played from here, ``at_once`` steps at a time, with actions [dim] in [-1, 1]."""
    action = jnp.zeros(require_continuous(env, "this agent").size)
    return replay.start(live.observation, action, capacity, at_once)


def empty_replay(env: Env, capacity: int) -> Replay:
    """A replay of any `Transition`s, imagined ones say, with actions [dim] in [-1, 1]."""
    observation, no = jnp.zeros(env.observation_shape), jnp.array(False)
    action = jnp.zeros(require_continuous(env, "this agent").size)
    return replay.init(Transition(observation, action, jnp.float32(0), no, no, observation), capacity)


def collect(
    env: Env, key: Key, live: play.Live, act: Callable[[Array, Array], Array], noise: Array, random: Array
) -> tuple[play.Live, Transition, play.Ended]:
    """Play a stretch in n environments; its transitions, [time * n, ...], a row for each environment in turn.

    Args:
        env: the environment.
        key: drives it.
        live: where the n environments stand.
        act: ``act(noise [n, dim], observation [n, ...]) -> action [n, dim]`` in [-1, 1].
        noise: [time, n, dim], every entry N(0, 1).
        random: a scalar bool; True plays uniformly random actions instead.
    """

    def move(noise_t: Array, observation: Array, memory: tuple[()]):
        unit = explored(noise_t, act(noise_t, observation), random)
        return to_env(env, unit), unit, memory

    live, _, seen, ended = play.unroll(env, key, live, move, (), noise, noise.shape[0])
    rows = Transition(
        seen.observation, seen.extra, seen.reward, seen.terminated, seen.truncated, seen.final_observation
    )
    return live, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows), ended


def explored(noise: Array, unit: Array, random: Array) -> Array:
    """The actions ``unit`` [n, dim], or if ``random`` uniform ones, made of N(0, 1) noise [n, dim]."""
    # The normal distribution function makes uniform numbers of the noise, which keep its color.
    return jnp.where(random, jax.scipy.special.erf(noise / math.sqrt(2.0)), unit)


T = TypeVar("T")


def once_ready(ready: Array, new: T, old: T, losses: Mapping[str, Array]) -> tuple[T, dict[str, Mean]]:
    """What was learned, and the mean losses, if it was time to learn; else what was before, and no losses.

    Masked and not skipped: under vmap a `cond` computes both branches anyway.
    """
    kept = jax.tree.map(lambda new, old: jnp.where(ready, new, old), new, old)
    return kept, {name: Mean(x.mean(), ready.astype(jnp.float32)) for name, x in losses.items()}


def check_networks(who: str, env: Env, actor: Net, critic: Net, outputs: int) -> None:
    """Check an actor [batch, outputs] and a critic on (observation, action), both without state.

    Raises:
        ValueError: the actions are discrete, or a network is of another size or keeps a state (BatchNorm).
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
                "use a network without one (LayerNorm keeps none)."
            )
