"""The ring equals a list, its cost does not depend on its capacity, and n-step returns are right."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl import replay
from lrn.rl.replay import Transition

add = jax.jit(replay.add)
take = jax.jit(replay.take)


def rows_of(start: int, n: int) -> dict:
    x = np.arange(start, start + n, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    return {"x": x, "i": np.arange(n, dtype=np.int32)}


@pytest.mark.parametrize("n", [1, 3, 4])  # 3 does not divide the capacity
def test_holds_the_newest_rows_like_a_list(n):
    ring, model = replay.init({"x": jnp.zeros(2), "i": jnp.int32(0)}, 8), []
    for start in range(0, 30, n):
        ring = add(ring, rows_of(start, n))
        model = (model + list(range(start, start + n)))[-8:]
        held = np.asarray(ring.data["x"])[: int(ring.filled), 0].astype(int)
        assert sorted(held.tolist()) == model
        oldest = int(ring.position) if int(ring.filled) == 8 else 0
        assert held[oldest] == model[0]
    assert ring.capacity == 8


def test_samples_are_uniform_over_what_is_filled():

    @jax.jit
    def draw(key):
        ring = replay.add(replay.init({"x": jnp.zeros(())}, 100), {"x": jnp.arange(1.0, 6.0)})
        return replay.sample(key, ring, 20_000)["x"]

    drawn = draw(jax.random.key(0))
    counts = np.bincount(np.asarray(drawn).astype(int), minlength=7)
    assert counts[0] == 0
    assert counts[6] == 0
    expected = 20_000 / 5
    chi_squared = ((counts[1:6] - expected) ** 2 / expected).sum()
    assert chi_squared < 18.5  # the 99.9th percentile at 4 degrees of freedom


ENVS, WINDOW = 2, 3


@jax.jit
def windows_of(key, ring):
    return replay.take(ring, replay.draw(key, ring, (400,), WINDOW, ENVS))


@pytest.mark.parametrize("added", [3, 5, 13])  # partly filled, just full, wrapped
def test_windows_are_consecutive_steps_of_one_environment(added):
    ring = replay.init({"env": jnp.int32(0), "t": jnp.int32(0)}, 5 * ENVS)
    for t in range(added):
        ring = add(ring, {"env": np.arange(ENVS, dtype=np.int32), "t": np.full(ENVS, t, np.int32)})
    windows = {name: np.asarray(x) for name, x in windows_of(jax.random.key(1), ring).items()}
    assert windows["t"].shape == (400, WINDOW)
    assert (windows["env"] == windows["env"][:, :1]).all()
    assert (np.diff(windows["t"], axis=1) == 1).all()
    assert set(windows["t"][:, 0].tolist()) == set(range(max(0, added - 5), added - WINDOW + 1))
    assert set(windows["env"][:, 0].tolist()) == {0, 1}


def by_hand(reward, terminated, truncated, discount):
    """The n-step return by walking along a window until the episode or the window ends."""
    total, weight = 0.0, 1.0
    for i, (r, term, trunc) in enumerate(zip(reward, terminated, truncated)):
        total += weight * r
        weight *= discount
        if term:
            return total, 0.0, i
        if trunc:
            return total, weight, i
    return total, weight, len(reward) - 1


def test_n_step_equals_a_walk_across_every_end():
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(500, 4)).astype(np.float32)
    terminated, truncated = rng.random((500, 4)) < 0.2, rng.random((500, 4)) < 0.2
    returns = np.stack(jax.jit(replay.n_step)(reward, terminated, truncated, 0.9), 1)
    expected = [by_hand(reward[i], terminated[i], truncated[i], 0.9) for i in range(500)]
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-6)


def test_n_step_transitions_of_a_ring_bootstrap_from_where_the_window_stopped():
    """Observation t is t, so that observations identify each transition."""
    ended = np.zeros(20, bool)
    ended[[4, 11]] = True  # 4 terminates, 11 is cut

    @jax.jit
    def draw(key):
        steps = jnp.arange(20)
        data = Transition(
            observation=steps[:, None].astype(jnp.float32),
            action=steps % 3,
            reward=jnp.ones(20),
            terminated=jnp.asarray(ended) & (steps == 4),
            truncated=jnp.asarray(ended) & (steps == 11),
            final_observation=steps[:, None] + 0.5,
        )
        ring = replay.add(replay.init(jax.tree.map(lambda x: x[0], data), 32), data)
        return replay.take_n_step(ring, replay.draw(key, ring, (300,), 3), 0.5)

    transitions, weight = draw(jax.random.key(2))
    start = np.asarray(transitions.observation)[:, 0].astype(int)
    assert set(start.tolist()) == set(range(18))
    last = np.array([min([t for t in (4, 11) if s <= t] + [s + 2]) if s <= 11 else s + 2 for s in start])
    last = np.minimum(last, start + 2)
    length = last - start + 1
    np.testing.assert_array_equal(np.asarray(transitions.final_observation)[:, 0], last + 0.5)
    np.testing.assert_array_equal(transitions.action, start % 3)
    np.testing.assert_allclose(transitions.reward, 2 * (1 - 0.5**length))
    np.testing.assert_allclose(weight, np.where(last == 4, 0.0, 0.5**length))
    np.testing.assert_array_equal(transitions.terminated, last == 4)
    np.testing.assert_array_equal(transitions.truncated, last == 11)


class Walk:
    """Environments that observe the next whole number (uint8) at every step and reset, and their steps."""

    def __init__(self, envs: int, chance: float, seed: int = 0):
        self.rng, self.envs, self.chance, self.number = np.random.default_rng(seed), envs, chance, envs
        self.now, self.all, self.begun = list(range(envs)), [], list(range(envs))

    def play(self, steps: int) -> tuple[Transition, np.ndarray]:
        rows = []
        for _ in range(steps):
            for e in range(self.envs):
                ended, cut = self.rng.random(2) < (self.chance, 0.5)
                row = (
                    self.now[e],
                    self.number % 3,
                    float(self.number),
                    ended and not cut,
                    ended and cut,
                    self.number,
                )
                self.begun.append(self.number)
                self.number += 1
                if ended:
                    self.begun.append(self.number)
                    self.number += 1
                self.now[e] = self.number - 1
                rows.append(row)
        self.all += rows
        columns = [np.array(x) for x in zip(*rows)]
        frames = [(c[:, None] * np.array([[1, 7]])).astype(np.uint8) for c in (columns[0], columns[5])]
        now = (np.array(self.now)[:, None] * np.array([[1, 7]])).astype(np.uint8)
        fresh = Transition(
            frames[0],  # pyright: ignore[reportArgumentType]
            columns[1].astype(np.int32),  # pyright: ignore[reportArgumentType]
            columns[2].astype(np.float32),  # pyright: ignore[reportArgumentType]
            columns[3],  # pyright: ignore[reportArgumentType]
            columns[4],  # pyright: ignore[reportArgumentType]
            frames[1],  # pyright: ignore[reportArgumentType]
        )
        return fresh, now

    def kept(self, filled: int, n: int, capacity: int, places: int) -> int:
        """The number of rows whose observations fit, after dropping the oldest rows n at a time."""
        filled = min(filled + n, capacity)
        while self.number - self.all[-filled][0] > places:
            filled -= self.envs
        return filled


@pytest.mark.parametrize(
    ("envs", "steps", "capacity", "chance"),
    [
        (1, 1, 5, 0.3),
        (3, 2, 12, 0.0),
        (2, 3, 11, 0.4),
        (2, 1, 1200, 0.02),
        (4, 8, 2048, 0.9),
        (5, 300, 1500, 1.0),
    ],
)
def test_played_steps_keep_each_observation_once_and_are_the_newest(envs, steps, capacity, chance):
    walk, filled = Walk(envs, chance), 0
    now = jnp.asarray(np.arange(envs)[:, None] * [[1, 7]], jnp.uint8)
    ring = jax.jit(lambda now: replay.start(now, jnp.int32(0), capacity, envs * steps))(now)
    places = ring.seen.shape[0]
    assert ring.seen.dtype == jnp.uint8
    assert places <= max(2 * (capacity + envs * steps), capacity * 9 / 8 + envs * (steps + 2))
    write, rounds = jax.jit(replay.record), 3 * capacity // (envs * steps) + 2
    for i in range(rounds):
        fresh, now = walk.play(steps)
        ring = write(ring, fresh, now)
        filled = walk.kept(filled, envs * steps, capacity, places)
        if i not in (0, 1, 2, rounds // 2, rounds - 2, rounds - 1):
            continue
        assert int(ring.filled) == filled
        assert (filled == capacity) or filled == len(walk.all) or (chance > 0.1 and filled > capacity / 2)
        assert int(ring.position) == len(walk.all) % capacity
        # Rows that hold nothing yet are taken too, so that every read shares one program.
        rows = (int(ring.position) - filled + np.arange(capacity)) % capacity
        taken, columns = take(ring, rows), [np.array(x) for x in zip(*walk.all[-filled:])]
        for name, column in zip(Transition._fields, columns):
            x = np.asarray(getattr(taken, name))[:filled]
            if x.ndim == 2:
                assert x.dtype == np.uint8
                np.testing.assert_array_equal(x[:, 1], (column * 7) % 256)
                x, column = x[:, 0], column % 256
            np.testing.assert_array_equal(x, column)


def one_step(key, ring):
    """A step of an off-policy agent: write a few rows, read a batch."""
    ring = replay.add(ring, {"x": jnp.ones((8, 4))})
    return ring, replay.sample(key, ring, 32)["x"].mean()


def copying_step(key, ring):
    """A step that copies the ring, since the result of `where` is a new ring."""
    after, mean = one_step(key, ring)
    return jax.tree.map(lambda a, b: jnp.where(mean < 0, a, b), ring, after), mean


def seconds(step, capacity: int, seeds: int) -> float:
    """CPU seconds of 300 steps, the smallest of three measurements."""

    def body(i, carry):
        key, rings, total = carry
        keys = jax.vmap(jax.random.fold_in, (0, None))(key, i)
        rings, mean = jax.vmap(step)(keys, rings)
        return key, rings, total + mean

    @jax.jit
    def start():
        ring = replay.init({"x": jnp.zeros(4)}, capacity)
        rings = jax.tree.map(lambda x: jnp.zeros((seeds, *x.shape), x.dtype), ring)
        return jax.random.split(jax.random.key(0), seeds), rings, jnp.zeros(seeds)

    run = jax.jit(lambda carry: jax.lax.fori_loop(0, 300, body, carry), donate_argnums=0)
    carry, taken = jax.block_until_ready(run(start())), []
    for _ in range(3):
        begin = time.process_time()
        carry = jax.block_until_ready(run(carry))
        taken.append(time.process_time() - begin)
    return min(taken)


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_step_costs_the_same_at_a_hundred_times_the_capacity(seeds):
    assert seconds(one_step, 1_000_000, seeds) < 8 * seconds(
        one_step, 10_000, seeds
    )  # with a copy per step the ratio would be about 100


@pytest.mark.slow
def test_and_that_test_would_see_a_copy():
    assert seconds(copying_step, 1_000_000, 1) > 8 * seconds(one_step, 10_000, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda ring: replay.init({"x": jnp.zeros(2)}, 0), "capacity must be at least 1"),
        (lambda ring: replay.init({}, 5), "holds no array"),
        (lambda ring: replay.add(ring, {"y": jnp.zeros((1, 2))}), "does not fit a replay of"),
        (lambda ring: replay.add(ring, {"x": jnp.zeros((1, 3))}), r"shape \[3\] for a replay of rows \[2\]"),
        (lambda ring: replay.add(ring, {"x": jnp.zeros((9, 2))}), "9 rows do not fit a replay of 8"),
        (lambda ring: replay.add(ring, {"x": jnp.zeros((0, 2))}), "share their number of rows"),
        (lambda ring: replay.sample(jax.random.key(0), ring, 0), "batch_size must be at least 1"),
        (lambda ring: replay.draw(jax.random.key(0), ring, (2,), 3, 3), "a multiple of 3 and at least 9"),
    ],
)
def test_bad_input_is_one_sentence(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong(replay.init({"x": jnp.zeros(2)}, 8))
