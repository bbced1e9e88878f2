"""The accuracy of several networks under attacks in Linf, L2 and L1 balls, and under rotations and shifts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.robust._watched import Images, take
from lrn.robust import validity
from lrn.robust.attack import LogitsFn, no_attack
from lrn.robust.auto_attack import AutoAttackConfig, standard
from lrn.robust.cascade import cascade
from lrn.robust.evaluate import correct_under_attack
from lrn.robust.pgd import PGDConfig
from lrn.robust.spatial import SpatialConfig, spatial
from lrn.study.context import Context
from lrn.types import Array, Key, Net

BALLS = ("Linf", "larger Linf", "L2", "L1")
LARGER = 1.5  # the larger Linf radius, as a multiple of the radius of the training


class Threats(NamedTuple):
    """Threat models and the budgets of the attacks.

    linf, l2, l1: radii. rotation, translation: the largest angle in degrees and shift in pixels.
    steps, queries: of APGD and of Square. few: the number of test images for attacks that cost much.
    """

    linf: float
    l2: float = 0.0
    l1: float = 0.0
    rotation: float = 0.0
    translation: float = 0.0
    steps: int = 20
    queries: int = 100
    few: int = 100


class Judge(NamedTuple):
    """Attacks the weights of several arms at once.

    net: the network. threats: the threat models. parts: the images. attack: one of the functions below.
    """

    net: Net
    threats: Threats
    parts: Images
    attack: Callable[..., dict[str, Array]]

    def __call__(
        self, context: Context, weights: Mapping[str, Any], lost: Any, name: str
    ) -> dict[str, dict[str, np.ndarray]]:
        """By arm the accuracies [seeds].

        Args:
            context: the context. weights: by arm, leaves [seeds, ...].
            lost: the seeds that failed, bool [seeds]. name: the name of this computation.
        """
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *weights.values())
        each = (np.asarray(context.seeds, np.uint32), stacked, self.parts.test)
        attack = functools.partial(self.attack, self.net, self.threats)
        found = context.per_seed(name, attack, each, self.parts.data, lost)
        return {arm: {metric: x[:, i] for metric, x in found.items()} for i, arm in enumerate(weights)}


def attacked(net: Net, threats: Threats, one: Any, data: Any) -> dict[str, Array]:
    """The accuracies [networks] of one seed's networks on its test images, under all threat models."""
    return _attacked(net, threats, True, one, data)


def attacked_by_few(net: Net, threats: Threats, one: Any, data: Any) -> dict[str, Array]:
    """The same for the Linf and the L2 ball only."""
    return _attacked(net, threats, False, one, data)


def _attacked(net: Net, threats: Threats, every: bool, one: Any, data: Any) -> dict[str, Array]:
    """The accuracies of `attacked`, and without ``every`` of `attacked_by_few`.

    In each ball three attacks of AutoAttack try the images that the ones before spare: APGD on the
    cross-entropy, targeted APGD (not in L1) and Square, which needs no gradient. Rotations and shifts are a
    grid.

    Args:
        net: the network. threats: the threat models.
        every: whether to use all of them; else Linf and L2.
        one: seed, weights with leaves [networks, ...], and test rows.
        data: the images.

    Returns:
        By threat model the accuracy; "clean"; with ``every`` also "at will", under an attack without limits,
        and for a ball "..., without Square", the accuracy less what gradients alone spare.
    """
    seed, weights, rows = one
    x, y = take(data, rows)
    key = jax.random.fold_in(jax.random.key(seed), 9)

    def of(own: Any) -> dict[str, Array]:
        def logits_fn(z: Array) -> Array:
            return net.apply(own[0], own[1], z)[0]

        radii = jnp.array([1.0, LARGER][: 1 + every]) * threats.linf
        linf = jax.lax.map(lambda eps: _left(key, logits_fn, x, y, "linf", eps, threats), radii)
        left = {
            name: jax.tree.map(lambda leaf, i=i: leaf[i], linf) for i, name in enumerate(BALLS[: 1 + every])
        }
        left["L2"] = _left(key, logits_fn, x, y, "l2", threats.l2, threats)
        right = {name: after["square"] for name, after in left.items()} | {"clean": left["Linf"]["clean"]}
        if every:
            some = x[: threats.few], y[: threats.few]
            left["L1"] = _left(key, logits_fn, *some, "l1", threats.l1, threats)
            right["L1"] = left["L1"]["square"]
            turned = SpatialConfig(threats.rotation, threats.translation, rotations=9, translations=3)
            right["spatial"] = correct_under_attack(key, logits_fn, x, y, spatial(turned))
            will = validity.unbounded(PGDConfig(steps=threats.steps))
            right["at will"] = correct_under_attack(key, logits_fn, x, y, will)
        accuracy = {name: jnp.mean(r, dtype=jnp.float32) for name, r in right.items()}
        for name in left if every else ():
            spared = left[name]["apgd_t" if "apgd_t" in left[name] else "apgd_ce"]
            accuracy[f"{name}, without Square"] = accuracy[name] - jnp.mean(spared, dtype=jnp.float32)
        return accuracy

    return jax.lax.map(of, weights)


def _left(
    key: Key, logits_fn: LogitsFn, x: Array, y: Array, norm: str, eps: Any, threats: Threats
) -> dict[str, Array]:
    """Which images the network is still right on after each attack, bool [n]."""
    names = ("apgd_ce", "square") if norm == "l1" else ("apgd_ce", "apgd_t", "square")
    settings = AutoAttackConfig(
        norm=norm, steps=threats.steps, targets=3, queries=threats.queries, attacks=names
    )
    return dict(cascade(key, logits_fn, x, y, eps, standard(settings, 10)).after)


def attacked_in_ball(net: Net, threats: Threats, one: Any, data: Any) -> dict[str, Array]:
    """The same for the Linf ball alone, where the first ``few`` test images are attacked.

    Returns:
        "clean", on all test images; "robust"; "robust, without Square"; and "at will".
    """
    seed, weights, rows = one
    x, y = take(data, rows)
    some, labels = x[: threats.few], y[: threats.few]
    key = jax.random.fold_in(jax.random.key(seed), 9)
    will = validity.unbounded(PGDConfig(steps=threats.steps))

    def of(own: Any) -> dict[str, Array]:
        def logits_fn(z: Array) -> Array:
            return net.apply(own[0], own[1], z)[0]

        left = _left(key, logits_fn, some, labels, "linf", threats.linf, threats)
        right = {
            "clean": correct_under_attack(key, logits_fn, x, y, no_attack),
            "robust": left["square"],
            "robust, without Square": left["apgd_t"],
            "at will": correct_under_attack(key, logits_fn, some, labels, will),
        }
        return {name: jnp.mean(r, dtype=jnp.float32) for name, r in right.items()}

    return jax.lax.map(of, weights)
