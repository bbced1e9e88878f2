"""Half precision: attacks compute in float32, round towards the image and stay in the ball."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.norms import NORMS, distance, narrow, project, random_start, steepest_direction
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.square import SquareConfig, square

HALF = [jnp.float16, jnp.bfloat16]
FLOATS = [*HALF, jnp.float32, jnp.float64]
SMALL = {  # each eps is a half of a bfloat16 step near 1, or a few of these steps
    "fgsm": (fgsm(FGSMConfig(eps=1e-3)), "linf", 1e-3),
    "fgm": (fgsm(FGSMConfig(eps=2 / 255, norm="l2")), "l2", 2 / 255),
    "rs_fgsm": (rs_fgsm(RSFGSMConfig(eps=3e-3)), "linf", 3e-3),
    "pgd": (pgd(PGDConfig(8 / 255, 0.01, 3)), "linf", 8 / 255),
    "pgd_l2_last": (pgd(PGDConfig(0.1, 0.05, 3, norm="l2", keep="last")), "l2", 0.1),
    "pgd_l1": (pgd(PGDConfig(0.3, 0.1, 3, norm="l1")), "l1", 0.3),
    "apgd": (apgd(APGDConfig(8 / 255, 3)), "linf", 8 / 255),
    "apgd_l1": (apgd(APGDConfig(0.3, 5, norm="l1", early_stop=True)), "l1", 0.3),
    "square": (square(SquareConfig(eps=3e-3, queries=4)), "linf", 3e-3),
}


@pytest.fixture(autouse=True)
def _where_it_compiles(request):
    """Skip the cases of float16 where XLA lacks float16."""
    call = getattr(request.node, "callspec", None)
    if call is not None and call.params.get("dtype") is jnp.float16:
        request.getfixturevalue("float16")


def float64(x):
    return np.asarray(x.astype(jnp.float32) if x.dtype.itemsize < 4 else x, np.float64)


def length(delta, norm):
    return np.linalg.norm(delta.reshape(len(delta), -1), ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)


def images(dtype, n=16):
    x = np.random.default_rng(0).uniform(size=(n, 4, 4, 1))
    x.ravel()[:6] = [0, 1, 1e-6, 1 - 1e-4, 0.5, 2**-14]  # edges of the box, and a subnormal of float16
    return jnp.asarray(x, dtype)


@pytest.mark.parametrize("dtype", HALF)
def test_rounding_is_towards_the_original_and_no_further_than_one_step(dtype):
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    size = np.concatenate([rng.uniform(size=4000), 10.0 ** rng.uniform(-12, 0, 4000), [0, 1, 1e-30, 3e-38]])
    z = size.astype(np.float32)
    x = np.roll(z, 1).astype(kind)
    x[::3] = z[::3].astype(kind)  # some values are neighbors
    ours = jax.jit(narrow)(z, x)
    assert ours.dtype == dtype
    nearest = z.astype(kind)
    beyond = np.where(
        z > x.astype(np.float32), nearest.astype(np.float32) > z, nearest.astype(np.float32) < z
    )
    exact = np.where(beyond, np.nextafter(nearest, x), nearest)
    settled = z > 1e-30  # bfloat16 holds smaller values, and float32 cannot divide by them
    np.testing.assert_array_equal(np.asarray(ours)[settled], exact[settled])
    assert (
        np.abs(np.asarray(ours)[~settled].astype(np.float32)) <= np.maximum(z, x.astype(np.float32))[~settled]
    ).all()
    np.testing.assert_array_equal(narrow(jnp.asarray(z), jnp.asarray(z)), z)
    np.testing.assert_array_equal(jax.jit(narrow)(x.astype(np.float32), x)[settled], x[settled])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("norm", NORMS)
def test_projections_and_starts_stay_in_ball_and_box(norm, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = images(dtype)
        z = jnp.asarray(np.random.default_rng(1).normal(size=x.shape), dtype)

        @jax.jit
        def run(key, eps):
            return project(z, x, eps, norm), random_start(key, x, eps, norm)

        for eps in (0.0, 1e-3, 2 / 255, 0.3):
            for point in run(jax.random.key(0), eps):
                assert point.dtype == dtype
                delta = float64(point) - float64(x)
                assert length(delta, norm).max() <= eps + 1e-7
                assert 0 <= point.min() <= point.max() <= 1
                assert (length(delta, norm) > 0.8 * eps).mean() > 0.5 or eps < 0.3
                if eps == 0:
                    np.testing.assert_array_equal(point, x)
        far, near = (np.asarray(p.astype(jnp.float32)) for p in run(jax.random.key(0), 0.3))
        assert np.abs(far - near).max() > 0.05  # the start is random, and no projected noise


@pytest.mark.parametrize("dtype", [*HALF, jnp.float64])
def test_attacks_stay_in_ball_and_box_and_give_the_dtype_back(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x, weights = images(dtype), np.random.default_rng(2).normal(size=(16, 3))

        def logits(z):
            assert z.dtype == dtype
            return z.reshape(16, 16) @ jnp.asarray(weights, dtype)

        y = jnp.argmax(logits(x), 1)
        run = jax.jit(
            lambda key: {
                name: attack(jax.random.fold_in(key, i), logits, x, y)
                for i, (name, (attack, *_)) in enumerate(SMALL.items())
            }
        )
        for name, x_adv in run(jax.random.key(0)).items():
            _, norm, eps = SMALL[name]
            assert x_adv.dtype == dtype, name
            assert length(float64(x_adv) - float64(x), norm).max() <= eps + 1e-7, name
            assert 0 <= x_adv.min() <= x_adv.max() <= 1, name
            np.testing.assert_allclose(
                distance(x_adv, x, norm), length(float64(x_adv) - float64(x), norm), rtol=1e-5, atol=1e-8
            )
            if eps > 0.01:  # the point moves
                assert length(float64(x_adv) - float64(x), norm).max() > 0.5 * eps, name


def linear(dtype):
    """Two classes with gradients far from zero, so that the right result is known."""
    weights = np.linspace(1, 2, 16) * np.array([1, -1] * 8)

    def logits(z):
        score = z.reshape(len(z), 16) @ jnp.asarray(weights, dtype)[:, None]
        return jnp.concatenate([score, -score], axis=1) / 100

    return logits, np.sign(weights).reshape(4, 4, 1)


@pytest.mark.parametrize("dtype", HALF)
def test_small_steps_add_up(dtype):
    # A step of .0005 is less than half of bfloat16's spacing near .75: rounding each step would undo it.
    logits, direction = linear(dtype)
    x = jnp.full((2, 4, 4, 1), 0.75, dtype)
    y = jnp.array([0, 1])
    attack = pgd(PGDConfig(8 / 255, 5e-4, 40, random_start=False, keep="last", loss="margin"))
    ours = jax.jit(attack, static_argnums=1)(jax.random.key(0), logits, x, y)
    wanted = 0.75 + 0.02 * np.stack([-direction, direction])
    step = 2.0**-8 if dtype == jnp.bfloat16 else 2.0**-11
    rounded = 0.75 + np.trunc((wanted - 0.75) / step + 1e-4 * np.sign(wanted - 0.75)) * step
    np.testing.assert_array_equal(float64(ours), rounded)


@pytest.mark.parametrize("dtype", HALF)
def test_tiny_gradients_have_a_direction(dtype):
    g = jnp.full((1, 2, 2, 1), 1e-6, dtype)
    for direction in (steepest_direction(g, "l2"), jax.jit(steepest_direction, static_argnums=1)(g, "l2")):
        assert direction.dtype == jnp.float32
        np.testing.assert_allclose(direction, np.full((1, 2, 2, 1), 0.5), rtol=1e-6)
    np.testing.assert_array_equal(steepest_direction(-g, "linf"), -np.ones((1, 2, 2, 1)))
    logits, direction = linear(dtype)
    x = jnp.full((2, 4, 4, 1), 0.5, dtype)
    attack = fgsm(FGSMConfig(eps=0.25, norm="l2", loss="margin"))
    tiny = lambda z: logits(z) * jnp.asarray(1e-4, dtype)  # noqa: E731
    x_adv = jax.jit(attack, static_argnums=1)(jax.random.key(0), tiny, x, jnp.array([0, 1]))
    moved = float64(x_adv) - 0.5
    weights = np.linspace(1, 2, 16).reshape(4, 4, 1) * direction
    step = 0.25 * weights / np.linalg.norm(weights)
    np.testing.assert_allclose(moved, np.stack([-step, step]), atol=4e-3)
    assert length(moved, "l2").max() <= 0.25


@pytest.mark.usefixtures("float16")
def test_distances_are_measured_in_float32():
    a, b = jnp.full((1, 3000), 1, jnp.float16), jnp.full((1, 3000), 1 - 2**-11, jnp.float16)
    assert distance(a, b, "l2")[0] == pytest.approx(3000**0.5 * 2**-11, rel=1e-5)
    assert distance(a, b, "linf")[0] == 2**-11


def test_a_point_of_more_bits_is_rounded_too():
    x = jnp.full((1, 2), 0.9, jnp.bfloat16)
    for norm in NORMS:
        out = project(jnp.array([[0.9009, 0.2]]), x, 0.05, norm)
        assert out.dtype == jnp.bfloat16
        assert length(float64(out) - float64(x), norm).max() <= 0.05
