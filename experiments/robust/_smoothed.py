"""Certificates of smoothed networks, one a lane, and attacks on these certificates."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp

from lrn.robust.losses import is_correct
from lrn.robust.noise_training import gaussian
from lrn.robust.smooth_adv import smoothed_pgd
from lrn.robust.smoothing import ABSTAIN, average_certified_radius, certificate, counts, prediction
from lrn.robust.smoothing import certified_accuracy as share_at
from lrn.types import Net

SELECTION, ALPHA = 100, 0.001  # noisy copies that select the class; the chance of error
SAMPLES, JUDGES, AT_ONCE = 16, 500, 200  # noisy copies in the attack; that judge it; in a batch of a lane
# Not "accuracy": `noise_training` records under this name the accuracy of the network on noisy copies.
ACCURACY, BASE, OUTSIDE = (
    "smoothed accuracy",
    "accuracy of the network itself",
    "radii beyond the largest possible",
)


def reach(draws: int) -> float:
    """The largest possible radius as a multiple of sigma: that of ``draws`` copies of one class."""
    return NormalDist().inv_cdf(ALPHA ** (1 / draws))


def at(radius: float, draws: int = 0) -> str:
    """The metric of the certified accuracy at a radius; of certificates by so many copies, if given."""
    return (f"certified at {radius:g}" if radius else ACCURACY) + (f" by {draws} copies" if draws else "")


def certified(
    net: Net, sigmas: Any, draws: int, radii: Sequence[float], one: Any, test: Any
) -> dict[str, Any]:
    """The certificates of one seed, "label" and "radius" [lanes, images], and figures of them [lanes].

    Args:
        net: the network.
        sigmas: the deviation of the noise of each lane.
        draws: the number of noisy copies that bound the chance of the class, an even one; there are also
            certificates by half of them, and by `SELECTION`.
        radii: the radii of the curve of certified accuracy.
        one: the seed, the parameters (leaves [lanes, ...]), and the rows of the test images.
        test: the test set.
    """
    seed, networks, rows = one
    x, y = jnp.asarray(test["image"][rows], jnp.float32) / 255, test["label"][rows]

    def of(lane: Any) -> dict[str, Any]:
        params, sigma = lane

        def logits_fn(z: Any) -> Any:
            return net.apply(params, (), z)[0]

        first, *rest = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2), 3)  # for all lanes
        few = counts(first, logits_fn, x, sigma, SELECTION, AT_ONCE)
        half, other_half = (counts(key, logits_fn, x, sigma, draws // 2, AT_ONCE) for key in rest)
        many = half + other_half
        label, radius = certificate(few, many, draws, sigma, ALPHA)
        fewer = {
            SELECTION: certificate(many, few, SELECTION, sigma, ALPHA),  # the roles exchanged
            draws // 2: certificate(few, half, draws // 2, sigma, ALPHA),
        }
        curves = {0: share_at(radius, label == y, jnp.asarray(radii))}
        curves |= {n: share_at(c.radius, c.label == y, jnp.asarray(radii)) for n, c in fewer.items()}
        return {
            "label": label,
            "radius": radius,
            **{at(r, n): share for n, curve in curves.items() for r, share in zip(radii, curve)},
            "average certified radius": average_certified_radius(radius, label == y),
            "abstained": jnp.mean(label == ABSTAIN, dtype=jnp.float32),
            OUTSIDE: jnp.sum(radius > reach(draws) * sigma * (1 + 1e-4), dtype=jnp.float32),
            BASE: jnp.mean(is_correct(logits_fn(x), y), dtype=jnp.float32),
        }

    return jax.vmap(of)((networks, jnp.asarray(sigmas)))


def attacked(net: Net, sigmas: Any, too_far: float, one: Any, test: Any) -> dict[str, Any]:
    """Attacks on one seed's certificates of the first half of its images, counts [lanes].

    "certified": how many there are. "inside", "beyond": how many are broken within the radius, and within
    ``too_far`` times the radius. One is broken where the smoothed network, by `prediction`, gives another
    class at the point that PGD finds. Arguments are those of `certified`, but ``one`` has labels and radii
    [lanes, images] before the rows.
    """
    seed, networks, labels, radii, rows = one
    rows = rows[: len(rows) // 2]
    x = jnp.asarray(test["image"][rows], jnp.float32) / 255

    def of(lane: Any) -> dict[str, Any]:
        params, sigma, label, radius = lane

        def logits_fn(z: Any) -> Any:
            return net.apply(params, (), z)[0]

        def broken(factor: float) -> Any:
            first, second = jax.random.split(jax.random.fold_in(jax.random.key(seed), 3))
            noise = gaussian(first, x, sigma, SAMPLES)
            moved = smoothed_pgd(logits_fn, x, jnp.maximum(label, 0), noise, factor * radius)
            found = prediction(counts(second, logits_fn, moved, sigma, JUDGES, AT_ONCE), JUDGES, ALPHA)
            return jnp.sum((radius > 0) & (found != label) & (found != ABSTAIN), dtype=jnp.float32)

        sure = jnp.sum(radius > 0, dtype=jnp.float32)
        return {"certified": sure, "inside": broken(1.0), "beyond": broken(too_far)}

    own = labels[:, : len(rows)], radii[:, : len(rows)]
    return jax.vmap(of)((networks, jnp.asarray(sigmas), *own))
