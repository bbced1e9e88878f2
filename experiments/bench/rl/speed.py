"""``python -m experiments.bench rl.speed [--peers DIR] [--only NAME ...]``: how fast the agents train.

A comparison measures several ways to train the same agent: ours, and those of the peers. Each way runs in a
process of its own, and every round runs all ways in turn. The report gives medians over rounds, of each
figure and of the ratio between two ways within a round. A step is one step of an environment. Steps per
CPU-second count the CPU time of all threads, with evaluation if there is one, and without compilation.

DIR holds checkouts of the peers PureJaxRL (``purejaxrl/``) and rejax (``rejax/``), and the packages that they
import (``site/``: distrax, tensorflow-probability) if these are not installed. This project contains no
code of the peers. The peers run on gymnax 1.0 through its own `LegacyStepAPIWrapper`, with the same
networks, environments and updates per step.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from lrn import check


@dataclasses.dataclass
class Args:
    """What to measure."""

    peers: Path | None = None
    """Folder with checkouts of the peers; without it only this project is measured."""
    only: tuple[str, ...] = ()
    """Names of comparisons, or parts of them; all by default."""
    rounds: int = 3
    """Number of measurements of each way."""
    json: Path | None = None
    """File to write the figures to."""
    agents: tuple[int, ...] = ()
    """Numbers of seeds: instead of comparisons, train that many seeds of PPO on CartPole at once, and report
    agents x steps per second."""
    worker: str = ""
    """Used by the benchmark itself: name of the one way to measure; prints its figures as JSON."""


@dataclasses.dataclass
class Comparison:
    """Several ways to train the same agent.

    ways: names of the ways, ours first.
    least: the least ratio of the first way's steps per CPU-second to the second way's.
    note: what the ways train, for the report.
    """

    ways: tuple[str, ...]
    least: float
    note: str


COMPARISONS = {
    "PPO CartPole": Comparison(
        ("ppo_cartpole", "purejaxrl_cartpole", "rejax_ppo_cartpole"),
        1.15,
        "500k steps, 4 x 128, 4 epochs of 4 minibatches; ours with 20 evaluations, PureJaxRL without any",
    ),
    "PPO Breakout": Comparison(
        ("ppo_breakout", "purejaxrl_breakout"), 1.2, "1M steps, 64 x 128, 4 epochs of 8 minibatches"
    ),
    "SAC Pendulum": Comparison(
        ("sac_pendulum", "rejax_sac_pendulum"), 1.5, "10k steps, batch 256, one update a step, 64-64"
    ),
    "DQN CartPole": Comparison(
        ("dqn_cartpole", "rejax_dqn_cartpole"), 5.0, "50k steps, buffer 100k, batch 128, ten environments"
    ),
    "20 evaluations": Comparison(
        ("ppo_cartpole", "ppo_cartpole_no_evaluation"), 0.9, "PPO CartPole as above, with and without"
    ),
}


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench rl.speed", description=__doc__)
    check.integer("rounds", args.rounds, low=1)
    if args.worker:
        print(json.dumps(_measure(args.worker, args.peers)))
        return 0
    if args.agents:
        return _agents(args)
    chosen = {
        name: c
        for name, c in COMPARISONS.items()
        if not args.only or any(part.lower() in name.lower() for part in args.only)
    }
    if not chosen:
        raise check.InputError(
            f"no comparison is called {args.only[0]!r}; {check.nearest(args.only[0], COMPARISONS)}"
        )
    measured, short = {}, False
    print(f"{platform.machine()}, {os.cpu_count()} cores; medians of {args.rounds} rounds")
    for name, comparison in chosen.items():
        ways = [w for w in comparison.ways if args.peers or not _is_peer(w)]
        rounds = [{way: _spawn(way, args.peers) for way in ways} for _ in range(args.rounds)]
        measured[name] = rounds
        print(f"\n{name}: {comparison.note}")
        print(f"  {'':<28}{'steps/CPU-s':>12}{'compile s':>11}{'peak MB':>9}{'outputs MB':>12}{'ratio':>8}")
        for way in ways:
            rows = [r[way] for r in rounds]
            ratio = statistics.median(r[ways[0]]["steps_per_cpu"] / r[way]["steps_per_cpu"] for r in rounds)
            median = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
            print(
                f"  {way:<28}{median['steps_per_cpu']:>12,.0f}{median['compile']:>11.1f}"
                f"{median['peak_mb']:>9.0f}{median['outputs_mb']:>12.1f}{ratio:>8.2f}",
                flush=True,
            )
            if way == comparison.ways[1] and ratio < comparison.least:
                short = True
                print(f"  short of {comparison.least:g} times {way}")
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1))
    return int(short)


def _is_peer(way: str) -> bool:
    return way.startswith(("purejaxrl", "rejax"))


def _spawn(way: str, peers: Path | None) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.bench", "rl.speed", "--worker", way]
    if peers is not None:
        command += ["--peers", str(peers.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {way} failed\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(way: str, peers: Path | None) -> dict[str, float]:
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    if way not in WAYS:
        raise check.InputError(f"there is no way {way!r} to measure; {check.nearest(way, WAYS)}")
    if _is_peer(way):
        if peers is None:
            raise check.InputError(f"{way} needs a checkout of the peer; give its folder by --peers.")
        _make_importable(peers)
    row = WAYS[way]()
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def _ours(
    agent: Callable[[Any], Any], config: Any, env: Any, total: int, evaluations: int = 0
) -> dict[str, float]:
    """Train one seed with `train.fit`; returns the figures."""
    import contextlib
    import io

    from lrn import train
    from lrn.rl.evaluate import evaluator

    steps = total // config.interactions
    options = {"evaluate": evaluator(env, 32), "eval_every": steps // evaluations} if evaluations else {}
    with contextlib.redirect_stdout(io.StringIO()):
        fit = train.fit(agent, config, [0], steps=steps, progress=False, **options)
    return {
        "steps_per_cpu": steps * config.interactions / (fit.cpu["train"] + fit.cpu["evaluate"]),
        "compile": fit.timing["compile"],
        "outputs_mb": fit.memory.get("outputs", 0) / 2**20,
    }


def _theirs(train: Callable[[Any], Any], total: int) -> dict[str, float]:
    """Compile a peer's ``train(key)`` and run it once; returns the figures."""
    import jax

    key = jax.random.PRNGKey(0)
    begin = time.perf_counter()
    compiled = jax.jit(train).lower(key).compile()
    compiling = time.perf_counter() - begin
    spent = time.process_time()
    out = jax.block_until_ready(compiled(key))
    spent = time.process_time() - spent
    size = sum(x.nbytes for x in jax.tree.leaves(out) if hasattr(x, "nbytes"))
    return {"steps_per_cpu": total / spent, "compile": compiling, "outputs_mb": size / 2**20}


def _ppo_cartpole(evaluations: int) -> dict[str, float]:
    from experiments.bench.rl._networks import perceptrons
    from lrn.rl.env import make
    from lrn.rl.ppo import PPOConfig, ppo

    env = make("CartPole-v1")
    net = perceptrons(env)
    return _ours(lambda c: ppo(env, net, c), PPOConfig(total_steps=500_000), env, 500_000, evaluations)


def _ppo_breakout() -> dict[str, float]:
    from experiments.bench.rl._networks import perceptrons
    from lrn.rl.env import make
    from lrn.rl.ppo import PPOConfig, ppo

    env = make("Breakout-MinAtar")
    net = perceptrons(env, activation="relu")
    config = PPOConfig(total_steps=1_000_000, num_envs=64, minibatches=8, learning_rate=5e-3)
    return _ours(lambda c: ppo(env, net, c), config, env, 1_000_000)


def _sac_pendulum() -> dict[str, float]:
    from lrn import nets
    from lrn.rl.env import make
    from lrn.rl.sac import SACConfig, sac

    env = make("Pendulum-v1")
    actor, critic = (nets.mlp(n, (64, 64), activation="silu") for n in (2, 1))
    config = SACConfig(total_steps=10_000, buffer_size=10_000, learning_starts=256)
    return _ours(lambda c: sac(env, actor, critic, c), config, env, 10_000)


def _dqn_cartpole() -> dict[str, float]:
    from lrn import nets
    from lrn.rl.dqn import DQNConfig, dqn
    from lrn.rl.env import make

    env, net = make("CartPole-v1"), nets.mlp(2, (64, 64), activation="silu")
    config = DQNConfig(total_steps=50_000, buffer_size=100_000, learning_starts=1_000, double=True)
    return _ours(lambda c: dqn(env, net, c), config, env, 50_000)


def _make_importable(peers: Path) -> None:
    """Put the checkouts on the path, with empty modules for imports that the peers do not use here."""
    for part in ("site", "purejaxrl/purejaxrl", "rejax/src"):
        if (peers / part).is_dir():
            sys.path.append(str(peers / part))
    for name in ("brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training", "navix"):
        module = types.ModuleType(name)
        module.__dict__.update(envs=None, EpisodeWrapper=None, AutoResetWrapper=None)
        sys.modules.setdefault(name, module)


def _legacy(name: str) -> tuple[Any, Any]:
    import gymnax
    from gymnax.wrappers import LegacyStepAPIWrapper

    env, params = gymnax.make(name)
    return LegacyStepAPIWrapper(env), params


def _purejaxrl(name: str, total: int, **settings: Any) -> dict[str, float]:
    import gymnax
    import ppo  # pyright: ignore[reportMissingImports]

    made = _legacy(name)
    ppo.gymnax = types.SimpleNamespace(make=lambda _: made)
    del gymnax
    config = {
        "LR": 2.5e-4, "NUM_ENVS": 4, "NUM_STEPS": 128, "TOTAL_TIMESTEPS": total, "UPDATE_EPOCHS": 4,
        "NUM_MINIBATCHES": 4, "GAMMA": 0.99, "GAE_LAMBDA": 0.95, "CLIP_EPS": 0.2, "ENT_COEF": 0.01,
        "VF_COEF": 0.5, "MAX_GRAD_NORM": 0.5, "ACTIVATION": "tanh", "ENV_NAME": name, "ANNEAL_LR": True,
        "DEBUG": False, **settings,
    }  # fmt: skip
    return _theirs(ppo.make_train(config), total)


def _rejax(algorithm: str, name: str, **settings: Any) -> dict[str, float]:
    """Train with rejax, without evaluations unless ``settings`` has ``eval_freq``."""
    from rejax import get_algo  # pyright: ignore[reportMissingImports]

    env, params = _legacy(name)
    total = settings["total_timesteps"]
    settings.setdefault("eval_freq", total)
    algo = get_algo(algorithm).create(
        env=_Copyable(env), env_params=params, skip_initial_evaluation=True, **settings
    )
    return _theirs(algo.train, total)


class _Copyable:
    """An environment that is its own copy, since rejax makes a ``deepcopy`` of its settings."""

    def __init__(self, env: Any):
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._env, name)

    def __deepcopy__(self, memo: Any) -> _Copyable:
        return self

    def __hash__(self) -> int:
        return id(self._env)

    def __eq__(self, other: object) -> bool:
        return self is other


WAYS: dict[str, Callable[[], dict[str, float]]] = {
    "ppo_cartpole": lambda: _ppo_cartpole(20),
    "ppo_cartpole_no_evaluation": lambda: _ppo_cartpole(0),
    "purejaxrl_cartpole": lambda: _purejaxrl("CartPole-v1", 500_000),
    "rejax_ppo_cartpole": lambda: _rejax(
        "ppo", "CartPole-v1", total_timesteps=500_000, num_envs=4, num_steps=128, num_epochs=4,
        num_minibatches=4, learning_rate=2.5e-4, max_grad_norm=0.5, gae_lambda=0.95, clip_eps=0.2,
        ent_coef=0.01, vf_coef=0.5, agent_kwargs={"activation": "tanh"},
    ),
    "ppo_breakout": _ppo_breakout,
    "purejaxrl_breakout": lambda: _purejaxrl(
        "Breakout-MinAtar", 1_000_000, NUM_ENVS=64, NUM_MINIBATCHES=8, LR=5e-3, ACTIVATION="relu"
    ),
    "sac_pendulum": _sac_pendulum,
    "rejax_sac_pendulum": lambda: _rejax(
        "sac", "Pendulum-v1", total_timesteps=10_000, num_envs=1, buffer_size=10_000, fill_buffer=256,
        batch_size=256, num_epochs=1, learning_rate=1e-3, polyak=0.995,
        agent_kwargs={"activation": "swish"},
    ),
    "dqn_cartpole": _dqn_cartpole,
    "rejax_dqn_cartpole": lambda: _rejax(
        "dqn", "CartPole-v1", total_timesteps=50_000, num_envs=10, buffer_size=100_000, fill_buffer=1_000,
        batch_size=128, num_epochs=1, learning_rate=2.5e-4, max_grad_norm=10.0, target_update_freq=500,
        agent_kwargs={"activation": "swish"},
    ),
}  # fmt: skip


def _agents(args: Args) -> int:
    """Print agents x steps per second of PPO on CartPole, without compilation."""
    import jax

    from experiments.bench.rl._networks import perceptrons
    from lrn import train
    from lrn.rl.env import make
    from lrn.rl.ppo import PPOConfig, ppo

    env = make("CartPole-v1")
    net = perceptrons(env)
    config = PPOConfig(total_steps=500_000)
    steps, rates = config.total_steps // config.interactions, {}
    print(f"{jax.devices()[0].device_kind}: PPO on CartPole, {config.total_steps:,} steps each")
    for count in args.agents:
        fit = train.fit(lambda c: ppo(env, net, c), config, range(count), steps=steps, progress=False)
        rate = count * steps * config.interactions / fit.timing["train"]
        rates[count] = {"rate": rate, "compile": fit.timing["compile"], "train": fit.timing["train"]}
        print(
            f"  {count:>6} agents  {rate:>14,.0f} agents x steps/s  train {fit.timing['train']:.1f} s  "
            f"compile {fit.timing['compile']:.1f} s",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rates, indent=1))
    return 0
