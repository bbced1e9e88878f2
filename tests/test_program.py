"""How large a traced function's products are, which decides how it is compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from lrn._program import largest_product


def product(x, w):
    return x @ w


def in_loop(x, w):
    return jax.lax.fori_loop(0, 9, lambda i, x: jnp.tanh(x @ w), x)


def in_branch(x, w):
    return jax.lax.cond(x[0, 0] > 0, lambda: jax.jit(product)(x, w), lambda: x)


def in_gradient(x, w):
    return jax.grad(lambda w: jax.checkpoint(product)(x, w).sum())(w)


@pytest.mark.parametrize("function", [product, in_loop, in_branch, in_gradient])
def test_a_product_is_found_wherever_it_is(function):
    x, w = jnp.ones((5, 7)), jnp.ones((7, 7))
    assert largest_product(jax.make_jaxpr(function)(x, w).jaxpr) == 2 * 5 * 7 * 7


def test_a_batch_of_products_is_one_and_the_largest_counts():
    def function(x, w):
        return jax.vmap(product)(x, w).sum() + (x[0] @ w[0]).sum()

    traced = jax.make_jaxpr(function)(jnp.ones((3, 5, 7)), jnp.ones((3, 7, 2)))
    assert largest_product(traced.jaxpr) == 2 * 3 * 5 * 7 * 2


def test_a_convolution():
    """Each of 8 x 6 x 6 x 4 outputs sums over a window of 3 x 3 and 2 channels."""

    def function(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    traced = jax.make_jaxpr(function)(jnp.ones((8, 8, 8, 2)), jnp.ones((3, 3, 2, 4)))
    assert largest_product(traced.jaxpr) == 2 * (8 * 6 * 6 * 4) * (3 * 3 * 2)


def test_no_product():
    assert largest_product(jax.make_jaxpr(jnp.sin)(jnp.ones(3)).jaxpr) == 0
