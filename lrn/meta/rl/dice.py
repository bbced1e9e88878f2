"""Objectives whose derivatives of any order estimate the derivatives of the expected return.

The usual surrogate, ``log pi * advantage``, has the right gradient but a wrong second derivative: its first
derivative no longer contains the dependence of the samples on the parameters. A meta-gradient through a
policy gradient needs the second derivative.

The value of the magic box (`magic_box`) is 1, and its derivative is the box times the derivative of the
log-probability. As a function of the parameters the box is the ratio of the trajectory's probabilities under
these parameters and under the parameters that sampled it. For a trajectory that was sampled at the parameters
where the derivatives are taken, the following equations hold, together with all their derivatives:

    dice         E[sum_t discount^t box(a_0..a_t) r_t]                  = J
    loaded_dice  E[sum_t discount^t (box(a_0..a_t) - box(a_0..a_t-1)) A_t] = J - J(where it was sampled)

The first equation is importance sampling. The second is the performance difference lemma (Kakade and Langford
2002); it needs advantages A_t for which ``E[A_t | s_t, a_t]`` is the action value minus a function of the
state. Monte-Carlo returns minus a baseline are such advantages, and so are generalized advantages with
the true values. With estimated values the usual bias of ``lambda < 1`` remains. `loaded_dice` has much
less variance, because advantages are smaller than returns.

Arrays are [time, ...] and may span several episodes: ``ended`` [time, ...] marks the last step of an
episode, and no sum crosses such a step. The results are sums over time, [...], to be maximized. Rewards
and advantages are held constant. The box is 1 for every sample, so the value of `loaded_dice` is 0, and
only its derivatives matter.

Sources: Foerster et al. 2018 (DiCE), Farquhar, Whiteson and Foerster 2019 (loaded DiCE), Rothfuss et al. 2019
(the low-variance curvature; the roles of E-MAML's terms), Stadie et al. 2018 (E-MAML).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.reinforce import episode_discounts
from lrn.types import Array


def magic_box(log_prob: Array) -> Array:
    """Ones of the shape of ``log_prob``, with the derivatives of its exponential (Foerster et al. 2018).

    The derivatives are those of ``exp(log_prob - c)`` for a constant c equal to ``log_prob``.
    """
    return jnp.exp(log_prob - jax.lax.stop_gradient(log_prob))


def dice(log_prob: Array, reward: ArrayLike, ended: ArrayLike, discount: ArrayLike = 1.0) -> Array:
    """The discounted return from each episode's start, [...], with derivatives of any order.

    Args:
        log_prob: the log-probabilities of the actions taken, [time, ...], differentiable.
        reward: the rewards for these actions, [time, ...]; 0 for steps that do not count.
        ended: bool [time, ...], whether an episode ends with this step.
        discount: the discount factor of one step.

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
    """The same derivatives as `dice`, from advantages, [...]; the value is 0.

    Args:
        log_prob, ended: as for `dice`.
        advantage: the advantages of the actions taken, [time, ...]; 0 for steps that do not count.
        discount: the factor per step of the weights ``discount^t``, which the exact derivatives need; 1
            leaves the weights out, as most code does (see `lrn.rl.reinforce`).
        dependence: the factor, in [0, 1], by which the dependence of an action on earlier actions decays with
            each step. 1 is unbiased. Less than 1 has less variance, and a bias from the second derivative on.
            0 is the low-variance curvature. The first derivative is the same for all values.

    Raises:
        InputError: the shapes differ, there is no time axis, or the dependence is outside of [0, 1].
    """
    check.between("dependence", dependence, 0.0, 1.0)
    advantage, over = _checked(log_prob, "advantage", advantage, ended)
    before, through = dependences(log_prob, over, dependence)
    return (episode_discounts(over, discount) * (magic_box(through) - magic_box(before)) * advantage).sum(0)


def score_function(
    log_prob: Array, advantage: ArrayLike, ended: ArrayLike, discount: ArrayLike = 1.0
) -> Array:
    """The usual surrogate, [...], with the right first derivative and a wrong second derivative.

    The second derivative is that for fixed samples, which E-MAML needs together with its `sampling_term`.
    Arguments and errors are those of `loaded_dice`.
    """
    advantage, over = _checked(log_prob, "advantage", advantage, ended)
    return (episode_discounts(over, discount) * log_prob * advantage).sum(0)


def sampling_term(log_likelihood: Array, outcome: Array) -> Array:
    """E-MAML's term, [tasks]: credit for the sampling of episodes, by the return after adaptation.

    Args:
        log_likelihood: the log-likelihood of all episodes of the adaptation, [tasks], differentiable.
        outcome: the return of the adapted policy, [tasks]; held constant. The mean over the other tasks,
            which are independent, is its baseline.

    Raises:
        InputError: the shapes differ.
    """
    if jnp.ndim(log_likelihood) != 1 or jnp.shape(log_likelihood) != jnp.shape(outcome):
        raise check.InputError(
            f"log_likelihood and outcome must have one shape [tasks], got {list(jnp.shape(log_likelihood))} "
            f"and {list(jnp.shape(outcome))}; give one number of each for every task."
        )
    others = (outcome.sum() - outcome) / max(outcome.size - 1, 1)
    return magic_box(log_likelihood) * jax.lax.stop_gradient(outcome - others)


def dependences(log_prob: Array, ended: Array, dependence: ArrayLike) -> tuple[Array, Array]:
    """Sums of log-probabilities within an episode, both [time, ...]: before each step, and through it.

    From each step to the next the sum is multiplied by ``dependence``.
    """

    def body(held: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        through = held + now[0]
        return jnp.where(now[1], 0.0, dependence * through), (held, through)

    return jax.lax.scan(body, jnp.zeros_like(log_prob[0]), (log_prob, ended))[1]


def _checked(log_prob: Array, name: str, weight: ArrayLike, ended: ArrayLike) -> tuple[Array, Array]:
    shape = jnp.shape(log_prob)
    if not shape:
        raise check.InputError("log_prob must have a time axis, [time, ...], got a scalar; add the axis.")
    for other, array in ((name, weight), ("ended", ended)):
        if jnp.shape(array) != shape:
            raise check.InputError(
                f"{other} has shape {list(jnp.shape(array))}, but log_prob {list(shape)}; "
                "give both as [time, ...]."
            )
    return jax.lax.stop_gradient(jnp.asarray(weight, log_prob.dtype)), jnp.asarray(ended, bool)
