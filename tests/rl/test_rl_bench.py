"""The benchmarks of reinforcement learning: verdicts on returns, and errors."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

from experiments.bench.rl import returns, speed
from lrn import nets
from lrn.rl.heads import actor_critic
from lrn.rl.identity import constant_reward
from lrn.rl.ppo import PPOConfig, ppo
from lrn.table import Table


def line(target: float) -> returns.Line:
    """A line whose episodes pay 1 for every action."""
    env, net = constant_reward(), actor_critic(nets.mlp(2, (4,)), nets.mlp(1, (4,)))
    settings = PPOConfig(total_steps=32, num_envs=2, rollout_length=8, epochs=1, minibatches=1)
    return returns.Line(target, env, lambda c: ppo(env, net, c), settings)


def test_a_line_that_falls_short_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(returns, "FAST", {"easy": lambda: line(1.0), "hard": lambda: line(1.1)})
    file = tmp_path / "returns.json"
    options = ["--seeds", "2", "--episodes", "2", "--json", str(file)]
    assert returns.main(["--only", "easy", *options]) == 0
    assert returns.main(["--only", "hard", *options]) == 1
    out = capsys.readouterr().out
    assert out.count("short of it") == 1
    rows = json.loads(file.read_text())
    assert {name: row["reached"] for name, row in rows.items()} == {"easy": True, "hard": False}
    assert rows["easy"]["mean"] == 1.0
    assert rows["easy"]["steps"] == 32


def test_returns_with_a_ceiling_say_how_many_seeds_are_there_and_stay_below_it():
    """The seeds of issue 13: nine of ten reach 500, one reaches 310."""
    told = returns.summary(np.array([500.0] * 9 + [310.0]), 500.0)
    assert told["mean"] == 481.0
    assert told["low"] == pytest.approx(438.0, abs=0.1)  # 481 - 2.262 * 19
    assert told["high"] == 500.0  # 524 by t
    assert (told["at_ceiling"], told["seeds"], told["worst"]) == (9, 10, 310.0)
    assert (told["share_low"], told["share_high"]) == pytest.approx((0.555, 0.9975), abs=1e-3)
    open_ended = returns.summary(np.array([500.0] * 9 + [310.0]), None)
    assert open_ended["high"] == pytest.approx(524.0, abs=0.1)
    assert "ceiling" not in open_ended
    assert returns.summary(np.array([0.99, np.float32(0.99)]), 0.99)["at_ceiling"] == 2


def test_a_line_with_a_ceiling_takes_thirty_seeds(monkeypatch, capsys):
    seen = []

    def fit(agent, config, seeds, **options):
        n = len(seeds)
        seen.append(n)
        values = np.where(np.arange(n) == 3, 0.5, 1.0)
        columns = np.array(["default"] * n), np.array(seeds), np.ones(n, int), np.array(["greedy_return"] * n)
        return types.SimpleNamespace(table=Table(*columns, values))

    monkeypatch.setattr(returns.train, "fit", fit)
    lines = {"with": lambda: line(0.9)._replace(ceiling=1.0), "without": lambda: line(0.9)}
    monkeypatch.setattr(returns, "FAST", lines)
    assert returns.main([]) == 0
    assert seen == [30, 10]
    out = capsys.readouterr().out.splitlines()
    assert "29/30 [0.83, 1.00]" in out[1]
    assert out[1].split()[-2] == "0.5"
    assert "/" not in out[2]


KNOWN = {
    "CartPole PPO": 490, "CartPole DQN": 490, "Acrobot PPO": -86, "MountainCar PPO + counts": -150,
    "MountainCarContinuous SAC": 90, "Pendulum SAC": -160, "Pendulum PPO": -200,
    "MemoryChain recurrent PPO": 0.95, "DeepSea 20 counts": 0.9, "Breakout PPO": 28, "Breakout PQN": 28,
    "Asterix PPO": 15, "Freeway PPO": 58, "SpaceInvaders PPO": 131,
}  # fmt: skip


CEILINGS = {
    "CartPole PPO": 500,
    "CartPole DQN": 500,
    "MemoryChain recurrent PPO": 1,
    "DeepSea 20 counts": 0.99,
}


@pytest.mark.parametrize("name", KNOWN)
def test_every_line_is_an_agent_for_its_environment_and_aims_at_what_is_known(name):
    """Making the agent checks its network against the environment; a lowered target fails this test."""
    made = {**returns.FAST, **returns.MINATAR}[name]()
    made.agent(made.config)
    assert made.target == KNOWN[name]
    assert made.ceiling == CEILINGS.get(name)


def test_no_line_is_left_out():
    assert set(KNOWN) == {*returns.FAST, *returns.MINATAR}


@pytest.mark.parametrize(
    ("main", "argv", "sentence"),
    [
        (returns.main, ["--only", "CartPol DQM"], "no line is called"),
        (returns.main, ["--seeds", "1"], "seeds must be at least 2"),
        (speed.main, ["--only", "PPO Kart"], "no comparison"),
        (speed.main, ["--worker", "ppo_cartpol"], "did you mean ppo_cartpole"),
        (speed.main, ["--worker", "purejaxrl_cartpole"], "give its folder by --peers"),
    ],
)
def test_bad_names(main, argv, sentence):
    with pytest.raises(ValueError, match=sentence):
        main(argv)


def test_a_bad_name_at_the_command_line_is_exit_code_2(capsys):
    from experiments.bench.__main__ import main

    assert main(["rl.returns", "--only", "CartPol DQM"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
