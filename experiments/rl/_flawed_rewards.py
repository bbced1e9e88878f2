"""Grid worlds with a true reward, and flawed rewards in its place, drawn from two stated populations.

A world has 6 x 6 places, four moves that slip in a tenth of the cases, and discount .95. Nothing is played
here: returns are solved for exactly, in single precision.

- *Errors.* Four kinds of object lie on three places each, and arriving at an object pays the worth of its
  kind, drawn from a standard normal. The flawed reward is written or learned with an error.
- *Means.* Arriving at a drawn goal pays 1 and ends the episode. The flawed reward adds pay for a means to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.rl import mdp
from lrn.rl.env import Discrete, Env, Step
from lrn.types import Array, Key

SIDE, ACTIONS, SLIP, DISCOUNT = 6, 4, 0.1, 0.95
STATES = SIDE * SIDE
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
OBJECTS, EACH = 4, 3  # kinds of object, and places of each
NOISE, LENGTH, MOST_LABELS = 0.5, 1.0, 128  # of a label; length scale of a learned reward, in places
ERRORS, MEANS = "errors", "pay for means"
# By family its kinds of flaw with three sizes each, from small to large.
# misjudged: deviation of the error of the log of each worth. overlooked: kinds of object that pay nothing.
# confused: chance that an object is taken for one of another kind, or none. learned: a Gaussian process on so
# many noisy labels of places. The others: pay in units of the goal's, for each arrival at a drawn place, for
# each step towards the goal (a step back costs nothing), for each step.
FLAWS = {
    ERRORS: {
        "misjudged": (0.5, 1.0, 2.0),
        "overlooked": (1.0, 2.0, 3.0),
        "confused": (0.1, 0.25, 0.5),
        "learned": (128.0, 32.0, 8.0),
    },
    MEANS: {"checkpoint": (0.1, 0.3, 1.0), "progress": (0.1, 0.3, 1.0), "survival": (0.1, 0.3, 1.0)},
}
DRAWS, HARM, SWEEPS, LIMIT = (
    8,
    0.25,
    250,
    40,
)  # errors drawn for each kind and size; the loss that makes a flaw of an error


class World(NamedTuple):
    """A drawn world.

    end: bool [state], whether an episode ends there. true: the true reward, [state, action]. flawed: a reward
    with a flaw, [kind, size, state, action]: the first drawn error with a harm of `HARM` or more, else the
    last. harm: by how much the best policy for each drawn error falls short of the best for the true reward,
    as a share of the possible gain, [kind, size, draw].
    """

    end: Array
    true: Array
    flawed: Array
    harm: Array


def reached() -> Array:
    """The place, int32 [state, action], that a move reaches if it does not slip."""
    place = jnp.stack(jnp.divmod(jnp.arange(STATES), SIDE), -1)
    after = jnp.clip(place[:, None] + jnp.array(MOVES)[None], 0, SIDE - 1)
    return after[..., 0] * SIDE + after[..., 1]


def slipped(x: Array) -> Array:
    """Expectations [..., action] over slips, which take a tenth of the moves in a random direction."""
    return (1 - SLIP) * x + SLIP * x.mean(-1, keepdims=True)


def world(family: str, key: Key) -> World:
    """The world of a key, with a flawed reward for each kind and size of the family."""
    world_key, draw_key = jax.random.split(key)
    end, true, draw = {ERRORS: _objects, MEANS: _goal}[family](world_key)
    drawn = jax.vmap(draw, out_axes=2)(jax.random.split(draw_key, DRAWS))  # [kind, size, draw, state, action]
    flat = drawn.reshape(-1, STATES, ACTIONS)
    policies = jax.vmap(lambda r: greedy(end, r))(flat)
    harm = (1 - gains(end, policies, true)).reshape(drawn.shape[:3])
    first = jnp.where((harm >= HARM).any(-1), (harm >= HARM).argmax(-1), DRAWS - 1)
    flawed = jnp.take_along_axis(drawn, first[..., None, None, None], 2)[:, :, 0]
    return World(end, true, flawed, harm)


def _objects(key: Key) -> tuple[Array, Array, Callable[[Key], Array]]:
    place_key, worth_key = jax.random.split(key)
    order = jax.random.permutation(place_key, STATES)[: OBJECTS * EACH]
    kind = jnp.full(STATES, OBJECTS).at[order].set(jnp.arange(OBJECTS * EACH) % OBJECTS)
    worth = jax.random.normal(worth_key, (OBJECTS,))

    def paid(worth: Array, kind: Array) -> Array:
        return jnp.append(worth, 0.0)[kind]

    def draw(key: Key) -> Array:
        *keys, label_key = jax.random.split(key, 5)
        error, order = jax.random.normal(keys[0], (OBJECTS,)), jax.random.permutation(keys[1], OBJECTS)
        u = jax.random.uniform(keys[2], (STATES,))
        other = jax.random.randint(keys[3], (STATES,), 0, OBJECTS)
        other = other + (other >= kind)  # one of the three other kinds, or none
        wrong = {
            "misjudged": lambda s: paid(worth * jnp.exp(s * error), kind),
            "overlooked": lambda s: paid(jnp.where(order < s, 0.0, worth), kind),
            "confused": lambda s: paid(worth, jnp.where((kind < OBJECTS) & (u < s), other, kind)),
            "learned": lambda s: learned(label_key, paid(worth, kind), s),
        }
        at = jnp.stack([jax.vmap(wrong[k])(jnp.array(sizes)) for k, sizes in FLAWS[ERRORS].items()])
        return slipped(at[..., reached()])

    return jnp.zeros(STATES, bool), slipped(paid(worth, kind)[reached()]), draw


def learned(key: Key, reward: Array, labels: Array) -> Array:
    """A reward [state] learned from noisy labels of random places: the mean of a Gaussian process.

    Args:
        key: of the places and the noise. reward: the true reward, [state]. labels: their number, at most 128.
    """
    place_key, noise_key = jax.random.split(key)
    drawn = jax.random.randint(place_key, (MOST_LABELS,), 0, STATES)
    count = jnp.zeros(STATES).at[drawn].add(jnp.arange(MOST_LABELS) < labels)
    # A place with n labels has their mean, with a noise of NOISE / sqrt(n); its weight is the root of n.
    weight = jnp.sqrt(count) / NOISE
    mean = reward + jax.random.normal(noise_key, (STATES,)) / jnp.maximum(weight, 1e-6)
    place = jnp.stack(jnp.divmod(jnp.arange(STATES), SIDE), -1)
    kernel = jnp.exp(-((place[:, None] - place[None]) ** 2).sum(-1) / (2 * LENGTH**2))
    square = jnp.eye(STATES) + weight[:, None] * kernel * weight[None]
    return kernel @ (weight * solved(square, jnp.where(count > 0, weight * mean, 0.0)))


def _goal(key: Key) -> tuple[Array, Array, Callable[[Key], Array]]:
    goal = jax.random.randint(key, (), 0, STATES)
    end, after = jnp.arange(STATES) == goal, reached()
    true = jnp.where(end[:, None], 0.0, slipped((after == goal).astype(jnp.float32)))

    def draw(key: Key) -> Array:
        pad = (goal + jax.random.randint(key, (), 1, STATES)) % STATES
        place = jnp.stack(jnp.divmod(jnp.arange(STATES), SIDE), -1)
        left = jnp.abs(place - place[goal][None]).sum(-1)
        nearer = jnp.maximum(left[:, None] - left[after], 0)
        means = jnp.stack([after == pad, nearer, jnp.ones_like(after)]).astype(jnp.float32)
        paid = jnp.array([*FLAWS[MEANS].values()])[..., None, None] * slipped(means)[:, None]
        return true[None, None] + jnp.where(end[:, None], 0.0, paid)

    return end, true, draw


def solved(matrix: Array, right: Array) -> Array:
    """The solution [n] of a system, matrix [n, n] and right [n], by elimination without pivots.

    The matrices here are positive definite or dominated by their diagonal, so they need no pivots. Batches of
    `jnp.linalg.solve` that run at once can wait for each other's threads for ever.
    """

    def eliminate(i: Array, rows: Array) -> Array:
        row = rows[i] / rows[i, i]
        return (rows - rows[:, i][:, None] * row[None]).at[i].set(row)

    return jax.lax.fori_loop(0, len(right), eliminate, jnp.concatenate([matrix, right[:, None]], 1))[:, -1]


def action_values(end: Array, reward: Array, values: Array) -> Array:
    """Action values [state, action] after one backup of ``values`` [state]."""
    return reward + DISCOUNT * slipped(jnp.where(end, 0.0, values)[reached()])


def greedy(end: Array, reward: Array) -> Array:
    """The best actions [state] for a reward [state, action], by sweeps enough for single precision."""
    zeros = jnp.zeros(STATES)
    values = jax.lax.fori_loop(0, SWEEPS, lambda _, v: action_values(end, reward, v).max(-1), zeros)
    return action_values(end, reward, values).argmax(-1)


def visits(end: Array, policy: Array) -> Array:
    """The discounted visits [state, action] of a policy [state, action], from a start at random."""
    go = jax.nn.one_hot(reached(), STATES)
    chain = jnp.einsum("sa,sat->st", slipped(policy), go) * ~end[None]
    start = ~end / (~end).sum()
    return solved(jnp.eye(STATES) - DISCOUNT * chain.T, start)[:, None] * policy * ~end[:, None]


def gains(end: Array, actions: Array, reward: Array) -> Array:
    """The shares [n] of the possible gain: 0 for random play, 1 for the best policy.

    Args:
        end: bool [state]. actions: greedy policies, int [n, state]. reward: [state, action].
    """
    played = jax.vmap(lambda a: visits(end, jax.nn.one_hot(a, ACTIONS)))(actions)
    return gained(end, played, reward)


def gained(end: Array, played: Array, reward: Array) -> Array:
    """The shares [n] of the possible gain by policies with the `visits` ``played``, [n, state, action]."""
    best = visits(end, jax.nn.one_hot(greedy(end, reward), ACTIONS))
    least = (visits(end, jnp.full((STATES, ACTIONS), 1 / ACTIONS)) * reward).sum()
    own = (played * reward[None]).sum((1, 2))
    return (own - least) / jnp.maximum((best * reward).sum() - least, 1e-6)


def shaped(world: World, potential: Array) -> Array:
    """Twice the true reward, shaped by a potential [state]: it orders policies as the true reward does."""
    after = DISCOUNT * slipped(jnp.where(world.end, 0.0, potential)[reached()])
    return jnp.where(world.end[:, None], 0.0, 2 * world.true + after - potential[:, None])


def model(end: Array, reward: Array) -> mdp.MDP:
    """The world as an MDP of the library, to compare with."""
    p = slipped(jnp.moveaxis(jax.nn.one_hot(reached(), STATES), 1, -1))
    return mdp.make(jnp.moveaxis(p, -1, 1), reward, None, DISCOUNT, end)


def played(end: Array, reward: Array) -> Env:
    """The environment of a world, which shows the row and the column of the agent, one-hot, [12]."""

    def see(place: Array) -> Array:
        row, column = jnp.divmod(place, SIDE)
        return jnp.concatenate([jax.nn.one_hot(row, SIDE), jax.nn.one_hot(column, SIDE)])

    def reset(key: Key) -> tuple[Array, Spot]:
        place = jax.random.randint(key, (), 0, STATES - end.any())
        spot = Spot(jnp.where(end.any() & (place >= end.argmax()), place + 1, place), jnp.int32(0))
        return see(spot.place), spot

    def move(key: Key, spot: Spot, action: Array) -> tuple[Spot, Step]:
        u = jax.random.uniform(key, (2,))
        way = jnp.where(u[0] < SLIP, (u[1] * ACTIONS).astype(jnp.int32), action)
        after = Spot(reached()[spot.place, way], spot.time + 1)
        over = after.time >= LIMIT
        return after, Step(reward[spot.place, action], end[after.place], over, see(after.place))

    return Env("grid", reset, move, (2 * SIDE,), Discrete(ACTIONS), LIMIT)


class Spot(NamedTuple):
    """State of an episode: the place of the agent and the steps taken, both int32."""

    place: Array
    time: Array


def everywhere() -> Array:
    """The observations of all places, [state, 12]."""
    row, column = jnp.divmod(jnp.arange(STATES), SIDE)
    return jnp.concatenate([jax.nn.one_hot(row, SIDE), jax.nn.one_hot(column, SIDE)], -1)
