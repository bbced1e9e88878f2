"""The size of a program's matrix products, by which the compiler's options are chosen."""

from __future__ import annotations

import math
from typing import Any

import jax


def largest_product(jaxpr: Any) -> int:
    """The operations of the largest matrix product or convolution in a jaxpr and in the jaxprs it calls.

    A multiplication and an addition are two operations. A product in a loop is counted for one iteration.
    """
    largest = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            largest = max(largest, 2 * depth * math.prod(equation.outvars[0].aval.shape))
        elif equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            largest = max(largest, 2 * math.prod(kernel) // features * math.prod(out))
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                largest = max(largest, largest_product(inner))
    return largest
