"""Rules that choose among candidates (settings, steps) for a new environment (Gulrajani and Lopez-Paz 2021).

The rules differ in what they may look at. Validation in the training environments favors what predicts well
there, spurious features among it. Validation in an environment that was left out of the training asks for
what carries over between training environments. The oracle looks at the new environment itself, which no
deployment can; results chosen by it show only what a method could reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array


class Scores(NamedTuple):
    """Accuracies of candidates, higher is better; NaN where a training diverged.

    validation: [..., candidates, environments]: trained in all training environments, validated on held-out
        rows of each.
    left_out: [..., candidates, environments]: trained without an environment, validated in it; None if
        nothing was left out.
    test: [..., candidates]: validated in the new environment, on other rows than those that are judged;
        None if nobody looked.
    """

    validation: ArrayLike
    left_out: ArrayLike | None = None
    test: ArrayLike | None = None


class Rule(NamedTuple):
    """A way to choose.

    name: what the rule looks at. score: ``score(scores) -> [..., candidates]``, of which the highest wins.
    """

    name: str
    score: Callable[[Scores], Array]


def _training(scores: Scores) -> Array:
    return jnp.mean(_table("validation", scores.validation), axis=-1)


def _left_out(scores: Scores) -> Array:
    return jnp.mean(_table("left_out", scores.left_out), axis=-1)


def _oracle(scores: Scores) -> Array:
    if scores.test is None:
        raise check.InputError("the oracle looks at the new environment; give the scores' test.")
    return jnp.asarray(scores.test)


TRAINING_DOMAINS = Rule("training domains", _training)
LEAVE_ONE_OUT = Rule("leave one environment out", _left_out)
ORACLE = Rule("oracle", _oracle)
RULES = (TRAINING_DOMAINS, LEAVE_ONE_OUT, ORACLE)


def choose(rule: Rule, scores: Scores) -> Array:
    """The index of the rule's candidate, int [...]; -1 where every score is NaN.

    A candidate whose score is NaN ranks last; among equal candidates the first is chosen.

    Raises:
        InputError: the rule looks at scores that are not there or have the wrong form.
    """
    found = rule.score(scores)
    lost = jnp.isnan(found)
    best = jnp.argmax(jnp.where(lost, -jnp.inf, found), axis=-1)
    return jnp.where(jnp.all(lost, axis=-1), -1, best)


def _table(name: str, value: ArrayLike | None) -> Array:
    """The scores of candidates by environment.

    Raises:
        InputError: there are none, or they have no axis of environments.
    """
    if value is None or jnp.ndim(value) < 2 or 0 in jnp.shape(value):
        got = "none" if value is None else f"shape {list(jnp.shape(value))}"
        raise check.InputError(
            f"the rule needs the scores' {name}, [..., candidates, environments], nothing empty, got {got}; "
            "measure each candidate in each environment."
        )
    return jnp.asarray(value)
