"""MBPO: whole steps against Janner et al. (2019, 1906.08253) in plain NumPy.

The reference draws random numbers from the same keys as the agent; it shares no other code with it.
"""

from __future__ import annotations

import functools
from typing import Any

import dream
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drift import BOX, Course, Ring, check_episodes, drift
from plain import assert_trees_close, compiled, numbers
from soft import ACTOR, CRITIC, METRICS, Soft, check_init, check_losses, spread_out, to_env

from lrn.rl.model_based.dynamics import DynamicsConfig
from lrn.rl.model_based.imagine import Known
from lrn.rl.model_based.mbpo import MBPOConfig, mbpo
from lrn.rl.sac import SACConfig

ENV = drift(BOX)
# The first two rounds act randomly, and learning starts in the second, to test "after eight steps" exactly.
KNOWING = MBPOConfig(
    sac=SACConfig(
        learning_rate=0.02, temperature_learning_rate=0.05, discount=0.8, target_rate=0.3, batch_size=5,
        initial_temperature=0.4, target_entropy=-0.7, buffer_size=11, num_envs=2, rollout_length=2,
        updates=2, learning_starts=8, total_steps=40,
    ),
    model=DynamicsConfig(members=2, learning_rate=0.03, weight_decay=0.2, bound_penalty=0.15),
    model_updates=2, model_batch=3, rollouts=4, rollout_length=3, imagined_size=29, real=2,
)  # fmt: skip
LEARNING = MBPOConfig(
    sac=SACConfig(
        learning_rate=0.03, temperature_learning_rate=0.01, discount=0.9, target_rate=0.1, batch_size=4,
        initial_temperature=0.7, target_entropy=-1.2, buffer_size=10, num_envs=1, rollout_length=3,
        updates=1, learning_starts=5, total_steps=40,
    ),
    model=DynamicsConfig(members=3, learning_rate=0.02, weight_decay=0.0, bound_penalty=0.0),
    model_updates=1, model_batch=4, rollouts=6, rollout_length=1, imagined_size=11, real=1,
)  # fmt: skip


def step_draws(c: MBPOConfig, key: Any, filled: Any, imagined: Any) -> Any:
    """The draws of a step except those of the environments, for the given numbers of rows in the replays."""
    keys, s = jax.random.split(key, 8), c.sac
    play_key, act_key, model_key, start_key, dream_key, row_key, dreamt_key, noise_key = keys
    luck_key, dreamer_key = jax.random.split(dream_key)
    return play_key, (
        jax.random.normal(act_key, (s.rollout_length, s.num_envs, 2)),
        jax.random.randint(model_key, (c.model_updates, c.model.members, c.model_batch), 0, filled),
        jax.random.randint(start_key, (c.rollouts,), 0, filled),
        dream.luck(luck_key, c.rollout_length, c.rollouts),
        jax.random.normal(dreamer_key, (c.rollout_length, c.rollouts, 2)),
        jax.random.randint(row_key, (s.updates, c.real), 0, filled),
        jax.random.randint(dreamt_key, (s.updates, s.batch_size - c.real), 0, imagined),
        jax.random.normal(noise_key, (s.updates, 2, s.batch_size, 2)),
    )


class Reference:
    """The reference: an agent's state after ``agent.init(key)``, and its steps, in NumPy."""

    def __init__(self, config: MBPOConfig, state: Any, known: Known | None):
        self.config, self.known = config, known
        self.soft, self.model = Soft(state.learned, config.sac), dream.Ensemble(state.model, config.model)
        self.course, self.steps = Course(state.live), 0
        self.real, self.imagined = Ring(config.sac.buffer_size), Ring(config.imagined_size)
        self.draws = compiled(functools.partial(step_draws, config), jax.random.key(0), 0, 0)
        self.ends = 0

    def step(self, key: Any) -> tuple[dict[str, Any], list[Any]]:
        c, s = self.config, self.config.sac
        filled = min(self.real.written + c.interactions, s.buffer_size)
        imagined = min(self.imagined.written + c.rollouts * c.rollout_length, c.imagined_size)
        play_key, drawn = self.draws(key, filled, imagined)
        exploring, model_rows, starts, luck, noise, real_rows, dreamt_rows, noises = jax.tree.map(
            np.asarray, drawn
        )

        def act(t: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            unit = self.soft.explore(x, numbers(exploring[t]), self.steps)
            return 0.3 * to_env(unit), unit

        rows, over = self.course.play(play_key, s.rollout_length, act)
        self.real.add(rows)
        self.steps += len(rows)
        # Before learning starts, the updated model is imagined in too, but not kept.
        self.model.see(rows)
        kept = self.model.params
        nll = np.mean([self.fit(rows) for rows in model_rows])
        self.imagined.add(self.dream(luck, self.real.take(starts)["observation"], numbers(noise)))
        if self.steps < s.learning_starts:
            self.model.params, self.model.adam = kept, type(self.model.adam)(kept)
            return {}, over
        told = [self.learn(*x) for x in zip(real_rows, dreamt_rows, numbers(noises))]
        return {name: np.mean([x[name] for x in told]) for name in told[0]} | {"nll": nll}, over

    def fit(self, rows: np.ndarray) -> float:
        batches = [self.real.take(index) for index in rows]
        return self.model.learn({k: np.stack([b[k] for b in batches]) for k in batches[0]})

    def dream(self, luck: Any, x: np.ndarray, noise: np.ndarray) -> list[dict[str, Any]]:
        """Rows of short rollouts from x; steps after a termination are the first step of the particle."""

        def act(t: int, x: np.ndarray) -> np.ndarray:
            return self.soft.policy(self.soft.actor, x[:, 0], noise[t])[0][:, None]

        steps = self.model.imagine(luck, x[:, None], act, self.known, "ts1")
        rows = []
        for step in steps:
            for place in range(len(x)):
                happened = step if step["alive"][place, 0] else steps[0]
                self.ends += happened is not step
                row = {name: value[place, 0] for name, value in happened.items() if name != "alive"}
                rows.append(row | {"truncated": False})
        return rows

    def learn(self, real: np.ndarray, dreamt: np.ndarray, noise: np.ndarray) -> dict[str, float]:
        parts = self.real.take(real), self.imagined.take(dreamt)
        return self.soft.learn({k: np.concatenate([part[k] for part in parts]) for k in parts[0]}, noise)

    def check(self, state: Any, metrics: Any, expected: dict[str, float], over: list[Any]) -> None:
        """Assert that every leaf of the state and every metric equal those of the reference."""
        self.soft.check(state.learned)
        self.model.check(state.model)
        self.course.check(state.live)
        self.real.check(state.real)
        n = len(self.imagined.rows)
        assert int(state.imagined.filled) == n
        assert int(state.imagined.position) == self.imagined.written % self.config.imagined_size
        dreamt = {name: np.asarray(x)[:n] for name, x in state.imagined.data._asdict().items()}
        assert_trees_close(dreamt, self.imagined.take(range(n)))
        assert int(state.steps) == self.steps
        check_episodes(metrics, over)
        check_losses(metrics, expected, (*METRICS, "nll"))


@pytest.mark.parametrize(
    ("config", "known"), [(KNOWING, dream.KNOWN), (LEARNING, None)], ids=["reward known", "reward learned"]
)
def test_steps_are_those_of_the_paper(config, known):
    agent, key = mbpo(ENV, ACTOR, CRITIC, dream.NET, config, known), jax.random.key(4)
    state = compiled(agent.init, key, None)(key, None)

    # The initial state, and the keys that it is drawn from.
    policy_key, model_key, play_key = jax.random.split(key, 3)
    Course.begin(play_key, config.sac.num_envs).check(state.live)
    check_init(policy_key, state.learned, config.sac.initial_temperature)
    dream.check_init(model_key, state.model, config.model.members)

    state = state._replace(model=dream.narrowed(state.model), learned=spread_out(state.learned))
    state = jax.tree.map(jnp.asarray, state)
    reference, step = Reference(config, state, known), compiled(agent.step, key, state, None)
    x = np.array([[0.3, -0.8], [-0.9, 0.2], [0.5, 0.9]])
    sample = compiled(agent.policy.sample, key, state, (), x.astype(np.float32))
    for t in range(6):
        # `sample` explores as training does.
        action, _ = sample(jax.random.key(50 + t), state, (), x.astype(np.float32))
        noise = numbers(jax.random.normal(jax.random.key(50 + t), (3, 2)))
        drawn = reference.soft.explore(x, noise, reference.steps)
        np.testing.assert_allclose(action, to_env(drawn), rtol=1e-4, atol=1e-5)

        expected, over = reference.step(jax.random.key(100 + t))
        state, metrics = step(jax.random.key(100 + t), state, None)
        reference.check(state, metrics, expected, over)
    assert reference.real.written > 1.5 * config.sac.buffer_size
    assert reference.imagined.written > 1.5 * config.imagined_size
    assert known is None or reference.ends > 0

    act = jax.jit(agent.policy.act)
    action, memory = act(key, state, agent.policy.initial(3), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(action, reference.soft.greedy(x), rtol=1e-4)
    assert memory == ()
