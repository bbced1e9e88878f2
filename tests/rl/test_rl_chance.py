"""The chance of random play against arithmetic."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn import check
from lrn.rl.env import discretize
from lrn.rl.exploration.ascent import ascent
from lrn.rl.exploration.chance import chance


@pytest.mark.parametrize(("least", "right"), [(0.0, 1 / 2), (0.5, 10 / 64)])
def test_random_tries_reach_the_top_as_often_as_arithmetic_says(least, right):
    """p^n in a try, which takes 1 + p + ... + p^(n - 1) steps: four levels of three engines, depth 2."""
    env = discretize(ascent(2, 3, least=least), 4)
    found = float(jax.jit(lambda key: chance(env, key, 4000))(jax.random.key(0)))
    tries = 4000 * right**2
    assert found == pytest.approx(right**2 / (1 + right), rel=4 / np.sqrt(tries))


def test_continuous_actions_are_refused():
    with pytest.raises(check.InputError, match="chance needs discrete actions"):
        chance(ascent(2), jax.random.key(0), 10)
