"""The variational representation of Donsker and Varadhan (1983) of the Kullback-Leibler divergence."""

from __future__ import annotations

from lrn.ssl.information.scores import checked, joint_mean, log_mean_exp
from lrn.types import Array


def donsker_varadhan(scores: Array) -> Array:
    """The mean score of joint pairs, minus the log of the mean of exp(score) over all others, in nats.

    Bias: with infinitely many samples a lower bound of the mutual information, tight at log p(x, y) / (p(x)
    p(y)) plus any constant. The logarithm of a mean over n (n - 1) pairs is too small in expectation
    (Jensen), so at finite n the value is no bound and may exceed the information; a trained critic learns to
    exceed it (McAllester and Stratos 2020). `lrn.ssl.information.mine` corrects the gradient's bias and not
    this one.

    Args:
        scores: [n, n], n of 2 or more.

    Raises:
        InputError: the scores have a wrong form.
    """
    scores = checked(scores)
    return joint_mean(scores) - log_mean_exp(scores)
