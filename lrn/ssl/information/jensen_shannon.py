"""The Jensen-Shannon divergence as the objective of a critic (Hjelm et al., "Deep InfoMax", 2019)."""

from __future__ import annotations

import math

import jax

from lrn.ssl.information.nwj import nwj
from lrn.ssl.information.scores import checked, joint_mean, product_mean, with_gradient_of
from lrn.types import Array


def jensen_shannon_divergence(scores: Array) -> Array:
    """A lower bound of the Jensen-Shannon divergence of the joint and the product distribution, in nats.

    Bias: in expectation a lower bound for every critic and every n, tight at log p(x, y) / (p(x) p(y)); it is
    at most log 2, and so it is no estimate of the mutual information.

    Args:
        scores: [n, n], n of 2 or more: the logits of a classifier of joint against other pairs.

    Raises:
        InputError: the scores have a wrong form.
    """
    scores = checked(scores)
    joint, product = joint_mean(-jax.nn.softplus(-scores)), product_mean(-jax.nn.softplus(scores))
    return math.log(2) + (joint + product) / 2


def jensen_shannon(scores: Array) -> Array:
    """The value of NWJ at scores + 1, with twice the gradient of the Jensen-Shannon divergence.

    The scores of the optimal classifier are the log density ratio, at which NWJ, shifted by 1, is tight. The
    gradient has a small variance where that of NWJ has a large one (Poole et al. 2019).

    Bias: as `lrn.ssl.information.nwj`, in expectation a lower bound; its variance is that of NWJ too.

    Args:
        scores: [n, n], n of 2 or more.

    Raises:
        InputError: the scores have a wrong form.
    """
    return with_gradient_of(nwj(scores + 1), 2 * jensen_shannon_divergence(scores))
