"""From an environment to its MDP: a breadth-first search over all states that can be reached.

This works for environments with few states, such as gymnax's DeepSea, Catch, FrozenLake and FourRooms. The
exact values of the MDP can then be compared with those of an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.env import Env, Step, require_discrete
from lrn.rl.mdp.model import MDP, make
from lrn.types import Array, Key, PyTree, is_key

_BLOCK = 64  # states that are expanded in one call
_GAMES, _STEPS = 32, 512  # size of the random play that checks the table


class Tabulated(NamedTuple):
    """An environment as an MDP.

    mdp: the MDP. If any step terminates, its last state stands for all terminal states.
    observations: an observation of each state, [state, ...]; for the terminal state, the first one found.
    states: the environment's own states, leaves [state, ...].
    """

    mdp: MDP
    observations: Array
    states: PyTree


def tabulate(
    env: Env,
    *,
    ignore: Sequence[str] = ("time",),
    identify: Callable[[PyTree], PyTree] | None = None,
    discount: ArrayLike = 0.99,
    samples: int = 256,
    max_states: int = 10_000,
    key: Key | None = None,
) -> Tabulated:
    """Enumerate an environment's states: ``tabulate(make("FrozenLake-misc"))``.

    The MDP of deterministic dynamics is exact. Random dynamics are averaged over ``samples`` draws, with
    errors of order ``samples ** -0.5``; outcomes rarer than ``1 / samples`` may be missed. Time limits are
    left out of the MDP, since the value of a truncated episode goes on.

    Args:
        env: the environment, with discrete actions.
        ignore: names of fields of the environment's state that do not distinguish states, such as counters
            and statistics.
        identify: ``identify(state) -> tree``, the part of a state that distinguishes it, in place of all
            fields that are not ignored.
        discount: discount of the MDP, in [0, 1].
        samples: number of draws of the reset, and of each (state, action).
        max_states: the largest number of states.
        key: key of the draws; ``jax.random.key(0)`` by default.

    Raises:
        ValueError: the actions are continuous; there is no field of an ignored name; there are more than
            ``max_states`` states; a time limit is too short to reach all states; or states that count as the
            same behave differently, so that there is no MDP.
    """
    actions = require_discrete(env, "tabulate")
    for label, value in (("samples", samples), ("max_states", max_states)):
        check.integer(label, value, low=1)
    named_by = identify or _identify(env, ignore)
    start_key, step_key, check_key = jax.random.split(jax.random.key(0) if key is None else key, 3)
    # All states share their draws, so that equal states have equal outcomes, number by number.
    keys = jax.random.split(step_key, samples)

    def outcome(state: PyTree, action: Array, key: Key) -> _Outcome:
        after, step = env.move(key, state, action)
        return _Outcome(named_by(after), after, step)

    by_draw = jax.vmap(outcome, (None, None, 0))
    by_action = jax.vmap(by_draw, (None, 0, None))
    expand = jax.jit(lambda states: jax.vmap(by_action, (0, None, None))(states, jnp.arange(actions), keys))
    observation, states = jax.jit(jax.vmap(env.reset))(jax.random.split(start_key, samples))
    if any(is_key(x) for x in jax.tree.leaves(states)):
        raise check.InputError(
            f"the state of {env.name} holds a key, so that no state occurs twice; "
            "draw from the key that move gets instead."
        )
    book = _Book(max_states, env.name)
    first = book.enter(jax.jit(jax.vmap(named_by))(states), states, observation)

    parts, done = [], 0
    while done < len(book.states):
        block = book.states[done : done + _BLOCK]
        outcomes = _first(expand(_stack(block, _BLOCK)), len(block))
        if (outcomes.step.truncated & ~outcomes.step.terminated).any():
            raise check.InputError(
                f"the time limit of {env.name} cuts episodes before all states are reached; lengthen it."
            )
        parts.append((_destinations(book, outcomes), outcomes.step.reward, outcomes.step.terminated))
        done += len(block)
    to, reward, terminated = (np.concatenate(x) for x in zip(*parts))
    seen = jax.jit(lambda key: _play(key, env, outcome, named_by, actions, keys))(check_key)
    _check_merged(book, seen, to, reward)
    return _assemble(book, first, to, reward, terminated, discount)


def _identify(env: Env, ignore: Sequence[str]) -> Callable[[PyTree], PyTree]:
    _, example = jax.eval_shape(env.reset, jax.eval_shape(lambda: jax.random.key(0)))
    fields = {name for path, _ in jax.tree.leaves_with_path(example) for name in _names(path)}
    for field in set(ignore) - {"time"} - fields:
        raise check.InputError(
            f"the state of {env.name} has no field {field!r}; {check.nearest(field, fields)}"
        )
    return lambda state: [
        x for path, x in jax.tree.leaves_with_path(state) if not set(_names(path)) & set(ignore)
    ]


def _names(path: Any) -> list[str]:
    return [str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", "")))) for k in path]


class _Outcome(NamedTuple):
    """The result of a step; ``named`` is the part of the state after it that distinguishes the state."""

    named: PyTree
    state: PyTree
    step: Step


class _Book:
    """The states found so far, with a number and an example of each, and an example of a terminal state."""

    def __init__(self, most: int, name: str):
        self.most, self.name = most, name
        self.number: dict[bytes, int] = {}
        self.states: list[PyTree] = []
        self.observations: list[np.ndarray] = []
        self.end: tuple[PyTree, np.ndarray] | None = None

    def enter(self, named: PyTree, states: PyTree, observations: Any) -> np.ndarray:
        """The numbers [n] of states with leaves [n, ...]; new states get new numbers."""
        rows, first, inverse = _unique(named)
        states, observations = jax.tree.map(np.asarray, (states, observations))
        numbers = np.zeros(len(first), int)
        for j in np.argsort(first):  # in order of appearance, so that numbers follow the breadth-first search
            numbers[j] = self.number.setdefault(rows[j].tobytes(), len(self.states))
            if numbers[j] == len(self.states):
                if numbers[j] >= self.most:
                    raise check.InputError(
                        f"{self.name} has more than {self.most} states; raise max_states, or leave out "
                        "fields that do not distinguish states (ignore= or identify=)."
                    )
                self.states.append(jax.tree.map(lambda x, i=first[j]: x[i], states))
                self.observations.append(observations[first[j]])
        return numbers[inverse]

    def look_up(self, named: PyTree) -> np.ndarray:
        """The numbers [n] of states with leaves [n, ...]; -1 for states that were never entered."""
        rows, _, inverse = _unique(named)
        return np.array([self.number.get(row.tobytes(), -1) for row in rows])[inverse]


def _destinations(book: _Book, outcomes: _Outcome) -> np.ndarray:
    """The next state [state, action, draw] of each outcome, -1 for a termination; enters new states."""
    shape = outcomes.step.terminated.shape
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), outcomes)
    over, seen = flat.step.terminated, flat.step.final_observation
    to = np.full(over.shape, -1)
    goes_on = np.flatnonzero(~over)
    if goes_on.size:
        named, states = jax.tree.map(lambda x: x[goes_on], (flat.named, flat.state))
        to[goes_on] = book.enter(named, states, seen[goes_on])
    if over.any() and book.end is None:
        i = int(np.argmax(over))
        book.end = jax.tree.map(lambda x: x[i], flat.state), seen[i]
    return to.reshape(shape)


class _Seen(NamedTuple):
    """Random play with the draws of the table, leaves [games, steps, ...]."""

    named: PyTree
    action: Array
    draw: Array
    after: _Outcome


def _play(key: Key, env: Env, outcome: Any, identify: Any, actions: int, keys: Array) -> _Seen:
    def one_step(carry: PyTree, key: Key) -> Any:
        action_key, draw_key, reset_key = jax.random.split(key, 3)
        action = jax.random.randint(action_key, (), 0, actions)
        draw = jax.random.randint(draw_key, (), 0, len(keys))
        after = outcome(carry, action, keys[draw])
        _, fresh = env.reset(reset_key)
        state = jax.tree.map(lambda new, old: jnp.where(after.step.ended, new, old), fresh, after.state)
        return state, _Seen(identify(carry), action, draw, after)

    def game(key: Key) -> Any:
        reset_key, play_key = jax.random.split(key)
        return jax.lax.scan(one_step, env.reset(reset_key)[1], jax.random.split(play_key, _STEPS))[1]

    return jax.vmap(game)(jax.random.split(key, _GAMES))


def _check_merged(book: _Book, seen: _Seen, to: np.ndarray, reward: np.ndarray) -> None:
    """Check that the steps of random play agree with the table."""
    seen = jax.tree.map(lambda x: np.asarray(x).reshape(_GAMES * _STEPS, *x.shape[2:]), seen)
    state, step = book.look_up(seen.named), seen.after.step
    there = np.where(step.terminated, -1, book.look_up(seen.after.named))
    known = state >= 0  # a rare start may have been missed, which is an error of sampling, not of merging
    at = (state[known], seen.action[known], seen.draw[known])
    same = (to[at] == there[known]) | (step.truncated & ~step.terminated)[known]
    if not (same.all() and np.allclose(reward[at], step.reward[known], atol=1e-5)):
        raise check.InputError(
            f"states of {book.name} that count as the same behave differently; "
            "distinguish states by all that affects behavior (ignore=(), or identify=)."
        )


def _assemble(
    book: _Book,
    first: np.ndarray,
    to: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    discount: ArrayLike,
) -> Tabulated:
    """The MDP with the frequencies of the draws; its last state is the terminal state, if there is one."""
    ends = book.end is not None
    states, actions, samples = to.shape
    n = states + ends
    p, r = np.zeros((n, actions, n)), np.zeros((n, actions))
    s, a, _ = np.indices(to.shape)
    np.add.at(p, (s, a, np.where(terminated, n - 1, to)), 1 / samples)
    r[:states] = reward.mean(-1)
    examples, observations = list(book.states), list(book.observations)
    if book.end is not None:
        p[-1, :, -1] = 1.0
        examples.append(book.end[0])
        observations.append(book.end[1])
    initial = np.bincount(first, minlength=n) / len(first)
    table = make(p, r, initial, discount, np.arange(n) >= states)
    return Tabulated(
        table, jnp.asarray(np.stack(observations)), jax.tree.map(jnp.asarray, _stack(examples, n))
    )


def _unique(tree: PyTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct items of leaves [n, ...] as rows of bytes, their first indices, and the row of each item."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
    # Adding zero turns -0.0 into 0.0, so that the two have the same bytes.
    leaves = [x + 0.0 if np.issubdtype(x.dtype, np.floating) else x for x in leaves]
    rows = np.concatenate([np.ascontiguousarray(x.reshape(len(x), -1)).view(np.uint8) for x in leaves], 1)
    packed = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return rows[first], first, inverse.reshape(-1)


def _first(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[:count], tree)


def _stack(states: Sequence[PyTree], count: int) -> PyTree:
    """States as leaves [count, ...], padded with copies of the last state."""
    padded = [*states, *[states[-1]] * (count - len(states))]
    return jax.tree.map(lambda *x: np.stack(x), *padded)
