"""Critics of Gaussian pairs, bounds by the number of candidates, and encoders that lose no information."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl._bijection import flow
from experiments.ssl._tasks import PARTS, Task, divided, floats, sequence_view, task
from lrn import nets
from lrn.config import config
from lrn.data import content_style, gaussians
from lrn.ssl.info_nce import Critic, bilinear, info_nce
from lrn.ssl.joint_embedding import joint_embedding, two_views
from lrn.ssl.pretraining import pretrain_on
from lrn.ssl.similarity import products, unit
from lrn.ssl.views import View, draw
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array, Key, Learner, Net, PyTree, Sampler

PENALTIES, FITS = (1e-3, 1e-2), 50  # of the linear probe: penalties, and steps of L-BFGS
CONTENT, DIGITS, BIJECTIVE = "content and style", "MNIST-1D", "bijective encoder"
LATENT = content_style.ContentStyleConfig(dim=32, content_correlation=0.9)  # 6.6 nats between two views
WORLD = 17  # the key of the one generator of all seeds
LEAK = 10.0  # what a critic that is told the partner adds to the partner's score, in nats
Scores = Callable[[Array, Array], Array]


@config
class Contrast:
    """Settings of a lane, floats that are swept in one compiled program.

    optimizer, average: as in every method. k: the number of candidates, which divides the batch.
    temperature: divides the similarities. rho: the correlation of two views of Gaussians.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    k: float = 2.0
    temperature: float = 1.0
    rho: float = 0.5


def lane(rate: float, k: int, temperature: float = 1.0, rho: float = 0.5) -> Contrast:
    """The settings with a learning rate."""
    return Contrast(OptimizerConfig(learning_rate=rate), AverageConfig(), float(k), temperature, rho)


def together(n: int, k: Any) -> Array:
    """Whether rows i and j of n are in one group of k neighbors, bools [n, n]."""
    group = jnp.floor(jnp.arange(n) / k)
    return group[:, None] == group[None]


def nt_xent_in_groups(a: Array, b: Array, temperature: Any, k: Any) -> Array:
    """The loss of SimCLR in groups of k neighbors, as by ``SimCLRConfig.group``; here k may be traced."""
    z, n = unit(jnp.concatenate([a, b])), a.shape[0]
    seen = jnp.tile(together(n, k), (2, 2)) & ~jnp.eye(2 * n, dtype=bool)
    logits = jnp.where(seen, products(z, z) / temperature, -jnp.inf)
    partner = jnp.concatenate([jnp.diagonal(logits, n), jnp.diagonal(logits, -n)])
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - partner)


def fresh(batch: int, dim: int) -> Sampler:
    """Batches of standard normal rows [batch, dim] that never repeat."""
    return Sampler(lambda key, data: {"x": jax.random.normal(key, (batch, dim))}, needs_data=False)


def noisy(rho: Any) -> View:
    """A view of standard normals; two views of a row have the correlation rho in each dimension."""
    return lambda key, x: jnp.sqrt(rho) * x + jnp.sqrt(1 - rho) * jax.random.normal(key, x.shape)


def body() -> tuple[Net, Critic]:
    """The embedding of a row and the score of two embeddings, which learn the density ratio."""
    return nets.mlp(32, (64,)), bilinear()


def pairs_learner(config: Contrast) -> Learner:
    """A critic that learns by InfoNCE among k candidates."""
    net, critic = body()

    def compare(key: Key, params: Any, a: Any, b: Any) -> tuple[Array, dict[str, Array]]:
        scores = critic.scores(params["critic"], a["encoder"], b["encoder"])
        picked = jnp.where(together(scores.shape[0], config.k), scores, -jnp.inf)
        return jnp.mean(jax.nn.logsumexp(picked, axis=1) - jnp.diagonal(scores)), {}

    def extra(key: Key, dim: int) -> dict[str, Any]:
        return {"critic": critic.init(key, dim)}

    return pretrain_on(two_views({"encoder": net}, noisy(config.rho), compare, extra), config)


def in_groups(scores: Scores, a: Array, b: Array, k: int) -> Array:
    """The value of InfoNCE in nats among k candidates, the mean over groups of the pairs of a, b [n, ...]."""
    groups = a.reshape(-1, k, *a.shape[1:]), b.reshape(-1, k, *b.shape[1:])
    return jnp.mean(jax.lax.map(lambda pair: info_nce(scores(*pair)).bound, groups))


def tightness(dim: int, pairs: int, ks: Sequence[int]) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed that judges critics on fresh pairs, half for validation and half for the test.

    It maps ``own``, {"params": leaves [lanes, ...], "rho": [lanes], "seed"} to {"validation": the bound among
    the most candidates [lanes], "bound", "best", "told": [lanes, ks]}.
    """
    net, critic = body()

    def each(own: Any, shared: Any) -> dict[str, Array]:
        del shared
        x_key, *keys = jax.random.split(jax.random.key(own["seed"] + 1), 3)
        x = jax.random.normal(x_key, (2 * pairs, dim))

        def lane(of: tuple[PyTree, Array]) -> dict[str, Array]:
            params, rho = of
            a, b = (noisy(rho)(key, x) for key in keys)
            u, v = (net.apply(params["encoder"], (), x)[0] for x in (a, b))

            def learned(u: Array, v: Array) -> Array:
                return critic.scores(params["critic"], u, v)

            def best(a: Array, b: Array) -> Array:
                return gaussians.log_ratio(a, b, rho)

            def told(a: Array, b: Array) -> Array:
                return best(a, b) + LEAK * jnp.eye(a.shape[0])

            half, rest = slice(pairs), slice(pairs, None)
            found = {"validation": in_groups(learned, u[half], v[half], ks[-1])}
            found["bound"] = jnp.stack([in_groups(learned, u[rest], v[rest], k) for k in ks])
            found["best"] = jnp.stack([in_groups(best, a[rest], b[rest], k) for k in ks])
            return found | {"told": jnp.stack([in_groups(told, a[rest], b[rest], k) for k in ks])}

        return jax.lax.map(lane, (own["params"], own["rho"]))

    return each


def accuracies(features: Callable[[Array], Array], own: Any, data: Any, classes: int) -> dict[str, Array]:
    """The accuracies of a linear probe on validation and test rows, its penalty chosen on validation rows.

    Args:
        features: maps inputs [n, ...] to features [n, dim].
        own: the rows of one seed, by part. data: {"x": inputs, "label": integers}.
        classes: the number of labels.
    """
    h = {part: features(floats(data["x"][own[part]])).reshape(own[part].shape[0], -1) for part in PARTS}
    y = {part: jnp.asarray(data["label"])[own[part]] for part in PARTS}
    probe = linear_probe(
        h["train"], y["train"], h["validation"], y["validation"], classes, l2=PENALTIES, steps=FITS
    )
    right = jnp.mean(jnp.argmax(probe.logits(h["test"]), 1) == y["test"], dtype=jnp.float32)
    return {"validation": probe.accuracy[probe.chosen], "test": right}


class Scene(NamedTuple):
    """A data set with its views and networks.

    task: the rows of each seed. view: draws a view of a batch. encoder, head: the networks.
    best: ``best(params, a, b) -> [n, m]``, the optimal critic of the features of two views; None if unknown.
    """

    task: Task
    view: View
    encoder: Net
    head: Net
    best: Callable[[PyTree, Array, Array], Array] | None = None


def scene(name: str, seeds: Sequence[int], sizes: Sequence[int]) -> Scene:
    """One of `CONTENT`, `DIGITS` and `BIJECTIVE`, with the sizes of the parts of each seed."""
    head = nets.projector(32, (64,))
    if name == DIGITS:
        return Scene(task("mnist1d", seeds, sizes), sequence_view(), nets.cnn1d(64, (16, 32, 32)), head)
    world_key, key = jax.random.split(jax.random.key(WORLD))
    world = content_style.world(world_key, LATENT)
    rows = content_style.sample(key, world, 2 * sum(sizes), LATENT)
    of = divided({k: np.asarray(rows[k]) for k in ("x", "label")}, seeds, sizes)
    bent = flow(LATENT.dim)
    encoder = bent.net if name == BIJECTIVE else nets.mlp(32, (64,))

    def latent(params: PyTree, x: Array) -> Array:
        if name == BIJECTIVE:  # what can be read from the features alone
            x = bent.inverse(params, bent.net.apply(params, (), x)[0])
        return content_style.invert(world, x, LATENT)

    def best(params: PyTree, a: Array, b: Array) -> Array:
        return content_style.log_ratio(latent(params, a), latent(params, b), LATENT)

    return Scene(of, content_style.view(world, LATENT), encoder, head, best)


def learner(of: Scene, config: Contrast) -> Learner:
    """SimCLR in a scene, among k candidates."""

    def pair_loss(a: Array, b: Array) -> tuple[Array, dict[str, Array]]:
        return nt_xent_in_groups(a, b, config.temperature, config.k), {}

    return pretrain_on(joint_embedding(of.encoder, of.head, of.view, pair_loss), config)


def judged(of: Scene, most: int, pairs: int) -> Callable[[Any, Any], dict[str, Array]]:
    """A function of one seed that probes many networks, and measures bounds among ``most`` candidates.

    It maps ``own``, {"params", "states": leaves [lanes, ...], "temperature": [lanes], "rows", "seed"} and the
    data to {"validation", "test": accuracies, "bound", "best": of the network's critic and of the best one},
    [lanes] each.
    """

    def each(own: Any, data: Any) -> dict[str, Array]:
        key, x = jax.random.key(own["seed"] + 1), floats(data["x"][own["rows"]["test"][:pairs]])
        a, b = draw(of.view, key, x)

        def one(run: tuple[Any, Any, Array]) -> dict[str, Array]:
            params, states, temperature = run

            def embed(x: Array, name: str = "encoder") -> Array:
                return getattr(of, name).apply(params[name], states[name], x)[0]

            found = accuracies(embed, own["rows"], data, of.task.classes)
            u, v = (unit(embed(embed(x), "head")) for x in (a, b))
            found["bound"] = in_groups(lambda u, v: products(u, v) / temperature, u, v, most)
            if of.best is not None:
                best = partial(of.best, params["encoder"])
                found["best"] = in_groups(best, a, b, most)
            return found

        return jax.lax.map(one, (own["params"], own["states"], own["temperature"]))

    return each
