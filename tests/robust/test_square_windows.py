"""The Square attack in the L2 and L1 balls: against NumPy in float64, query by query, and pyautoattack."""

# pyright: reportArgumentType=false, reportCallIssue=false
# NumPy arrays stand in for jax arrays.

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.losses import is_correct
from lrn.robust.square import SquareConfig, patch_sides, search, square
from lrn.robust.square_windows import bumps, draw_windows, redraw_window, shrink, tiled_start, window_side

POWER = {"l2": 2, "l1": 4}


def norm_of(d, norm, axis=None):
    return np.abs(d).sum(axis) if norm == "l1" else np.sqrt((d**2).sum(axis))


def bump_of(rows, columns, norm):
    """Nested rectangles around the middle, each lower than the one inside it."""
    total = np.zeros((rows, columns))
    for k in range(max(rows, columns) // 2 + 1):
        above, left = rows // 2 - k, columns // 2 - k
        total[max(above, 0) : above + 2 * k + 1, max(left, 0) : left + 2 * k + 1] += (
            1 / (k + 1) ** POWER[norm]
        )
    return total / norm_of(total, norm) if total.size else total


def bumps_of(side, norm):
    both = np.concatenate([bump_of(side // 2, side, norm), -bump_of(side - side // 2, side, norm)])
    return both / norm_of(both, norm)


def into_ball(delta, x, eps, norm):
    """One example: scaled to the sphere and clipped (L2), or the nearest point of ball and box (L1)."""
    if norm == "l2":
        return np.clip(x + eps * delta / (norm_of(delta, norm) + 1e-12), 0, 1)
    size, room = np.abs(delta), np.where(delta > 0, 1 - x, x)
    low, high = 0, size.max()
    if np.clip(size, 0, room).sum() > eps:
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if np.clip(size - middle, 0, room).sum() > eps else (low, middle)
    else:
        high = 0
    return x + np.sign(delta) * np.clip(size - high, 0, room)


def start_of(key, x, eps, norm):
    n, height, width, channels = x.shape
    side, out = height // 5, []
    margin = (height - 5 * side) // 2
    coins = np.asarray(jax.random.bernoulli(key, shape=(n, height // side, width // side, channels + 1)))
    for image, coin, radius in zip(x, coins, eps):
        delta = np.zeros_like(image)
        for i, j in np.ndindex(coin.shape[:2]):
            bump = bumps_of(side, norm).T if coin[i, j, 0] else bumps_of(side, norm)
            for c in range(channels):
                top, left = margin + i * side, margin + j * side
                place = delta[top : top + side, left : left + side, c]
                place += np.where(coin[i, j, c + 1], 1, -1) * bump[: place.shape[0], : place.shape[1]]
        out.append(into_ball(delta, image, radius, norm))
    return np.array(out)


def redraw_of(key, z, x, eps, side, norm):
    n, height, width, channels = x.shape
    corner_key, coin_key = jax.random.split(key)
    most = np.array([height - side + 1, width - side + 1] * 2)[None]
    corners = np.asarray(jax.random.randint(corner_key, (n, 4), 0, most))
    coins = np.asarray(jax.random.bernoulli(coin_key, shape=(n, 1, 1, channels + 1)))[:, 0, 0]
    out = []
    for k, (a, b, c, d) in enumerate(corners):
        delta = z[k] - x[k]
        first, second = np.s_[a : a + side, b : b + side], np.s_[c : c + side, d : d + side]
        covered = np.zeros((height, width), bool)
        covered[first] = covered[second] = True
        bump = bumps_of(side, norm).T if coins[k, 0] else bumps_of(side, norm)
        moved = delta.copy()
        moved[second] = 0
        for channel in range(channels):
            old = delta[first][..., channel]
            fresh = np.where(coins[k, channel + 1], 1, -1) * bump + old / (norm_of(old, norm) + 1e-12)
            spare, held = norm_of(delta, norm), norm_of(delta[covered][:, channel], norm)
            if norm == "l2":
                size = np.sqrt(max(eps[k] ** 2 - spare**2, 0) / channels + held**2)
            else:
                size = max(eps[k] - spare, 0) + channels * held
            moved[first][..., channel] = fresh / (norm_of(fresh, norm) + 1e-12) * size
        out.append(into_ball(moved, x[k], eps[k], norm))
    return np.array(out)


@pytest.mark.parametrize("norm", POWER)
def test_bumps_are_nested_rectangles(norm):
    run = jax.jit(lambda side: bumps(side, 9, norm))
    for side in range(1, 10):
        wanted = np.zeros((9, 9))
        wanted[:side, :side] = bumps_of(side, norm)
        np.testing.assert_allclose(run(side), wanted, atol=1e-6)
    # Values that pyautoattack 0.2.0 returns for the first column of eta(5).
    theirs = {"l2": [0.049162] * 2 + [-0.04559] * 3, "l1": [0.004119] * 2 + [-0.003532] * 3}
    np.testing.assert_allclose(run(5)[:5, 0], theirs[norm], atol=1e-6)


def test_window_sides_are_odd_and_at_least_three():
    assert [int(window_side(jnp.array(s), 12, 8)) for s in (1, 3, 4, 6, 8)] == [3, 3, 5, 7, 8]


@pytest.mark.parametrize("norm", POWER)
@pytest.mark.parametrize("shape", [(11, 7, 2), (8, 8, 1)])
def test_start_and_windows_are_their_references(norm, shape):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(9, *shape)).astype(np.float32)
    eps = np.linspace(0.3, 3, 9)
    radii = jnp.asarray(eps.reshape(9, 1, 1, 1), jnp.float32)
    key = jax.random.key(1)
    with jax.debug_key_reuse(False):
        z = np.asarray(jax.jit(lambda k: tiled_start(k, x, radii, norm))(key))
        inside = eps * (1 - 1e-5 * (norm == "l1"))  # room for rounding
        np.testing.assert_allclose(z, start_of(key, x.astype(float), inside, norm), atol=1e-5)
        run = jax.jit(lambda k, z, side: redraw_window(draw_windows(k, x.shape, side), z, x, radii, norm))
        for i, side in enumerate((3, 5, 7, 3)):
            mine = jax.random.fold_in(key, i)
            wanted = redraw_of(mine, z.astype(float), x.astype(float), inside, side, norm)
            z = np.asarray(run(mine, z, side))
            np.testing.assert_allclose(z, wanted, atol=2e-5)
            assert (norm_of((z - x).astype(float), norm, (1, 2, 3)) <= eps + 1e-6).all()
            assert z.min() >= 0
            assert z.max() <= 1


@pytest.mark.parametrize("scale", [0.05, 5])
def test_shrink_is_the_nearest_point_of_ball_and_box(scale):
    rng = np.random.default_rng(2)
    x = rng.uniform(size=(20, 4, 4, 2)).astype(np.float32)
    delta = (scale * rng.normal(size=x.shape) * rng.exponential(size=x.shape)).astype(np.float32)
    radius = np.float32([0, 0.01, 0.4, 2, 50] * 4).reshape(20, 1, 1, 1)
    ours = jax.jit(shrink)(delta, x, radius)
    for row, d, center, r in zip(ours, delta.astype(float), x.astype(float), radius.ravel().astype(float)):
        np.testing.assert_allclose(
            row, into_ball(d, center, r, "l1") - center, atol=4e-6 + 1e-5 * r
        )  # 4e-6: two steps of float32 at 20
        assert np.abs(np.asarray(row, float)).sum() <= r * (1 + 1.2e-5)


WEIGHTS = np.random.default_rng(3).normal(size=(2, 30, 3))


def logits_of(x, xp=np):
    flat = x.reshape(len(x), 30)
    return flat @ xp.asarray(WEIGHTS[0]) + 2 * (flat - 0.5) ** 2 @ xp.asarray(WEIGHTS[1])


def margin_of(x, y):
    return np.array([max(np.delete(row, label)) - row[label] for row, label in zip(logits_of(x), y)])


@pytest.mark.parametrize("norm", POWER)
def test_search_and_attack_are_their_reference(norm):
    x = np.random.default_rng(4).uniform(size=(8, 5, 6, 1)).astype(np.float32)
    ranked = np.argsort(logits_of(x), axis=1)
    y = ranked[:, -1].copy()
    y[3] = ranked[3, 0]
    eps = np.float32({"l2": 0.4, "l1": 1}[norm]) * np.linspace(0.5, 1.5, 8, dtype=np.float32)
    c = SquareConfig(eps, 40, 0.6, norm)  # pyright: ignore[reportArgumentType]
    network = lambda z: logits_of(z, jnp)  # noqa: E731
    key = jax.random.key(5)
    with jax.debug_key_reuse(False):
        ours, trace = jax.jit(lambda k: search(k, network, x, y, c))(key)
        start_key, search_key = jax.random.split(key)
        inside = eps.astype(float) * (1 - 1e-5 * (norm == "l1"))
        clean = margin_of(x.astype(float), y)[:, None, None, None] >= 0
        z = np.where(clean, x, start_of(start_key, x.astype(float), inside, norm))
        best = margin_of(z, y)
        margins = [best]
        for i, side in enumerate(np.asarray(patch_sides(c, 5, 6))[1:], 1):
            side = min(max(side, 3) + (max(side, 3) + 1) % 2, 5)
            proposal = redraw_of(jax.random.fold_in(search_key, i), z, x.astype(float), inside, side, norm)
            value = margin_of(proposal, y)
            accept = (best < 0) & (value > best)
            z, best = np.where(accept[:, None, None, None], proposal, z), np.where(accept, value, best)
            margins.append(best)
        np.testing.assert_allclose(trace, margins, atol=2e-4)
        np.testing.assert_allclose(ours, z, atol=5e-5)
        fooled = best >= 0
        assert 1 < fooled.sum() < 8
        np.testing.assert_array_equal(jax.jit(lambda k: square(c)(k, network, x, y))(key), ours)


SAVED = np.load(Path(__file__).parent / "references" / "fab_square_digits.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.12), ("l2", 0.7), ("l1", 2.0)])
def test_robust_accuracy_is_that_of_pyautoattack(norm, eps):
    # Over seeds the accuracies have standard deviations of .006 to .014; .02 is four standard errors of the
    # difference of two means over eight seeds.
    x, y = (SAVED["x"] / np.float32(16)).reshape(-1, 8, 8, 1), SAVED["y"].astype(np.int32)

    def network(x):
        hidden = jax.nn.relu(x.reshape(x.shape[0], 64) @ SAVED["w0"] + SAVED["b0"][None])
        return hidden @ SAVED["w1"] + SAVED["b1"][None]

    attack = square(SquareConfig(eps, 501, norm=norm))
    run = jax.jit(
        lambda keys: jax.lax.map(lambda k: is_correct(network(attack(k, network, x, y)), y).mean(), keys)
    )
    ours = np.asarray(run(jax.random.split(jax.random.key(0), 8)))
    assert ours.mean() == pytest.approx(SAVED[f"square_all_places_{norm}"].mean(), abs=0.02)
    assert ours.mean() < SAVED[f"square_{norm}"].mean()  # its windows never reach the last row and column
