"""``python -m experiments.bench driver [--json FILE]``: the cost of `lrn.train.fit`.

Every round runs the same training in several ways: by a loop written by hand as one jitted scan, by `fit`
with several options, and by `fit` with one seed after another. The table has medians over the rounds, and
medians of the ratios within a round, because the speed of a shared machine drifts.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from lrn import train
from lrn.config import config
from lrn.types import Learner, Sampler


@dataclasses.dataclass
class Args:
    """What to measure."""

    steps: int = 2000
    """Steps of one training."""
    seeds: int = 10
    """Seeds on the batch axis."""
    width: int = 128
    """The width of the two hidden layers."""
    batch: int = 128
    """Rows in a batch."""
    rounds: int = 7
    """The number of rounds."""
    json: Path | None = None
    """A file for the figures, as JSON."""


@config
class SGD:
    """The config of the benchmark's learner."""

    lr: float = 1e-3
    width: int = 128


class _State(NamedTuple):
    params: Any
    opt_state: Any


def learner(config: SGD) -> Learner:
    """Adam on the cross-entropy of a three-layer perceptron."""
    optimizer = optax.adam(config.lr)

    def init(key: jax.Array, batch: Any) -> _State:
        sizes = [batch["x"].shape[1], config.width, config.width, 10]
        keys = jax.random.split(key, 3)
        params = [
            (jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o))
            for k, i, o in zip(keys, sizes, sizes[1:])
        ]
        return _State(params, optimizer.init(params))

    def loss(params: Any, batch: Any) -> jax.Array:
        x = batch["x"]
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b[None])
        w, b = params[-1]
        return optax.softmax_cross_entropy_with_integer_labels(x @ w + b[None], batch["y"]).mean()

    def step(key: jax.Array, state: _State, batch: Any):
        del key
        value, grads = jax.value_and_grad(loss)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        return _State(optax.apply_updates(state.params, updates), opt_state), {"loss": value}

    return Learner(init, step)


def by_hand(args: Args, data: Any, draw: Callable[..., Any]) -> Callable[[jax.Array], Any]:
    """A loop as researchers write it: one jitted scan under vmap, with stacked metrics."""
    made = learner(SGD(width=args.width))

    def one(seed: jax.Array, data: Any) -> Any:
        key = jax.random.key(seed)
        batch_key, init_key = jax.random.split(jax.random.fold_in(key, 0))
        stream = jax.random.fold_in(key, 1)

        def body(state: Any, step: jax.Array) -> Any:
            batch_key, step_key = jax.random.split(jax.random.fold_in(stream, step))
            return made.step(step_key, state, draw(batch_key, data))

        return jax.lax.scan(body, made.init(init_key, draw(batch_key, data)), jnp.arange(args.steps))

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench driver", description=__doc__)
    jax.config.update("jax_enable_compilation_cache", False)
    from sklearn.datasets import load_digits

    digits = load_digits()
    data = {"x": (digits.data / 16).astype(np.float32), "y": digits.target.astype(np.int32)}  # pyright: ignore

    def draw(key: jax.Array, data: Any) -> Any:
        rows = jax.random.randint(key, (args.batch,), 0, data["x"].shape[0])
        return jax.tree.map(lambda x: x[rows], data)

    def accuracy(learner: Any, config: Any, key: Any, state: _State, data: Any) -> dict[str, jax.Array]:
        x = data["x"]
        for w, b in state.params[:-1]:
            x = jax.nn.relu(x @ w + b[None])
        w, b = state.params[-1]
        return {"accuracy": jnp.mean(jnp.argmax(x @ w + b[None], -1) == data["y"])}

    def fit(seeds: Any, **options: Any) -> tuple[float, float]:
        jax.clear_caches()
        begin = time.perf_counter()
        made = train.fit(
            learner, SGD(width=args.width), seeds, steps=args.steps, data=data, sampler=Sampler(draw),
            progress=False, **options,
        )  # fmt: skip
        jax.block_until_ready(made.state)
        wall = time.perf_counter() - begin
        # All time outside of the running program counts as preparation.
        running = made.timing["train"] + made.timing["evaluate"] + made.timing["save"]
        return wall - running, running

    def hand() -> tuple[float, float]:
        jax.clear_caches()
        begin = time.perf_counter()
        on_device = jax.tree.map(jnp.asarray, data)
        seeds = jnp.arange(args.seeds, dtype=jnp.uint32)
        compiled = by_hand(args, data, draw).lower(seeds, on_device).compile()  # pyright: ignore
        middle = time.perf_counter()
        jax.block_until_ready(compiled(seeds, on_device))
        return middle - begin, time.perf_counter() - middle

    every = max(1, args.steps // 20)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "by hand, one scan": hand,
        "fit": lambda: fit(range(args.seeds)),
        "fit, chunks of 100": lambda: fit(range(args.seeds), chunk=100),
        "fit, 20 evaluations": lambda: fit(range(args.seeds), evaluate=accuracy, eval_every=every),
        "fit, 20 checkpoints": lambda: _saving(fit, args, every),
        "fit, seeds one by one": lambda: _sum(fit([s]) for s in range(args.seeds)),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            measured[name].append(way())
    figures = {
        name: {
            "compile_seconds": statistics.median(c for c, _ in times),
            "run_seconds": statistics.median(r for _, r in times),
            "compile_ratio": statistics.median(
                c / h for (c, _), (h, _) in zip(times, measured["by hand, one scan"])
            ),
            "run_ratio": statistics.median(
                r / h for (_, r), (_, h) in zip(times, measured["by hand, one scan"])
            ),
            "seed_steps_per_second": args.seeds * args.steps / statistics.median(r for _, r in times),
        }
        for name, times in measured.items()
    }
    device = f"{jax.devices()[0].device_kind}, {platform.machine()}, jax {jax.__version__}"
    print(f"{args.seeds} seeds x {args.steps} steps, {device}, medians of {args.rounds} rounds")
    print(f"{'':24}{'compile s':>10}{'ratio':>7}{'run s':>9}{'ratio':>7}{'seed-steps/s':>14}")
    for name, f in figures.items():
        print(
            f"{name:24}{f['compile_seconds']:10.2f}{f['compile_ratio']:7.2f}{f['run_seconds']:9.3f}{f['run_ratio']:7.2f}"
            f"{f['seed_steps_per_second']:14,.0f}"
        )
    if args.json:
        args.json.write_text(
            json.dumps({"args": dataclasses.asdict(args) | {"json": None}, "figures": figures}, indent=1)
        )
    return 0


def _saving(fit: Callable[..., tuple[float, float]], args: Args, every: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        return fit(range(args.seeds), folder=folder, save_every=every)


def _sum(times: Any) -> tuple[float, float]:
    listed = list(times)
    return sum(c for c, _ in listed), sum(r for _, r in listed)
