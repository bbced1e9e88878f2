"""Agents of three widths that learn true and flawed rewards in grid worlds, and what they exploit.

Every agent of a seed and width starts with the same weights and the same random numbers; only the reward
differs. The agent on the true reward is the *twin* of the agents on flawed rewards. A second twin with other
random numbers shows by how much two agents differ that both learn the true reward.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.rl import _flawed_rewards as worlds
from experiments.rl._flawed_rewards import HARM, STATES, World
from lrn import nets
from lrn.rl.heads import actor_critic
from lrn.rl.ppo import PPOConfig, ppo
from lrn.types import Array, Key, Net

WIDTHS, MOST = (2, 8, 32), 32  # hidden units in use; of all networks
RATES = (3e-3, 1e-2, 3e-2, 1e-1)
READS = 8  # evaluations, at equal distances
TWIN, SECOND, FLAWED, PERFECT = "true reward", "true reward again", "flawed reward", "perfect agent"
SAME = "equivalent reward"
EXPLOITED, TRUE, PROXY = "share of flaws exploited", "gain of true reward", "gain of learned reward"
FALLEN, FOUND, OFF = "fallen below its best", "share of errors that are flaws", "largest error of a return"
HACKABLE, GRADIENTS = "hackable", "gradient steps"


def arm(family: str, who: str, width: int | str = "") -> str:
    """The name of an arm, or of a part of the grid."""
    return f"{family}: {who}" + (f", {width} units" if width else "")


def masked(outputs: int, width: Array) -> Net:
    """A network with a hidden layer of 32 tanh units, of which the first ``width`` are in use."""

    def init(key: Key, x: Array) -> Any:
        first, last = jax.random.split(key)
        return {
            "in": jax.random.normal(first, (x.shape[1], MOST)),
            "bias": jnp.zeros(MOST),
            "out": 0.01 * jax.random.normal(last, (MOST, outputs)),
            "shift": jnp.zeros(outputs),
        }

    def apply(params: Any, x: Array) -> Array:
        used = (jnp.arange(MOST) < width).astype(x.dtype)
        hidden = jnp.tanh(x @ params["in"] + params["bias"][None]) * used[None]
        return hidden @ params["out"] + params["shift"][None]

    return nets.from_function(init, apply)


def settings(steps: int, rate: Any) -> PPOConfig:
    """The settings of all agents but for the rate."""
    return PPOConfig(
        total_steps=steps, num_envs=16, rollout_length=16, minibatches=2, learning_rate=rate, anneal=False,
        discount=worlds.DISCOUNT, normalize_rewards=True,
    )  # fmt: skip


def trained(steps: int, end: Array, reward: Array, width: Array, rate: Array, key: Key) -> dict[str, Array]:
    """Train an agent on a reward of a world.

    Returns:
        "actions": its greedy actions at `READS` times, int [time, state]; `GRADIENTS`: by its optimizer's
        count.
    """
    own = settings(steps, rate)
    net = actor_critic(masked(worlds.ACTIONS, width), masked(1, width))
    agent = ppo(worlds.played(end, reward), net, own)
    init_key, step_key = jax.random.split(key)
    every = steps // own.interactions // READS

    def step(state: Any, i: Array) -> Any:
        return agent.step(jax.random.fold_in(step_key, i), state, None)[0], None

    def block(state: Any, i: Array) -> Any:
        state, _ = jax.lax.scan(step, state, i * every + jnp.arange(every))
        return state, agent.policy.act(step_key, state, (), worlds.everywhere())[0]

    state, actions = jax.lax.scan(block, agent.init(init_key, None), jnp.arange(READS))
    counts = optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
    return {"actions": actions, GRADIENTS: counts[0][1]}


def grid(family: str, world: World, rates: Array, keys: Any) -> tuple[Array, Array, Array, Key]:
    """Rewards, widths, rates and keys of the agents of a seed, [width, reward], the twins first.

    Args:
        family: the family. world: the world of the seed. rates: by width, of the twins and of each kind,
            [width, 1 + kind]. keys: one for all agents but the second twin, and one for that.
    """
    kinds, sizes = world.flawed.shape[:2]
    flat = world.flawed.reshape(kinds * sizes, *world.true.shape)
    rewards = jnp.concatenate([jnp.stack([world.true, world.true]), flat])
    by_kind = jnp.repeat(rates[:, 1:], sizes, 1)
    rates = jnp.concatenate([rates[:, :1], rates[:, :1], by_kind], 1)
    n = len(rewards)
    shape = (len(WIDTHS), n)
    each = jnp.where(jnp.arange(n) == 1, keys[1], keys[0])
    rewards = jnp.broadcast_to(rewards[None], (*shape, *world.true.shape))
    return rewards, jnp.broadcast_to(jnp.array(WIDTHS)[:, None], shape), rates, jnp.broadcast_to(each, shape)


def played(family: str, steps: int, seed: Any, rates: Array) -> dict[str, Array]:
    """All agents of a seed: what they gain of the true reward and of their own, and what they exploit.

    Args:
        family: the family of flaws. steps: of the environment. seed: of the world and the agents.
        rates: learning rates by width, of the twins and of each kind of flaw, [width, 1 + kind].

    Returns:
        By metric arrays, see the code; those of `EXPLOITED` say of each flaw whether it is exploited.
    """
    world_key, shape_key, *keys = jax.random.split(jax.random.key(seed), 4)
    world = worlds.world(family, world_key)
    lanes = grid(family, world, rates, jnp.stack(keys))
    flat = [x.reshape(-1, *x.shape[2:]) for x in lanes]
    learn = jax.vmap(partial(trained, steps, world.end))
    found = learn(*flat)
    actions = found["actions"].reshape(*lanes[0].shape[:2], READS, STATES)
    same = worlds.shaped(world, jax.random.normal(shape_key, (STATES,)))
    bests = jnp.stack([worlds.greedy(world.end, r) for r in (world.true, same)])
    kept = worlds.gains(world.end, bests, world.true)[1]
    exact = {"end": world.end, "true": world.true, "one": world.flawed[-1, 1], "same": same}
    counted = {GRADIENTS: found[GRADIENTS].reshape(lanes[0].shape[:2])}
    return judged(world, actions) | exact | counted | {"best": bests[0], "kept": kept}


def judged(world: World, actions: Array) -> dict[str, Array]:
    """What agents gain and exploit, exactly.

    Args:
        world: the world. actions: greedy actions [width, agent, time, state] of the twins and of an agent for
            each kind and size.

    Returns:
        `TRUE`, `PROXY`: shares of the possible gain, [width, agent, time]; of a twin both are the same.
        "flaw": whether each drawn error is a flaw, [flaw]. `EXPLOITED`: whether each agent, the second twin
        in its place and the best policy exploit the flaw, [3, width, flaw, time].
    """
    flawed = world.flawed.reshape(-1, *world.true.shape)
    rewards = jnp.concatenate([jnp.stack([world.true, world.true]), flawed])
    rows = actions.reshape(-1, STATES)
    visits = jax.vmap(lambda a: worlds.visits(world.end, jax.nn.one_hot(a, worlds.ACTIONS)))(rows)
    every = jax.vmap(lambda reward: worlds.gained(world.end, visits, reward))(rewards)
    every = every.reshape(-1, *actions.shape[:-1])  # [reward, width, agent, time]
    true = every[0]
    own = jnp.moveaxis(jnp.diagonal(every, axis1=0, axis2=2), -1, 1)
    best = jax.vmap(lambda r: worlds.greedy(world.end, r))(flawed)
    harm = 1 - worlds.gains(world.end, best, world.true)
    twin, paid = true[:, :1], jnp.moveaxis(every[2:, :, 0], 0, 1)  # what the twin gains, under each reward

    def exploits(gained: Array, received: Array, least: Array, bar: Array) -> Array:
        return (received > bar) & (least - gained > 0.5 * harm[None, :, None])

    again = jnp.broadcast_to(true[:, 1:2], true[:, 2:].shape)
    perfect = jnp.broadcast_to((1 - harm)[None, :, None], again.shape)
    ones = jnp.ones_like(again)
    hacked = jnp.stack([
        exploits(true[:, 2:], own[:, 2:], twin, paid),
        exploits(again, ones, twin, paid),
        exploits(perfect, ones, ones, jnp.zeros_like(ones)),
    ])  # fmt: skip
    return {TRUE: true, PROXY: own, "flaw": harm >= HARM, EXPLOITED: hacked, FOUND: world.harm >= HARM}


def tried(family: str, steps: int, seed: Any, rate: Array) -> Array:
    """What a twin and agents on middle-sized flaws gain of the reward that they learn, [width, agent]."""
    world_key, key = jax.random.split(jax.random.key(seed))
    world = worlds.world(family, world_key)
    world = world._replace(flawed=world.flawed[:, 1:2])
    rates = jnp.full((len(WIDTHS), 1 + len(world.flawed)), rate)
    lanes = grid(family, world, rates, jnp.stack([key, key]))
    lanes = jax.tree.map(lambda x: jnp.delete(x, 1, 1, assume_unique_indices=True), lanes)

    def gained(reward: Array, *more: Array) -> Array:
        actions = trained(steps, world.end, reward, *more)["actions"]
        return worlds.gains(world.end, actions[-1:], reward)[0]

    return jax.vmap(jax.vmap(gained))(*lanes)
