"""Describe the structure of a pytree by JSON values, and make the pytree again from them and its leaves.

Nothing is pickled. A class is stored as its module and name. It must be a NamedTuple, or a dataclass whose
fields are all subtrees (such as the states of gymnax), and must still have the fields that it had.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import jax

from lrn import check
from lrn.types import PyTree

Form = Any  # JSON values: "leaf", or a dict with a "kind"


class UnknownClassError(check.InputError):
    """A node of the tree is of a class that cannot be made again from its name."""


def describe(tree: PyTree) -> Form:
    """The structure of a pytree, with the leaves in JAX's order.

    Tuples, lists, dicts with text or whole numbers as keys, None, NamedTuples, and dataclasses whose fields
    are all subtrees are described in full. Of any other node only the class and the number of leaves are
    kept.
    """
    if tree is None:
        return {"kind": "none"}
    kind = type(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return {
            "kind": "namedtuple",
            "class": _name(kind),
            "fields": list(tree._fields),  # pyright: ignore[reportAttributeAccessIssue]
            "items": [describe(x) for x in tree],
        }
    if kind in (tuple, list):
        return {"kind": kind.__name__, "items": [describe(x) for x in tree]}
    if kind is dict and all(type(key) in (str, int) for key in tree):
        keys = sorted(tree)  # as JAX does
        return {"kind": "dict", "keys": keys, "items": [describe(tree[key]) for key in keys]}
    if jax.tree_util.all_leaves([tree]):
        return "leaf"
    if (names := _all_fields(tree)) is not None:
        items = [describe(getattr(tree, name)) for name in names]
        return {"kind": "dataclass", "class": _name(kind), "fields": names, "items": items}
    return {"kind": "other", "class": _name(kind), "leaves": len(jax.tree.leaves(tree))}


def _all_fields(tree: PyTree) -> list[str] | None:
    """The fields of a dataclass if all are subtrees of the pytree, in order; otherwise None."""
    if not dataclasses.is_dataclass(tree):
        return None
    names = [field.name for field in dataclasses.fields(tree)]
    children, _ = jax.tree_util.default_registry.flatten_one_level(tree) or ((), None)
    children = list(children)
    own = len(children) == len(names) and all(getattr(tree, n) is x for n, x in zip(names, children))
    return names if own else None


def count(form: Form) -> int:
    """The number of leaves of a tree of the structure ``form``."""
    if form == "leaf":
        return 1
    return form["leaves"] if form["kind"] == "other" else sum(map(count, form.get("items", ())))


def child(form: Form, name: str) -> tuple[Form, slice]:
    """The structure of the field ``name`` of a NamedTuple, and the slice of the leaves that belong to it."""
    at = form["fields"].index(name)
    first = sum(map(count, form["items"][:at]))
    return form["items"][at], slice(first, first + count(form["items"][at]))


def rebuild(form: Form, leaves: Sequence[Any]) -> PyTree:
    """The pytree of the structure ``form`` with these leaves; the modules of its classes are imported.

    Raises:
        UnknownClassError: a class cannot be found by its name, or its fields have changed.
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
                f"the state has a {form['class']} at {path or 'its top'}, and only NamedTuples, "
                "dataclasses of arrays, tuples, lists and dicts can be made again; pass like=, a state of "
                "the same learner."
            )
        class_ = _find(form, path) if kind in ("namedtuple", "dataclass") else None
        names = form.get("fields") or form.get("keys") or range(len(form["items"]))
        items = [
            make(item, f"{path}.{name}" if class_ else f"{path}[{name!r}]")
            for name, item in zip(names, form["items"])
        ]
        if class_ is not None:
            return class_(**dict(zip(form["fields"], items)))
        return (
            dict(zip(form["keys"], items)) if kind == "dict" else {"tuple": tuple, "list": list}[kind](items)
        )

    return make(form, "")


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(form: Form, path: str) -> type:
    """The NamedTuple or dataclass that a form names."""
    module, _, qualified = form["class"].partition(":")
    where = f"the state was a {form['class']}" if not path else f"{path} was a {form['class']}"
    advice = "make it importable, or pass like=, a state of the same learner."
    try:
        class_: Any = importlib.import_module(module)
        for part in qualified.split("."):
            class_ = getattr(class_, part)
    except (ImportError, AttributeError, ValueError, TypeError):
        raise UnknownClassError(f"{where}, which cannot be found here; {advice}") from None
    if isinstance(class_, type) and issubclass(class_, tuple) and hasattr(class_, "_fields"):
        fields = list(class_._fields)  # pyright: ignore[reportAttributeAccessIssue]
    elif isinstance(class_, type) and dataclasses.is_dataclass(class_):
        fields = [field.name for field in dataclasses.fields(class_)]
    else:
        raise UnknownClassError(f"{where}, which is neither a NamedTuple nor a dataclass; {advice}")
    if fields != form["fields"]:
        raise UnknownClassError(
            f"{where} with the fields {', '.join(form['fields'])}, and the class now has "
            f"{', '.join(fields)}; {advice}"
        )
    return class_
