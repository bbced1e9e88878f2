"""The structure of a pytree as JSON values, and the pytree again from those and its leaves.

Nothing is pickled: a class is named by its module and checked to be a NamedTuple with the fields it had.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import jax

from lrn import check
from lrn.types import PyTree

Form = Any  # JSON values: "leaf", or a dict with a "kind"


class UnknownClassError(check.InputError):
    """A part of the tree is of a class that cannot be made again from its name."""


def describe(tree: PyTree) -> Form:
    """The structure of a pytree, its leaves in JAX's order.

    Tuples, lists, dicts by text or number, None and NamedTuples are described; of any other node its class
    and how many leaves it has.
    """
    if tree is None:
        return {"kind": "none"}
    kind = type(tree)
    if isinstance(tree, tuple) and (fields := getattr(tree, "_fields", None)) is not None:
        return {
            "kind": "namedtuple",
            "class": _name(kind),
            "fields": list(fields),
            "items": [describe(x) for x in tree],
        }
    if kind in (tuple, list):
        return {"kind": kind.__name__, "items": [describe(x) for x in tree]}
    if kind is dict and all(type(key) in (str, int) for key in tree):
        keys = sorted(tree)  # as JAX does
        return {"kind": "dict", "keys": keys, "items": [describe(tree[key]) for key in keys]}
    if jax.tree_util.all_leaves([tree]):
        return "leaf"
    return {"kind": "other", "class": _name(kind), "leaves": len(jax.tree.leaves(tree))}


def count(form: Form) -> int:
    """How many leaves a tree of that structure has."""
    if form == "leaf":
        return 1
    return form["leaves"] if form["kind"] == "other" else sum(map(count, form.get("items", ())))


def child(form: Form, name: str) -> tuple[Form, slice]:
    """The structure of a NamedTuple's field, and which of the leaves are its own."""
    at = form["fields"].index(name)
    first = sum(map(count, form["items"][:at]))
    return form["items"][at], slice(first, first + count(form["items"][at]))


def rebuild(form: Form, leaves: Sequence[Any]) -> PyTree:
    """The pytree of that structure with these leaves.

    The modules of its classes are imported.

    Raises:
        UnknownClassError: a class cannot be found by its name, or is no longer what it was.
    """
    rest = iter(leaves)

    def make(form: Form, path: str) -> PyTree:
        if form == "leaf":
            return next(rest)
        kind = form["kind"]
        if kind == "none":
            return None
        if kind == "other":
            raise UnknownClassError(
                f"the state has a {form['class']} at {path or 'its top'}, of which only NamedTuples, tuples, "
                "lists and dicts can be made again; pass like=, a state of the same learner."
            )
        made = _find(form, path) if kind == "namedtuple" else None
        names = form.get("fields") or form.get("keys") or range(len(form["items"]))
        items = [
            make(item, f"{path}.{name}" if made else f"{path}[{name!r}]")
            for name, item in zip(names, form["items"])
        ]
        if made is not None:
            return made(*items)
        return (
            dict(zip(form["keys"], items)) if kind == "dict" else {"tuple": tuple, "list": list}[kind](items)
        )

    return make(form, "")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(form: Form, path: str) -> type:
    """The NamedTuple that a form names."""
    module, _, qualified = form["class"].partition(":")
    where = f"the state was a {form['class']}" if not path else f"{path} was a {form['class']}"
    advice = "make it importable, or pass like=, a state of the same learner."
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError):
        raise UnknownClassError(f"{where}, which is not to be found here; {advice}") from None
    fields = getattr(found, "_fields", None)
    if not (isinstance(found, type) and issubclass(found, tuple) and fields is not None):
        raise UnknownClassError(f"{where}, which is no NamedTuple; {advice}")
    if list(fields) != form["fields"]:
        raise UnknownClassError(
            f"{where} with the fields {', '.join(form['fields'])}, and has now {', '.join(fields)}; {advice}"
        )
    return found
