"""The graph of a structural causal model: mechanisms, put in a causal order.

`lrn.fair.scm` samples such models, intervenes in them, and makes counterfactuals.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lrn import check
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


class Parents(dict[str, Any]):
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
