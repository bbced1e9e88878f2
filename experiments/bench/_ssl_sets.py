"""Lines of `experiments.bench.ssl_numbers`: content and style, hidden Markov models, gray images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench._ssl_lines import Rows, Run, Values, baselines, cosine, judged, probe
from experiments.bench._ssl_methods import flat_methods, image_methods
from lrn import data, nets
from lrn.data import content_style, hmm
from lrn.data.sampler import minibatch
from lrn.ssl import masked_tokens as tokens
from lrn.ssl.masking import as_mask, token_mask
from lrn.ssl.pretraining import PretrainState
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Key, Learner, Metrics, Sampler

LATENT, WORLD = content_style.ContentStyleConfig(), 17  # one generator of content and style for all seeds


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
    methods = flat_methods(content_style.view(world, LATENT), lambda rate: cosine(rate, steps))
    found = {
        **baselines(nets.mlp(32, (256,)), rows, run.seeds),
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
        parts = [(data.as_float(x[c]), jnp.asarray(y[c])) for c in cuts]
        rows.append(Rows(parts[0], parts[1], test))
    found, steps = {}, run.steps(400)
    for label, method in image_methods(name, cosine(2e-3, steps), steps).items():
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
