"""What a task costs in a meta-step, so that methods can be given equal compute and not equal steps.

The unit is the gradient of one example's loss: a forward and a backward pass.
"""

from __future__ import annotations

from lrn import check
from lrn.meta.adapt import ORDERS


def maml_gradients(support: int, query: int, steps: int = 1, order: str = "second") -> int:
    """Gradients of an example that one task costs a MAML step.

    Every inner step takes a gradient of each support example, and in second order a Hessian-vector product
    of it on the way back, which costs two (Pearlmutter 1994); the queries take one each. What the optimizers
    do is not counted.

    Args:
        support, query: examples of a task.
        steps: of the inner loop.
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
