"""The explorer is coded Q-learning, and each of its floats is one way of exploring."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn import check, nets, train
from lrn.rl.env import discretize
from lrn.rl.evaluate import evaluator
from lrn.rl.exploration import CountConfig, count_bonus
from lrn.rl.exploration.ascent import ascent, heights
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.explorer import Explorer, explorer

WAYS = {
    "none": Explorer(),
    "epsilon-greedy": Explorer(epsilon=1.0, epsilon_end=0.05),
    "optimistic": Explorer(initial=1.0),
    "counts": Explorer(initial=1.0, beta=0.1),
    "white": Explorer(noise=1.0, theta=50.0),
    "pink": Explorer(noise=1.0, pink=1.0),
}


def solved(ways, levels=3, depth=6, steps=3000, **options):
    """The share of 8 seeds whose greedy policy reaches the top, for each way."""
    env = discretize(ascent(depth), levels)

    def make(config):
        return explorer(env, heights(depth), config, steps, **options)

    evaluate = evaluator(env, 1)
    fit = train.fit(make, ways, range(8), steps=steps, log_every=steps, evaluate=evaluate, progress=False)
    return {name: float((fit.table.final(name, "greedy_return") > 0.5).mean()) for name in ways}


def test_it_is_coded_q_learning():
    """Bit for bit the agent that is put together by hand."""
    env, coding = discretize(ascent(4), 3), heights(4)
    learner = CodedQConfig(
        epsilon_start=0.8, epsilon_end=0.2, exploration_fraction=0.3, initial=0.5, learning_rate=0.7,
        rollout_length=1, total_steps=50,
    )  # fmt: skip
    way = Explorer(epsilon=0.8, epsilon_end=0.2, fraction=0.3, initial=0.5, beta=0.2, learning_rate=0.7)
    weights = []
    for agent in (
        explorer(env, coding, way, 50),
        coded_q(env, coding, learner, count_bonus(coding, CountConfig(beta=0.2), 3)),
    ):
        state, step = agent.init(jax.random.key(0), None), jax.jit(agent.step)
        for i in range(50):
            state, _ = step(jax.random.key(i), state, None)
        weights.append(np.asarray(state.weights))
    np.testing.assert_array_equal(*weights)
    assert np.unique(weights[0]).size > 3


def test_every_way_but_none_explores():
    """Four right actions of three levels in a row: one random try of 81, and 3000 steps are 2000 tries."""
    shares = solved(WAYS, depth=4, dimensions=1)
    assert shares.pop("none") <= 0.25
    assert min(shares.values()) >= 0.75, shares


def test_rnd_is_added_where_there_is_a_network():
    ways = {"RND": Explorer(initial=1.0, novelty=0.1), "none": Explorer()}
    shares = solved(ways, depth=8, net=nets.mlp(4, (8,)))
    assert shares["RND"] == 1.0
    assert shares["none"] <= 0.25


@pytest.mark.parametrize("wrong", [{"epsilon": 1.5}, {"pink": 2.0}, {"beta": -1.0}, {"theta": 0.0}])
def test_bad_settings(wrong):
    with pytest.raises(check.InputError, match=next(iter(wrong))):
        Explorer(**wrong)
