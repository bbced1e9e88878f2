"""The cost of a task in a meta-step, by which methods get equal compute in place of equal steps.

The unit is the gradient of one example's loss: a forward and a backward pass.
"""

from __future__ import annotations

from lrn import check
from lrn.meta.adapt import ORDERS


def maml_gradients(support: int, query: int, steps: int = 1, order: str = "second") -> int:
    """The number of gradients of single examples that one task costs in a step of MAML.

    Every inner step takes one gradient of each support example. In second order the way back takes a
    Hessian-vector product of each, which costs two gradients (Pearlmutter 1994). Each query takes one. The
    optimizers' arithmetic is not counted.

    Args:
        support, query: the numbers of examples of a task.
        steps: the number of steps of the inner loop.
        order: "second" or "first".

    Raises:
        ValueError: a count below 1, or an unknown order.
    """
    for name, value in {"support": support, "query": query}.items():
        check.integer(name, value, low=1)
    check.integer("steps", steps, low=0)
    check.choice("order", order, ORDERS)
    return steps * support * (3 if order == "second" else 1) + query


def pooled_gradients(support: int, query: int) -> int:
    """Gradients of an example that one task costs a step of `lrn.meta.pooled`: one for each example."""
    for name, value in {"support": support, "query": query}.items():
        check.integer(name, value, low=1)
    return support + query
