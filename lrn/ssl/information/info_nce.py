"""InfoNCE (van den Oord et al., "Representation learning with contrastive predictive coding", 2018)."""

from __future__ import annotations

from lrn.ssl import info_nce as nce
from lrn.ssl.information.scores import checked
from lrn.types import Array


def info_nce(scores: Array) -> Array:
    """log n minus the cross-entropy of picking y_i among y_1..y_n for x_i, a scalar in nats.

    Bias: in expectation a lower bound of the mutual information, for every critic and every n, and at most
    log n (Poole et al. 2019). With the optimal critic, which is log p(y | x) plus any function of x, the
    bound is loose where the information comes near log n. The variance is small.

    Args:
        scores: [n, n], n of 2 or more. A softmax goes over each row, so x_i has n - 1 negatives y_j.

    Raises:
        InputError: the scores have a wrong form.
    """
    return nce.info_nce(checked(scores)).bound
