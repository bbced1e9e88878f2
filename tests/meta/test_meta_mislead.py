"""The controls of meta-learners: a support set of another task, and a head of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.meta.episode import draw
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.mislead import wrong_support, zero_head
from lrn.meta.problem import classification


def test_the_support_set_is_that_of_the_next_task():
    tasks = draw(sinusoid(5, 3), jax.random.key(0), 4)
    misled = wrong_support(tasks)
    for name in ("x", "y"):
        np.testing.assert_array_equal(misled.support[name], np.roll(tasks.support[name], 1, axis=0))
        assert not np.array_equal(misled.support[name], tasks.support[name])
        np.testing.assert_array_equal(misled.query[name], tasks.query[name])
    # The switch may be traced, so that one program serves both.
    for where in (True, False):
        switched = jax.jit(wrong_support)(tasks, where)
        expected = misled if where else tasks
        assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(switched), jax.tree.leaves(expected)))


def test_a_head_of_zeros():
    problem = classification(nets.mlp(None, (4,)), 3)
    params, net_state = problem.init(jax.random.key(0), jnp.ones((2, 5)))
    empty = zero_head(params)
    assert jax.tree.structure(empty) == jax.tree.structure(params)
    assert all(not np.any(x) for x in jax.tree.leaves(empty["head"]))
    jax.tree.map(np.testing.assert_array_equal, empty["body"], params["body"])
    wider = zero_head(params, 7)
    assert jax.tree.map(jnp.shape, wider["head"]) == {"bias": (7,), "kernel": (4, 7)}
    several = zero_head(jax.tree.map(lambda x: jnp.stack([x] * 6), params), 7)
    assert jax.tree.map(jnp.shape, several["head"]) == {"bias": (6, 7), "kernel": (6, 4, 7)}
    assert net_state == ()
    # One program for both: the switch may be traced.
    for where, expected in ((True, empty), (False, params)):
        switched = jax.jit(lambda on: zero_head(params, where=on))(where)
        jax.tree.map(np.testing.assert_array_equal, switched, expected)
    with pytest.raises(ValueError, match="leave where out"):
        zero_head(params, 7, where=False)
