"""The penalty against its definition and finite differences."""

import jax
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.counterfactual_training import KINDS, counterfactual_penalty

RNG = np.random.default_rng(0)
FACTUAL, WORLDS = RNG.normal(size=30), RNG.normal(size=(2, 30))
WEIGHTS = RNG.integers(0, 3, 30).astype(float)
ROWS = np.repeat(np.arange(30), WEIGHTS.astype(int))


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(kind):
    with jax.enable_x64(True):
        penalty = lambda f, c, w: counterfactual_penalty(f, c, w, kind=kind)  # noqa: E731
        run = jax.jit(jax.value_and_grad(penalty, (0, 1)))
        value, (first, second) = run(FACTUAL, WORLDS, WEIGHTS)
        difference = (WORLDS - FACTUAL)[:, ROWS]
        wanted = (difference**2).mean() if kind == "squared" else np.abs(difference).mean()
        assert float(value) == pytest.approx(wanted, rel=1e-12)
        for row in (0, 7, 23):
            move = np.zeros(30)
            move[row] = 1e-6
            ends = [run(FACTUAL + s * move, WORLDS, WEIGHTS)[0] for s in (1, -1)]
            assert float(first[row]) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-8)
            ends = [run(FACTUAL, WORLDS + s * np.array([[0], [1]]) * move, WEIGHTS)[0] for s in (1, -1)]
            assert float(second[1, row]) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-8)
        same, flat = run(FACTUAL, np.stack([FACTUAL] * 2), WEIGHTS)
        assert float(same) == 0
        assert all((leaf == 0).all() for leaf in flat)
        for bad in (-WEIGHTS, np.zeros(30)):
            value, flat = run(FACTUAL, WORLDS, bad)
            assert np.isnan(value)
            assert all(np.isnan(leaf).all() for leaf in flat)
        assert np.isnan(run(FACTUAL, WORLDS + np.inf, np.ones(30))[0])
        assert np.isnan(run(FACTUAL + np.inf, WORLDS, np.ones(30))[0])


def test_one_world_is_one_of_several():
    run = jax.jit(counterfactual_penalty)
    both = [float(run(FACTUAL, world, WEIGHTS)) for world in WORLDS]
    assert float(run(FACTUAL, WORLDS, WEIGHTS)) == pytest.approx(np.mean(both), rel=1e-5)


def test_bad_input():
    with pytest.raises(InputError, match="kind 'square' is not known"):
        counterfactual_penalty(FACTUAL, WORLDS, kind="square")
    with pytest.raises(InputError, match="factual must hold numbers"):
        counterfactual_penalty(np.array(["a"] * 30), WORLDS)
    with pytest.raises(InputError, match="factual must have shape"):
        counterfactual_penalty(WORLDS, WORLDS)
    with pytest.raises(InputError, match=r"counterfactual must have shape \[30\] or \[worlds, 30\]"):
        counterfactual_penalty(FACTUAL, WORLDS[:, :5])
    with pytest.raises(InputError, match="counterfactual holds values"):
        counterfactual_penalty(FACTUAL, np.full(30, np.nan))
    with pytest.raises(InputError, match="weights are all 0"):
        counterfactual_penalty(FACTUAL, WORLDS, np.zeros(30))
