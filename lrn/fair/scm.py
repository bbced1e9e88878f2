"""Structural causal models: sampling, interventions and counterfactuals (Pearl 2009, chapter 7).

A model is a tuple of mechanisms, one for each variable. A mechanism makes its variable from its parents and
from noise of its own, and the noises of different variables are independent. A common cause of two variables
is a variable itself. `lrn.fair.mechanisms` has the usual mechanisms.

A counterfactual takes three steps: `abduct` finds the noise of each individual from what was observed,
`intervene` replaces mechanisms by constants, and `observe` makes the variables from the same noise. It is
exact where the mechanisms are invertible in their noise. Elsewhere many values of the noise are consistent
with what was observed, and `abduct` draws one. Data cannot tell how the noise of a discrete variable is
coupled between worlds, so such a counterfactual is not identified: it rests on the mechanism's assumption.

Every variable is floats [n]. An unobserved variable must be given too; `lrn.fair.abduction` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import nan_where, readable
from lrn.fair import arguments
from lrn.fair.causal_graph import SCM, Mechanism, Parents, Values
from lrn.fair.causal_graph import descendants as descendants
from lrn.fair.causal_graph import scm as scm
from lrn.types import Array, Key


def draw_noise(model: SCM, key: Key, n: int) -> dict[str, Array]:
    """The noise of n individuals, from the name of each variable that has noise.

    Raises:
        InputError: ``n`` is no whole number of 1 or more.
    """
    check.integer("n", n, 1)
    keys = jax.random.split(key, len(model.mechanisms))
    return {m.name: m.noise(k, n) for m, k in zip(model.mechanisms, keys) if m.noise is not None}


def observe(model: SCM, noise: Values) -> dict[str, Array]:
    """The variables of the individuals with this noise, floats [n] by name.

    Args:
        model: the model. noise: the noise by name, as `draw_noise` or `abduct` give it. An entry that is not
            used, such as that of an intervened variable, is ignored.

    Returns:
        All variables. A row with a noise of NaN is NaN in every variable, and a variable with a parent of
        NaN is NaN.

    Raises:
        InputError: the noise of a variable is missing or of another length than the others, or a mechanism
            gives another shape than [n].
    """
    values: dict[str, Array] = {}
    for m in model.mechanisms:
        values[m.name] = evaluate(m, values, noise)
    return values


def evaluate(mechanism: Mechanism, values: Values, noise: Values) -> Array:
    """The values of one variable, floats [n], from its parents' values and all noise; see `observe`."""
    name = mechanism.name
    if not noise or (mechanism.noise is not None and name not in noise):
        raise check.InputError(f"noise has no entry {name!r}; take the result of draw_noise or abduct.")
    noise = _checked(noise)
    n = len(next(iter(noise.values())))
    parents = Parents(mechanism, values)
    own = noise[name] if mechanism.noise is not None else None
    value = jnp.asarray(mechanism.function(parents, own))
    if value.shape not in ((), (n,)):
        raise check.InputError(
            f"the mechanism of {name!r} gave shape {value.shape}, expected [{n}]; give one value a row."
        )
    value = jnp.broadcast_to(value, (n,)).astype(jnp.promote_types(value.dtype, jnp.float32))
    unknown = jnp.zeros(n, bool)
    for given in (*parents.values(), *noise.values()):
        unknown = unknown | jnp.isnan(given).reshape(n, -1).any(axis=1)
    return nan_where(unknown, value)


def sample(model: SCM, key: Key, n: int) -> dict[str, Array]:
    """The variables of n new individuals, floats [n] by name; see `draw_noise`."""
    return observe(model, draw_noise(model, key, n))


def intervene(model: SCM, do: Mapping[str, Any]) -> SCM:
    """The model in which some variables are set, whatever their causes.

    Args:
        model: the model. do: from the name of a variable to its value, a number or floats [n].

    Raises:
        InputError: a variable is unknown, or a value is not finite or not of this shape. (Under jit a value
            that is not finite is NaN, and so are the variables that follow from it.)
    """
    for name in do:
        check.choice("the intervened variable", name, model.names)
    constants = {name: _constant(name, value) for name, value in do.items()}
    return SCM(tuple(constants.get(m.name, m) for m in model.mechanisms))


def abduct(model: SCM, observed: Mapping[str, Any], key: Key | None = None) -> dict[str, Array]:
    """The noise of the observed individuals by name; drawn, where a mechanism is not invertible.

    Args:
        model: the model. observed: all variables that have noise, [n] by name; others are computed.
        key: draws the noise of those mechanisms that are not invertible; else unused.

    Raises:
        InputError: a variable is missing or not finite, a key is needed and missing, or a mechanism cannot
            give back an observed value. (Under jit the noise of such a row is NaN.)
    """
    first = next((m.name for m in model.mechanisms if m.noise is not None), model.names[0])
    if first not in observed:
        raise _missing(first)
    n = int(np.size(observed[first]))
    keys = None if key is None else jax.random.split(key, len(model.mechanisms))
    values: dict[str, Array] = {}
    noise: dict[str, Array] = {first: jnp.zeros(n)}
    for i, m in enumerate(model.mechanisms):
        if m.noise is None:
            values[m.name] = evaluate(m, values, noise)
            continue
        if m.name not in observed:
            raise _missing(m.name)
        value = arguments.floats(m.name, observed[m.name], n)
        found = _noise_of(m, Parents(m, values), value, None if keys is None else keys[i])
        known = _gives_back(m, evaluate(m, values, {m.name: found}), value)
        noise[m.name] = nan_where(~known.reshape(n, *[1] * (found.ndim - 1)), found)
        values[m.name] = value
    return noise


def counterfactual(
    model: SCM, observed: Mapping[str, Any], do: Mapping[str, Any], key: Key | None = None
) -> dict[str, Array]:
    """What the variables of the observed individuals would be under ``do``, floats [n] by name.

    Arguments and errors are those of `abduct` and `intervene`.
    """
    return observe(intervene(model, do), abduct(model, observed, key))


def _constant(name: str, value: Any) -> Mechanism:
    value = arguments.numbers(f"the value of {name!r}", value)
    value = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    if value.ndim > 1:
        raise check.InputError(f"the value of {name!r} must be a number or [n], got shape {value.shape}.")
    if readable(value) and not np.isfinite(np.asarray(value)).all():
        raise check.InputError(f"the value of {name!r} is not finite; set the variable to a finite number.")
    value = value * jnp.where(jnp.isfinite(value), 1, jnp.nan).astype(value.dtype)
    return Mechanism(name, (), lambda parents, noise: value)


def _checked(noise: Values) -> dict[str, Array]:
    """All noise as arrays of one length."""
    found = {name: arguments.numbers(f"the noise of {name!r}", value) for name, value in noise.items()}
    shapes = {name: value.shape for name, value in found.items()}
    if len({shape[:1] for shape in shapes.values()}) != 1 or () in shapes.values():
        raise check.InputError(
            f"noise must have one entry for each individual, got shapes {shapes}; give all one length."
        )
    return found


def _missing(name: str) -> check.InputError:
    return check.InputError(
        f"observed has no variable {name!r}; give all variables, and for a latent one draws of it "
        "(lrn.fair.abduction)."
    )


def _noise_of(mechanism: Mechanism, parents: Parents, value: Array, key: Key | None) -> Array:
    if mechanism.inverse is not None:
        return jnp.asarray(mechanism.inverse(parents, value))
    if mechanism.draw is None:
        raise check.InputError(
            f"the mechanism of {mechanism.name!r} has neither an inverse nor a draw; give it one of the two."
        )
    if key is None:
        raise check.InputError(
            f"the noise of {mechanism.name!r} is not determined by what was observed; give a key to draw it."
        )
    return jnp.asarray(mechanism.draw(key, parents, value))


def _gives_back(mechanism: Mechanism, made: Array, value: Array) -> Array:
    """Whether the mechanism makes the observed value from the abducted noise, up to rounding, [n]."""
    known = jnp.abs(made - value) <= jnp.sqrt(jnp.finfo(made.dtype).eps) * (1 + jnp.abs(value))
    if readable(known) and not np.asarray(known).all():
        wrong = np.asarray(value)[~np.asarray(known)]
        raise check.InputError(
            f"the mechanism of {mechanism.name!r} cannot give back {len(wrong)} of {len(value)} observed "
            f"values, such as {wrong[0]:g}; mend the mechanism or its inverse, or leave such rows out."
        )
    return known
