"""Identities between group metrics: why criteria of fairness cannot all hold if base rates differ.

The functions return what an identity leaves over, or how far an inequality is from equality. They hold for
every classifier, so they check an implementation and show which criterion pays for another. All take
confusion counts [..., groups] (`lrn.fair.confusion`).
"""

from __future__ import annotations

import jax.numpy as jnp

from lrn.fair.confusion import Confusion
from lrn.fair.rates import divide, rate
from lrn.types import Array


def chouldechova_residual(counts: Confusion) -> Array:
    """What is left of the identity of Chouldechova (2017, eq. 2.6), 0 up to rounding, [..., groups].

    ``FPR - p / (1 - p) * (1 - PPV) / PPV * (1 - FNR)``: with equal PPV and differing base rates p, FPR and
    FNR cannot both be equal. NaN where a rate is not defined or PPV is 0.
    """
    odds = divide(counts.tp + counts.fn, counts.fp + counts.tn)
    ppv = rate(counts, "positive_predictive_value")
    hit = 1 - rate(counts, "false_negative_rate")
    return rate(counts, "false_positive_rate") - odds * divide(1 - ppv, ppv) * hit


def zhao_gordon_slack(counts: Confusion) -> Array:
    """How far the errors of two groups lie above their lower bound, 0 or more, [..., groups, groups].

    ``err_a + err_b - (|p_a - p_b| - |s_a - s_b|)`` for groups a and b with base rates p and selection rates s
    (Zhao & Gordon 2019, theorem 3.1): under demographic parity both groups cannot be right if base rates
    differ.
    """
    error = 1 - rate(counts, "accuracy")
    base, selected = (_gaps(rate(counts, name)) for name in ("base_rate", "selection_rate"))
    return error[..., :, None] + error[..., None, :] - (base - selected)


def calibration_residual(counts: Confusion) -> Array:
    """What is left of the identity behind the calibration impossibility, 0 up to rounding, [..., groups].

    With scores as predictions, generalized false-positive rate ``f`` (the mean score of label 0), generalized
    false-negative rate ``m`` (one minus the mean score of label 1) and base rate p:
    ``f - p / (1 - p) * m - (mean score - p) / (1 - p)``. For scores that are calibrated on average the last
    term is 0, so f / m is the odds p / (1 - p) (Pleiss et al. 2017). Groups with other base rates then
    cannot have equal f and equal m unless both are 0 (Kleinberg et al. 2016).

    Args:
        counts: of `lrn.fair.confusion.confusion` with scores in [0, 1] as predictions.
    """
    base, score = rate(counts, "base_rate"), rate(counts, "selection_rate")
    false, missed = rate(counts, "false_positive_rate"), rate(counts, "false_negative_rate")
    return false - divide(base, 1 - base) * missed - divide(score - base, 1 - base)


def _gaps(values: Array) -> Array:
    return jnp.abs(values[..., :, None] - values[..., None, :])
