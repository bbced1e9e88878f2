"""From environments to MDPs: known optimal returns, exact counterparts, and clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.rl import mdp
from lrn.rl.env import Discrete, Env, Step, make

STATISTICS = ("time", "bad_episode", "total_bad_episodes", "denoised_return")


@pytest.fixture(autouse=True, scope="module")
def _quick_compiles():
    """Compile without optimization, since each program runs once."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_deep_sea_has_its_optimal_return():
    env = make("DeepSea-bsuite", size=6)
    tabulated = mdp.tabulate(env, ignore=STATISTICS, discount=1.0, samples=2)
    best = mdp.solve(tabulated.mdp)
    np.testing.assert_allclose(tabulated.mdp.initial @ best.values, 0.99, atol=1e-6)
    assert tabulated.mdp.states == 6 * 7 // 2 + 1  # a triangle of cells, and the end
    # Values equal those of the MDP written by hand, cell by cell (no cell above the diagonal is reached).
    by_hand = mdp.solve(mdp.deep_sea(6)).values
    cell = tabulated.states.row * 6 + tabulated.states.column
    np.testing.assert_allclose(best.values[:-1], by_hand[cell[:-1]], atol=1e-6)
    assert tabulated.mdp.terminal.tolist() == [False] * 21 + [True]
    # Observations equal those of the environment.
    first, _ = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(tabulated.observations[tabulated.mdp.initial.argmax()], first)


def test_the_slippery_lake_comes_out_within_sampling_error():
    tabulated = mdp.tabulate(make("FrozenLake-misc"), samples=4096)
    exact = mdp.frozen_lake()
    cell = np.asarray(tabulated.states.position[:-1])
    turn = np.array([3, 2, 1, 0])  # their left, down, right, up are our 3, 2, 1, 0
    ours = np.asarray(exact.transitions)[cell][:, turn]
    np.testing.assert_allclose(tabulated.mdp.transitions[:-1, :, :-1], ours[..., cell], atol=0.04)
    np.testing.assert_allclose(
        tabulated.mdp.rewards[:-1], np.asarray(exact.rewards)[cell][:, turn], atol=0.04
    )
    assert abs(tabulated.mdp.initial @ mdp.solve(tabulated.mdp).values - mdp.solve(exact).values[0]) < 0.05


def test_four_rooms_without_failures_equals_the_map():
    tabulated = mdp.tabulate(make("FourRooms-misc", fail_prob=0.0), samples=2)
    ours = mdp.four_rooms()
    np.testing.assert_allclose(
        tabulated.mdp.initial @ mdp.solve(tabulated.mdp).values,
        ours.initial @ mdp.solve(ours).values,
        rtol=1e-5,
    )


def test_catch_can_always_be_caught():
    tabulated = mdp.tabulate(make("Catch-bsuite", rows=5, columns=5), samples=64, discount=1.0)
    np.testing.assert_allclose(tabulated.mdp.initial @ mdp.solve(tabulated.mdp).values, 1.0, atol=1e-5)
    assert tabulated.mdp.initial[tabulated.mdp.initial > 0].size == 5


def test_there_and_back():
    """An MDP that is made an environment and tabulated is the same MDP, with its states in another order."""
    m = mdp.gridworld("S..\n.#.\n..G", rewards={"G": 2.0}, step_reward=-0.1)
    tabulated = mdp.tabulate(mdp.as_env(m, time_limit=50), samples=4)
    order = np.asarray(tabulated.states.state)
    assert sorted(order) == list(range(8))
    np.testing.assert_allclose(tabulated.mdp.rewards, m.rewards[order], atol=1e-6)
    np.testing.assert_allclose(tabulated.mdp.transitions, m.transitions[order][:, :, order], atol=1e-6)
    with pytest.raises(check.InputError, match="time limit of MDP cuts"):
        mdp.tabulate(mdp.as_env(m, time_limit=2), samples=4)


def test_time_that_matters_may_not_be_ignored():
    with pytest.raises(check.InputError, match="behave differently"):
        mdp.tabulate(make("MemoryChain-bsuite"), samples=8)


def test_too_many_states_and_wrong_names_are_refused():
    env = make("CartPole-v1")
    with pytest.raises(check.InputError, match="more than 300 states"):
        mdp.tabulate(env, max_states=300, samples=2)
    with pytest.raises(check.InputError, match="no field 'thet'; did you mean theta"):
        mdp.tabulate(env, ignore=("time", "thet"))
    with pytest.raises(check.InputError, match="tabulate needs discrete actions"):
        mdp.tabulate(make("Pendulum-v1"))


def counter(limit: int = 4) -> Env:
    """A counter that action 1 raises and that terminates at ``limit``, with a tally that affects nothing."""
    no = jnp.array(False)

    def reset(key):
        del key
        return jnp.zeros(1), {"count": jnp.int32(0), "tally": jnp.int32(0)}

    def move(key, state, action):
        del key
        after = {"count": state["count"] + action, "tally": state["tally"] + 1}
        seen = after["count"][None].astype(float)
        return after, Step(1.0 * action, after["count"] >= limit, no, seen)

    return Env("counter", reset, move, (1,), Discrete(2), 100)


def test_any_environment_can_be_tabulated():
    env = counter()
    for tabulated in (
        mdp.tabulate(env, ignore=("tally",), discount=0.5, samples=1),
        mdp.tabulate(env, identify=lambda s: s["count"], discount=0.5, samples=1),
    ):
        assert tabulated.mdp.states == 5
        np.testing.assert_allclose(mdp.solve(tabulated.mdp).values, [1.875, 1.75, 1.5, 1.0, 0.0], rtol=1e-6)
        np.testing.assert_array_equal(tabulated.observations[:, 0], [0, 1, 2, 3, 4])
    with pytest.raises(check.InputError, match="more than 50 states"):
        mdp.tabulate(env, samples=1, max_states=50)
    with pytest.raises(check.InputError, match="behave differently"):
        mdp.tabulate(env, identify=lambda s: s["count"] // 2, samples=1)


def test_a_key_in_the_state_is_refused():
    env = counter()._replace(reset=lambda key: (jnp.zeros(1), {"count": jnp.int32(0), "tally": key}))
    with pytest.raises(check.InputError, match="holds a key"):
        mdp.tabulate(
            env._replace(move=lambda k, s, a: (s, counter().move(k, {"count": 0, "tally": 0}, a)[1]))
        )
