"""The lines of `experiments.bench.ssl_numbers`: trainings, and what their features must reach."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench._ssl_methods import flat_methods, image_methods
from lrn import data, nets, train
from lrn.data import augment, content_style, hmm
from lrn.data.sampler import minibatch
from lrn.ssl import masked_tokens as tokens
from lrn.ssl.masking import as_mask, token_mask
from lrn.ssl.pretraining import PretrainState, encode
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.learner import weights as trained
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array, Batch, Key, Learner, Metrics, Net, Sampler

Values = dict[str, list[float]]  # from a figure to its value for each seed
L2 = (1e-4, 1e-3, 1e-2, 1e-1)
LATENT, WORLD = content_style.ContentStyleConfig(), 17  # one generator of content and style for all seeds


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


def shift_around(key: Key, x: Array) -> Array:
    """Each sequence [time, channels] of a batch moved around the circle by a random number of steps."""
    time = x.shape[1]
    by = jax.random.randint(key, (x.shape[0],), 0, time)
    at = (jnp.arange(time)[None] + by[:, None]) % time
    return jnp.take_along_axis(x, at[:, :, None], axis=1)


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
    view = augment.compose(crop, shift_around, tilt, scale, noise)
    encoder, head = nets.cnn1d(None, MNIST1D.widths), nets.projector(64, (128,))
    steps = run.steps(MNIST1D.steps)
    config = SimCLRConfig(_cosine(3e-3, steps), temperature=MNIST1D.temperature)
    sampler = minibatch(256, columns=("x",))
    fit = run.fit(
        "SimCLR",
        lambda c: simclr(encoder, head, view, c),
        config,
        steps=steps,
        data={"x": x},
        sampler=sampler,
    )
    classifier, steps = nets.cnn1d(10, MNIST1D.widths), run.steps(MNIST1D.supervised)
    labeled = run.fit(
        "supervised",
        lambda c: supervised(classifier, cross_entropy, c),
        SupervisedConfig(_cosine(3e-3, steps, 1e-2)),
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
    widths: tuple[int, ...] = (32, 64, 128)
    steps: int = 2000
    temperature: float = 0.1
    supervised: int = 3000


MNIST1D = _Budget()


def _cosine(rate: float, steps: int, decay: float = 0.0) -> OptimizerConfig:
    return OptimizerConfig(
        "adamw", rate, weight_decay=decay, schedule="cosine", steps=steps, warmup=0.05 * steps
    )


def _accuracy(net: Net, fit: train.Fit, i: int, test: tuple[Array, Array]) -> float:
    params, state = trained(jax.tree.map(lambda leaf: leaf[i], fit.arm("default")))
    logits, _ = jax.jit(net.apply)(params, state, test[0])
    return float(jnp.mean(jnp.argmax(logits, axis=1) == test[1], dtype=jnp.float32))


def content(run: Run) -> Values:
    """Content and style: 4,000 training rows, 1,000 for validation and 2,000 for the test, anew by seed."""
    world = content_style.world(jax.random.key(WORLD), LATENT)
    drawn = jax.jit(lambda key: content_style.sample(key, world, 7000, LATENT))
    samples = [drawn(jax.random.key(100_000 + seed)) for seed in run.seeds]
    cuts = (slice(0, 4000), slice(4000, 5000), slice(5000, 7000))
    rows = [Rows(*((s["x"][c], s["label"][c]) for c in cuts)) for s in samples]
    inner = [Rows(*((s["latent"][c][:, :8], s["label"][c]) for c in cuts)) for s in samples]
    steps = run.steps(1000)
    per_seed = {"x": np.stack([np.asarray(own.train[0]) for own in rows])}
    methods = flat_methods(content_style.view(world, LATENT), _cosine(1e-3, steps))
    found = {
        **baselines(nets.mlp(32, (128,)), rows, run.seeds),
        "content": [probe(lambda x: x, o) for o in inner],
    }
    for name, method in methods.items():
        options = {"steps": steps, "per_seed": per_seed, "sampler": minibatch(256, columns=("x",))}
        fit = run.fit(name, method.learner, method.config, **options)
        found[name] = judged(fit, method.net, rows)
        print(f"  {name:<28}{np.mean(found[name]):.4f}", flush=True)
    return found


def hidden_markov(run: Run) -> Values:
    """Masked prediction on a model of each seed, and what the visible symbols can tell at best."""
    time, hidden, symbols, steps = 16, 4, 8, run.steps(3000)
    encoder, head = nets.token_transformer(symbols), nets.mlp(symbols, ())
    optimizer = OptimizerConfig(
        learning_rate=3e-3, schedule="cosine", steps=steps, warmup=steps / 30, clip=1.0
    )
    config = tokens.MaskedTokensConfig(symbols, hidden, optimizer, replaced=1.0, random=0.0)
    keys = jnp.stack([jax.random.key(300_000 + seed) for seed in run.seeds])
    models = jax.jit(jax.vmap(lambda key: hmm.draw(key, 4, symbols, stay=0.9, concentration=0.2)))(keys)

    def model(given: Mapping[str, Array]) -> hmm.HMM:
        return hmm.HMM(*(given[name] for name in hmm.HMM._fields))

    def batch(key: Key, given: Mapping[str, Array]) -> Batch:
        return {"x": hmm.sample(key, model(given), 64, time)[0]}

    def evaluate(learner: Learner, config: Any, key: Key, state: PretrainState, given: Any) -> Metrics:
        sequence_key, mask_key = jax.random.split(key)
        x, _ = hmm.sample(sequence_key, model(given), 4096, time)
        seen, places = token_mask(mask_key, x, hidden, symbols, 1.0, 0.0)
        weights = state.training.params, state.training.net_state
        log_q = jax.nn.log_softmax(tokens.predict(encoder, head, *weights, seen, places))
        mask = as_mask(places, time)
        at = [hmm.predict(model(given), x, m) for m in (mask, jnp.ones_like(mask))]
        log_p, alone = (jnp.take_along_axis(each, places[:, :, None], axis=1) for each in at)
        everywhere = jnp.ones(places.shape, bool)
        excess, optimum = hmm.gap(log_p, log_q, everywhere)
        blind, _ = hmm.gap(log_p, alone, everywhere)
        return {"gap": excess / optimum, "without context": blind / optimum}

    fit = run.fit(
        "masked",
        lambda c: tokens.masked_tokens(encoder, head, c),
        config,
        steps=steps,
        per_seed={name: np.asarray(part) for name, part in models._asdict().items()},
        sampler=Sampler(batch),
        evaluate=evaluate,
    )
    return {name: fit.table.final("default", name).tolist() for name in ("gap", "without context")}


def images(name: str, run: Run) -> Values:
    """All methods for images at one budget: 10,000 training images, 400 steps of 128, rates not tuned.

    The probe has 4,000 of these images with labels, 1,000 others for validation and the test set.
    """
    part = [data.load(name, each) for each in ("train", "test")]
    x, y = part[0]["image"], np.asarray(part[0]["label"], np.int32)
    test = data.as_float(part[1]["image"]), jnp.asarray(part[1]["label"], jnp.int32)
    order = [np.random.default_rng(seed).permutation(len(y)) for seed in run.seeds]
    rows = []
    for own in order:
        cuts = own[:4000], own[10_000:11_000]
        rows.append(Rows(*((data.as_float(x[c]), jnp.asarray(y[c])) for c in cuts), test))
    found, steps = {}, run.steps(400)
    for label, method in image_methods(name, _cosine(2e-3, steps), steps).items():
        fit = run.fit(
            label,
            method.learner,
            method.config,
            steps=steps,
            data={"image": np.asarray(x)},
            per_seed={"rows": np.stack([own[:10_000] for own in order]).astype(np.int32)},
            sampler=minibatch(128, rows="rows", columns=("image",)),
        )
        if not found:
            found = baselines(method.net, rows, run.seeds)
        found[label] = judged(fit, method.net, rows)
        print(f"  {label:<28}{np.mean(found[label]):.4f}", flush=True)
    return found
