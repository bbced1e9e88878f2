"""Classes along directions: the dial moves them and nothing else; who is told them does what theory says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from lrn.meta.episode import Episode, check_family, draw
from lrn.meta.families.directions import directions, orthonormal, posterior

DIM, WAYS = 16, 5


@pytest.fixture(scope="module")
def episodes():
    """400 tasks at three positions of the dial."""
    drawn = jax.jit(lambda dial: draw(directions(unshared=dial), jax.random.key(0), 400))
    return {dial: drawn(dial) for dial in (0.0, 0.5, 1.0)}


def frames(episode: Episode) -> np.ndarray:
    return np.asarray(episode.code).reshape(400, 2, DIM)


@pytest.mark.parametrize(("dial", "overlap"), [(0.0, 1.0), (1.0, 2 / DIM)])
def test_directions_are_shared_or_not(episodes, dial, overlap):
    """The squared cosines between the planes of two tasks: 1, or by chance 2 of 16."""
    frame = frames(episodes[dial])
    shared = np.linalg.norm(frame[:200] @ frame[200:].swapaxes(1, 2), axis=(1, 2)) ** 2 / 2
    assert abs(shared.mean() - overlap) < 0.02


def test_halfway_they_are_in_between(episodes):
    frame = frames(episodes[0.5])
    shared = np.linalg.norm(frame[:200] @ frame[200:].swapaxes(1, 2), axis=(1, 2)) ** 2 / 2
    assert 0.2 < shared.mean() < 0.6


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0])
def test_points_spread_as_they_should(episodes, dial):
    frame = frames(episodes[dial])
    np.testing.assert_allclose(frame @ frame.swapaxes(1, 2), np.tile(np.eye(2), (400, 1, 1)), atol=1e-5)
    x = np.asarray(episodes[dial].query["x"])
    along = np.einsum("tnd,tfd->tnf", x, frame)
    across = (x**2).sum(-1) - (along**2).sum(-1)
    assert across.mean() == pytest.approx((DIM - 2) * 2.0**2, rel=0.03)
    assert (along**2).sum(-1).mean() == pytest.approx(2 * (3.0**2 + 1), rel=0.06)
    # Within a class only the unit noise is left.
    within = along.reshape(400, 5, WAYS, 2).var(1, ddof=1).mean()
    assert within == pytest.approx(1.0, rel=0.05)


def test_told_the_directions_all_tasks_are_as_easy(episodes):
    def loss(episode: Episode) -> jax.Array:
        log_density = posterior(episode, WAYS)
        right = jnp.take_along_axis(log_density, episode.query["y"][:, None], 1)[:, 0]
        return (jax.nn.logsumexp(log_density, -1) - right).mean()

    means = [float(jax.vmap(loss)(e).mean()) for e in episodes.values()]
    np.testing.assert_allclose(means, np.mean(means), atol=0.04)
    assert 0.4 < np.mean(means) < 0.8  # far from a guess, log 5 = 1.6


def test_the_posterior_is_the_integral_over_centers():
    """Each density by quadrature over where the center may be, for classes of one, two and three examples."""
    rng = np.random.default_rng(0)
    frame = np.asarray(orthonormal(jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)), float)
    y = np.array([0, 1, 1, 2, 2, 2])
    support, query = rng.normal(size=(6, 4)) * 2, rng.normal(size=(3, 4)) * 2

    def evidence(points: np.ndarray) -> float:
        """Of examples [n] along one direction: the integral over the center."""

        def joint(center: float) -> float:
            return float(stats.norm.pdf(center, 0, 3.0) * np.prod(stats.norm.pdf(points, center, 1)))

        return float(integrate.quad(joint, -20, 20, points=[float(points.mean())], epsabs=0, epsrel=1e-9)[0])

    expected = np.empty((3, 3))
    for i, k in np.ndindex(3, 3):
        known, seen = support[y == k] @ frame.T, query[i] @ frame.T
        both = [evidence(np.append(known[:, d], seen[d])) / evidence(known[:, d]) for d in (0, 1)]
        expected[i, k] = np.log(both).sum()
    episode = Episode(
        {"x": jnp.asarray(support, jnp.float32), "y": jnp.asarray(y)},
        {"x": jnp.asarray(query, jnp.float32), "y": jnp.arange(3)},
        jnp.asarray(frame.ravel(), jnp.float32),
    )
    logits = np.asarray(posterior(episode, 3))
    np.testing.assert_allclose(special.softmax(logits, 1), special.softmax(expected, 1), rtol=1e-4)


def test_it_is_a_family_of_any_size():
    family = directions(3, 2, 4, dim=6, signal=3, unshared=0.3)
    check_family(family)
    drawn = draw(family, jax.random.key(1), 7)
    assert drawn.support["x"].shape == (7, 6, 6)
    assert drawn.query["x"].shape == (7, 12, 6)
    np.testing.assert_array_equal(drawn.support["y"][0], [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(ways=1), "ways"),
        (dict(signal=20), "signal must be at most dim = 16"),
        (dict(apart=0.0), "apart"),
        (dict(nuisance=-1.0), "nuisance"),
        (dict(unshared=1.5), "unshared must lie between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        directions(**settings)


def test_a_code_that_is_no_directions_is_refused(episodes):
    one = jax.tree.map(lambda x: x[0], episodes[0.0])
    with pytest.raises(ValueError, match=r"directions of 16 dimensions, got shape \[31\]"):
        posterior(one._replace(code=one.code[1:]), WAYS)
