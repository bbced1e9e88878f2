"""A finite Markov decision process as arrays, policies, and the Markov chain of a policy."""

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
    """A finite MDP as a pytree of arrays, so that vmap works on a stack of MDPs. `make` builds one.

    transitions: probabilities, [state, action, next state].
    rewards: expected rewards, [state, action].
    initial: probabilities of the first state of an episode, [state].
    discount: scalar in [0, 1].
    terminal: bool [state]. A terminal state has value zero; `make` gives it transitions to itself and reward
        zero.
    stopping: scalar, 1 - discount before the discount was rounded to its dtype, see `leaving`; None if the
        discount is exact.
    """

    transitions: Array
    rewards: Array
    initial: Array
    discount: Array
    terminal: Array
    stopping: Array | None = None

    @property
    def states(self) -> int:
        """The number of states, terminal states included."""
        return self.rewards.shape[-2]

    @property
    def actions(self) -> int:
        """The number of actions."""
        return self.rewards.shape[-1]


def make(
    transitions: ArrayLike | Sequence[Any],
    rewards: ArrayLike | Sequence[Any],
    initial: ArrayLike | Sequence[float] | None = None,
    discount: ArrayLike = 0.99,
    terminal: ArrayLike | Sequence[bool] | None = None,
) -> MDP:
    """An MDP from arrays, which are checked.

    Args:
        transitions: probabilities, [state, action, next state]; each row [s, a] sums to one.
        rewards: rewards, [state, action] or [state, action, next state]; of the latter the expectation is
            taken.
        initial: probabilities of the first state, [state]; uniform over the nonterminal states by default.
        discount: in [0, 1]. With 1 every policy that is evaluated must reach a terminal state.
        terminal: bool [state]; no state is terminal by default. The rows of terminal states are overwritten:
            they lead to themselves and pay 0.

    Raises:
        ValueError: the shapes do not fit, or rows of ``transitions`` or ``initial`` are no distributions.
            (Traced numbers, inside jit or vmap, are not checked.)
    """
    arrays = (transitions, rewards, initial, terminal)
    concrete = not any(isinstance(x, Tracer) for x in arrays)
    xp: Any = np if concrete else jnp  # plain numbers need no compiler
    dtype = jnp.result_type(float)
    p = xp.asarray(transitions, np.float64 if concrete else dtype)
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
            f"got {list(r.shape)}; give one reward for each state and action."
        )
    end = xp.zeros(states, bool) if terminal is None else xp.asarray(terminal, bool)
    start = ~end / xp.maximum((~end).sum(), 1) if initial is None else xp.asarray(initial, p.dtype)
    for name, value in (("initial", start), ("terminal", end)):
        if value.shape != (states,):
            raise check.InputError(
                f"{name} must have shape [{states}], got {list(value.shape)}; give one number for each state."
            )
    check.between("discount", discount, 0, 1)
    if concrete:
        _check_distributions("transitions", p)
        _check_distributions("initial", start)
        if (start[end] > 0).any():
            raise check.InputError(
                "initial puts weight on a terminal state; give weight to nonterminal states only."
            )
    p = xp.where(end[:, None, None], xp.eye(states, dtype=p.dtype)[:, None, :], p)
    r = xp.where(end[:, None], 0, r)
    # An array that has its dtype is taken over as it is; jnp would compile a program for each shape.
    p, r, start = (jnp.asarray(xp.asarray(x, dtype), dtype) for x in (p, r, start))
    return MDP(p, r, start, jnp.asarray(discount, dtype), jnp.asarray(end, bool), complement(discount, dtype))


def complement(discount: ArrayLike, dtype: Any) -> Array:
    """1 - discount, for `MDP.stopping`, in the full precision of ``dtype`` unless the discount is traced.

    In single precision .9999 is .99989998, which would make values of 10,000 wrong by 1.7.
    """
    if isinstance(discount, Tracer):
        return jnp.asarray(1 - discount, dtype)
    return jnp.asarray(np.asarray(1 - np.asarray(discount, np.float64), dtype), dtype)


def leaving(mdp: MDP) -> Array:
    """1 - discount, a scalar, without the rounding error of a discount close to 1.

    If the discount of the MDP was replaced, the result follows the new discount. Derivatives with respect to
    the discount are right.
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
    """The policy [state, action] that takes all actions with equal probability."""
    return jnp.full(mdp.rewards.shape, 1 / mdp.actions, mdp.rewards.dtype)


def deterministic(mdp: MDP, actions: Array) -> Array:
    """The policy, probabilities [state, action], that takes ``actions``, int [state]."""
    return jax.nn.one_hot(actions, mdp.actions, dtype=mdp.rewards.dtype)


def epsilon_greedy(q: Array, epsilon: Any) -> Array:
    """The epsilon-greedy policy [..., action] for action values ``q`` [..., action].

    The greedy action is the first of the best actions. All actions share the probability ``epsilon`` equally.
    """
    best = jax.nn.one_hot(jnp.argmax(q, -1), q.shape[-1], dtype=q.dtype)
    return (1 - epsilon) * best + epsilon / q.shape[-1]


def under(mdp: MDP, policy: Array) -> tuple[Array, Array]:
    """The Markov chain [state, next state] and the expected rewards [state] of a policy [state, action]."""
    return jnp.einsum("sa,sat->st", policy, mdp.transitions), (policy * mdp.rewards).sum(-1)
