"""Square: its schedule, its proposals, and the exact worst case of a linear model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.config import stack
from lrn.robust.losses import is_correct
from lrn.robust.norms import NORMS, distance
from lrn.robust.square import SquareConfig, patch_sides, search, square


def exact_margins(linear, eps):
    x = np.asarray(linear.x, np.float64)
    direction = np.sign(linear.direction).reshape(x.shape)
    return linear.margins(np.clip(x + eps * direction, 0, 1))


def test_reaches_the_worst_case_of_a_linear_model(linear):
    config = SquareConfig(eps=0.05, queries=3000)
    x_adv, trace = jax.jit(lambda key: search(key, linear.logits, linear.x, linear.y, config))(
        jax.random.key(0)
    )
    exact, reached = exact_margins(linear, 0.05), linear.margins(x_adv)
    assert 0.2 < (exact > 0).mean() < 0.8  # examples of both kinds are present
    np.testing.assert_array_equal(reached > 0, exact > 0)
    held = exact < 0
    np.testing.assert_allclose(reached[held], exact[held], atol=1e-3)
    assert (reached <= exact + 1e-4).all()
    np.testing.assert_allclose(trace[-1], reached, atol=1e-4)
    assert distance(x_adv, linear.x, "linf").max() <= 0.05 + 1e-6


def test_accuracy_never_rises_with_queries_and_success_freezes(linear):
    _, trace = search(
        jax.random.key(0), linear.logits, linear.x, linear.y, SquareConfig(eps=0.05, queries=200)
    )
    assert trace.shape == (200, 48)
    assert (jnp.diff(trace, axis=0) >= 0).all()
    fooled = trace >= 0
    assert fooled[-1].sum() > fooled[0].sum()
    np.testing.assert_array_equal(jnp.diff(trace, axis=0)[fooled[:-1]], 0)


def test_bigger_budgets_fool_more(linear):
    @jax.jit
    def accuracies(keys):
        attacks = [square(SquareConfig(eps=0.05, queries=q)) for q in (1, 30, 1000)]
        inputs = [attack(key, linear.logits, linear.x, linear.y) for attack, key in zip(attacks, keys)]
        return [is_correct(linear.logits(z), linear.y).mean() for z in inputs]

    few, some, many = accuracies([jax.random.key(i) for i in range(3)])
    assert few > some > many


def test_first_query_is_vertical_stripes():
    x = jnp.full((20, 6, 5, 3), 0.5)
    constant = jnp.broadcast_to(jnp.array([[1.0, 0.0]]), (20, 2))
    attack = square(SquareConfig(eps=0.1, queries=1))
    stripes = jax.jit(lambda key: attack(key, lambda z: constant, x, jnp.zeros(20, int)))(jax.random.key(0))
    np.testing.assert_allclose(jnp.abs(stripes - x), 0.1, atol=1e-6)
    np.testing.assert_array_equal(stripes, np.broadcast_to(stripes[:, :1], x.shape))
    assert len({np.asarray(s[0]).tobytes() for s in stripes}) == 20  # each example has its own patch


def test_each_query_is_one_square_anywhere_and_per_example(monkeypatch):
    n, side = 3000, 2
    x = jnp.full((n, 5, 7, 2), 0.5)
    seen = []

    def logits(z):  # no proposal is ever accepted
        jax.debug.callback(lambda z: seen.append(np.asarray(z)), z, ordered=True)
        return jnp.broadcast_to(jnp.array([[1.0, 0.0]]), (n, 2))

    monkeypatch.setattr("lrn.robust.square.patch_sides", lambda *_: jnp.array([side, side]))
    attack = square(SquareConfig(eps=0.1, queries=2))
    jax.jit(lambda key: attack(key, logits, x, jnp.zeros(n, int)))(jax.random.key(0)).block_until_ready()
    jax.effects_barrier()
    _, stripes, proposal = seen
    np.testing.assert_allclose(np.abs(proposal - 0.5), 0.1, atol=1e-6)
    corners, signs = np.zeros((4, 6)), np.zeros((2, 2))
    changed = (proposal != stripes).any(axis=3)
    for image, after in zip(changed, proposal):
        rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
        # A patch does not show in columns whose stripe already has its sign; all its rows change together.
        assert len(rows) in (0, side)
        assert len(columns) <= side
        assert image.sum() == len(rows) * len(columns)
        if len(columns) == side:
            corners[rows[0], columns[0]] += 1
            signs[tuple((after[rows[0], columns[0]] > 0.5).astype(int))] += 1
    assert signs.min() > 0.15 * signs.sum()  # each example and each channel draws its own sign
    # All corners, last row and column included, are equally likely (chi-square, 23 degrees of freedom).
    expected = corners.sum() / corners.size
    assert ((corners - expected) ** 2 / expected).sum() < 60


@pytest.mark.parametrize("queries", [1000, 10_000])
def test_schedule_is_the_papers_stretched(queries):
    sides = np.asarray(patch_sides(SquareConfig(queries=queries), 32, 32))
    for query in (0, 2, 30, 100, 400, 900, 1500, 3000, 5000, 7000, 9000):
        halvings = sum(query > threshold for threshold in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        expected = round((0.8 / 2**halvings * 32 * 32) ** 0.5)
        assert sides[query * queries // 10_000] == max(expected, 1)
    assert (np.diff(sides) <= 0).all()
    assert patch_sides(SquareConfig(queries=5, initial_fraction=1.0), 4, 40).max() == 4


def test_an_input_that_gives_nan_counts_as_found():
    x, y = jnp.full((10, 4, 4, 1), 0.5), jnp.zeros(10, int)

    def logits(z):  # dark pixels lower the confidence; NaN where all pixels are dark
        sure = jnp.stack([z.mean(axis=(1, 2, 3)), jnp.zeros(10)], axis=1)
        return jnp.where((z < 0.45).all(axis=(1, 2, 3))[:, None], jnp.nan, sure)

    run = jax.jit(lambda key: logits(square(SquareConfig(eps=0.1, queries=200))(key, logits, x, y)))
    assert jnp.isnan(run(jax.random.key(0))).any(axis=1).all()


def test_needs_images():
    with pytest.raises(
        ValueError, match=r"needs images \[batch, height, width, channels\], got shape \(2, 64\)"
    ):
        square(SquareConfig())(jax.random.key(0), lambda z: z, jnp.zeros((2, 64)), jnp.zeros(2, int))


@pytest.mark.parametrize("norm", NORMS)
def test_queries_end_when_every_example_is_fooled(norm):
    x, y, calls = jnp.full((3, 5, 5, 1), 0.5), jnp.zeros(3, int), []

    def logits(z, wins):  # two examples are fooled by any change, the third if it may be
        jax.debug.callback(lambda: calls.append(1))
        moved = jnp.abs(z - x).sum(axis=(1, 2, 3)) > 0
        wrong = moved & (wins | (jnp.arange(3) < 2))
        return jnp.stack([jnp.ones(3), jnp.where(wrong, 2.0, 0)], axis=1)

    attack = square(SquareConfig(0.1, 30, norm=norm))
    run = jax.jit(lambda key, wins: attack(key, lambda z: logits(z, wins), x, y))
    for wins, wanted in ((True, 2), (False, 31)):  # the clean input and the start; or all queries as well
        calls.clear()
        z = run(jax.random.key(0), wins).block_until_ready()
        jax.effects_barrier()
        assert len(calls) == wanted
        np.testing.assert_array_equal((z != x).any(axis=(1, 2, 3)), [True, True, True])


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_in_lanes_and_half_precision(linear, norm):
    radius = {"linf": 0.05, "l2": 0.4, "l1": 2}[norm]
    configs = stack([SquareConfig(e * radius, 30, norm=norm) for e in (0, 1, 2)])

    def run(c, key, x):
        return square(c)(key, lambda z: linear.logits(z), x, linear.y)

    lanes = jax.jit(jax.vmap(run, (0, 0, None)))
    for x in (linear.x, linear.x.astype(jnp.bfloat16)):
        z = lanes(configs, jax.vmap(jax.random.key)(jnp.arange(3)), x)
        assert z.dtype == x.dtype
        np.testing.assert_array_equal(z[0], x)
        moved = (np.asarray(z, np.float64) - np.asarray(x, np.float64)).reshape(3, 48, 64)
        order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
        sizes = np.linalg.norm(moved, order, axis=2)
        assert (sizes <= np.array([[0], [radius], [2 * radius]]) + 1e-6).all()
        assert sizes[2].max() > 1.5 * radius
        assert 0 <= z.min() <= z.max() <= 1
    alone = jax.jit(run)(jax.tree.map(lambda a: a[1], configs), jax.random.key(1), linear.x)
    both = lanes(configs, jax.vmap(jax.random.key)(jnp.arange(3)), linear.x)
    np.testing.assert_allclose(both[1], alone, atol=1e-5)


def test_no_gradient_flows(linear):
    def total(scale):
        c = SquareConfig(0.1, 3)
        return square(c)(jax.random.key(0), lambda z: scale * linear.logits(z), linear.x, linear.y).sum()

    assert jax.jit(jax.grad(total))(1.0) == 0


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm 'l0' is not known"):
        SquareConfig(norm="l0")
    assert SquareConfig(eps=12.0, norm="l1").eps == 12
