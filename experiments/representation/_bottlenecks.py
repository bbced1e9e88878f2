"""Trainings with a priced, a fixed or no noise in the code, on digits and on draws of a known joint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import data, nets
from lrn.config import config
from lrn.data.dataset import as_float, split
from lrn.data.sampler import minibatch
from lrn.representation.vib import VIBConfig, encode, predict, rate, vib
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.losses import cross_entropy, hits
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key, Learner, Net, NetState, Params

VIB, NONE, DROPOUT, NOISE, DECAY = "bottleneck", "none", "dropout", "fixed noise", "weight decay"
METHODS = (VIB, NONE, DROPOUT, NOISE, DECAY)
PLACES = JOINT, DIGITS = "known joint", "MNIST"
ERROR, CHOICE, DRAWN = "test error", "validation error", "test error, 12 draws"
NOISY, ATTACKED = "error, noisy inputs", "error, FGSM"
RATE, CAPACITY = "rate", "capacity"
BITS, CLASSES, STEEP = 6, 4, 6.0  # of the known joint: X is 6 bits; the logits' scale
EPS, INPUT_NOISE, DRAWS = 0.03, 0.3, 12
BATCH = 50
# What is tried: prices, shares of hidden units, weight decays; each with every learning rate of a place, and
# without a setting as many rates.
BETAS = (1e-3, 1e-2, 1e-1)
SHARES, DECAYS = (0.1, 0.25, 0.5), (0.1, 1.0, 3.0)
RATES = {JOINT: (3e-4, 1e-3, 3e-3), DIGITS: (3e-3, 1e-2, 3e-2)}


@config
class LaneConfig:
    """Settings of a training without a price: the noise's size, and the share of dropped hidden units."""

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    noise: float = 0.0
    dropout: float = 0.0


class Place(NamedTuple):
    """Where the methods are compared.

    shared: arrays that all seeds see. per_seed: arrays [seeds, ...]; "train" and "validation" are rows.
    encoder: ``encoder(outputs, dropout) -> Net``. decoder: a network. dim: of the code. column: of the
        inputs.
    test: ``test(own, shared) -> (x, p)``: test inputs, and the probabilities of their labels.
    """

    shared: dict[str, np.ndarray]
    per_seed: dict[str, np.ndarray]
    encoder: Callable[[int, Any], Net]
    decoder: Net
    dim: int
    column: str
    test: Callable[[Any, Any], tuple[Array, Array]]


def digits(seeds: Sequence[int], name: str, sizes: Sequence[int], width: int, dim: int) -> Place:
    """Images; each seed divides the training part of the set into rows for training, validation and test."""
    whole = data.load(name, "train")
    total = len(whole["label"])
    own = [split(int(seed), total, [size / total for size in sizes]) for seed in seeds]
    rows = {
        part: np.stack([each[i] for each in own]) for i, part in enumerate(("train", "validation", "test"))
    }

    def test(own: Any, shared: Any) -> tuple[Array, Array]:
        return as_float(shared["image"][own["test"]]), jax.nn.one_hot(shared["label"][own["test"]], 10)

    shared = {k: np.asarray(whole[k]) for k in ("image", "label")}

    def encoder(outputs: int, dropout: Any) -> Net:
        return nets.mlp(outputs, (width, width), dropout=dropout)

    return Place(shared, rows, encoder, nets.mlp(10, ()), dim, "image", test)


def known_joint(seeds: Sequence[int], sizes: Sequence[int], width: int, dim: int) -> Place:
    """Draws of a joint of each seed: x is uniform on 6 bits, p(y | x) a softmax of a random network."""
    symbols = np.arange(2**BITS)
    bits = (2.0 * ((symbols[:, None] >> np.arange(BITS)) & 1) - 1).astype(np.float32)
    n = sum(sizes)

    def draw(key: Key) -> dict[str, Array]:
        into_key, out_key, x_key, y_key = jax.random.split(key, 4)
        hidden = jnp.tanh(bits @ jax.random.normal(into_key, (BITS, 16)) / math.sqrt(BITS))
        logits = STEEP * hidden @ jax.random.normal(out_key, (16, CLASSES)) / 4
        x = jax.random.randint(x_key, (n,), 0, len(bits))
        label = jax.random.categorical(y_key, logits[x]).astype(jnp.int32)
        return {"x": jnp.asarray(bits)[x], "label": label, "known": jax.nn.softmax(logits)}

    keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
    per_seed = {k: np.asarray(v) for k, v in jax.jit(jax.vmap(draw))(keys).items()}
    cuts = np.split(np.arange(n), [sizes[0]])
    for part, rows in zip(("train", "validation"), cuts):
        per_seed[part] = np.tile(rows, (len(seeds), 1))

    def test(own: Any, shared: Any) -> tuple[Array, Array]:
        return jnp.asarray(bits), own["known"]

    def encoder(outputs: int, dropout: Any) -> Net:
        return nets.mlp(outputs, (width, width), dropout=dropout)

    return Place({}, per_seed, encoder, nets.mlp(CLASSES, ()), dim, "x", test)


def menu(place: str) -> dict[str, list[tuple[float, float]]]:
    """For each method but the fixed noise its candidates: (setting, learning rate)."""
    pairs, rates = {VIB: BETAS, DROPOUT: SHARES, DECAY: DECAYS}, RATES[place]
    found = {m: [(s, r) for s in settings for r in rates] for m, settings in pairs.items()}
    return found | {NONE: [(0.0, float(r)) for r in np.geomspace(rates[0], rates[-1], len(found[VIB]))]}


def trained(place: str) -> list[str]:
    """The names of all trainings at a place."""
    tried = menu(place)
    names = [f"{place}, {m}, {s:g}, rate {r:g}" for m in (NONE, DROPOUT, DECAY) for s, r in tried[m]]
    names += [f"{place}, {VIB}, beta {b:g}, rate {r:g}" for b, r in tried[VIB]]
    return names + [f"{place}, {NOISE} as of beta {b:g}, rate {r:g}" for b, r in tried[VIB]]


def settings(learning_rate: float, steps: int, decay: float = 0.0) -> OptimizerConfig:
    """AdamW, whose rate falls along half a cosine."""
    return OptimizerConfig("adamw", learning_rate, weight_decay=decay, schedule="cosine", steps=steps)


def plain(place: Place, config: LaneConfig) -> Learner:
    """Supervised training with noise of a fixed size in the code, or dropout, or neither."""
    return supervised(
        coded(place, config.noise, config.dropout), cross_entropy, SupervisedConfig(config.optimizer)
    )


def coded(place: Place, noise: Any, dropout: Any = 0.0) -> Net:
    """An encoder, noise in training, and a decoder.

    The noise is Gaussian, with ``noise`` times the standard deviation of the code over the batch in each
    dimension. The size passes no gradient, so the code cannot escape the noise by growing.
    """
    encoder, decoder = place.encoder(place.dim, dropout), place.decoder

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        first, second = jax.random.split(key)
        code = jnp.zeros((1, place.dim))
        return {"encoder": encoder.init(first, x)[0], "decoder": decoder.init(second, code)[0]}, ()

    def apply(
        params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        drop_key, noise_key = (None, None) if key is None else jax.random.split(key)
        code, _ = encoder.apply(params["encoder"], (), x, key=drop_key, train=train)
        if train:
            assert noise_key is not None
            size = noise * jax.lax.stop_gradient(jnp.std(code, axis=0))[None]
            code = code + size * jax.random.normal(noise_key, code.shape)
        return decoder.apply(params["decoder"], (), code)[0], state

    return Net(init, apply)


def compared(context: Any, name: str, place: Place, steps: int) -> dict[str, dict[str, Any]]:
    """Train all candidates of all methods; from method to what `_judged` gives, [candidates, seeds]."""
    tried = menu(name)
    priced = {
        f"{name}, {VIB}, beta {b:g}, rate {r:g}": VIBConfig(settings(r, steps), beta=b) for b, r in tried[VIB]
    }
    networks = place.encoder(2 * place.dim, 0.0), place.decoder
    found = {VIB: _fit(context, f"{name}, {VIB}", place, lambda c: vib(*networks, c), priced, steps)}
    capacity = np.mean(found[VIB][CAPACITY], 1)
    noise = 1 / np.sqrt(np.expm1(2 * np.maximum(capacity, 1e-3) / place.dim))
    lanes: dict[str, LaneConfig] = {}
    for m in (NONE, DROPOUT, DECAY):
        for s, r in tried[m]:
            own = settings(r, steps, s if m == DECAY else 0.0)
            lanes[f"{name}, {m}, {s:g}, rate {r:g}"] = LaneConfig(own, dropout=s if m == DROPOUT else 0.0)
    for (b, r), size in zip(tried[VIB], noise):
        lanes[f"{name}, {NOISE} as of beta {b:g}, rate {r:g}"] = LaneConfig(
            settings(r, steps), noise=float(size)
        )
    rest = _fit(context, f"{name}, others", place, lambda c: plain(place, c), lanes, steps)
    count = len(tried[VIB])
    for i, m in enumerate((NONE, DROPOUT, DECAY, NOISE)):
        found[m] = {k: v[i * count : (i + 1) * count] for k, v in rest.items()}
    return found


def _fit(
    context: Any, name: str, place: Place, factory: Any, lanes: Mapping[str, Any], steps: int
) -> dict[str, Any]:
    sampler = minibatch(BATCH, rows="train", columns=(place.column, "label"))
    fit = context.fit(
        factory, lanes, name=name, steps=steps, data=place.shared, per_seed=place.per_seed, sampler=sampler
    )
    states = jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(lane) for lane in lanes))
    own = {"states": states, "own": place.per_seed, "seed": np.asarray(context.seeds, np.uint32)}
    judge = _judged(place, name.endswith(VIB))
    return {k: v.T for k, v in context.per_seed(f"{name}, judged", judge, own, place.shared).items()}


def _judged(place: Place, priced: bool) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed: errors of all its lanes, each [lanes], in [0, 1]; without noise in the code."""
    network = coded(place, 0.0)
    networks = place.encoder(2 * place.dim, 0.0), place.decoder

    def judge(each: Mapping[str, Any], shared: Mapping[str, Array]) -> dict[str, Array]:
        own = each["own"]
        given = {**shared, **own}
        x, p = place.test(own, shared)
        noise_key, draw_key = jax.random.split(jax.random.key(each["seed"]))
        inputs = {part: given[place.column][own[part]] for part in ("train", "validation")}
        if place.column == "image":
            inputs = {part: as_float(v) for part, v in inputs.items()}
        label = jax.nn.one_hot(given["label"][own["validation"]], p.shape[1])

        def lane(state: Any) -> dict[str, Array]:
            def logits(z: Array) -> Array:
                if priced:
                    return predict(networks, state, z, VIBConfig())
                return network.apply(state.params, (), z)[0]

            def error(z: Array, target: Array) -> Array:
                return 1 - jnp.mean(hits(logits(z), target))

            found = {ERROR: error(x, p), CHOICE: error(inputs["validation"], label)}
            if place.column == "image":
                some, target = x[:1000], p[:1000]
                noisy = some + INPUT_NOISE * jax.random.normal(noise_key, some.shape)
                attack = fgsm(FGSMConfig(eps=EPS))
                moved = attack(noise_key, logits, some, jnp.argmax(target, 1))
                found |= {NOISY: error(noisy, target), ATTACKED: error(moved, target)}
            if priced:
                drawn = predict(networks, state, x, VIBConfig(), draw_key, DRAWS)
                q = encode(networks[0], state, inputs["train"], VIBConfig())
                ratio = jnp.var(q.mean, axis=0) / jnp.mean(jnp.square(q.std), axis=0)
                found |= {
                    DRAWN: 1 - jnp.mean(hits(drawn, p)),
                    RATE: jnp.mean(rate(q)),
                    CAPACITY: 0.5 * jnp.sum(jnp.log1p(ratio)),
                }
            return found

        return jax.lax.map(lane, each["states"])

    return judge
