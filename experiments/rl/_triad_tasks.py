"""Tasks of the deadly triad: transitions on and off the policy whose values are learned, with its returns.

Two tasks of gymnax, FourRooms (finite) and MountainCar (continuous states), and random linear problems, of
which it can be computed whether temporal differences diverge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.rl import linear, mdp
from lrn.rl.env import Env, make, require_discrete
from lrn.rl.linear import baird
from lrn.rl.mdp.gridworld import FOUR_ROOMS
from lrn.types import Array, Key

ROOMS, CAR = "FourRooms", "MountainCar"
DISCOUNT = 0.99
BOUND = 1 / (1 - DISCOUNT)  # all rewards lie in [-1, 1]
EPSILON, WALKERS, STRIDE, RESTART = 0.1, 128, 16, 20
JUDGED = ("x", "action", "return")
BEHAVIORS = ("any weights", "random policy")


class Task(NamedTuple):
    """A task.

    env: the environment, without its time limit.
    policy: ``policy(observation) -> probabilities [action]``, the policy whose values are learned.
    anywhere: ``anywhere(key) -> (observation, state)``, a start anywhere in the state space.
    scale: ``scale(observation) -> [2]``, inputs of the learners, within [-1, 1].
    """

    env: Env
    policy: Callable[[Array], Array]
    anywhere: Callable[[Key], Any]
    scale: Callable[[Array], Array]


def task_of(name: str) -> Task:
    """The task of that name, with a policy that reaches the goal, but for one random action in ten."""
    if name == ROOMS:
        env = make("FourRooms-misc", max_steps_in_episode=10**6)
        anywhere = make("FourRooms-misc", max_steps_in_episode=10**6, resample_init_pos=True)
        best, places = np.zeros((13, 13, 4), np.float32), mdp.cells(FOUR_ROOMS)
        best[places[:, 0], places[:, 1]] = mdp.solve(mdp.four_rooms()).policy  # its actions are gymnax's
        table = jnp.asarray((1 - EPSILON) * best + EPSILON / 4)

        def shortest(observation: Array) -> Array:
            return table[observation[0].astype(int), observation[1].astype(int)]

        return Task(env, shortest, anywhere.reset, lambda o: o[:2] / 6 - 1)
    env = make("MountainCar-v0", max_steps_in_episode=10**6)

    def pump(observation: Array) -> Array:
        push = jnp.where(observation[1] >= 0, 2, 0)
        return (1 - EPSILON) * jax.nn.one_hot(push, 3) + EPSILON / 3

    def anywhere_in_box(key: Key) -> Any:
        reset_key, place_key = jax.random.split(key)
        _, state = env.reset(reset_key)
        low, high = jnp.array([-1.2, -0.07]), jnp.array([0.5, 0.07])
        place = jax.random.uniform(place_key, (2,), minval=low, maxval=high)
        return place, state.replace(position=place[0], velocity=place[1])

    middle, half = jnp.array([-0.3, 0.0]), jnp.array([0.9, 0.07])
    return Task(env, pump, anywhere_in_box, lambda o: (o - middle) / half)


def data_of(task: Task, transitions: int, rollouts: int, seed: Any) -> dict[str, Array]:
    """Transitions [2, n, ...] on the policy and off it, with returns; and fresh ones on it, to judge by.

    Off the policy, actions are random and walks start anywhere, again after 20 steps. ``next_action`` and the
    return are the policy's in both, so that data differ in nothing but the states and actions updated.

    Args:
        task: the task.
        transitions: n, a multiple of 128 (`WALKERS`).
        rollouts: the largest number of steps of a return.
        seed: the seed.
    """
    actions = require_discrete(task.env, "the deadly triad")

    def random(observation: Array) -> Array:
        del observation
        return jnp.full(actions, 1 / actions)

    own_key, other_key, judge_key = jax.random.split(jax.random.key(seed), 3)
    n = transitions
    own = _collect(task, own_key, task.env.reset, task.policy, None, n, rollouts, 1)
    other = _collect(task, other_key, task.anywhere, random, RESTART, n, rollouts, 1)
    judged = _collect(task, judge_key, task.env.reset, task.policy, None, n, rollouts, 4)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), own, other)
    return {**both, **{f"judged {k}": judged[k][::4] for k in JUDGED}}


def _collect(
    task: Task, key: Key, start: Any, act: Any, restart: int | None, n: int, rollouts: int, repeats: int
) -> dict[str, Array]:
    """n transitions of walks that act as told, with the mean return of so many rollouts of the policy."""
    walk_key, act_key, return_key = jax.random.split(key, 3)
    keys = jax.random.split(walk_key, WALKERS)
    rows = jax.vmap(lambda k: _walk(task, k, start, act, restart, n // WALKERS))(keys)
    observation, action, reward, terminated, following, after = jax.tree.map(
        lambda x: x.reshape(n, *x.shape[2:]), rows
    )
    next_action = _choose(act_key, jax.vmap(task.policy)(following))
    later = jnp.zeros(n)
    for k in jax.random.split(return_key, repeats):
        later += _returns(task, k, rollouts, after, next_action, terminated) / repeats
    return {
        "x": jax.vmap(task.scale)(observation),
        "action": action,
        "reward": reward,
        "terminated": terminated.astype(jnp.float32),
        "x_next": jax.vmap(task.scale)(following),
        "next_action": next_action,
        "return": reward + DISCOUNT * later,
    }


def _choose(key: Key, probabilities: Array) -> Array:
    return jax.random.categorical(key, jnp.log(probabilities))


def _walk(task: Task, key: Key, start: Any, act: Any, restart: int | None, kept: int) -> Any:
    """Every 16th step of one walker, so many of them."""
    first, rest = jax.random.split(key)

    def step(carry: Any, x: Any) -> Any:
        (observation, state), (t, key) = carry, x
        act_key, move_key, start_key = jax.random.split(key, 3)
        action = _choose(act_key, act(observation))
        after, out = task.env.move(move_key, state, action)
        over = out.terminated if restart is None else out.terminated | ((t + 1) % restart == 0)
        ahead = (out.final_observation, after)
        carry = jax.tree.map(lambda new, old: jnp.where(over, new, old), start(start_key), ahead)
        return carry, (observation, action, out.reward, out.terminated, out.final_observation, after)

    steps = STRIDE * kept
    rows = jax.lax.scan(step, start(first), (jnp.arange(steps), jax.random.split(rest, steps)))[1]
    return jax.tree.map(lambda x: x[STRIDE - 1 :: STRIDE], rows)


def _returns(task: Task, key: Key, most: int, state: Any, action: Array, terminated: Array) -> Array:
    """The policy's discounted returns [n] from states and first actions, played to the end."""

    def unfinished(carry: Any) -> Array:
        t, *_, weight, _ = carry
        return (t < most) & (weight.max() > 1e-3)

    def step(carry: Any) -> Any:
        t, key, state, action, weight, total = carry
        key, act_key, move_key = jax.random.split(key, 3)
        after, out = jax.vmap(task.env.move)(jax.random.split(move_key, action.size), state, action)
        total = total + weight * out.reward
        weight = DISCOUNT * weight * (1.0 - out.terminated)
        following = _choose(act_key, jax.vmap(task.policy)(out.final_observation))
        return t + 1, key, after, following, weight, total

    start = (0, key, state, action, 1.0 - terminated, jnp.zeros(action.size))
    return jax.lax.while_loop(unfinished, step, start)[-1]


def random_problems(worlds: int, states: int, features: int, seed: Any, _: Any) -> dict[str, Array]:
    """Matrices of the expected updates of linear learners on so many random MDPs, [worlds, n, n].

    The MDPs are Garnets of 3 actions and 3 next states, the policy is the optimal one, features are normal.
    States are weighted by the policy's own visits ("on-policy"), by those of a random policy, or by weights
    that are drawn uniformly from all weights ("any weights").
    """

    def one(key: Key) -> dict[str, Array]:
        world_key, feature_key, weight_key = jax.random.split(key, 3)
        world = mdp.garnet(world_key, states, 3, 3, DISCOUNT)
        target, x = mdp.solve(world).policy, jax.random.normal(feature_key, (states, features))
        # A hundredth of random actions, so that the chain has one recurrent class.
        own = mdp.stationary(world, 0.99 * target + 0.01 * mdp.uniform_policy(world))
        weights = jax.random.dirichlet(weight_key, jnp.ones(states, own.dtype))
        random = mdp.stationary(world, mdp.uniform_policy(world))
        off = {name: linear.moments(world, x, target, w) for name, w in zip(BEHAVIORS, (weights, random))}
        return {
            **{name: m.a for name, m in off.items()},
            "on-policy": linear.moments(world, x, target, mdp.stationary(world, target)).a,
            "no bootstrapping": off[BEHAVIORS[0]].c,
            "no approximation": linear.moments(world, jnp.eye(states), target, weights).a,
        }

    return jax.vmap(one)(jax.random.split(jax.random.key(seed), worlds))


def diverges(matrices: np.ndarray) -> np.ndarray:
    """Whether ``w - rate A w`` diverges however small the rate: an eigenvalue of A has a negative real part.

    Args:
        matrices: A, [..., n, n].
    """
    return np.linalg.eigvals(np.asarray(matrices, float)).real.min(-1) < -1e-9


def star() -> dict[str, float]:
    """The eigenvalue of the least real part on Baird's star, in expectation: below 0 the method diverges."""
    with jax.enable_x64(True):
        world, x = mdp.baird(DISCOUNT), jnp.asarray(baird.features(), float)
        target = jnp.asarray(baird.target(), float)
        m = linear.moments(world, x, target, jnp.full(7, 1 / 7))
        eye, zero = jnp.eye(8), jnp.zeros(8)
        # TDC as one iteration of both weights, of which the second are learned ten times as fast.
        columns = [linear.expected_tdc(m, w, v, 1.0, 10.0) for w, v in _halves(eye, zero)]
        tdc = jnp.eye(16) - jnp.stack([jnp.concatenate(c) for c in columns], 1)
    least = {
        name: float(np.linalg.eigvals(np.asarray(a)).real.min()) for name, a in (("TD", m.a), ("TDC", tdc))
    }
    return least


def _halves(eye: Array, zero: Array) -> list[tuple[Array, Array]]:
    return [*((e, zero) for e in eye), *((zero, e) for e in eye)]
