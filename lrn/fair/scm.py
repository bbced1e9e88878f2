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

import graphlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import arguments
from lrn.types import Array, Key

Values = Mapping[str, Any]  # from the name of a variable to its values, an array


class Mechanism(NamedTuple):
    """How a variable follows from its parents and its noise.

    name: the variable. parents: the names of its direct causes.
    function: ``function(parents, noise) -> value`` [n], or a scalar; ``parents`` maps names to floats [n].
    noise: ``noise(key, n)`` draws the noise, [n] or [n, ...]; None for a variable that its parents determine.
    inverse: ``inverse(parents, value) -> noise``, where the function is invertible in the noise.
    draw: ``draw(key, parents, value) -> noise``: a draw from the noise that is consistent with the value,
        where the function is not invertible.
    """

    name: str
    parents: tuple[str, ...]
    function: Callable[[Values, Any], Array]
    noise: Callable[[Key, int], Array] | None = None
    inverse: Callable[[Values, Array], Array] | None = None
    draw: Callable[[Key, Values, Array], Array] | None = None


class SCM(NamedTuple):
    """A structural causal model; `scm` makes it. mechanisms: parents come before their children."""

    mechanisms: tuple[Mechanism, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the variables."""
        return tuple(m.name for m in self.mechanisms)


class _Parents(dict):
    """The parents' values for a mechanism's function, which may read no other variable."""

    def __init__(self, mechanism: Mechanism, values: Values):
        super().__init__({name: values[name] for name in mechanism.parents})
        self._name = mechanism.name

    def __missing__(self, name: str) -> Array:
        raise check.InputError(
            f"the mechanism of {self._name!r} reads {name!r}, which is not among its parents; add it to them."
        )


def scm(*mechanisms: Mechanism) -> SCM:
    """The model of these mechanisms, in a causal order.

    Raises:
        InputError: there is no mechanism, an argument is no mechanism, two have one name, a parent is
            unknown, or the graph has a cycle.
    """
    if not mechanisms:
        raise check.InputError("a causal model needs at least one mechanism, got none; give one a variable.")
    for m in mechanisms:
        if not isinstance(m, Mechanism):
            raise check.InputError(
                f"scm takes mechanisms, one an argument, got {type(m).__name__}; unpack a list with a star."
            )
        if isinstance(m.parents, str):
            raise check.InputError(
                f"the parents of {m.name!r} must be a tuple of names, got the string {m.parents!r}; write "
                f"({m.parents!r},)."
            )
    named = {m.name: m for m in mechanisms}
    if len(named) < len(mechanisms):
        names = [m.name for m in mechanisms]
        twice = next(name for name in names if names.count(name) > 1)
        raise check.InputError(f"variable {twice!r} has two mechanisms; give each variable one.")
    for m in mechanisms:
        for parent in m.parents:
            check.choice(f"parent of {m.name!r}", parent, named)
    try:
        order = tuple(graphlib.TopologicalSorter({m.name: m.parents for m in mechanisms}).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise check.InputError(f"the causes form a cycle, {cycle}; leave out one of these edges.") from None
    return SCM(tuple(named[name] for name in order))


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
        InputError: the noise of a variable is missing, or a mechanism gives another shape than [n].
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
    n = len(next(iter(noise.values())))
    parents = _Parents(mechanism, values)
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
    return _nan_where(unknown, value)


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
        found = _noise_of(m, _Parents(m, values), value, None if keys is None else keys[i])
        known = _gives_back(m, evaluate(m, values, {m.name: found}), value)
        noise[m.name] = _nan_where(~known.reshape(n, *[1] * (found.ndim - 1)), found)
        values[m.name] = value
    return noise


def counterfactual(
    model: SCM, observed: Mapping[str, Any], do: Mapping[str, Any], key: Key | None = None
) -> dict[str, Array]:
    """What the variables of the observed individuals would be under ``do``, floats [n] by name.

    Arguments and errors are those of `abduct` and `intervene`.
    """
    return observe(intervene(model, do), abduct(model, observed, key))


def descendants(model: SCM, name: str) -> tuple[str, ...]:
    """The variables that follow from ``name``, itself not among them, in the model's order.

    The other variables are what a predictor of level 1 of counterfactual fairness may read (Kusner et al.
    2017).

    Raises:
        InputError: the variable is unknown.
    """
    check.choice("the variable", name, model.names)
    reached = {name}
    for m in model.mechanisms:
        if reached & set(m.parents):
            reached.add(m.name)
    return tuple(m.name for m in model.mechanisms if m.name in reached and m.name != name)


def _constant(name: str, value: Any) -> Mechanism:
    value = as_array(value)
    value = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    if value.ndim > 1:
        raise check.InputError(f"the value of {name!r} must be a number or [n], got shape {value.shape}.")
    if readable(value) and not np.isfinite(np.asarray(value)).all():
        raise check.InputError(f"the value of {name!r} is not finite; set the variable to a finite number.")
    value = value * jnp.where(jnp.isfinite(value), 1, jnp.nan).astype(value.dtype)
    return Mechanism(name, (), lambda parents, noise: value)


def _nan_where(bad: Array, value: Array) -> Array:
    """The value, and NaN with a gradient of NaN where it is bad.

    The product makes the gradient NaN. It does not always make the value NaN: XLA turns the product with a
    bool that became a float into a choice between the other factor and 0.
    """
    return jnp.where(bad, jnp.nan, value * jnp.where(bad, jnp.nan, 1).astype(value.dtype))


def _missing(name: str) -> check.InputError:
    return check.InputError(
        f"observed has no variable {name!r}; give all variables, and for a latent one draws of it "
        "(lrn.fair.abduction)."
    )


def _noise_of(mechanism: Mechanism, parents: _Parents, value: Array, key: Key | None) -> Array:
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
