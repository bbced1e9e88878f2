"""Outputs of an agent's networks: two networks joined into an actor-critic, and checks of output shapes.

The checks trace a network without running it, before anything compiles.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.env import Box, Env
from lrn.rl.spaces import check_box
from lrn.types import Array, Key, Net, NetState, Params, RecurrentNet


def actor_critic(actor: Net, critic: Net) -> Net:
    """Join two networks into one `Net` whose output is ``(policy [batch, k], value [batch])``.

    For a body that actor and critic share, write one network that returns such a pair.

    Args:
        actor: maps observations to [batch, k].
        critic: maps observations to [batch, 1].
    """

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        actor_key, critic_key = jax.random.split(key)
        actor_params, actor_state = actor.init(actor_key, x)
        critic_params, critic_state = critic.init(critic_key, x)
        return {"actor": actor_params, "critic": critic_params}, (actor_state, critic_state)

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> Any:
        actor_key, critic_key = (None, None) if key is None else jax.random.split(key)
        policy, actor_state = actor.apply(params["actor"], state[0], x, key=actor_key, train=train)
        value, critic_state = critic.apply(params["critic"], state[1], x, key=critic_key, train=train)
        return (policy, jnp.squeeze(value, -1)), (actor_state, critic_state)

    return Net(init, apply)


def dueling(net: Net, numbers: int = 1) -> Net:
    """A dueling network (Wang et al. 2016, eq. 9): ``Q = V + A - mean(A)``, [batch, actions * numbers].

    Args:
        net: maps observations to [batch, (1 + actions) * numbers]: the value of the state, then an advantage
            for each action. An action that is not allowed has advantage -inf, and the mean leaves it out.
        numbers: how many numbers a `lrn.rl.return_heads.ReturnHead` wants for each action. Each of them has a
            value and advantages of its own, as in Rainbow (Hessel et al. 2018).
    """
    check.integer("numbers", numbers, 1)

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        out, state = net.apply(params, state, x, key=key, train=train)
        value, advantage = out[..., :numbers], out[..., numbers:]
        value, advantage = value[:, None], advantage.reshape(len(out), -1, numbers)
        allowed = ~jnp.isneginf(advantage)
        count = jnp.maximum(allowed.sum(-2, keepdims=True), 1)
        mean = jnp.where(allowed, advantage, 0.0).sum(-2, keepdims=True) / count
        return (value + advantage - mean).reshape(len(out), -1), state

    return Net(net.init, apply)


def policy_size(env: Env) -> int:
    """The number of outputs that a policy needs: a logit for each action, or a mean for each dimension.

    Raises:
        InputError: the actions are continuous and have no finite bounds.
    """
    if isinstance(env.actions, Box):
        check_box(env.name, env.actions)
        return env.actions.size
    return env.actions.n


def check_output(who: str, net: Net, inputs: tuple[int, ...], outputs: int) -> None:
    """Check that a network maps [batch, *inputs] to [batch, outputs].

    Args:
        who: the subject of the error message, such as "the network of dqn".
        net: the network.
        inputs: shape of one input.
        outputs: number of outputs.

    Raises:
        ValueError: the network gives another shape.
    """
    out = _output(net, inputs)
    shape = getattr(out, "shape", None)
    if shape != (_BATCH, outputs):
        raise check.InputError(
            f"{who} must map observations [batch{_rest(inputs)}] to [batch, {outputs}], but gives "
            f"{_shape(out)}; set its number of outputs to {outputs}."
        )


def check_actor_critic(who: str, net: Net, env: Env) -> None:
    """Check that a network maps [batch, *observation] to ``(policy [batch, k], value [batch])``.

    Args:
        who: the subject of the error message, such as "the network of ppo".
        net: the network.
        env: the environment, which gives the observation's shape and k.

    Raises:
        ValueError: the network gives other shapes.
    """
    out = _output(net, env.observation_shape)
    _check_pair(who, out, env, "lrn.rl.heads.actor_critic, which joins a network of {k} outputs and one of 1")


def check_recurrent(who: str, net: RecurrentNet, env: Env) -> None:
    """Check a network with memory as `check_actor_critic` checks one without.

    Raises:
        ValueError: the network is no `RecurrentNet`, or its outputs do not fit the environment.
    """
    if not isinstance(net, RecurrentNet):
        raise check.InputError(
            f"{who} must be an lrn.types.RecurrentNet, got {type(net).__name__}; "
            "see lrn.nets.gru_actor_critic, or use ppo for a network without memory."
        )

    def run(key: Key, x: Array) -> Any:
        first = jnp.ones(_BATCH, bool)
        return net.apply(net.init(key, x), net.initial(_BATCH), x, first)[0]

    key = jax.eval_shape(lambda: jax.random.key(0))
    out = jax.eval_shape(run, key, jax.ShapeDtypeStruct((_BATCH, *env.observation_shape), jnp.float32))
    _check_pair(who, out, env, "lrn.nets.gru_actor_critic({k})")


def _check_pair(who: str, out: Any, env: Env, advice: str) -> None:
    k = policy_size(env)
    pair = isinstance(out, tuple) and len(out) == 2
    shapes = [getattr(x, "shape", None) for x in out] if pair else []
    if shapes != [(_BATCH, k), (_BATCH,)]:
        raise check.InputError(
            f"{who} must map observations [batch{_rest(env.observation_shape)}] of {env.name} to a pair "
            f"(policy [batch, {k}], value [batch]), but gives {_shape(out)}; "
            f"see {advice.format(k=k)}."
        )


_BATCH = 3  # the batch size of the traces; unlikely to be the width of a layer


def _output(net: Net, inputs: tuple[int, ...]) -> Any:
    if not isinstance(net, Net):
        raise check.InputError(
            f"a network must be an lrn.types.Net, got {type(net).__name__}; "
            "wrap it by lrn.nets.from_flax or lrn.nets.from_function."
        )

    def run(key: Key, x: Array) -> Any:
        params, state = net.init(key, x)
        return net.apply(params, state, x)[0]

    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(run, key, jax.ShapeDtypeStruct((_BATCH, *inputs), jnp.float32))


def _rest(shape: tuple[int, ...]) -> str:
    return "".join(f", {n}" for n in shape)


def _shape(out: Any) -> str:
    def shape_of(x: Any) -> str:
        named = ["batch" if n == _BATCH and i == 0 else str(n) for i, n in enumerate(x.shape)]
        return f"[{', '.join(named)}]"

    if isinstance(out, tuple):
        return f"({', '.join(shape_of(x) if hasattr(x, 'shape') else type(x).__name__ for x in out)})"
    return shape_of(out) if hasattr(out, "shape") else type(out).__name__
