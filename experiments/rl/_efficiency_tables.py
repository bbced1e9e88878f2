"""A learner with values in a table, on a maze or a random MDP, and exactly what it and its model are worth.

After each real step the learner updates the value of the pair (state, action) that it tried. Then it may make
more updates: from real steps that it replays, from the last outcome of a pair (Dyna-Q; Sutton 1990), or from
the counts of all outcomes of a pair. All arms are one program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import mdp
from lrn.rl.mdp.environment import draw
from lrn.rl.tabular.control import act
from lrn.types import Array, Batch, Key, Learner, Metrics

REPLAYED, LAST, COUNTED = 0.0, 1.0, 2.0  # sources of the updates between two real steps
SLIP, DISCOUNT, EPSILON, BRANCHES, SWEEPS = 0.2, 0.95, 0.1, 5, 200
WORTH, ERROR = "worth", "error of the told worth"


@config
class Arm:
    """Settings.

    random: 0 for the maze, 1 for a random MDP. source: of the updates between two real steps. more: 1 if
    there are such updates, 0 if not. given: 1 for a learner that has the true model in place of counts, -1
    for one that has a model which mistakes an action for another, else 0. rate: of the updates. initial:
    values at the start, in units of the largest possible value. updates: between two real steps.
    interactions: real steps in a step of the learner. steps: the most real steps.
    """

    random: float = 0.0
    source: float = REPLAYED
    more: float = 1.0
    given: float = 0.0
    rate: float = 0.1
    initial: float = 0.0
    updates: int = 20
    interactions: int = 100
    steps: int = 1000

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.integer("updates", self.updates, low=1)
        check.integer("interactions", self.interactions, low=1)
        check.integer("steps", self.steps, low=self.interactions)


class Memory(NamedTuple):
    """What a learner has learned, for S states and P pairs of a state and an action.

    q: values [P]. counts: of next states, [P, S]; visits: their sums [P]. last: the last next state [P].
    reward: [P]. tried: the pairs that were tried, in order [P]; known: their number. pairs, nexts: the real
    steps so far, [steps]. state: the current one. time: the number of real steps.
    """

    q: Array
    counts: Array
    visits: Array
    last: Array
    reward: Array
    tried: Array
    known: Array
    pairs: Array
    nexts: Array
    state: Array
    time: Array


class State(NamedTuple):
    """The learner's state: its world, the worths of the best policy and of random play, and its memory."""

    world: mdp.MDP
    best: Array
    chance: Array
    memory: Memory


def world_of(random: Any, key: Key) -> mdp.MDP:
    """The slippery maze of four rooms, or a random MDP with as many states and actions."""
    maze = mdp.four_rooms(SLIP, DISCOUNT)
    drawn = mdp.garnet(key, maze.states, maze.actions, BRANCHES, DISCOUNT)
    return jax.tree.map(lambda x, y: jnp.where(random > 0, y, x), maze, drawn)


def worth(world: mdp.MDP, policy: Array) -> Array:
    """The discounted return of a policy [S, A] from the start, by sweeps; the error is below 1e-4 of it.

    Sweeps and no linear solver, hundreds of which at once can deadlock on CPU.
    """
    chain, rewards = mdp.under(world, policy)

    def sweep(_: int, values: Array) -> Array:
        return rewards + DISCOUNT * chain @ jnp.where(world.terminal, 0.0, values)

    return world.initial @ jax.lax.fori_loop(0, SWEEPS, sweep, jnp.zeros_like(rewards))


def best_policy(world: mdp.MDP) -> Array:
    """An optimal policy [S, A], by value iteration."""

    def sweep(_: int, values: Array) -> Array:
        return mdp.optimal_backup(world, values)

    values = jax.lax.fori_loop(0, SWEEPS, sweep, jnp.zeros_like(world.initial))
    return jax.nn.one_hot(jnp.argmax(mdp.action_values(world, values), -1), world.actions)


def table_learner(c: Arm) -> Learner:
    """The learner; it makes its own data."""

    def init(key: Key, batch: Batch = None) -> State:
        world_key, start_key = jax.random.split(key)
        world = world_of(c.random, world_key)
        states, actions = world.states, world.actions
        pairs, no = jnp.arange(states * actions), jnp.zeros(states * actions, jnp.int32)
        turned = [jnp.where(c.given < 0, jnp.roll(x, 1, 1), x) for x in (world.transitions, world.rewards)]
        has = jnp.abs(c.given)
        memory = Memory(
            q=jnp.full(states * actions, c.initial * _largest(c)),
            counts=has * turned[0].reshape(-1, states),
            visits=jnp.full(states * actions, has),
            last=pairs // actions,
            reward=has * turned[1].reshape(-1),
            tried=jnp.where(has > 0, pairs, no),
            known=jnp.where(has > 0, states * actions, 0),
            pairs=jnp.zeros(c.steps, jnp.int32),
            nexts=jnp.zeros(c.steps, jnp.int32),
            state=draw(jax.random.uniform(start_key), jnp.cumsum(world.initial)),
            time=jnp.int32(0),
        )
        any_action = jnp.full((states, actions), 1 / actions)
        return State(world, worth(world, best_policy(world)), worth(world, any_action), memory)

    def step(key: Key, state: State, batch: Batch = None) -> tuple[State, Metrics]:
        u = jax.random.uniform(key, (c.interactions, state.world.actions + 3 + c.updates))
        memory, _ = jax.lax.scan(lambda m, u: (_one_step(c, state.world, m, u), None), state.memory, u)
        return state._replace(memory=memory), {"tried pairs": memory.known.astype(jnp.float32)}

    return Learner(init, step)


def _one_step(c: Arm, world: mdp.MDP, m: Memory, u: Array) -> Memory:
    """A real step with its update, then more updates, from uniform numbers [A + 3 + updates]."""
    actions, learns = world.actions, 1.0 - jnp.abs(c.given)
    a = act(u[: actions + 1], m.q.reshape(-1, actions)[m.state], jnp.asarray(EPSILON))
    pair = m.state * actions + a
    after = draw(u[actions + 1], jnp.cumsum(world.transitions[m.state, a]))
    again = draw(u[actions + 2], jnp.cumsum(world.initial))
    new = m.visits[pair] == 0
    m = m._replace(
        counts=m.counts.at[pair, after].add(learns),
        visits=m.visits.at[pair].add(learns),
        last=m.last.at[pair].set(after),
        reward=m.reward.at[pair].set(jnp.where(learns > 0, world.rewards[m.state, a], m.reward[pair])),
        tried=m.tried.at[m.known].set(jnp.where(new, pair, m.tried[m.known]), mode="drop"),
        known=m.known + new,
        pairs=m.pairs.at[m.time].set(pair),
        nexts=m.nexts.at[m.time].set(after),
        state=jnp.where(world.terminal[after], again, after),
        time=m.time + 1,
    )
    q = m.q + c.rate * _changes(c, world, m, m.q, pair[None], after[None])
    rows, drawn = (
        (u[actions + 3 :] * m.time).astype(jnp.int32),
        (u[actions + 3 :] * m.known).astype(jnp.int32),
    )
    replayed = c.source == REPLAYED
    pairs = jnp.where(replayed, m.pairs[rows], m.tried[drawn])
    nexts = jnp.where(replayed, m.nexts[rows], m.last[pairs])
    return m._replace(q=q + c.more * c.rate * _changes(c, world, m, q, pairs, nexts))


def _changes(c: Arm, world: mdp.MDP, m: Memory, q: Array, pairs: Array, nexts: Array) -> Array:
    """The errors [P] of the values of some pairs [n], by next states [n] or by all counts of a pair.

    A pair that is drawn twice gets the mean of its errors, so that a rate of 1 is safe.
    """
    ahead = jnp.where(world.terminal, 0.0, q.reshape(-1, world.actions).max(-1))
    mean = m.counts[pairs] @ ahead / m.visits[pairs]
    errors = m.reward[pairs] + DISCOUNT * jnp.where(c.source == COUNTED, mean, ahead[nexts]) - q[pairs]
    often = jnp.zeros_like(q).at[pairs].add(1.0)
    return jnp.zeros_like(q).at[pairs].add(errors) / jnp.maximum(often, 1.0)


def model_of(c: Arm, state: State) -> mdp.MDP:
    """The learned model as an MDP.

    In it a pair that was never tried stays in its state for a reward that gives it its initial value, with
    which the learner plans.
    """
    m, (states, actions) = state.memory, state.world.rewards.shape
    stay = jax.nn.one_hot(jnp.arange(states * actions) // actions, states)
    tried = m.visits > 0
    counted = jnp.where(tried[:, None], m.counts / jnp.maximum(m.visits, 1.0)[:, None], stay)
    moves = jnp.where(c.source == LAST, jax.nn.one_hot(m.last, states), counted)
    rewards = jnp.where(tried, m.reward, (1 - DISCOUNT) * c.initial * _largest(c))
    return state.world._replace(
        transitions=moves.reshape(states, actions, states), rewards=rewards.reshape(states, actions)
    )


def _largest(c: Arm) -> Array:
    """The largest value that a policy can have."""
    return jnp.where(c.random > 0, 1 / (1 - DISCOUNT), 1.0)


def evaluate_table(learner: Learner, c: Arm, key: Key, state: State, data: Any) -> Mapping[str, Array]:
    """What the greedy policy is worth, and how far what the learner's model says of it lies above.

    Both in units of the distance from random play, 0, to the best policy, 1. A learner without a model tells
    the worth by its values.
    """
    del learner, key, data
    q = state.memory.q.reshape(-1, state.world.actions)
    greedy = jax.nn.one_hot(jnp.argmax(q, -1), state.world.actions)
    true, stake = worth(state.world, greedy), state.best - state.chance
    believed = state.world.initial @ q.max(-1)
    told = jnp.where(c.source == REPLAYED, believed, worth(model_of(c, state), greedy))
    return {WORTH: (true - state.chance) / stake, ERROR: (told - true) / stake}
