"""Objectives whose derivatives of any order are estimates of those of the expected return.

The usual surrogate, ``log pi * advantage``, has the right gradient, and a wrong second derivative: the
dependence of what was sampled on the parameters is gone after the first. A meta-gradient through a policy
gradient needs the second.

The magic box (`magic_box`) is 1, and its derivative is that of the log-probability, times itself: as a
function of the parameters it is the ratio by which a trajectory would be likelier under others. So for a
trajectory sampled at the parameters where the derivatives are taken

    dice         E[sum_t discount^t box(a_0..a_t) r_t]                  = J
    loaded_dice  E[sum_t discount^t (box(a_0..a_t) - box(a_0..a_t-1)) A_t] = J - J(where it was sampled)

hold with all derivatives: the first by importance sampling, the second by the performance difference lemma
(Kakade and Langford 2002), if ``E[A_t | s_t, a_t]`` is the action value less any function of the state.
Monte-Carlo returns less a baseline are such, and generalized advantages with the true values; with others
the usual bias of ``lambda < 1`` remains. Much less variance: advantages are small, returns are not.

Arrays are [time, ...], and may span several episodes: ``ended`` [time, ...] says where one ends, and nothing
reaches across. The results are sums over time, [...], to be maximized. Rewards and advantages are held
constant. The box is 1 whatever was sampled, so the value of `loaded_dice` is 0: only derivatives count.

Sources: Foerster et al. 2018 (DiCE), Farquhar, Whiteson and Foerster 2019 (loaded DiCE), Rothfuss et al. 2019
(the low-variance curvature; what the terms of E-MAML do), Stadie et al. 2018 (E-MAML).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.reinforce import episode_discounts
from lrn.types import Array


def magic_box(log_prob: Array) -> Array:
    """1 of the same shape, with the derivatives of ``exp`` of the sum that ``log_prob`` is."""
    return jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))


def dice(log_prob: Array, reward: ArrayLike, ended: ArrayLike, discount: ArrayLike = 1.0) -> Array:
    """The discounted return from each episode's start, [...], with derivatives of any order.

    Args:
        log_prob: of the actions taken, differentiable.
        reward: for them; 0 where nothing is to count.
        ended: whether an episode ends with this step.
        discount: a step.

    Raises:
        InputError: the shapes differ, or there is no time axis.
    """
    reward, over = _checked(log_prob, "reward", reward, ended)
    _, through = dependences(log_prob, over, 1.0)
    return (episode_discounts(over, discount) * magic_box(through) * reward).sum(0)


def loaded_dice(
    log_prob: Array,
    advantage: ArrayLike,
    ended: ArrayLike,
    discount: ArrayLike = 1.0,
    dependence: ArrayLike = 1.0,
) -> Array:
    """The same derivatives from advantages, [...]; the value is 0.

    Args:
        log_prob, ended: as for `dice`.
        advantage: of the actions taken; 0 where nothing is to count.
        discount: weighs step t by ``discount^t``, as the exact derivatives want; 1 leaves that out, as most
            code does (see `lrn.rl.reinforce`).
        dependence: how much of what an action owes to the one a step before it is kept, in [0, 1]. 1 is
            unbiased; less has less variance and a bias from the second derivative on. 0 is the
            low-variance curvature. The first derivative is the same for all.

    Raises:
        InputError: the shapes differ, there is no time axis, or a dependence outside [0, 1].
    """
    check.between("dependence", dependence, 0.0, 1.0)
    advantage, over = _checked(log_prob, "advantage", advantage, ended)
    before, through = dependences(log_prob, over, dependence)
    return (episode_discounts(over, discount) * (magic_box(through) - magic_box(before)) * advantage).sum(0)


def score_function(
    log_prob: Array, advantage: ArrayLike, ended: ArrayLike, discount: ArrayLike = 1.0
) -> Array:
    """The usual surrogate, [...]: right first derivative, wrong second; arguments as for `loaded_dice`.

    Its second derivative is that at fixed samples, which is what E-MAML wants beside its `sampling_term`.
    """
    advantage, over = _checked(log_prob, "advantage", advantage, ended)
    return (episode_discounts(over, discount) * log_prob * advantage).sum(0)


def sampling_term(log_likelihood: Array, outcome: Array) -> Array:
    """E-MAML's term, [tasks]: what adapting to these episodes came to is credited to having sampled them.

    Args:
        log_likelihood: of all that was adapted to, [tasks], differentiable.
        outcome: what the adapted policy achieved, [tasks]; held constant. The mean of the other tasks, which
            are independent, serves as its baseline.

    Raises:
        InputError: the shapes differ.
    """
    if jnp.ndim(log_likelihood) != 1 or jnp.shape(log_likelihood) != jnp.shape(outcome):
        raise check.InputError(
            f"log_likelihood and outcome must have one shape [tasks], got {list(jnp.shape(log_likelihood))} "
            f"and {list(jnp.shape(outcome))}; give one number of each for a task."
        )
    others = (outcome.sum() - outcome) / max(outcome.size - 1, 1)
    return magic_box(log_likelihood) * jax.lax.stop_gradient(outcome - others)


def dependences(log_prob: Array, ended: Array, dependence: ArrayLike) -> tuple[Array, Array]:
    """Log-probabilities summed over the episode so far: before each step and through it, [time, ...] both.

    What is carried from one step to the next is multiplied by ``dependence``.
    """

    def body(held: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        through = held + now[0]
        return jnp.where(now[1], 0.0, dependence * through), (held, through)

    return jax.lax.scan(body, jnp.zeros_like(log_prob[0]), (log_prob, ended))[1]


def _checked(log_prob: Array, name: str, weight: ArrayLike, ended: ArrayLike) -> tuple[Array, Array]:
    shape = jnp.shape(log_prob)
    if not shape:
        raise check.InputError("log_prob must have a time axis, [time, ...], got a scalar; give it one.")
    for other, array in ((name, weight), ("ended", ended)):
        if jnp.shape(array) != shape:
            raise check.InputError(
                f"{other} has shape {list(jnp.shape(array))}, but log_prob {list(shape)}; "
                "give both as [time, ...]."
            )
    return jax.lax.stop_gradient(jnp.asarray(weight, log_prob.dtype)), jnp.asarray(ended, bool)
