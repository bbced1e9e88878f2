"""What the lines of `experiments.bench.ssl_numbers` share: seeds, budgets and probes; and MNIST-1D."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import data, nets, train
from lrn.data import augment
from lrn.data.sampler import minibatch
from lrn.ssl.pretraining import PretrainState, encode
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.learner import weights as trained
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array, Key, Learner, Net

Values = dict[str, list[float]]  # from a figure to its value for each seed
L2 = (1e-4, 1e-3, 1e-2, 1e-1)


class Run(NamedTuple):
    """How a line is to run.

    seeds: its seeds. budget: the share of the line's steps, below 1 for trials. folder: for checkpoints.
    """

    seeds: Sequence[int]
    budget: float = 1.0
    folder: Path | None = None

    def steps(self, whole: int) -> int:
        """The steps of a training."""
        return max(2, round(self.budget * whole))

    def fit(self, name: str, learner: Callable[[Any], Learner], config: Any, **options: Any) -> train.Fit:
        """One config, all seeds; a training in the folder is resumed."""
        folder = self.folder and self.folder / "_".join(name.replace(",", "").split())
        every = max(1, options["steps"] // 20)
        return train.fit(
            learner,
            config,
            self.seeds,
            folder=folder,
            save_seconds=60.0,
            log_every=every,
            name=name,
            **options,
        )


class Line(NamedTuple):
    """A line of the benchmark.

    values: ``values(run)``: the figures by seed. known: from a figure to the least and the most that its mean
    may be. seeds: the number of seeds.
    """

    values: Callable[[Run], Values]
    known: Mapping[str, tuple[float, float]]
    seeds: int = 10


class Rows(NamedTuple):
    """Inputs and labels of the probes: training, validation and test rows."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


def probe(features: Callable[[Array], Array], rows: Rows, classes: int = 10) -> float:
    """The test accuracy of a linear probe, whose penalty validation rows choose."""
    h = [features(x).reshape(x.shape[0], -1) for x, _ in rows]
    fitted = linear_probe(h[0], rows.train[1], h[1], rows.validation[1], classes, l2=L2)
    right = jnp.argmax(fitted.logits(h[2]), axis=1) == rows.test[1]
    return float(jnp.mean(right, dtype=jnp.float32))


@functools.partial(jax.jit, static_argnums=0)
def _encoded(net: Net, state: PretrainState, x: Array) -> Array:
    return encode(net, state, x)


@functools.partial(jax.jit, static_argnums=0)
def _random(net: Net, key: Key, x: Array) -> Array:
    params, state = net.init(key, x[:2])
    return net.apply(params, state, x)[0]


def judged(fit: train.Fit, net: Net, rows: Sequence[Rows]) -> list[float]:
    """The probe's accuracy for each seed, of the features of its network on its rows."""
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], fit.arm("default")) for i in range(len(rows))]
    return [probe(functools.partial(_encoded, net, lane), own) for lane, own in zip(lanes, rows)]


def baselines(net: Net, rows: Sequence[Rows], seeds: Sequence[int]) -> Values:
    """The accuracies of a probe on raw inputs and on a random encoder's features."""
    drawn = [probe(functools.partial(_random, net, jax.random.key(s)), own) for s, own in zip(seeds, rows)]
    return {"raw": [probe(lambda x: x, own) for own in rows], "random encoder": drawn}


def tilt(key: Key, x: Array) -> Array:
    """Each sequence plus a line through its middle that ends up to 1.2 above or below."""
    most = jax.random.uniform(key, (x.shape[0], 1, 1), minval=-1.2, maxval=1.2)
    return x + most * jnp.linspace(-1, 1, x.shape[1]).reshape(1, -1, 1)


def mnist1d(run: Run) -> Values:
    """The published set: 4,000 training sequences, of which 400 choose the penalty, and 1,000 test ones."""
    part = [data.load("mnist1d", name) for name in ("train", "test")]
    (x, y), test = [(jnp.asarray(p["x"], jnp.float32), jnp.asarray(p["label"])) for p in part]
    cut = [data.split(seed, len(y), (0.9, 0.1)) for seed in run.seeds]
    rows = [Rows((x[a], y[a]), (x[b], y[b]), test) for a, b in cut]
    crop, scale, noise = augment.crop_in_time((0.6, 1.0)), augment.scale_channels(0.2), augment.jitter(0.1)
    view = augment.compose(crop, tilt, scale, noise)
    encoder = nets.cnn1d(None, MNIST1D.widths, norm="batch", reduce="mean")
    head = nets.projector(64, (128,))
    steps = run.steps(MNIST1D.steps)
    config = SimCLRConfig(cosine(3e-3, steps), temperature=MNIST1D.temperature)
    sampler = minibatch(256, columns=("x",))
    fit = run.fit(
        "SimCLR",
        lambda c: simclr(encoder, head, view, c),
        config,
        steps=steps,
        data={"x": x},
        sampler=sampler,
    )
    classifier = nets.cnn1d(10, MNIST1D.widths, norm="batch", reduce="mean")  # the encoder with a head
    steps = run.steps(MNIST1D.supervised)
    labeled = run.fit(
        "supervised",
        lambda c: supervised(classifier, cross_entropy, c),
        SupervisedConfig(cosine(1e-2, steps)),
        steps=steps,
        data={"x": x, "label": y},
        sampler=minibatch(128, columns=("x", "label")),
    )
    return {
        "SimCLR h": judged(fit, encoder, rows),
        **baselines(encoder, rows, run.seeds),
        "supervised": [_accuracy(classifier, labeled, i, test) for i in range(len(rows))],
    }


class _Budget(NamedTuple):
    widths: tuple[int, ...] = (32, 64, 256)
    steps: int = 2000
    temperature: float = 0.2
    supervised: int = 3000


MNIST1D = _Budget()


def cosine(rate: float, steps: int, decay: float = 0.0) -> OptimizerConfig:
    """AdamW, whose rate rises over a twentieth of the steps and falls along half a cosine."""
    return OptimizerConfig(
        "adamw", rate, weight_decay=decay, schedule="cosine", steps=steps, warmup=0.05 * steps
    )


def _accuracy(net: Net, fit: train.Fit, i: int, test: tuple[Array, Array]) -> float:
    params, state = trained(jax.tree.map(lambda leaf: leaf[i], fit.arm("default")))
    logits, _ = jax.jit(net.apply)(params, state, test[0])
    return float(jnp.mean(jnp.argmax(logits, axis=1) == test[1], dtype=jnp.float32))
