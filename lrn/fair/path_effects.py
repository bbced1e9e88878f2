"""Effects of an attribute along chosen paths of a causal model, on a predictor or on any variable.

Each edge of the graph passes on the change of the attribute from a to b, or holds it back. Along an edge that
passes, a child sees its parent as changed; along the others it sees the parent as it was under a. So the
change reaches a variable by the paths whose edges all pass (Avin et al. 2005; Chiappa 2019). The noise of
each individual is the same in all worlds, so the effects are exact for the model given.

`with_predictor` makes a predictor a variable of the model, whose direct effect is that of the edge from the
attribute to the prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import inputs
from lrn.fair.counterfactual import Effects, effects
from lrn.fair.rates import divide
from lrn.fair.scm import SCM, Mechanism, Values, evaluate, intervene, observe, scm
from lrn.types import Array

Edge = tuple[str, str]  # (parent, child)


def with_predictor(
    model: SCM, features: tuple[str, ...], predict: Callable[[Values], Any], name: str = "prediction"
) -> SCM:
    """The model with a predictor as one more variable, which its features determine.

    Args:
        model: the model. features: the variables that the predictor reads.
        predict: ``predict(values) -> predictions`` [n], where ``values`` maps the features to floats [n].
        name: the name of the prediction.

    Raises:
        InputError: a feature is unknown, or the name is taken.
    """
    return scm(*model.mechanisms, Mechanism(name, features, lambda values, noise: predict(values)))


def edges(model: SCM) -> frozenset[Edge]:
    """All edges of the graph, as (parent, child)."""
    return frozenset((parent, m.name) for m in model.mechanisms for parent in m.parents)


def path_specific(
    model: SCM, noise: Values, attribute: str, a: ArrayLike, b: ArrayLike, passing: Collection[Edge]
) -> dict[str, Array]:
    """The variables, floats [n] by name, when the change of the attribute passes along some edges only.

    With all `edges` passing this is the world under ``do(attribute = b)``, with none that under
    ``do(attribute = a)``; but the attribute itself is b in both.

    Args:
        model: the model. noise: the noise of the individuals, as `lrn.fair.scm.abduct` gives it.
        attribute: the variable that changes. a, b: its values before and after, numbers or [n].
        passing: the edges that pass on the change.

    Raises:
        InputError: the attribute or an edge is unknown, or the noise or a value is wrong.
    """
    known = edges(model)
    for edge in passing:
        if edge not in known:
            shown = ", ".join(f"{parent} -> {child}" for parent, child in sorted(known))
            raise check.InputError(f"{edge!r} is no edge of the model; its edges are {shown}.")
    before = observe(intervene(model, {attribute: a}), noise)
    after: dict[str, Array] = {}
    for m in intervene(model, {attribute: b}).mechanisms:
        seen = {parent: (after if (parent, m.name) in passing else before)[parent] for parent in m.parents}
        after[m.name] = evaluate(m, seen, noise)
    return after


def path_specific_effect(
    model: SCM,
    noise: Values,
    attribute: str,
    a: ArrayLike,
    b: ArrayLike,
    passing: Collection[Edge],
    outcome: str,
    weight: Any = None,
) -> Array:
    """The average effect on ``outcome`` of the change along the passing edges, a scalar in its unit.

    Args:
        model, noise, attribute, a, b, passing: see `path_specific`.
        outcome: a variable, such as the prediction of `with_predictor`.
        weight: weights of rows [n], 0 or more; 1 by default. A mask gives the effect in one group.

    Raises:
        InputError: as `path_specific`; or the outcome is unknown, or a weight is wrong. (Under jit a wrong
            weight gives NaN.)
    """
    check.choice("the outcome", outcome, model.names)
    before = observe(intervene(model, {attribute: a}), noise)[outcome]
    after = path_specific(model, noise, attribute, a, b, passing)[outcome]
    weight, fine = inputs.weights(weight, len(before), before.dtype)
    change = divide((weight * (after - before)).sum(), weight.sum())
    return change * jnp.where(fine, 1, jnp.nan).astype(change.dtype)


def natural_effects(
    model: SCM,
    noise: Values,
    attribute: str,
    a: ArrayLike,
    b: ArrayLike,
    outcome: str = "prediction",
    weight: Any = None,
) -> Effects:
    """The total, natural direct and natural indirect effect of the attribute on ``outcome`` (Pearl 2001).

    The direct effect passes along the edge from the attribute to the outcome alone, the indirect effect along
    all other edges.

    Args:
        model, noise, attribute, a, b: see `path_specific`.
        outcome: a variable with values in [0, 1], such as the prediction of `with_predictor`.
        weight: weights of rows [n], 0 or more; 1 by default.

    Raises:
        InputError: as `path_specific` and `lrn.fair.counterfactual.effects`.
    """
    check.choice("the outcome", outcome, model.names)
    straight = frozenset({(attribute, outcome)}) & edges(model)
    factual, counterfactual = (observe(intervene(model, {attribute: v}), noise)[outcome] for v in (a, b))
    direct, indirect = (
        path_specific(model, noise, attribute, a, b, passing)[outcome]
        for passing in (straight, edges(model) - straight)
    )
    return effects(factual, counterfactual, direct, indirect, weight)
