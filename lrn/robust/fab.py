"""FAB: the adversarial point of least distance, by linearized boundaries (Croce & Hein 2020).

"Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020. FAB looks for the
nearest misclassified point, whatever eps is, so one run of `minimal` gives the robust accuracy at every eps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples, column
from lrn.robust.boundary import likeliest_wrong, linearize, linearize_nearest
from lrn.robust.closest import Closest, closer
from lrn.robust.hyperplane import length, nearest_move
from lrn.robust.losses import is_correct
from lrn.robust.norms import NORMS, by_example, narrow, widen
from lrn.types import Array, Key


@config
class FABConfig:
    """FAB settings; the defaults are those of AutoAttack's FAB-T.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch]. It bounds the result of the attack, and the random starts.
    steps: the number of steps from each start.
    restarts: the number of starts. The first is the clean input, the others are random points.
    norm: "linf", "l2" or "l1".
    targets: the number of wrong classes, those with the largest clean logits, that are aimed at one after
        another, each with all starts; at most the number of wrong classes counts. 0 aims at the nearest
        linearized boundary among all classes in each step (untargeted FAB), which takes a
        gradient of every wrong class.
    alpha_max: the largest weight of the step from the clean input; the step from the iterate has the rest.
    eta: the length of a step as a multiple of the way to the linearized boundary.
    backward: the share of the way from the clean input that the iterate keeps after a misclassified point.
    """

    eps: float = 8 / 255
    steps: int = 100
    restarts: int = 1
    norm: str = "linf"
    targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    backward: float = 0.9

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)
        check.counts(self, "steps", "restarts")
        check.integer("targets", self.targets, 0)
        check.between("alpha_max", self.alpha_max, 0, 1)
        check.positive("eta", self.eta)
        check.between("backward", self.backward, 0, 1)


def fab(config: FABConfig) -> Attack:
    """The attack: the nearest misclassified point found if it lies in the ball, and else ``x``.

    An example that has a point in the ball after a start takes no part in later starts; when no example is
    left, no further start is made. An attack takes at most restarts * max(targets, 1) starts. Each step
    evaluates the network twice and takes one gradient, or one a wrong class if targets = 0.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        eps = _radii(x, config)
        found = _search(key, logits_fn, x, y, config, eps)
        return jnp.where(column(found.distance <= eps, x), found.x, x)

    return attack


def minimal(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: FABConfig) -> Closest:
    """The nearest misclassified point of all starts, at any distance.

    The robust accuracy at eps is at most the share of examples whose distance is above eps. ``config.eps``
    only bounds the random starts, so without restarts it has no effect.

    Args:
        key, logits_fn, x, y: as for an `Attack`; without restarts the key has no effect.
        config: the settings.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``. (Under jit the points are NaN instead, with
            distance 0.)
    """
    x, y = check_examples(logits_fn, x, y)
    return _search(key, logits_fn, x, y, config, jnp.zeros_like(_radii(x, config)))


def _search(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: FABConfig, enough: Array) -> Closest:
    """All starts of FAB, for examples whose distance is still above ``enough`` [batch].

    No gradient flows through the search.
    """
    x, eps = jax.lax.stop_gradient((x, _radii(x, config)))
    clean = widen(x).reshape(x.shape[0], -1)
    logits = jax.lax.stop_gradient(logits_fn(x))
    goals = likeliest_wrong(logits, y, max(config.targets, 1))
    restarts = config.restarts

    def boundary(z: Array, target: Array) -> tuple[Array, Array]:
        if config.targets > 0:
            return linearize(logits_fn, z, y, target)
        return linearize_nearest(logits_fn, z, y, config.norm)

    def run(carry: tuple[Array, Closest]) -> tuple[Array, Closest]:
        i, found = carry
        target, restart = goals[i // restarts], i % restarts
        active = found.distance > enough
        z = clean
        if restarts > 1:
            radius = jnp.minimum(found.distance, eps)[:, None] / 2
            random = _random_start(jax.random.fold_in(key, i), clean, radius, config.norm)
            z = jnp.where(restart > 0, random, clean)

        def step(carry: tuple[Array, Closest], _):
            z, found = carry
            value, gradient = boundary(_image(z, x), target)
            z = advance(z, clean, value, gradient.reshape(clean.shape), config)
            seen = _image(z, x)
            fooled = ~is_correct(jax.lax.stop_gradient(logits_fn(seen)), y)
            found = closer(found, seen, fooled & active, x, config.norm)
            z = jnp.where(fooled[:, None], clean + config.backward * (z - clean), z)
            return (z, found), None

        (_, found), _ = jax.lax.scan(step, (z, found), length=config.steps)
        return i + 1, found

    def unfinished(carry: tuple[Array, Closest]) -> Array:
        return (carry[0] < len(goals) * restarts) & jnp.any(carry[1].distance > enough)

    correct = is_correct(logits, y)
    start = Closest(x, jnp.where(correct, jnp.inf, 0).astype(clean.dtype))
    return jax.lax.while_loop(unfinished, run, (jnp.array(0), start))[1]


def advance(z: Array, clean: Array, value: Array, gradient: Array, config: FABConfig) -> Array:
    """One step of FAB (eq. 7 and 8): beyond the linearized boundary, drawn to the clean input.

    Args:
        z, clean: the iterate and the clean input, [batch, dim] in [0, 1].
        value: a wrong logit minus the true logit at ``z``, [batch].
        gradient: the gradient of ``value``, [batch, dim].
        config: the settings.

    Returns:
        The next iterate, [batch, dim] in [0, 1].
    """
    far = value + jnp.sum(gradient * (clean - z), axis=1)  # the linear function at the clean input
    # (A loop, since XLA would compute the gradient anew for each of its uses outside of one.)
    points, values = jnp.stack([z, clean]), jnp.stack([value, far])
    moves = jax.lax.map(lambda pair: nearest_move(pair[0], gradient, pair[1], config.norm), (points, values))
    from_z, from_clean = moves
    near, away = (jnp.maximum(length(move, config.norm), 1e-8) for move in (from_z, from_clean))
    alpha = jnp.minimum(near / (near + away), config.alpha_max)[:, None]
    step = (1 - alpha) * (z + config.eta * from_z) + alpha * (clean + config.eta * from_clean)
    return jnp.clip(step, 0, 1)


def _random_start(key: Key, clean: Array, radius: Array, norm: str) -> Array:
    """A point at distance ``radius`` [batch, 1] in a random direction, clipped to the box, [batch, dim]."""
    if norm == "linf":
        direction = jax.random.uniform(key, clean.shape, clean.dtype, -1, 1)
    else:
        direction = jax.random.normal(key, clean.shape, clean.dtype)
    return jnp.clip(clean + radius * direction / length(direction, norm)[:, None], 0, 1)


def _image(z: Array, x: Array) -> Array:
    """The iterate [batch, dim] as an image of the shape and dtype of ``x``."""
    return narrow(z.reshape(x.shape), x)


def _radii(x: Array, config: FABConfig) -> Array:
    """eps for each example, [batch], in float32 or wider."""
    eps = by_example(config.eps, x)
    return jnp.broadcast_to(eps.reshape(-1), x.shape[:1])
