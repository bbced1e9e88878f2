"""The variational bottleneck trained on a whole joint, beside the exact information curve of the joint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.data import discrete_joints
from lrn.data.sampler import full_batch
from lrn.representation.blahut_arimoto import information_curve, value_at
from lrn.representation.layer_information import log_densities
from lrn.representation.vib import Posterior, VIBConfig, encode, rate, vib
from lrn.supervised.learner import SupervisedState, weights
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array

INPUTS, OUTPUTS, CONCENTRATION = 16, 4, 0.5
DIM, NODES, SAMPLES, WIDTH = 2, 20, 8, 64
RATES = (1e-3, 3e-3, 1e-2)
PRICES = tuple(float(b) for b in np.geomspace(0.004, 1.0, 40))  # of the exact curve
CLOSED = 1.5  # a price above 1, at which nothing is worth its price
ENCODER, DECODER = nets.mlp(2 * DIM, (WIDTH, WIDTH)), nets.mlp(OUTPUTS, (WIDTH,))
# What is measured, in nats: the variational bound of I(X; T); the informations; how far I(T; Y) is below the
# curve; I(X; Y); the objective.
SPENT, OF_X, OF_Y, BELOW, WHOLE, LOSS = "rate", "I(X;T)", "I(T;Y)", "nats below the curve", "I(X;Y)", "loss"


def joints(seeds: Sequence[int]) -> np.ndarray:
    """A random joint of each seed, [seeds, inputs, outputs]."""
    keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
    draw = jax.vmap(lambda key: discrete_joints.random(key, INPUTS, OUTPUTS, CONCENTRATION))
    return np.asarray(jax.jit(draw)(keys))


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes [nodes, dim] and weights [nodes] of Gauss and Hermite for a standard normal in two dimensions."""
    at, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    grid = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, DIM)
    return grid.astype(np.float32), np.outer(weight, weight).reshape(-1).astype(np.float32)


def informations(joint: Array, q: Posterior) -> tuple[Array, Array]:
    """I(X; T) and I(T; Y) in nats of Gaussian codes, [inputs, 2], of a joint; by quadrature."""
    nodes, weight = map(jnp.asarray, quadrature())
    p_x, p_y = jnp.sum(joint, axis=1), jnp.sum(joint, axis=0)
    n = len(p_x)
    codes = q.mean[:, None, :] + q.std[:, None, :] * nodes[None]
    log_p = log_densities(codes.reshape(-1, DIM), q.mean, q.std).reshape(n, len(nodes), n)
    own = jnp.take_along_axis(log_p, jnp.arange(n)[:, None, None], axis=2)[:, :, 0]
    log_joint = log_p + jnp.log(p_x)[None, None, :]
    whole = jax.nn.logsumexp(log_joint, axis=2)
    of_x = jnp.sum(p_x * ((own - whole) @ weight))
    p_y_of_t = jnp.exp(log_joint - whole[:, :, None]) @ (joint / p_x[:, None])
    gain = jnp.log(jnp.maximum(p_y_of_t, 1e-30)) - jnp.log(p_y)[None, None, :]
    of_y = jnp.sum(joint * jnp.einsum("xny,n->xy", gain, weight))
    return of_x, of_y


def against_the_curve(
    context: Any, betas: Sequence[float], steps: int
) -> tuple[dict[float, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Train on the whole joint of each seed at each price, and at one above 1.

    Returns:
        From price to [seeds] of what is measured, at the learning rate with the least mean objective of all
        that training sees; and the exact curve: "x" and "y", [seeds, points].
    """
    menu = [(b, r) for b in (*betas, CLOSED) for r in RATES]
    lanes = {f"curve, beta {b:g}, rate {r:g}": _lane(b, r, steps) for b, r in menu}
    own = joints(context.seeds)
    given = {"x": np.tile(np.eye(INPUTS, dtype=np.float32), (len(own), 1, 1)), "y": own * INPUTS}
    fit = context.fit(
        lambda config: vib(ENCODER, DECODER, config),
        lanes,
        name="curve",
        steps=steps,
        per_seed=given,
        sampler=full_batch(columns=("x", "y")),
    )
    states = jax.tree.map(lambda *s: np.stack(s, 1), *(fit.arm(name) for name in lanes))
    price = np.asarray([b for b, _ in menu], np.float32)
    found = context.per_seed("curve, judged", _judged, {"joint": own, "states": states}, price)
    curve = {"x": found.pop("curve x"), "y": found.pop("curve y")}
    result = {}
    for i, b in enumerate((*betas, CLOSED)):
        part = {k: v[:, i * len(RATES) : (i + 1) * len(RATES)] if v.ndim > 1 else v for k, v in found.items()}
        best = int(np.argmin(part[LOSS].mean(0)))
        result[b] = {k: v[:, best] if v.ndim > 1 else v for k, v in part.items()}
    return result, curve


def _lane(beta: float, learning_rate: float, steps: int) -> VIBConfig:
    optimizer = OptimizerConfig("adam", learning_rate, schedule="cosine", steps=steps)
    return VIBConfig(optimizer, beta=beta, samples=SAMPLES)


def _judged(each: Any, price: Array) -> dict[str, Array]:
    """What is measured of all lanes of a seed, [lanes], and the exact curve."""
    joint = each["joint"]
    curve = information_curve(joint, jnp.asarray(PRICES), tolerance=1e-6, most=2000)
    nodes, weight = map(jnp.asarray, quadrature())

    def lane(given: tuple[SupervisedState, Array]) -> dict[str, Array]:
        state, beta = given
        q = encode(ENCODER, state, jnp.eye(INPUTS), VIBConfig())
        of_x, of_y = informations(joint, q)
        codes = q.mean[:, None, :] + q.std[:, None, :] * nodes[None]
        params = weights(state)[0]["decoder"]
        log_p = jax.nn.log_softmax(DECODER.apply(params, (), codes.reshape(-1, DIM))[0])
        log_p = jnp.einsum("xny,n->xy", log_p.reshape(INPUTS, -1, OUTPUTS), weight)
        spent = jnp.sum(jnp.sum(joint, axis=1) * rate(q))
        return {
            SPENT: spent,
            OF_X: of_x,
            OF_Y: of_y,
            BELOW: value_at(curve, of_x) - of_y,
            LOSS: -jnp.sum(joint * log_p) + beta * spent,
        }

    found = jax.lax.map(lane, (each["states"], price))
    whole = discrete_joints.mutual_information(joint)
    return {**found, WHOLE: whole, "curve x": curve.information_x, "curve y": curve.information_y}


def chance(outputs: int = OUTPUTS) -> float:
    """The largest I(X; Y) of a joint with so many outputs, in nats."""
    return math.log(outputs)
