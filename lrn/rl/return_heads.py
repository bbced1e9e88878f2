"""What a Q-network predicts about the return: its mean, a histogram of it, or its quantiles.

A `ReturnHead` says how many numbers the network gives for each action, how these numbers give a value, and
what they are trained towards. `lrn.rl.dqn` takes one as ``head``:

- `expected`: the mean, as in DQN (Mnih et al. 2015) and double DQN (van Hasselt et al. 2016);
- `categorical`: probabilities of returns on a fixed grid, C51 (Bellemare et al. 2017);
- `quantiles`: equally likely quantiles, QR-DQN (Dabney et al. 2018a).

An action whose numbers are all -inf is not allowed: its value is -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.rl.distributions import of_action
from lrn.types import Array


class Learned(NamedTuple):
    """The losses of a batch, and how far its predictions are from their targets; leaves [batch].

    loss: what the gradient is taken of.
    surprise: at least 0; prioritized replay draws rows in proportion to a power of it.
    """

    loss: Array
    surprise: Array


class ReturnHead(NamedTuple):
    """The meaning of a Q-network's outputs [batch, actions * numbers]; the numbers of an action lie together.

    numbers: how many numbers the network gives for each action.
    values: ``values(out) -> [batch, actions]``, the mean returns.
    target: ``target(following, online, reward [batch], weight [batch])``, what the return is trained towards:
        [batch] for `expected`, else [batch, numbers]. ``following`` are outputs of the target network at the
        next state. ``online`` are those of the network that chooses the next action (double Q-learning), or
        None: the target network chooses. ``weight`` is ``discount ** n``, and 0 after a termination.
    loss: ``loss(out, action [batch], target) -> Learned``. No gradient flows through the target.
    """

    numbers: int
    values: Callable[[Array], Array]
    target: Callable[[Array, Array | None, Array, Array], Array]
    loss: Callable[[Array, Array, Array], Learned]


def q_target(next_q: Array, reward: Array, weight: Array) -> Array:
    """Targets of Q-learning, ``r + weight * max_a Q'(s', a)``: [batch].

    Args:
        next_q: values of the target network at the next state, [batch, actions]; -inf for an action that is
            not allowed.
        reward: [batch], discounted sum of the rewards of n steps.
        weight: [batch], discount ** n, and 0 where the episode terminated.
    """
    return reward + _weighed(next_q.max(-1), weight)


def double_q_target(next_q_online: Array, next_q: Array, reward: Array, weight: Array) -> Array:
    """Targets of double DQN (van Hasselt et al. 2016, eq. 4), [batch].

    Args:
        next_q_online: values of the online network at the next state, [batch, actions]; they choose the
            action.
        next_q: values of the target network there, [batch, actions]; they value the chosen action.
        reward: [batch], discounted sum of the rewards of n steps.
        weight: [batch], discount ** n, and 0 where the episode terminated.
    """
    return reward + _weighed(of_action(next_q, jnp.argmax(next_q_online, -1)), weight)


def _weighed(value: Array, weight: Array) -> Array:
    """``weight * value``, and 0 where the weight is 0 even if the value is -inf (no action is allowed)."""
    return weight * jnp.where((weight == 0) & jnp.isneginf(value), 0.0, value)


def expected(loss: str = "squared") -> ReturnHead:
    """The mean of the return: one number for each action.

    Args:
        loss: "squared" is half the squared error; "huber" is the same up to an error of 1, then linear.

    Raises:
        InputError: an unknown loss.
    """
    check.choice("loss", loss, ("huber", "squared"))

    def target(following: Array, online: Array | None, reward: Array, weight: Array) -> Array:
        if online is None:
            return q_target(following, reward, weight)
        return double_q_target(online, following, reward, weight)

    def losses(out: Array, action: Array, target: Array) -> Learned:
        error = of_action(out, action) - jax.lax.stop_gradient(target)
        each = optax.losses.huber_loss(error) if loss == "huber" else 0.5 * error**2
        return Learned(each, jnp.abs(error))

    return ReturnHead(1, lambda out: out, target, losses)


def q_learning_loss(q: Array, action: Array, target: Array, loss: str = "squared") -> Array:
    """Mean loss of ``Q(s, a)`` against targets [batch], through which no gradient flows.

    Args:
        q: values [batch, actions]; -inf for an action that is not allowed.
        action: int [batch], the action taken. An action out of range makes the loss and its gradient NaN.
        target: targets of the values of the actions, [batch].
        loss: "squared" is half the squared error; "huber" is the same up to an error of 1, then linear.

    Raises:
        InputError: an unknown loss.
    """
    return expected(loss).loss(q, action, target).loss.mean()


def categorical(low: float, high: float, atoms: int = 51) -> ReturnHead:
    """A histogram of the return on a grid: C51 (Bellemare et al. 2017, algorithm 1).

    The network's numbers are logits. The target's mass is moved by ``r + weight * z``, clipped to the grid
    and shared between the two nearest atoms; the loss is the cross-entropy, in nats. The surprise is the KL
    divergence, as in Rainbow (Hessel et al. 2018).

    Args:
        low: the lowest return on the grid.
        high: the highest. Returns outside of the grid count as its ends, so that a grid that is too narrow
            makes values wrong without another sign.
        atoms: the number of atoms, evenly spaced from ``low`` to ``high``.

    Raises:
        InputError: fewer than two atoms, or ``low`` is no number below ``high``.
    """
    check.integer("atoms", atoms, 2)
    check.finite("low", low)
    check.finite("high", high)
    if isinstance(low, int | float) and isinstance(high, int | float) and not low < high:
        raise check.InputError(f"low must be below high, got {low} and {high}; give the range of returns.")
    grid = jnp.linspace(low, high, atoms)
    mean = _over_numbers(atoms, lambda logits: (jax.nn.softmax(logits) * grid[None, None]).sum(-1))

    def target(following: Array, online: Array | None, reward: Array, weight: Array) -> Array:
        chosen, allowed = _next(following, online, atoms, mean)
        mass = jax.nn.softmax(chosen) * _sure(allowed, weight)
        return project(mass, reward[:, None] + weight[:, None] * grid[None], low, high)

    def losses(out: Array, action: Array, target: Array) -> Learned:
        target = jax.lax.stop_gradient(target)
        cross = -(target * jax.nn.log_softmax(_taken(out, action, atoms))).sum(-1)
        return Learned(cross, cross + jax.scipy.special.xlogy(target, target).sum(-1))

    return ReturnHead(atoms, mean, target, losses)


def project(mass: Array, places: Array, low: float, high: float) -> Array:
    """Share mass at arbitrary places among evenly spaced atoms (Bellemare et al. 2017, eq. 7).

    Args:
        mass: [batch, n], the mass at each place.
        places: [batch, n], clipped to [low, high].
        low: the lowest atom.
        high: the highest atom.

    Returns:
        [batch, n], the mass of n atoms from ``low`` to ``high``. The mean of clipped places is kept.
    """
    n = mass.shape[-1]
    at = (jnp.clip(places, low, high) - low) * ((n - 1) / (high - low))
    # A triangle of width 1 around each atom takes the shares of both neighbors, without a scatter.
    near = jnp.maximum(1 - jnp.abs(at[:, None, :] - jnp.arange(n, dtype=at.dtype)[None, :, None]), 0)
    return (near * mass[:, None, :]).sum(-1)


def quantiles(numbers: int = 32, threshold: float = 1.0) -> ReturnHead:
    """Equally likely quantiles of the return: QR-DQN (Dabney et al. 2018a, eq. 10).

    The network's numbers are the quantiles at the midpoints ``(i + 1/2) / numbers``; they need no grid.

    Args:
        numbers: the number of quantiles.
        threshold: the error up to which the quantile Huber loss is quadratic; above 0.

    Raises:
        InputError: no quantile, or a threshold that is not above 0.
    """
    check.integer("numbers", numbers, 1)
    check.positive("threshold", threshold)
    levels = (jnp.arange(numbers) + 0.5) / numbers
    mean = _over_numbers(numbers, lambda at: at.mean(-1))

    def target(following: Array, online: Array | None, reward: Array, weight: Array) -> Array:
        chosen, allowed = _next(following, online, numbers, mean)
        return reward[:, None] + weight[:, None] * chosen * _sure(allowed, weight)

    def losses(out: Array, action: Array, target: Array) -> Learned:
        each = quantile_huber_loss(_taken(out, action, numbers), levels, target, threshold)
        return Learned(each, each)

    return ReturnHead(numbers, mean, target, losses)


def quantile_huber_loss(predicted: Array, levels: Array, target: Array, threshold: float = 1.0) -> Array:
    """The quantile Huber loss (Dabney et al. 2018a, eq. 9 and 10), [batch].

    Args:
        predicted: quantiles [batch, n].
        levels: their levels in (0, 1), [n] or [batch, n].
        target: samples of the return [batch, m], through which no gradient flows.
        threshold: the error up to which the loss is quadratic.

    Returns:
        The sum over the predicted quantiles of the mean over the samples.
    """
    error = jax.lax.stop_gradient(target)[:, None, :] - predicted[:, :, None]
    tilt = jnp.abs(jnp.broadcast_to(levels, predicted.shape)[:, :, None] - (error < 0))
    return (tilt * optax.losses.huber_loss(error, delta=threshold) / threshold).mean(-1).sum(-1)


def _by_action(out: Array, numbers: int) -> Array:
    """[batch, actions * numbers] as [batch, numbers, actions]."""
    return jnp.moveaxis(out.reshape(len(out), -1, numbers), 1, 2)


def _over_numbers(numbers: int, mean: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``mean`` over the numbers of each action; -inf for an action that is not allowed."""

    def values(out: Array) -> Array:
        each = out.reshape(len(out), -1, numbers)
        barred = jnp.isneginf(each).all(-1)
        return jnp.where(barred, -jnp.inf, mean(jnp.where(barred[..., None], 0.0, each)))

    return values


def _next(
    following: Array, online: Array | None, numbers: int, mean: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """The numbers [batch, numbers] of the best next action, and whether any action is allowed [batch, 1]."""
    value = mean(following if online is None else online)
    chosen = _taken(following, jnp.argmax(value, -1), numbers)
    allowed = ~jnp.isneginf(chosen).all(-1, keepdims=True)
    return jnp.where(allowed, chosen, 0.0), allowed


def _sure(allowed: Array, weight: Array) -> Array:
    """NaN [batch, 1] where a value is needed of a state in which no action is allowed; else 1."""
    return jnp.where(allowed | (weight[:, None] == 0), 1.0, jnp.nan)


def _taken(out: Array, action: Array, numbers: int) -> Array:
    """The numbers [batch, numbers] of actions [batch]; NaN for an action out of range."""
    return of_action(_by_action(out, numbers), jnp.broadcast_to(action[:, None], (len(out), numbers)))
