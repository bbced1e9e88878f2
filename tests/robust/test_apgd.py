"""Auto-PGD against AutoAttack's runs, against plain NumPy, and its properties.

``references/apgd_steps.npz`` and ``references/apgd_digits.npz`` hold runs of pyautoattack 0.2.0 (CPU).

- Steps: float64 runs of ``attack_single_run`` (for "L1r" of ``decr_eps_pgd``) on two random networks, a tanh
  MLP (32-16-6) and a ReLU convolution (2 x 4 x 4 pixels, 3 x 3, 4 channels, 6 classes). The model wrapper
  records its inputs and the local ``step_size`` at every call. ``L0_norm`` counts entries above 1e-9, because
  the program's own rounding leaves entries of 1e-17. The pixels are multiples of 1/16.
- Digits: which of 200 test points of scikit-learn's digits stay robust under ``perturb`` (100 steps, one
  start, seed 0; L1 with ``use_largereps`` and 5 targets), for a ReLU MLP (64-24-10) trained on RS-FGSM.
"""

import dataclasses
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from lrn.robust.apgd import APGDConfig, apgd, ascend, random_start, search
from lrn.robust.apgd_climb import Found, climb
from lrn.robust.apgd_rules import plan_of
from lrn.robust.losses import is_correct, targeted_dlr
from lrn.robust.norms import distance
from lrn.robust.pgd import classification_objective

REFERENCES = Path(__file__).parent / "references"
STEPS = np.load(REFERENCES / "apgd_steps.npz")
DIGITS = np.load(REFERENCES / "apgd_digits.npz")
LOSSES = {"ce": "cross_entropy", "dlr": "dlr"}


def nothing(x):
    """What an attack has found before its first start."""
    return Found(x, jnp.full(len(x), -jnp.inf), jnp.zeros(len(x), bool))


# AutoAttack's own steps


def mlp_logits(x):
    first, second = (jnp.asarray(STEPS[k].astype(np.float64)) for k in ("W1", "W2"))
    return jnp.tanh(x.reshape(len(x), -1) @ first) @ second


def conv_logits(x):
    kernel, dense = (jnp.asarray(STEPS[k].astype(np.float64)) for k in ("K", "D"))
    hidden = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID"))
    return hidden.transpose(0, 2, 3, 1).reshape(len(x), -1) @ dense


@pytest.mark.parametrize("case", [name[:-7] for name in STEPS.files if name.endswith("_losses")])
def test_every_step_is_autoattacks(case):
    net, norm, loss = case.split("_")
    logits = {"mlp": mlp_logits, "conv": conv_logits}[net]
    x, y = STEPS[net + "_x"] / 16.0, STEPS[net + "_y"].astype(int)
    losses, robust = STEPS[case + "_losses"], STEPS[case + "_robust"]
    steps = len(losses) - (3 if norm == "L1r" else 1)
    config = APGDConfig(
        float(STEPS[case + "_eps"]), steps, norm=norm.lower().rstrip("r"), large_radii=norm == "L1r"
    )
    with jax.enable_x64(True):
        target = jnp.asarray(np.argsort(np.asarray(jax.jit(logits)(x)), axis=1)[:, -2])

        def towards(z):
            scores = logits(z)
            return targeted_dlr(scores, y, target), ~is_correct(scores, y)

        objective = classification_objective(logits, y, LOSSES[loss]) if loss in LOSSES else towards
        run = jax.jit(lambda start: climb(start, objective, jnp.asarray(x), config, nothing(jnp.asarray(x))))
        found, trace = run(STEPS[case + "_start"])
    np.testing.assert_allclose(trace.losses, losses, rtol=1e-6, atol=1e-7)
    known = np.isfinite(STEPS[case + "_steps"])  # a new radius has no step before it
    assert known.mean() > 0.9
    np.testing.assert_allclose(trace.step_sizes[known], STEPS[case + "_steps"][known], rtol=1e-6)
    assert len(np.unique(STEPS[case + "_steps"][known])) > 3  # the rules acted
    np.testing.assert_array_equal(found.fooled, ~robust)
    np.testing.assert_allclose(found.x[~robust], STEPS[case + "_adv"][~robust], atol=1e-6)


# AutoAttack's robust points


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    w1, w2, b1, b2 = (jnp.asarray(DIGITS[f"w{i}"].astype(np.float32)) for i in range(4))

    def logits(z):
        return jax.nn.relu(z @ w1 + b1[None]) @ w2 + b2[None]

    return logits, (images[DIGITS["index"]] / 16).astype(np.float32), labels[DIGITS["index"]]


@pytest.mark.parametrize(
    ("case", "config", "other"),  # other: how many points differ at most between seeds of AutoAttack
    [
        ("Linf_ce", APGDConfig(0.1), 1),
        ("Linf_dlr", APGDConfig(0.1, loss="dlr"), 2),
        ("Linf_targeted", APGDConfig(0.1, loss="targeted_dlr", early_stop=True), 0),
        ("L2_ce", APGDConfig(0.6, norm="l2", early_stop=True), 2),
        ("L2_targeted", APGDConfig(0.6, norm="l2", loss="targeted_dlr"), 0),
        pytest.param(
            *("L1_targeted", APGDConfig(2.0, norm="l1", loss="targeted_dlr", targets=5), 1),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_same_points_are_robust_as_under_autoattack(digits, case, config, other):
    logits, x, y = digits
    x_adv = jax.jit(lambda key: apgd(config)(key, logits, x, y))(jax.random.key(0))
    ours = np.asarray(logits(x_adv).argmax(1)) == y
    theirs = np.unpackbits(DIGITS[case])[:200].astype(bool)
    assert (ours != theirs).sum() <= max(2, other)
    assert abs(ours.mean() - theirs.mean()) <= max(1, other) / 200 + 1e-9
    assert distance(x_adv, x, config.norm).max() <= config.eps + 1e-6


# Auto-PGD in NumPy, one example after another

RNG = np.random.default_rng(4)
FLAT, CURVED = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 5))
X = RNG.uniform(size=(6, 12))
X[0, :2] = [0.01, 0.98]


def scores(z, xp=np):
    return z @ xp.asarray(FLAT) + 2 * (z - 0.5) ** 2 @ xp.asarray(CURVED)


Y = scores(X).argmax(1)
Y[5] = scores(X[5:]).argmin()  # the network is wrong here


def value_and_gradient(z, y):
    s = scores(z[None])[0]
    p = np.exp(s - s.max())
    p /= p.sum()
    return -np.log(p[y]), (FLAT + 4 * (z - 0.5)[:, None] * CURVED) @ (p - np.eye(5)[y]), s.argmax() != y


def shrunk(z, x, eps):
    """The L1 projection by bisection of the shrinkage."""
    size, room = np.abs(z - x), np.where(z > x, 1 - x, x)
    low, high = 0.0, size.max()
    if np.minimum(size, room).sum() <= eps:
        return np.clip(z, 0, 1)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(size - middle, 0, room).sum() > eps else (low, middle)
    kept = np.clip(size - high, 0, room)
    return np.where(kept > 1e-14, x + np.sign(z - x) * kept, x)


def into(z, x, eps, norm):
    if norm == "l1":
        return shrunk(z, x, eps)
    delta = z - x
    delta = (
        np.clip(delta, -eps, eps)
        if norm == "linf"
        else delta * min(1, eps / max(np.linalg.norm(delta), 1e-30))
    )
    return np.clip(x + delta, 0, 1)


def with_momentum(z, x, y, eps, norm, steps):
    """Croce & Hein 2020, algorithm 1, with the numbers of checkpoints of the authors' program."""
    window, at, checkpoints = max(int(0.22 * steps), 1), 0, {}
    while at + window <= steps:
        at += window
        checkpoints[at] = window
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    loss, g, wrong = value_and_gradient(z, y)
    losses, sizes, size, before, adversarial = [loss], [], 2 * eps, z, z if wrong else None
    best, seen, halved = (loss, z, g), loss, True
    for t in range(1, steps + 1):
        step = np.sign(g) if norm == "linf" else g / np.linalg.norm(g)
        target = into(z + size * step, x, eps, norm)
        share = 1 if t == 1 else 0.75
        z, before = into(z + share * (target - z) + (1 - share) * (z - before), x, eps, norm), z
        sizes.append(size)
        loss, g, wrong = value_and_gradient(z, y)
        losses.append(loss)
        adversarial = z if wrong else adversarial
        best = (loss, z, g) if loss > best[0] else best
        if t in checkpoints:
            w = checkpoints[t]
            compared = [0.0, *losses[1:]]  # the program compares the first loss with 0
            rises = sum(compared[i] > compared[i - 1] for i in range(t - w + 1, t + 1))
            halved = rises <= 0.75 * w or (not halved and best[0] <= seen)
            seen = best[0]
            if halved:
                size, (_, z, g) = size / 2, best
    return losses, sizes, adversarial, best[1]


def sparse(z, x, y, eps, steps, stages):
    """Croce & Hein 2021: sparse steps, in the balls of ``stages``: (radius in eps, steps)."""
    losses, sizes, adversarial, best = [], [], None, (-np.inf, z, z)
    for radius, length in stages:
        radius *= eps
        if len(stages) > 1:
            z = into(z, x, radius, "l1")
            support = (np.abs(z - x) > 1e-12).sum()
            count = 12 - math.floor(round(12 - support / 1.5, 9))
        else:
            support, count = 12, 12 - math.floor(0.8 * 12)
        loss, g, wrong = value_and_gradient(z, y)
        losses.append(loss)
        if losses[1:]:
            sizes.append(np.nan)
        adversarial = z if wrong else None
        best, size = (loss, z, g), radius
        for t in range(1, length + 1):
            chosen = np.abs(g) >= np.sort(np.abs(g))[::-1][max(count, 1) - 1]
            z = into(z + size * np.sign(g) * chosen / chosen.sum(), x, radius, "l1")
            sizes.append(size)
            loss, g, wrong = value_and_gradient(z, y)
            losses.append(loss)
            adversarial = z if wrong else adversarial
            best = (loss, z, g) if loss > best[0] else best
            if t % max(int(0.04 * length), 1) == 0:
                now = (np.abs(best[1] - x) > 1e-12).sum()
                count = 12 - math.floor(round(12 - now / 1.5, 9))
                if now / support < 0.95:
                    size, (_, z, g) = radius, best
                else:
                    size = max(size / 1.5, radius / 10)
                support = now
        z = best[1]
    return losses, sizes, adversarial, best[1]


@pytest.mark.parametrize(
    "config",
    [
        APGDConfig(0.12, 30),
        APGDConfig(0.35, 30, norm="l2"),
        APGDConfig(0.5, 60, norm="l1", large_radii=False),
        APGDConfig(0.5, 40, norm="l1"),
    ],
    ids=["linf", "l2", "l1", "l1_radii"],
)
def test_ascent_is_the_papers_in_numpy(config):
    with jax.enable_x64(True), jax.debug_key_reuse(False):
        x, key = jnp.asarray(X), jax.random.key(3)
        objective = classification_objective(lambda z: scores(z, jnp), jnp.asarray(Y), "cross_entropy")
        (found, trace), start = jax.jit(
            lambda key: (
                ascend(key, objective, x, config),
                random_start(jax.random.fold_in(key, 0), x, config),
            )
        )(key)
    kinds = set()
    for i in range(6):
        z = np.asarray(start[i])
        if config.norm == "l1":
            parts = [(3, 12), (2, 12), (1, 16)] if config.large_radii else [(1, config.steps)]
            wanted = sparse(z, X[i], Y[i], config.eps, config.steps, parts)
        else:
            wanted = with_momentum(z, X[i], Y[i], config.eps, config.norm, config.steps)
        losses, sizes, adversarial, best = wanted
        np.testing.assert_allclose(trace.losses[0, :, i], losses, rtol=1e-6, atol=1e-9)
        known = np.isfinite(sizes)
        np.testing.assert_allclose(trace.step_sizes[0, known, i], np.array(sizes)[known], rtol=1e-9)
        assert found.fooled[i] == (adversarial is not None)
        np.testing.assert_allclose(found.x[i], best if adversarial is None else adversarial, atol=1e-7)
        kinds.add((adversarial is None, len(set(np.array(sizes)[known])) > 2))
    assert (False, True) in kinds
    assert any(robust for robust, _ in kinds)


# Starts, checkpoints, and what the attack returns


def test_checkpoints_are_the_papers():
    plan = plan_of(APGDConfig(steps=100))
    np.testing.assert_array_equal(np.flatnonzero(plan.window), [22, 41, 57, 70, 80, 87, 93, 99])
    plan = plan_of(APGDConfig(norm="l1"))
    assert [int((plan.radius == r).sum()) for r in (3, 2, 1)] == [31, 31, 40]  # and the last evaluation
    np.testing.assert_array_equal(np.flatnonzero(plan.first), [0, 31, 62])
    assert plan_of(APGDConfig(steps=1)).window.tolist() == [0]


def test_starts_lie_on_the_sphere():
    x = jnp.full((50, 12), 0.5)
    configs = [APGDConfig(0.3, norm=norm, large_radii=False) for norm in ("linf", "l2", "l1")]
    starts = jax.jit(lambda key: [random_start(jax.random.clone(key), x, c) for c in configs])(
        jax.random.key(0)
    )
    for start, order in zip(starts, (np.inf, 2, 1)):
        np.testing.assert_allclose(np.linalg.norm(start - x, order, axis=1), 0.3, rtol=1e-5)
        assert np.std(start, axis=0).min() > 0


@pytest.fixture(scope="module")
def runs(linear):
    """Attacks of the linear model, whose worst case is known; radii from 0 to .1."""
    radii = np.linspace(0, 0.1, 48, dtype=np.float32)

    @jax.jit
    def run(key):
        base = APGDConfig(eps=radii, steps=12)  # pyright: ignore[reportArgumentType]
        configs = {
            "last": base,
            "first": dataclasses.replace(base, early_stop=True),
            "more": dataclasses.replace(base, restarts=3, loss="margin"),
            "reach": dataclasses.replace(base, targeted=True),
        }
        keys = jax.random.split(key, len(configs))
        y = {name: 1 - linear.y if name == "reach" else linear.y for name in configs}
        return {
            name: search(keys[i], linear.logits, linear.x, y[name], c)
            for i, (name, c) in enumerate(configs.items())
        }

    return radii, run(jax.random.key(0))


def test_a_linear_model_is_attacked_to_its_worst_case(linear, runs):
    radii, found = runs
    x = np.asarray(linear.x, np.float64).reshape(48, 64)
    worst = linear.margins(np.clip(x + radii[:, None] * np.sign(linear.direction), 0, 1))
    assert 5 < (worst > 0).sum() < 43
    for name, ours in found.items():
        np.testing.assert_array_equal(ours.fooled, worst > 0, name)
        margins = linear.margins(ours.x)
        assert (margins[worst > 0] > 0).all(), name
        np.testing.assert_allclose(margins[worst <= 0], worst[worst <= 0], atol=2e-4)
        assert (np.asarray(distance(ours.x, linear.x, "linf")) <= radii + 1e-6).all()


def test_an_early_stop_gives_the_first_point_and_the_same_set(linear, runs):
    first, last = runs[1]["first"], runs[1]["last"]
    np.testing.assert_array_equal(first.fooled, last.fooled)
    changed = np.asarray((first.x != last.x).any((1, 2, 3)))
    assert changed[np.asarray(first.fooled)].any()


def counted(linear, config, solved=None):
    """How often the network ran; the clean input counts."""
    calls = []

    def logits(z):
        jax.debug.callback(lambda: calls.append(1), ordered=True)
        return linear.logits(z)

    run = jax.jit(lambda key: search(key, logits, linear.x, linear.y, config, solved).x)
    out = run(jax.random.key(0)).block_until_ready()
    jax.effects_barrier()
    return len(calls), out


def test_one_evaluation_a_step_and_none_once_all_are_fooled(linear):
    assert counted(linear, APGDConfig(0.01, 7))[0] == 1 + 7 + 1
    assert counted(linear, APGDConfig(0.01, 7, restarts=2, early_stop=True))[0] == 1 + 2 * 8
    count, _ = counted(linear, APGDConfig(1.0, 50, restarts=2, early_stop=True))
    assert 2 < count < 8
    count, x = counted(linear, APGDConfig(0.1, 9, early_stop=True), np.ones(48, bool))
    assert count == 1
    np.testing.assert_array_equal(x, linear.x)


def test_losses_may_be_nan(linear):
    config = APGDConfig(0.1, 10)

    def objective(z):
        return jnp.where(z.mean((1, 2, 3)) > 0.5, jnp.nan, z.mean((1, 2, 3))), jnp.zeros(48, bool)

    found = jax.jit(lambda key: ascend(key, objective, linear.x, config)[0])(jax.random.key(0))
    assert jnp.isfinite(found.x).all()
    assert distance(found.x, linear.x, "linf").max() <= 0.1 + 1e-6


def test_gradients_of_parameters_pass_by_an_attack_that_stops_early(linear):
    attack = apgd(APGDConfig(0.05, 3, early_stop=True))

    @jax.jit
    def slope(scale):
        x_adv = attack(jax.random.key(0), lambda z: scale * linear.logits(z), linear.x, linear.y)
        return (scale * linear.logits(jax.lax.stop_gradient(x_adv))).sum()

    assert jnp.isfinite(jax.grad(slope)(1.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "ce"}, "loss 'ce' is not known"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"rho": 1.5}, "rho must lie between 0 and 1"),
        ({"targeted": 1}, "targeted must be True or False"),
        ({"targeted": True, "loss": "targeted_dlr"}, "chooses its targets itself"),
        ({"norm": "l1", "steps": 4}, "three radii need at least 5 steps, got 4"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        APGDConfig(**settings)


def test_few_classes_have_few_targets(linear):
    attack = apgd(APGDConfig(0.1, 2, loss="targeted_dlr"))
    with pytest.raises(ValueError, match="needs at least 4 classes, got 2"):
        attack(jax.random.key(0), linear.logits, linear.x, linear.y)
    shapes = jax.eval_shape(
        lambda key, x: attack(key, lambda z: z @ np.ones((64, 4)), x, jnp.zeros(2, int)),
        jax.random.key(0), jnp.zeros((2, 64)),
    )  # fmt: skip
    assert shapes.shape == (2, 64)
