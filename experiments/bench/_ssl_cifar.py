"""CIFAR-10 with ResNet-18: the comparison with lightly, and the published budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench._ssl_lines import Rows, Run, Values, judged
from experiments.bench._ssl_methods import Method
from experiments.bench._ssl_peer import Lightly
from lrn import data, nets
from lrn.data.sampler import epoch_batch, minibatch
from lrn.ssl.barlow_twins import BarlowTwinsConfig, barlow_twins
from lrn.ssl.byol import BYOLConfig, byol
from lrn.ssl.pretraining import encode
from lrn.ssl.recipes import simclr_images
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.vicreg import VICRegConfig, vicreg
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.knn import LIGHTLY, knn_votes
from lrn.types import Array, Key, Learner, PyTree

IMAGES, TEST, EPOCHS, BATCH = 10_000, 2000, 2, 128
RATES = {"SimCLR": 0.03, "BYOL": 0.03, "VICReg": 0.002}  # of SGD; the loss of VICReg has weights of 25
HIDDEN, OUT = 512, 128
TEMPERATURE = 0.5
KNN, LINEAR = "kNN", "linear"
# The least accuracy that counts as the published one: half a point below it.
KNOWN = {
    "SimCLR 200": {KNN: (0.843, 1.0)},
    "BYOL 200": {KNN: (0.863, 1.0)},
    "Barlow Twins 200": {KNN: (0.814, 1.0)},
    "SimCLR 1000": {LINEAR: (0.902, 1.0)},
    "BYOL 1000": {LINEAR: (0.921, 1.0)},
    "Barlow Twins 1000": {LINEAR: (0.916, 1.0)},
    "VICReg 1000": {LINEAR: (0.916, 1.0)},
}


def method(name: str, optimizer: OptimizerConfig, steps: int, hidden: int = HIDDEN, out: int = OUT) -> Method:
    """A method with ResNet-18, on views of CIFAR-10."""
    encoder, view = nets.resnet18(None), simclr_images()
    head, predictor = nets.projector(out, (hidden,)), nets.projector(out, (hidden,))
    if name == "SimCLR":
        config: Any = SimCLRConfig(optimizer, temperature=TEMPERATURE)
        return Method(lambda c: simclr(encoder, head, view, c), config, encoder)
    if name == "BYOL":
        config = BYOLConfig(optimizer, momentum=0.99, steps=steps)
        return Method(lambda c: byol(encoder, head, predictor, view, c), config, encoder)
    if name == "VICReg":
        return Method(lambda c: vicreg(encoder, head, view, c), VICRegConfig(optimizer), encoder)
    return Method(lambda c: barlow_twins(encoder, head, view, c), BarlowTwinsConfig(optimizer), encoder)


def against(python: Path, run: Run) -> Values:
    """Losses and kNN accuracies here and in lightly, for each seed, from the same initial weights."""
    peer, found = Lightly(python), {}
    print(f"  {peer.versions}", flush=True)
    count = max(2 * BATCH, int(run.budget * IMAGES))
    for name in ("SimCLR", "BYOL", "VICReg"):
        pairs = [_saved(peer, name, count, seed, run.folder) for seed in run.seeds]
        for what in ("loss", KNN):
            ours, theirs = ([pair[side][what] for pair in pairs] for side in ("lrn", "lightly"))
            found[f"{name} {what}, lrn"], found[f"{name} {what}, lightly"] = ours, theirs
            found[f"{name} {what}, difference"] = (np.asarray(ours) - np.asarray(theirs)).tolist()
    peer.close()
    return found


def _saved(peer: Lightly, name: str, count: int, seed: int, folder: Path | None) -> dict[str, Any]:
    """Both sides of one seed; those that are in the folder are read."""
    file = folder and folder / f"{name} {count} {seed}.json"
    if file and file.exists():
        return json.loads(file.read_text())
    part = {each: data.load("cifar10", each) for each in ("train", "test")}
    x, y = (np.asarray(part["train"][n][:count]) for n in ("image", "label"))
    test = {n: np.asarray(part["test"][n][: min(TEST, count)]) for n in ("image", "label")}
    steps = EPOCHS * (count // BATCH)
    chosen = method(name, OptimizerConfig("sgd", RATES[name]), steps)
    learner = chosen.learner(chosen.config)
    init_key, order_key, key = jax.random.split(jax.random.key(seed), 3)
    begin = jax.jit(learner.init)(init_key, {"image": jnp.asarray(x[:BATCH], jnp.float32)})
    state, losses = jax.jit(_trained, static_argnums=(0, 1))(learner, steps, begin, key, order_key, x)
    h = [
        np.asarray(jax.jit(encode, static_argnums=0)(chosen.net, state, data.as_float(v)))
        for v in (x, test["image"])
    ]
    peer.give(begin.training.params, images=x, train=x, test=test["image"])
    method_name = name.lower()
    answer = peer.run(
        "train",
        method=method_name,
        network="resnet",
        hidden=HIDDEN,
        out=OUT,
        temperature=TEMPERATURE,
        optimizer="sgd",
        rate=RATES[name],
        epochs=EPOCHS,
        batch=BATCH,
        workers=2,
        seed=seed,
    )
    features = answer["features"]
    pair = {
        "lrn": _summary(np.asarray(losses).tolist(), h[0], h[1], y, test["label"]),
        "lightly": _summary(answer["losses"], features["train"], features["test"], y, test["label"]),
    }
    print(
        f"  {name} {seed}: " + ", ".join(f"{k} {v['loss']:.4f} {v[KNN]:.4f}" for k, v in pair.items()),
        flush=True,
    )
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(pair))
    return pair


def _trained(
    learner: Learner, steps: int, state: PyTree, key: Key, order: Key, images: Array
) -> tuple[PyTree, Any]:
    """The state after passes over the images, and the loss of each step."""

    def step(state: PyTree, i: Array) -> tuple[PyTree, Any]:
        batch = epoch_batch(order, i, {"image": images}, BATCH, columns=("image",))
        state, metrics = learner.step(jax.random.fold_in(key, i), state, batch)
        return state, metrics["loss"]

    return jax.lax.scan(step, state, jnp.arange(steps))


def _summary(losses: list[float], train: Any, test: Any, y: Any, y_test: Any) -> dict[str, Any]:
    """The mean loss of the last quarter, all losses, and the kNN accuracy."""
    last = losses[-max(1, len(losses) // 4) :]
    return {"loss": float(np.mean(last)), "losses": losses, KNN: _knn(train, test, y, y_test)}


def _knn(train: Any, test: Any, y: Any, y_test: Any) -> float:
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        return float("nan")
    votes = knn_votes(train, np.asarray(y, np.int32), test, 10, **LIGHTLY)
    return float(np.mean(np.asarray(votes).argmax(1) == np.asarray(y_test)))


def published(name: str, run: Run) -> Values:
    """A published budget: all images, batches of 512, SGD with a cosine; lightly's rate and heads."""
    label, epochs = name.rsplit(" ", 1)
    steps = run.steps(int(epochs) * 50_000 // 512)
    optimizer = OptimizerConfig(
        "sgd", 0.24, weight_decay=5e-4, schedule="cosine", steps=steps, warmup=steps / 100
    )
    hidden, out = {"SimCLR": (512, 128), "BYOL": (1024, 256)}.get(label, (2048, 2048))
    chosen = method(label, optimizer, steps, hidden, out)
    part = [data.load("cifar10", each) for each in ("train", "test")]
    x, y = np.asarray(part[0]["image"]), np.asarray(part[0]["label"], np.int32)
    x_test, y_test = data.as_float(part[1]["image"]), jnp.asarray(part[1]["label"], jnp.int32)
    fit = run.fit(
        name,
        chosen.learner,
        chosen.config,
        steps=steps,
        data={"image": x},
        sampler=minibatch(512, columns=("image",)),
    )
    if epochs == "200":
        encoded, found = jax.jit(encode, static_argnums=0), []
        for i in range(len(run.seeds)):
            state = jax.tree.map(lambda leaf, i=i: leaf[i], fit.arm("default"))
            h = [encoded(chosen.net, state, v) for v in (data.as_float(x), x_test)]
            found.append(_knn(h[0], h[1], y, y_test))
        return {KNN: found}
    cut = data.split(0, len(y), (0.9, 0.1))
    parts = [(data.as_float(x[c]), jnp.asarray(y[c])) for c in cut]
    return {LINEAR: judged(fit, chosen.net, [Rows(parts[0], parts[1], (x_test, y_test))] * len(run.seeds))}
