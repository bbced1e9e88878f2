"""Tasks and networks whose size is traced, so that one program serves all sizes, and runs of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.rl.a2c import A2CConfig, a2c
from lrn.rl.env import Discrete, Env, Step
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.coding import Coding
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.rl.exploration.deep_sea import Diver, deep_sea, table
from lrn.rl.heads import actor_critic
from lrn.rl.pqn import PQNConfig, pqn
from lrn.types import Array, Key, Net
from lrn.xla.runtime import brief_options

RANDOM, UCB, OPTIMISM, COUNTS = "random actions", "UCB", "optimism", "counts"
TABLE, VALUES, POLICY = "table", "Q-network", "policy gradient"
CANDIDATES, SUSTAINED = 4, 3  # settings of a method; checks in a row that must find a task solved
RIGHT, CONTEXTS = 0.9, 64  # the share of right answers that solves a bandit, over so many drawn contexts
BATCH = {TABLE: 4, VALUES: 32, POLICY: 32}  # samples of a learner step on a bandit, after which is checked


class Size(NamedTuple):
    """The size of a task and of a network; each number may be traced.

    task: rows of DeepSea, or bits that a bandit shows. matter: bits whose parity is asked.
    width, depth: units of a hidden layer, hidden layers.
    """

    task: Any
    matter: Any = 1
    width: Any = 32
    depth: Any = 2


class Most(NamedTuple):
    """The largest size of a program: of the task, the width and the depth; ints."""

    task: int
    width: int = 1
    depth: int = 1


class Plan(NamedTuple):
    """A method on a task of one size.

    init: ``init(key) -> state``. block: ``block(key, state) -> state``, what is done between two checks.
    solves: ``solves(key, state) -> bool``. counted: ``counted(state)``, environment steps by the learner's
    own count.
    """

    init: Callable[[Key], Any]
    block: Callable[[Key, Any], Any]
    solves: Callable[[Key, Any], Array]
    counted: Callable[[Any], Array]


def each(method: str, size: Size) -> tuple[int, Any]:
    """Episodes and environment steps of a block: of a learner step on a bandit, of an episode on DeepSea."""
    return BATCH.get(method, 1), BATCH.get(method, size.task)


def plan(method: str, setting: dict[str, Any], size: Size, most: Most) -> Plan:
    """A method with its setting, floats that may be traced."""
    return (_bandit if method in BATCH else _dive)(method, setting, size, most)


def _dive(method: str, setting: dict[str, Any], size: Size, most: Most) -> Plan:
    """Q-learning on DeepSea; the task is deterministic, so that the largest rate is best for all."""
    own = {"learning_rate": 1.0, "epsilon_start": 0.0, "epsilon_end": 0.0, **setting}
    bonus = count_bonus(table(most.task), CountConfig(own.pop("beta", 0.0)), actions=2)
    config = CodedQConfig(
        select="ucb" if method == UCB else "epsilon_greedy", num_envs=1, rollout_length=1, discount=1.0, **own
    )
    agent = coded_q(deep_sea(size.task, most.task), table(most.task), config, bonus)

    def block(key: Key, state: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            return agent.step(jax.random.fold_in(key, i), state, None)[0]

        return jax.lax.fori_loop(0, size.task, step, state)

    return Plan(lambda key: agent.init(key, None), block, diagonal(size, most), lambda state: state.steps)


def diagonal(size: Size, most: Most) -> Callable[[Key, Any], Array]:
    """Whether the greedy policy goes right all along DeepSea's diagonal, and so finds the treasure."""
    env, coding, rows = deep_sea(size.task, most.task), table(most.task), jnp.arange(most.task)
    ahead, _ = jax.vmap(env.move, (None, 0, None))(jax.random.key(0), Diver(rows, rows), jnp.int32(1))
    goes_right = ahead.column == jnp.minimum(rows + 1, size.task - 1)  # whether action 1 does
    places = coding.encode((), jnp.stack([rows, rows], 1).astype(jnp.float32))[:, 0]

    def solves(key: Key, state: Any) -> Array:
        del key
        lead = state.weights[places, 1] - state.weights[places, 0]
        return (jnp.where(goes_right, lead, -lead) > 0).all(where=rows < size.task)

    return solves


def bits(size: Size, most: int) -> Env:
    """A bandit that shows random bits as -1 and 1, and pays 1 for the parity of the first of them.

    Observations have ``most`` entries, of which those beyond the bits shown are 0.
    """
    shown = jnp.arange(most) < size.task

    def reset(key: Key) -> tuple[Array, Array]:
        seen = jnp.where(shown, jax.random.rademacher(key, (most,), jnp.float32), 0.0)
        return seen, seen

    def move(key: Key, state: Array, action: Array) -> tuple[Array, Step]:
        del key
        reward = (action == parity(size, state)).astype(jnp.float32)
        return state, Step(reward, jnp.array(True), jnp.array(False), state)

    return Env("bits", reset, move, (most,), Discrete(2), 1)


def parity(size: Size, seen: Array) -> Array:
    """The parity of the bits that matter, int32 [...], of observations [..., bits]."""
    matters = (jnp.arange(seen.shape[-1]) < size.matter).astype(jnp.int32)
    return (seen > 0).astype(jnp.int32) @ matters % 2


def _bandit(method: str, setting: dict[str, Any], size: Size, most: Most) -> Plan:
    """A learner on `bits`, of which random actions teach values, and a policy its own actions."""
    env, count = bits(size, most.task), BATCH[method]
    if method == TABLE:
        options = {"num_envs": count, "rollout_length": 1, "epsilon_start": 1.0, "epsilon_end": 1.0}
        agent = coded_q(env, contexts_of(most.task), CodedQConfig(**{**setting, **options}))
    elif method == VALUES:
        sizes = {"num_envs": count, "rollout_length": 1, "epochs": 1, "minibatches": 1}
        options = {"anneal": False, "epsilon_start": 1.0, "epsilon_end": 1.0}
        agent = pqn(env, perceptron(2, size, most), PQNConfig(**sizes, **{**options, **setting}))
    else:
        options = {"num_envs": count, "rollout_length": 1, "optimizer": "adam", "anneal": False}
        net = actor_critic(perceptron(2, size, most), perceptron(1, size, most))
        agent = a2c(env, net, A2CConfig(**{**options, **setting}))

    def solves(key: Key, state: Any) -> Array:
        seen, _ = jax.vmap(env.reset)(jax.random.split(key, CONTEXTS))
        action, _ = agent.policy.act(key, state, (), seen)
        return (action == parity(size, seen)).mean() >= RIGHT

    def counted(state: Any) -> Array:
        return state.steps if method != POLICY else count * state.opt_state[0].count

    return Plan(
        lambda key: agent.init(key, None), lambda key, s: agent.step(key, s, None)[0], solves, counted
    )


def contexts_of(most: int) -> Coding:
    """A table with a row for each context of so many bits."""

    def encode(params: Any, seen: Array) -> Array:
        del params
        return ((seen > 0).astype(jnp.int32) @ 2 ** jnp.arange(most))[:, None]

    return Coding(2**most, 1, lambda key, seen: (), encode)


def perceptron(outputs: int, size: Size, most: Most) -> Net:
    """A perceptron of the given size within arrays of the largest size; what lies beyond never matters.

    Units beyond the width give 0 and layers beyond the depth pass on what they get, so no gradient reaches
    them. Initial weights are those of `lrn.nets.mlp`, whose variance is 2 / fan-in (1 / fan-in at the end).
    """
    units = (jnp.arange(most.width) < size.width).astype(jnp.float32)
    layers = jnp.arange(1, most.depth)

    def init(key: Key, x: Array) -> Any:
        first, middle, last = jax.random.split(key, 3)
        into = jnp.sqrt(2.0 / size.task) * jax.random.normal(first, (x.shape[-1], most.width))
        shape = (most.depth - 1, most.width, most.width)
        hidden = jnp.sqrt(2.0 / size.width) * jax.random.normal(middle, shape)
        out = jnp.sqrt(1.0 / size.width) * jax.random.normal(last, (most.width, outputs))
        zeros = jnp.zeros(shape[:2])
        return {
            "in": (into, jnp.zeros(most.width)),
            "hidden": (hidden, zeros),
            "out": (out, jnp.zeros(outputs)),
        }

    def dense(x: Array, layer: Any) -> Array:
        return x @ layer[0] + layer[1][None]

    def apply(params: Any, x: Array) -> Array:
        def deeper(h: Array, layer: Any) -> tuple[Array, None]:
            number, weights = layer
            return jnp.where(number < size.depth, jax.nn.relu(dense(h, weights)) * units[None], h), None

        h = jax.nn.relu(dense(x, params["in"])) * units[None]
        h, _ = jax.lax.scan(deeper, h, (layers, params["hidden"]))
        return dense(h, params["out"])

    return nets.from_function(init, apply)


class Progress(NamedTuple):
    """Runs side by side.

    states: of the learners. blocks: int32, blocks so far, the same for all. streak: int32, checks passed in a
    row. solved_at: int32, the block that solved the task; 0 before that.
    """

    states: Any
    blocks: Array
    streak: Array
    solved_at: Array


@functools.cache
def program(method: str, most: Most, brief: bool) -> Callable[..., dict[str, Array]]:
    """``program(keys, settings, groups, size, limit)`` lets runs side by side learn until a group has solved.

    keys: one for each run, [runs]. settings: dict of floats [runs]. groups: int32 [runs], the candidate that
    a run belongs to, below `CANDIDATES`; all stop where all runs of one group have solved the task. size: a
    `Size` of ints. limit: the episodes after which runs are given up. Of each run, [runs], it gives the
    episodes until it had solved the task, or 0, and the environment steps played by the program's and by the
    learner's count.
    """

    def search(
        keys: Key, settings: dict[str, Array], groups: Array, size: Size, limit: Array
    ) -> dict[str, Array]:
        unit, steps = each(method, size)

        def goes_on(now: Progress) -> Array:
            waiting = jnp.zeros((2, CANDIDATES), jnp.int32).at[0, groups].add(1)
            waiting = waiting.at[1, groups].add((now.solved_at == 0).astype(jnp.int32))
            return (now.blocks < limit // unit) & ~((waiting[0] > 0) & (waiting[1] == 0)).any()

        def start(key: Key, setting: dict[str, Array]) -> tuple[Any, Key]:
            first, rest = jax.random.split(key)
            return plan(method, setting, size, most).init(first), rest

        states, rest = jax.vmap(start)(keys, settings)

        def go(now: Progress) -> Progress:
            def one(key: Key, state: Any, setting: dict[str, Array]) -> tuple[Any, Array]:
                learn, test = jax.random.split(jax.random.fold_in(key, now.blocks))
                own = plan(method, setting, size, most)
                state = own.block(learn, state)
                return state, own.solves(test, state)

            states, solving = jax.vmap(one)(rest, now.states, settings)
            streak = jnp.where(solving, now.streak + 1, 0)
            first = (now.solved_at == 0) & (streak == SUSTAINED)
            at = jnp.where(first, now.blocks + 2 - SUSTAINED, now.solved_at)
            return Progress(states, now.blocks + 1, streak, at)

        zeros = jnp.zeros(keys.shape[0], jnp.int32)
        end = jax.lax.while_loop(goes_on, go, Progress(states, jnp.int32(0), zeros, zeros))
        own = {k: v[0] for k, v in settings.items()}  # counting needs no setting
        counted = jax.vmap(plan(method, own, size, most).counted)(end.states)
        return {"episodes": end.solved_at * unit, "played": zeros + end.blocks * steps, "counted": counted}

    return jax.jit(search, compiler_options=brief_options(0 if brief else 1))
