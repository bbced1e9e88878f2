"""FGSM and PGD against closed forms, foolbox, and the iterates of PGD."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq

from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import is_correct
from lrn.robust.pgd import PGDConfig, ascend, classification_objective, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm


def worst_case(linear, eps, norm):
    """The exact worst perturbation [batch, 64] of the linear model within ball and box, in float64."""
    x = np.asarray(linear.x, np.float64).reshape(-1, 64)
    direction = linear.direction.astype(np.float64)
    if norm == "linf":
        return np.clip(x + eps * np.sign(direction), 0, 1) - x

    def move(g, x, scale):  # the maximizer of g.d - |d|^2 / (2 scale) in the box; grows with the scale
        return np.clip(scale * g, -x, 1 - x)

    scales = [
        brentq(lambda s, g=g, x=x: np.linalg.norm(move(g, x, s)) - eps, 0, 1e3) for g, x in zip(direction, x)
    ]
    return np.stack([move(g, x, s) for g, x, s in zip(direction, x, scales)])


def test_fgsm_on_a_linear_model_is_the_closed_form(linear):
    run = jax.jit(lambda config: fgsm(config)(jax.random.key(0), linear.logits, linear.x, linear.y))
    for eps in (0.02, 0.3):
        exact = np.asarray(linear.x).reshape(-1, 64) + worst_case(linear, eps, "linf")
        np.testing.assert_allclose(run(FGSMConfig(eps=eps)).reshape(-1, 64), exact, atol=1e-6)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize(("norm", "radii"), [("linf", (0.02, 0.3)), ("l2", (0.1, 1.5))])
def test_pgd_on_a_linear_model_reaches_the_worst_case(linear, norm, radii, start):
    run = jax.jit(lambda config: pgd(config)(jax.random.key(0), linear.logits, linear.x, linear.y))
    for eps in radii:
        # Where the box binds, projecting on the ball and then the box stops O(step) short of the L2 optimum.
        step, steps = (eps / 10, 20) if norm == "linf" else (eps / 200, 2000)
        x_adv = run(PGDConfig(eps, step, steps, norm=norm, random_start=start))
        exact = linear.margins(np.asarray(linear.x).reshape(-1, 64) + worst_case(linear, eps, norm))
        reached, clean = linear.margins(x_adv), linear.margins(linear.x)
        assert (reached <= exact + 1e-4).all()
        tolerance = 1e-3 if norm == "l2" else 1e-5
        np.testing.assert_allclose(reached - clean, exact - clean, rtol=tolerance, atol=1e-4)


def test_rs_fgsm_is_its_definition(linear):
    # On a linear model a step of 1.25 eps from any point of the ball gives clip(start + 1.25 eps sign).
    eps, key = 0.1, jax.random.key(3)
    x_adv = rs_fgsm(RSFGSMConfig(eps=eps))(key, linear.logits, linear.x, linear.y)
    moved = (np.asarray(x_adv) - np.asarray(linear.x)).reshape(-1, 64) * np.sign(linear.direction)
    inside = (np.asarray(x_adv) > 1e-6) & (np.asarray(x_adv) < 1 - 1e-6)
    moved = moved[inside.reshape(-1, 64)]
    # start ~ U(-1, 1) eps: a pixel with a start above -.25 ends on the face, any other at start + 1.25.
    assert np.isclose(moved, eps, atol=1e-6).mean() == pytest.approx(1.25 / 2, abs=0.03)
    assert moved.min() == pytest.approx(0.25 * eps, abs=0.01 * eps)


@pytest.fixture
def small(mlp):
    net = mlp(24, 5)
    x = jax.random.uniform(jax.random.key(0), (32, 8, 8, 1))
    params = jax.tree.map(lambda p: 3 * p, net.init(jax.random.key(1), x)[0])
    logits = lambda z: net.apply(params, (), z)[0]  # noqa: E731
    return logits, x, jnp.argmax(logits(x), axis=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("attack", "peer", "keywords"),
    [
        (fgsm(FGSMConfig(eps=0.05)), "LinfFastGradientAttack", {}),
        (fgsm(FGSMConfig(eps=0.4, norm="l2")), "L2FastGradientAttack", {}),
        *(
            (
                pgd(PGDConfig(eps, step, 20, norm=norm, random_start=False, keep="last")),
                peer,
                {"abs_stepsize": step},
            )
            for eps, step, norm, peer in [
                (0.05, 0.01, "linf", "LinfProjectedGradientDescentAttack"),
                (0.4, 0.1, "l2", "L2ProjectedGradientDescentAttack"),
            ]
        ),
    ],
)
def test_equals_foolbox(mlp, attack, peer, keywords):
    import foolbox
    from foolbox.models.jax import JAXModel

    keywords = keywords | ({"steps": 20} if "Projected" in peer else {})
    eps = 0.4 if peer.startswith("L2") else 0.05
    with jax.enable_x64(True), jax.debug_key_reuse(False), jax.numpy_rank_promotion("allow"):
        # In float64 the two forms of cross-entropy agree about tiny gradients.
        net = mlp(24, 5)
        x = jax.random.uniform(jax.random.key(0), (32, 8, 8, 1))
        params = jax.tree.map(lambda p: 3 * p, net.init(jax.random.key(1), x)[0])
        logits = lambda z: net.apply(params, (), z)[0]  # noqa: E731
        y = jax.random.randint(jax.random.key(2), (32,), 0, 5)
        theirs = getattr(foolbox.attacks, peer)(**keywords, random_start=False).run(
            JAXModel(logits, bounds=(0, 1)), x, foolbox.criteria.Misclassification(y), epsilon=eps
        )
        ours = jax.jit(attack, static_argnums=1)(jax.random.key(0), logits, x, y)
    assert np.abs(theirs - x).max() > 0.04
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_best_point_is_never_worse_than_any_iterate(small):
    logits, x, y = small
    # Steps far too large for this network: the loss goes up and down, so the last point is not always best.
    config = PGDConfig(eps=0.15, step_size=0.12, steps=8, random_start=False)

    def objective(z):
        values = optax.losses.softmax_cross_entropy_with_integer_labels(logits(z), y)
        return values, jnp.argmax(logits(z), axis=1) != y

    @jax.jit
    def iterates():
        def step(z, _):
            g = jax.grad(lambda z: objective(z)[0].sum())(z)
            z_next = jnp.clip(z + 0.12 * jnp.sign(g), jnp.maximum(x - 0.15, 0), jnp.minimum(x + 0.15, 1))
            return z_next, z

        last, path = jax.lax.scan(step, x, length=8)
        return jax.vmap(objective)(jnp.concatenate([path, last[None]]))

    @jax.jit
    def ours(key):
        z, trace = ascend(key, classification_objective(logits, y, "cross_entropy"), x, config)
        return *objective(z), trace

    losses, fooled_at = iterates()
    loss, fooled, trace = ours(jax.random.key(0))
    np.testing.assert_allclose(trace[0], losses, atol=1e-4)
    assert (fooled == fooled_at.any(axis=0)).all()
    eligible = jnp.where(fooled_at == fooled[None], losses, -jnp.inf)
    np.testing.assert_allclose(loss, eligible.max(axis=0), atol=1e-4)
    assert (loss > losses[-1] + 1e-3).any()  # an attack that returned the last iterate would fail here


def test_misclassified_comes_before_high_loss():
    # Three classes, one pixel: the loss of class 0 is higher at 0.8, where class 0 still wins, than at 0.2.
    def logits(z):
        p = z[:, 0]
        return (
            jnp.where((p < 0.3)[:, None], jnp.array([[1.0, 1.1, -9.0]]), jnp.array([[1.0, 0.99, 0.99]]))
            + 0 * z
        )

    y = jnp.array([0])
    loss, fooled = classification_objective(logits, y, "cross_entropy")(jnp.array([[0.2]]))
    other, fooled_other = classification_objective(logits, y, "cross_entropy")(jnp.array([[0.8]]))
    assert other > loss
    assert fooled & ~fooled_other
    config = PGDConfig(eps=0.5, step_size=1e-6, steps=1, restarts=20)
    x_adv = jax.jit(pgd(config), static_argnums=1)(jax.random.key(0), logits, jnp.array([[0.5]]), y)
    assert x_adv[0, 0] < 0.3


def test_a_loss_that_is_nan_is_never_preferred():
    def objective(z):  # the loss is NaN at the start and above 0.6, and grows between
        p = z[:, 0]
        return jnp.where((p <= 0.5) | (p > 0.6), jnp.nan, p), jnp.zeros(1, bool)

    run = jax.jit(lambda key, z: ascend(key, objective, z, PGDConfig(0.3, 0.01, 8, restarts=60))[0])
    assert 0.5 < run(jax.random.key(0), jnp.array([[0.5]]))[0, 0] <= 0.6


def test_restarts_only_help(small):
    logits, x, y = small
    objective = classification_objective(logits, y, "cross_entropy")

    @jax.jit
    def run(key):
        keys = jax.random.clone(key), jax.random.clone(key)
        attacks = [pgd(PGDConfig(0.06, 0.03, 3, restarts=r)) for r in (1, 5)]
        return [objective(attack(k, logits, x, y)) for attack, k in zip(attacks, keys)]

    (loss, fooled), (more_loss, more_fooled) = run(jax.random.key(0))
    assert (more_fooled >= fooled).all()
    assert (more_loss >= loss - 1e-6)[fooled == more_fooled].all()
    assert (more_loss > loss + 1e-4).any()


def test_more_steps_and_eps_lower_accuracy_and_eps_one_takes_all(small):
    logits, x, y = small
    run = jax.jit(lambda c: is_correct(logits(pgd(c)(jax.random.key(0), logits, x, y)), y).mean())
    accuracy = [
        float(run(PGDConfig(eps=e, step_size=0.1 * e + 1e-3, steps=20))) for e in (0.0, 0.01, 0.03, 1.0)
    ]
    assert accuracy[0] == 1
    assert accuracy[-1] == 0
    assert sorted(accuracy, reverse=True) == accuracy


def test_targeted_attacks_reach_their_class(small):
    logits, x, y = small
    target = (y + 1) % 5

    @jax.jit
    def run(key):
        points = [
            pgd(PGDConfig(0.4, 0.05, 20, targeted=True))(key, logits, x, target),
            pgd(PGDConfig(1e-4, 1e-5, 5, random_start=False, targeted=True))(key, logits, x, target),
            fgsm(FGSMConfig(1e-3, targeted=True))(key, logits, x, target),
            x,
        ]
        loss = optax.losses.softmax_cross_entropy_with_integer_labels
        return [(jnp.argmax(logits(z), axis=1), loss(logits(z), target)) for z in points]

    (said, _), (_, near), (_, step), (_, clean) = run(jax.random.key(0))
    assert (said == target).mean() > 0.9
    assert (near < clean).all()
    assert (step < clean).all()
    # A point that says the target comes before a point of smaller loss that does not.
    objective = classification_objective(lambda z: z, jnp.array([0, 0, 0]), "margin", targeted=True)
    loss, fooled = objective(jnp.array([[2.0, 1.0], [1.0, 2.0], [jnp.nan, 1.0]]))
    np.testing.assert_array_equal(fooled, [True, False, False])
    np.testing.assert_allclose(loss, [1, -1, np.nan])


def test_unbounded_attack_takes_a_linear_model_to_zero(linear):
    attack = jax.jit(pgd(PGDConfig(eps=1.0, step_size=0.1, steps=20)), static_argnums=1)
    assert (linear.margins(linear.x) < 0).all()
    assert (linear.margins(attack(jax.random.key(0), linear.logits, linear.x, linear.y)) > 0).all()
