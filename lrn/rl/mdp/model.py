"""A finite Markov decision process as arrays, and what a policy makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array


class MDP(NamedTuple):
    """A finite MDP: a pytree of arrays, so a stack of them goes through vmap. Build it with `make`.

    transitions: [state, action, next state], probabilities.
    rewards: [state, action], the expected reward.
    initial: [state], the distribution that episodes start from.
    discount: scalar in [0, 1].
    terminal: bool [state]. A terminal state has value zero: in these arrays it stays where it is and pays
        nothing, which `make` sees to.
    stopping: scalar, 1 - discount as it was before the discount was rounded; see `leaving`. None where the
        discount is as it should be.
    """

    transitions: Array
    rewards: Array
    initial: Array
    discount: Array
    terminal: Array
    stopping: Array | None = None

    @property
    def states(self) -> int:
        """How many states, terminal ones included."""
        return self.rewards.shape[-2]

    @property
    def actions(self) -> int:
        """How many actions."""
        return self.rewards.shape[-1]


def make(
    transitions: ArrayLike | Sequence[Any],
    rewards: ArrayLike | Sequence[Any],
    initial: ArrayLike | Sequence[float] | None = None,
    discount: ArrayLike = 0.99,
    terminal: ArrayLike | Sequence[bool] | None = None,
) -> MDP:
    """An MDP from arrays, checked.

    Args:
        transitions: [state, action, next state]; each row [s, a] sums to one.
        rewards: [state, action]; or [state, action, next state], of which the expectation is taken.
        initial: [state]; uniform over the states that are not terminal by default.
        discount: in [0, 1]. With 1 every policy that is evaluated must reach a terminal state.
        terminal: bool [state], none by default. Their rows are overwritten: absorbing, reward 0.

    Raises:
        ValueError: the shapes do not fit, or something that should be a distribution is none. (The numbers
            are not checked where they are traced, inside jit or vmap.)
    """
    given = (transitions, rewards, initial, terminal)
    known = not any(isinstance(x, Tracer) for x in given)
    xp: Any = np if known else jnp  # plain numbers need no compiler
    dtype = jnp.result_type(float)
    p = xp.asarray(transitions, np.float64 if known else dtype)
    if p.ndim != 3 or p.shape[0] != p.shape[2]:
        raise check.InputError(
            f"transitions must have shape [states, actions, states], got {list(p.shape)}; "
            "give a distribution over next states for each state and action."
        )
    states, actions, _ = p.shape
    r = xp.asarray(rewards, p.dtype)
    if r.shape == p.shape:
        r = (p * r).sum(-1)
    if r.shape != (states, actions):
        raise check.InputError(
            f"rewards must have shape [{states}, {actions}] or [{states}, {actions}, {states}], "
            f"got {list(r.shape)}; give one for each state and action."
        )
    end = xp.zeros(states, bool) if terminal is None else xp.asarray(terminal, bool)
    start = ~end / xp.maximum((~end).sum(), 1) if initial is None else xp.asarray(initial, p.dtype)
    for name, value in (("initial", start), ("terminal", end)):
        if value.shape != (states,):
            raise check.InputError(
                f"{name} must have shape [{states}], got {list(value.shape)}; give one number for each state."
            )
    check.between("discount", discount, 0, 1)
    if known:
        _check_distributions("transitions", p)
        _check_distributions("initial", start)
        if (start[end] > 0).any():
            raise check.InputError(
                "initial puts weight on a terminal state; start where there is something to do."
            )
    p = xp.where(end[:, None, None], xp.eye(states, dtype=p.dtype)[:, None, :], p)
    r = xp.where(end[:, None], 0, r)
    p, r, start, gamma = (jnp.asarray(x, dtype) for x in (p, r, start, discount))
    return MDP(p, r, start, gamma, jnp.asarray(end), complement(discount, dtype))


def complement(discount: ArrayLike, dtype: Any) -> Array:
    """1 - discount, for `MDP.stopping`; of a plain number to the full precision of the dtype.

    In single precision .9999 is .99989998: values of 10,000 would be wrong by 1.7.
    """
    exact = discount if isinstance(discount, Tracer) else np.asarray(discount, np.float64)
    return jnp.asarray(1 - exact, dtype)


def leaving(mdp: MDP) -> Array:
    """1 - discount, a scalar that keeps what rounding takes from a discount close to 1.

    It follows the discount where that was replaced or is differentiated.
    """
    rounded = 1 - mdp.discount
    if mdp.stopping is None:
        return rounded
    lost = jax.lax.stop_gradient(mdp.stopping - rounded)
    return rounded + jnp.where(jnp.abs(lost) < jnp.finfo(rounded.dtype).eps / 2, lost, 0)


def _check_distributions(name: str, p: np.ndarray) -> None:
    worst = np.abs(p.sum(-1) - 1).max()
    if not (np.isfinite(p).all() and p.min() >= 0 and worst < 1e-4):
        raise check.InputError(
            f"{name} must be probabilities that sum to one, got a smallest entry of {p.min():.3g} and a "
            f"sum that is off by {worst:.3g}; normalize the last axis."
        )


def uniform_policy(mdp: MDP) -> Array:
    """The policy [state, action] that takes every action alike."""
    return jnp.full(mdp.rewards.shape, 1 / mdp.actions, mdp.rewards.dtype)


def deterministic(mdp: MDP, actions: Array) -> Array:
    """The policy [state, action] of probabilities that takes ``actions`` [state]."""
    return jax.nn.one_hot(actions, mdp.actions, dtype=mdp.rewards.dtype)


def epsilon_greedy(q: Array, epsilon: Any) -> Array:
    """The policy [..., action] that is greedy in ``q`` [..., action] but for a fraction ``epsilon``.

    The first of the best actions is the greedy one; the others share ``epsilon`` with it alike.
    """
    best = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    return (1 - epsilon) * best + epsilon / q.shape[-1]


def under(mdp: MDP, policy: Array) -> tuple[Array, Array]:
    """The Markov chain [state, next state] and the rewards [state] that a policy [state, action] makes."""
    return jnp.einsum("sa,sat->st", policy, mdp.transitions), (policy * mdp.rewards).sum(-1)
