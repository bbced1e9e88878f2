"""Proxies, exact hackability compared with enumeration and known theorems, and the noisy television."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import stretch

from lrn import nets
from lrn.check import InputError
from lrn.rl import agent as agents
from lrn.rl import hacking, identity, mdp, play
from lrn.rl.exploration.bonus import Transitions
from lrn.rl.hacking import compare, deterministic_policies, hackable, returns_of


def random_mdp(seed: int, terminal: bool = False) -> mdp.MDP:
    world = mdp.garnet(jax.random.key(seed), 4, 2, 2, 0.9)
    end = np.arange(4) == 3 if terminal else None
    return mdp.make(world.transitions, world.rewards, None, 0.9, end)


def rewards(seed: int, n: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(n, 4, 2)))


def test_returns_equal_the_exact_objective():
    world = random_mdp(0, terminal=True)
    actions = deterministic_policies(world)
    assert len(actions) == 2**3  # nothing to choose in the terminal state
    table = rewards(1, 1)[0]
    returns = returns_of(world, [table], actions)[0]
    own = mdp.make(world.transitions, table, world.initial, world.discount, world.terminal)
    expected = [mdp.objective(own, mdp.deterministic(own, jnp.asarray(a))) for a in actions]
    np.testing.assert_allclose(returns, expected, rtol=1e-4)


def test_comparing_by_hand():
    comparison = compare([0, 1, 2], [0, 2, 1])
    assert comparison == (True, (2, 1), 1 / 3, False) or comparison == (True, (1, 2), 1 / 3, False)
    better_by_second, better_by_first = comparison.witness or (0, 0)
    assert (better_by_second, better_by_first) == (1, 2)
    assert not compare([0, 1, 2], [0, 0, 5]).hackable  # ties are no opposite order: a simplification
    flat = compare([0, 1, 2], [3, 3, 3])
    assert (flat.hackable, flat.trivial) == (False, True)


def objective(world, reward, policy):
    own = mdp.make(world.transitions, reward, world.initial, world.discount, world.terminal)
    return float(mdp.objective(own, jnp.asarray(policy, jnp.float32)))


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_two_random_rewards_are_hackable_and_the_witness_shows_it(seed, terminal):
    world, (one, two) = random_mdp(seed, terminal), rewards(seed)
    result = hackable(world, one, two)
    assert result.hackable
    assert result.witness is not None
    np.testing.assert_allclose(result.witness.sum(-1), 1)
    assert result.witness.min() >= 0
    before, after = result.witness
    assert objective(world, one, after) > objective(world, one, before) + 1e-4
    assert objective(world, two, after) < objective(world, two, before) - 1e-4


@pytest.mark.parametrize("terminal", [False, True])
def test_equivalent_and_trivial_rewards_are_not_hackable(terminal):
    """Scaling and potential-based shaping keep the order of policies, a constant has none (theorem 1)."""
    world, (one, phi) = random_mdp(5, terminal), rewards(5)
    potential = np.where(np.asarray(world.terminal), 0.0, phi[:, 0])
    shaped = 3 * one + 0.9 * np.asarray(world.transitions) @ potential - potential[:, None]
    result = hackable(world, one, shaped)
    assert (result.hackable, result.trivial) == (False, (False, False))
    np.testing.assert_allclose(result.cosine, 1.0, atol=1e-6)
    assert hackable(world, one, -one).hackable
    assert hackable(
        world, one, one + 0.01 * rewards(6)[0]
    ).hackable  # nearly equivalent rewards are hackable too
    if not terminal:
        flat = hackable(world, one, np.ones((4, 2)))
        assert (flat.hackable, flat.trivial) == (False, (False, True))
    assert hackable(world, np.zeros((4, 2)), one).trivial == (True, False)


def test_what_no_policy_reaches_tells_nothing_apart():
    moves = mdp.make(np.eye(3)[[[0, 1], [1, 0], [2, 2]]], np.zeros((3, 2)), [1.0, 0, 0], 0.9)
    one = np.array([[1.0, 0], [0, 0], [0, 0]])
    assert not hackable(moves, one, one + np.array([[0, 0], [0, 0], [5.0, -5]])).hackable
    assert hackable(moves, one, one + np.array([[0, 0], [5.0, 0], [0, 0]])).hackable


@pytest.mark.parametrize("seed", range(4))
def test_hackable_over_deterministic_policies_implies_hackable_over_all(seed):
    world, (one, two) = random_mdp(seed), rewards(seed + 20)
    first, second = returns_of(world, [one, two], deterministic_policies(world))
    finite = compare(first, second)
    assert finite.hackable <= hackable(world, one, two).hackable
    if finite.witness:
        i, j = finite.witness
        assert first[j] > first[i]
        assert second[j] < second[i]
    # A simplification is unhackable over these finitely many policies, but hackable over all (theorems 2, 1).
    best = np.argmax(first)
    rank = (np.arange(len(first)) == best).astype(float)
    assert not compare(first, rank).hackable


def test_an_agent_is_paid_the_proxy_and_evaluated_by_both():
    env = identity.echo(3)

    def proxy(observation, action, step):
        return 2.0 * (action == 0) - 0.5 * step.reward

    always_zero = agents.memoryless(lambda state, observation: jnp.zeros(observation.shape[0], jnp.int32))
    agent = agents.Agent(lambda key, batch: (), lambda key, state, batch: (state, {}), always_zero)
    evaluate = hacking.proxy_evaluator(env, proxy, episodes=64)
    measured = evaluate(agent, None, jax.random.key(0), (), None)
    true = float(measured["true_return"])
    assert 1.0 < true < 2.5  # the expected return of random answers: 5 / 3
    np.testing.assert_allclose(measured["proxy_return"], 10 - 0.5 * true, rtol=1e-5)
    paid = hacking.misspecified(env, proxy)
    played = stretch(paid, lambda z, x, m: (jnp.zeros(5, jnp.int32), (), m), 5, 1)
    right = played.observation[0, :, 0]
    np.testing.assert_allclose(played.reward[0], 2.0 - 0.5 * right)


def walk(env, actions, n=64):
    act = lambda a, observation, memory: (jnp.full(n, a), (), memory)  # noqa: E731
    return stretch(env, act, n, len(actions), np.array(actions))


def test_the_television():
    env = hacking.noisy_tv(length=3, pixels=6, limit=5)
    out = walk(env, [1, 1, 1])
    assert np.asarray(out.reward[:, 0]).tolist() == [0, 0, 1]
    assert np.asarray(out.terminated[:, 0]).tolist() == [False, False, True]
    watched = walk(env, [1, 2, 2, 0, 2])
    np.testing.assert_array_equal(watched.reward, 0)
    rooms = hacking.position(watched.final_observation, 3).argmax(-1)[:, 0]
    np.testing.assert_array_equal(rooms, [1, 1, 1, 0, 0])
    screen = np.asarray(watched.final_observation[..., 3:])
    assert not screen[[0, 3]].any()  # dark unless watched
    np.testing.assert_allclose(screen[[1, 2, 4]].mean(), 0.5, atol=0.05)
    assert len({row.tobytes() for row in screen[1]}) > 20
    assert np.asarray(watched.truncated)[-1].all()
    dark = walk(hacking.noisy_tv(length=3, pixels=6, limit=5, brightness=0.0), [1, 2, 2])
    assert not np.asarray(dark.final_observation[..., 3:]).any()


def test_curiosity_loses_interest_in_what_can_be_predicted_and_not_in_noise():
    env = hacking.noisy_tv(length=4, pixels=8, limit=40)
    bonus = hacking.curiosity(nets.mlp(12, (64,)), 3, hacking.CuriosityConfig(learning_rate=1e-2, epochs=5))
    n = 128
    noise = jax.random.randint(jax.random.key(2), (60, n), 0, 3)
    live = play.start(env, jax.random.key(0), n)
    act = lambda a, observation, memory: (a, (), memory)  # noqa: E731
    played = jax.jit(lambda: play.unroll(env, jax.random.key(1), live, act, (), noise, 60)[2])()
    state = bonus.init(jax.random.key(3), live.observation)
    update = jax.jit(bonus.update)
    for t in range(60):
        seen = Transitions(played.observation[t], played.action[t], played.final_observation[t])
        state = update(jax.random.key(t), state, seen)
    last = Transitions(played.observation[-1], played.action[-1], played.final_observation[-1])
    paid = np.asarray(bonus.bonus(state, *last))
    watching = np.asarray(last.action) == 2
    # The best prediction of a fair pixel is 1/2: the error stays 1/4 on 8 of 12 entries.
    np.testing.assert_allclose(paid[watching].mean(), 0.25 * 8 / 12, rtol=0.15)
    assert paid[~watching].mean() < 0.1 * paid[watching].mean()


def test_curiosity_about_an_action_that_does_not_exist_is_nan():
    bonus, x = hacking.curiosity(nets.mlp(2, ()), 2, hacking.CuriosityConfig()), jnp.ones((3, 2))
    paid = bonus.bonus(bonus.init(jax.random.key(0), x), x, jnp.array([1, 2, -1]), x)
    assert np.isnan(paid).tolist() == [False, True, True]


def test_bad_input_is_one_sentence():
    world = random_mdp(0)
    with pytest.raises(InputError, match=r"a reward must have shape \[4, 2\]"):
        hackable(world, np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="of the same length"):
        compare([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="has 1048576 deterministic policies"):
        deterministic_policies(mdp.garnet(jax.random.key(0), 20, 2, 2))
    with pytest.raises(InputError, match="2 policies, 1 of them with a return that is not finite"):
        compare([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(InputError, match="got 0 policies"):
        compare([], [])
    with pytest.raises(InputError, match="a reward must be finite, but 8 of its numbers are not"):
        hackable(world, np.full((4, 2), np.inf), np.zeros((4, 2)))
    with pytest.raises(InputError, match="tolerance must be a finite number, 0 or more"):
        hackable(world, np.ones((4, 2)), np.zeros((4, 2)), tolerance=np.nan)
    with pytest.raises(InputError, match=r"whole numbers \[policy, 4\] from 0 to 1"):
        returns_of(world, [np.zeros((4, 2))], np.full((1, 4), -1))
    with pytest.raises(InputError, match="brightness must be a finite number"):
        hacking.noisy_tv(brightness=np.nan)
    curious, zeros = hacking.curiosity(nets.mlp(4, ()), 2, hacking.CuriosityConfig()), jnp.zeros((1, 4))
    state = curious.init(jax.random.key(0), zeros)
    with pytest.raises(InputError, match=r"takes discrete actions \[n\], got float32 \[1, 2\]"):
        curious.bonus(state, zeros, jnp.zeros((1, 2)), zeros)
    with pytest.raises(InputError, match="limit must be at least 10"):
        hacking.noisy_tv(limit=5)
    with pytest.raises(InputError, match="must give observations"):
        hacking.curiosity(nets.mlp(3, ()), 2, hacking.CuriosityConfig()).init(
            jax.random.key(0), jnp.zeros((1, 4))
        )
    with pytest.raises(InputError, match="must be a scalar"):
        hacking.misspecified(identity.echo(3), lambda o, a, s: o)
