"""HopSkipJump (Chen, Jordan & Wainwright 2020): an attack that sees only whether the network is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_box, check_eps, check_examples, column
from lrn.robust.closest import Closest, closer, first, within
from lrn.robust.losses import is_correct
from lrn.robust.norms import distance, narrow, steepest_direction, widen
from lrn.types import Array, Key

Decide = Callable[[Array], Array]  # points [batch, ...] -> bool [batch], whether the network is wrong there

NORMS = ("linf", "l2")


@config
class HopSkipJumpConfig:
    """HopSkipJump settings.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, one an example
        [batch], or None for the closest adversarial example at any distance.
    first_width: the length of the perturbations of the first estimate of the gradient, in the same unit.
    steps: the number of steps, each of which estimates the gradient once.
    first_draws: the number of perturbations of the first estimate, B_0; step t = 1, 2, ... has
        B_0 sqrt(t) of them.
    most_draws: the largest number of perturbations of one estimate.
    starts: the number of uniform images among which the starting point is sought.
    halvings: the number of times that the step size may be halved.
    norm: "linf" or "l2".
    """

    eps: float = None  # pyright: ignore[reportAssignmentType]
    first_width: float = 0.1
    steps: int = 20
    first_draws: int = 100
    most_draws: int = 10_000
    starts: int = 50
    halvings: int = 20
    norm: str = "l2"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        if self.eps is not None:
            check_eps(self.eps, self.norm)
        check.positive("first_width", self.first_width)
        check.counts(self, "steps", "first_draws", "most_draws", "starts", "halvings")


def draws(config: HopSkipJumpConfig) -> np.ndarray:
    """The number of perturbations of the gradient's estimate at each step, int [steps]."""
    numbers = config.first_draws * np.sqrt(np.arange(1, config.steps + 1))
    return np.minimum(numbers.astype(int), config.most_draws)


def bisections(pixels: int, norm: str) -> int:
    """The number of halvings of a search for the boundary.

    They shorten the segment to the paper's threshold: d^(-3/2) of its length for L2 and d^-2 for Linf, where
    d is the number of pixels.
    """
    return max(1, math.ceil((2 if norm == "linf" else 1.5) * math.log2(pixels)))


def queries(config: HopSkipJumpConfig, pixels: int) -> int:
    """The largest number of evaluations of the network for one example with ``pixels`` values.

    The clean input, the starting points, and one search for the boundary; and at every step the
    perturbations, the halvings of the step size, and one search for the boundary.
    """
    search = bisections(pixels, config.norm)
    return 1 + config.starts + search + int(draws(config).sum()) + config.steps * (config.halvings + search)


def hop_skip_jump(config: HopSkipJumpConfig, starting_points: Array | None = None) -> Attack:
    """The attack, which returns the closest adversarial example that `minimal` finds.

    With an eps, an example whose point lies beyond eps keeps its clean
    input; `minimal` gives the distances. `queries` says how many evaluations of the network the attack takes.

    Args:
        config: the settings.
        starting_points: images [batch, ...] in [0, 1] that the network gets wrong, such as images of
            other classes; None for uniform noise. An attack with starting points fits one batch.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        found = minimal(key, logits_fn, x, y, config, starting_points)
        return within(found, as_array(x), config.eps)

    return attack


def minimal(
    key: Key,
    logits_fn: LogitsFn,
    x: Array,
    y: Array,
    config: HopSkipJumpConfig,
    starting_points: Array | None = None,
) -> Closest:
    """The closest adversarial example on the path of each example, whatever ``config.eps``.

    Of the logits only `is_correct` is used, that is, the predicted class; a tie counts as wrong. An example
    without a starting point that the network gets wrong stays at distance inf: give such an example a
    starting point. The loops have numbers of rounds that do not depend on values, except for the
    step size's, which end when all examples have theirs; there is no derivative.

    Args:
        key: the key of the starting points and of the perturbations.
        logits_fn, x, y: as for an `Attack`.
        config: the settings.
        starting_points: as for `hop_skip_jump`.

    Raises:
        ValueError: `check_examples` refuses ``x`` and ``y``; or the starting points are not in the box,
            or have another shape than ``x``.
    """
    x, y = check_examples(logits_fn, x, y)
    original = widen(x)
    start_key, key = jax.random.split(key)

    def wrong(z: Array) -> Array:
        return ~is_correct(logits_fn(narrow(z, x)), y)

    best = first(x, wrong(original), config.norm)
    if starting_points is None:
        z = _noise(start_key, wrong, original, config.starts)
    else:
        z = _given(starting_points, original)
    started = wrong(z) & jnp.isinf(best.distance)
    z = _to_boundary(wrong, _where(started, z, original), original, config.norm)
    best = closer(best, narrow(z, x), started, x, config.norm)

    def step(carry: tuple[Array, Closest], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Closest], None]:
        z, best = carry
        t, count = inputs
        size = distance(z, original, config.norm)
        # The paper's width is |z - x| / d; the first point is far from the boundary's nearest point, and the
        # paper's code gives it a width of its own.
        width = jnp.where(t == 1, config.first_width, size / original[0].size)
        direction = _gradient(jax.random.fold_in(key, t), wrong, z, width, count)
        direction = steepest_direction(direction, config.norm)
        z = _advance(wrong, z, direction, size / jnp.sqrt(t), started, config.halvings)
        z = _to_boundary(wrong, z, original, config.norm)
        return (z, closer(best, narrow(z, x), started, x, config.norm)), None

    schedule = jnp.arange(1, config.steps + 1), jnp.asarray(draws(config))
    return jax.lax.scan(step, (z, best), schedule)[0][1]


def _where(condition: Array, a: Array, b: Array) -> Array:
    """``a`` [batch, ...] where the condition [batch] holds, ``b`` elsewhere."""
    return jnp.where(column(condition, a), a, b)


def _noise(key: Key, wrong: Decide, original: Array, starts: int) -> Array:
    """The first of several uniform images that the network gets wrong; the last image where it gets none."""

    def draw(carry: tuple[Array, Array], i: Array) -> tuple[tuple[Array, Array], None]:
        z, found = carry
        image = jax.random.uniform(jax.random.fold_in(key, i), original.shape, original.dtype)
        z = _where(found, z, image)
        return (z, found | wrong(z)), None

    begin = original, jnp.zeros(original.shape[0], bool)
    return jax.lax.scan(draw, begin, jnp.arange(starts))[0][0]


def _given(points: Array, original: Array) -> Array:
    points = as_array(points)
    if points.shape != original.shape:
        raise check.InputError(
            f"starting_points must have the shape of x, {original.shape}, got {points.shape}; "
            "give one image for each example."
        )
    return check_box(points).astype(original.dtype)


def _to_boundary(wrong: Decide, z: Array, original: Array, norm: str) -> Array:
    """The point near the boundary, on its wrong side, between ``z`` and the clean input.

    The path is a segment for L2, and for Linf the projections of ``z`` on balls that shrink. Where the
    network is right at ``z``, the result is ``z``.
    """
    farthest = distance(z, original, norm)

    def at(share: Array) -> Array:
        if norm == "l2":
            return original + column(share, z) * (z - original)
        radius = column(share * farthest, z)
        return jnp.clip(z, original - radius, original + radius)

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        inside = wrong(at(middle))
        return jnp.where(inside, low, middle), jnp.where(inside, middle, high)

    begin = jnp.zeros_like(farthest), jnp.ones_like(farthest)
    high = jax.lax.fori_loop(0, bisections(original[0].size, norm), halve, begin)[1]
    return _where(high < 1, at(high), z)


def _gradient(key: Key, wrong: Decide, z: Array, width: Array, count: Array) -> Array:
    """The estimate of the gradient at a point of the boundary (equation 16 of the paper), [batch, ...].

    The mean over perturbations u of (phi(z + width u) - mean of phi) u, where phi is 1 where the network is
    wrong and -1 elsewhere; the mean of phi is left out where phi is constant. u is uniform on the unit
    sphere, and the box cuts it off.
    """
    width = column(width, z)

    def draw(i: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weighted, plain, total = sums
        noise = jax.random.normal(jax.random.fold_in(key, i), z.shape, z.dtype)
        moved = jnp.clip(z + width * steepest_direction(noise, "l2"), 0, 1)
        u = (moved - z) / width
        phi = jnp.where(wrong(moved), 1, -1).astype(z.dtype)
        return weighted + column(phi, z) * u, plain + u, total + phi

    zero = jnp.zeros_like(z)
    # The number of rounds is an array, so that each step makes its own number in one compiled loop.
    weighted, plain, total = jax.lax.fori_loop(0, count, draw, (zero, zero, width.reshape(-1) * 0))
    mean = total / count
    baseline = jnp.where(jnp.abs(mean) == 1, 0, mean)
    return (weighted - column(baseline, z) * plain) / count


def _advance(wrong: Decide, z: Array, direction: Array, size: Array, active: Array, halvings: int) -> Array:
    """A step along ``direction``, halved until the network is wrong there; without success ``z`` itself."""

    def point(size: Array) -> Array:
        return jnp.clip(z + column(size, z) * direction, 0, 1)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        i, _, done = carry
        return (i < halvings) & ~jnp.all(done)

    def attempt(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        i, size, done = carry
        done = done | wrong(point(size))
        return i + 1, jnp.where(done, size, size / 2), done

    begin = jnp.zeros((), jnp.int32), size, ~active
    _, size, done = jax.lax.while_loop(unfinished, attempt, begin)
    return _where(done & active, point(size), z)
