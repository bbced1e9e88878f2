"""Whole attacks, adversarial trainings and evaluations against plain NumPy, with every option in use.

A reference draws from the key as documented; the rest is the papers' arithmetic in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.attack import no_attack
from lrn.robust.evaluate import correct_under_attack, robust_accuracy
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.pgd import PGDConfig, ascend, classification_objective, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.square import SquareConfig, search, square
from lrn.robust.validity import largest_drop, loss_by_step, masking_gap, unbounded, zero_gradient_fraction
from lrn.types import Net
from tests import plain

RNG = np.random.default_rng(3)
LINEAR, SQUARED = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))
X = RNG.uniform(size=(7, 3, 2))
X[0, 0] = [0.02, 0.97]  # a point near two faces of the box


def logits_of(x, xp=np):
    """A nonlinear network from six pixels to four classes: its gradient depends on the point."""
    flat = x.reshape(len(x), 6)
    return flat @ xp.asarray(LINEAR) + 2 * (flat - 0.5) ** 2 @ xp.asarray(SQUARED)


Y = np.argsort(logits_of(X), axis=1)[:, -1]
Y[1] = np.argsort(logits_of(X[1:2]))[0, -2]  # the network misclassifies these from the start


IMAGES, LABELS = jnp.asarray(X, jnp.float32), jnp.asarray(Y)


def network(x):
    return logits_of(x.astype(jnp.float32), jnp)


@pytest.fixture(autouse=True)
def _twice():
    """A reference repeats draws of the key under test, so the check of key reuse is off in this file."""
    with jax.debug_key_reuse(False):
        yield


# Losses and steps, from the papers


def cross_entropy(z, y):
    return -plain.log_softmax(z)[np.arange(len(y)), y]


def margin(z, y):
    return np.array([max(np.delete(row, label)) - row[label] for row, label in zip(z, y)])


def dlr(z, y):
    ranked = -np.sort(-z, axis=1)
    return margin(z, y) / (ranked[:, 0] - ranked[:, 2] + 1e-12)


LOSSES = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}


def step_of(gradient, norm):
    if norm == "linf":
        return np.sign(gradient)
    return gradient / np.sqrt((gradient**2).sum((1, 2), keepdims=True))


def into_ball(z, x, eps, norm):
    delta = z - x
    if norm == "linf":
        delta = np.clip(delta, -eps, eps)
    else:
        size = np.sqrt((delta**2).sum((1, 2), keepdims=True))
        delta = delta * np.minimum(1, eps / np.maximum(size, 1e-30))
    return np.clip(x + delta, 0, 1)


def start_of(key, x, eps, norm):
    if norm == "linf":
        return into_ball(
            x + eps * np.asarray(jax.random.uniform(key, x.shape, minval=-1, maxval=1)), x, eps, norm
        )
    direction_key, radius_key = jax.random.split(key)
    direction = np.asarray(jax.random.normal(direction_key, x.shape), np.float64)
    radius = np.asarray(jax.random.uniform(radius_key, (len(x), 1, 1)), np.float64) ** (1 / 6)
    return into_ball(x + eps * radius * step_of(direction, "l2"), x, eps, norm)


def gradient_at(z, y, loss):
    return plain.gradient(lambda z: LOSSES[loss](logits_of(z), y).sum(), z)


def fgsm_reference(x, y, c):
    step = step_of(gradient_at(x, y, c.loss), c.norm)
    return np.clip(x + c.eps * step, 0, 1)


def rs_fgsm_reference(key, x, y, c):
    start = start_of(key, x, c.eps, "linf")
    step = c.step_ratio * c.eps * np.sign(gradient_at(start, y, c.loss))
    return into_ball(start + step, x, c.eps, "linf")


def pgd_reference(key, x, y, c):
    """The returned point, and the losses [restarts, points, batch]."""

    def judge(z):
        logits = logits_of(z)
        return list(zip(np.argmax(logits, 1) != y, LOSSES[c.loss](logits, y)))

    best, value, trace, z = x.copy(), judge(x), [], x
    for i in range(c.restarts):
        z = start_of(jax.random.fold_in(key, i), x, c.eps, c.norm) if c.random_start else x
        losses = []
        for t in range(c.steps + 1):
            here = judge(z)
            if c.keep == "best":
                for n in range(len(x)):
                    if here[n] > value[n]:  # misclassified points first, then by loss
                        best[n], value[n] = z[n], here[n]
            if t < c.steps or c.keep == "best":
                losses.append([loss for _, loss in here])
            if t < c.steps:
                z = into_ball(z + c.step_size * step_of(gradient_at(z, y, c.loss), c.norm), x, c.eps, c.norm)
        trace.append(losses)
    return (best if c.keep == "best" else z), np.array(trace)


CONFIGS = {
    "fgsm": FGSMConfig(0.13, "linf", "dlr"),
    "fgm_l2": FGSMConfig(0.31, "l2", "margin"),
    "rs_fgsm": RSFGSMConfig(0.17, 0.7, "margin"),
    "rs_fgsm_far": RSFGSMConfig(0.11),
    "linf": PGDConfig(0.2, 0.17, 4, restarts=3),
    "linf_last": PGDConfig(0.2, 0.07, 3, keep="last", loss="margin"),
    "l2": PGDConfig(0.4, 0.33, 4, restarts=2, norm="l2", loss="margin"),
    "l2_last": PGDConfig(0.4, 0.15, 3, norm="l2", random_start=False, keep="last"),
    "from_x": PGDConfig(0.3, 0.29, 5, random_start=False),
}
FACTORIES = {FGSMConfig: fgsm, RSFGSMConfig: rs_fgsm, PGDConfig: pgd}


@pytest.fixture(scope="module")
def attacked():
    """The result of every attack, compiled once; PGD also gives its losses."""

    @jax.jit
    def run(x, y, key):
        out = {}
        for i, (name, c) in enumerate(CONFIGS.items()):
            mine = jax.random.fold_in(key, i)
            out[name] = FACTORIES[type(c)](c)(mine, network, x, y)
        key = jax.random.fold_in(key, 100)
        c = CONFIGS["linf"]
        out["trace"] = ascend(key, classification_objective(network, y, c.loss), x, c)[1]
        c = CONFIGS["linf_last"]
        key = jax.random.fold_in(key, 1)
        out["trace_last"] = ascend(key, classification_objective(network, y, c.loss), x, c)[1]
        c = dataclasses.replace(CONFIGS["l2"], keep="last", restarts=1)
        out["path"] = loss_by_step(jax.random.fold_in(key, 2), network, x, y, c)
        out["unbounded"] = unbounded(CONFIGS["l2"])(jax.random.fold_in(key, 3), network, x, y)
        return out

    return run(X, Y, jax.random.key(7))


@pytest.mark.parametrize("name", CONFIGS)
def test_attack_is_its_reference(attacked, name):
    c, key = CONFIGS[name], jax.random.fold_in(jax.random.key(7), list(CONFIGS).index(name))
    if isinstance(c, FGSMConfig):
        wanted = fgsm_reference(X, Y, c)
    elif isinstance(c, RSFGSMConfig):
        wanted = rs_fgsm_reference(key, X, Y, c)
    else:
        wanted, _ = pgd_reference(key, X, Y, c)
    np.testing.assert_allclose(attacked[name], wanted, atol=2e-5)
    fooled = np.argmax(logits_of(wanted), 1) != Y
    assert fooled[1]
    assert fooled.sum() > 1
    assert np.abs(wanted - X).max((1, 2)).min() > 0.01


def test_the_losses_on_the_way_are_the_references(attacked):
    key = jax.random.fold_in(jax.random.key(7), 100)
    _, trace = pgd_reference(key, X, Y, CONFIGS["linf"])
    assert trace.shape == (3, 5, 7)
    np.testing.assert_allclose(attacked["trace"], trace, atol=1e-4)
    key = jax.random.fold_in(key, 1)
    _, trace = pgd_reference(key, X, Y, CONFIGS["linf_last"])
    assert trace.shape == (1, 3, 7)
    np.testing.assert_allclose(attacked["trace_last"], trace, atol=1e-4)
    best = dataclasses.replace(CONFIGS["l2"], restarts=1)
    _, trace = pgd_reference(jax.random.fold_in(key, 2), X, Y, best)
    np.testing.assert_allclose(attacked["path"], trace[0].mean(1), atol=1e-4)


def test_unbounded_is_its_reference(attacked):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 100), 1), 3)
    c = dataclasses.replace(CONFIGS["l2"], eps=1.0, step_size=0.1, norm="linf", restarts=1)
    wanted, _ = pgd_reference(key, X, Y, c)
    np.testing.assert_allclose(attacked["unbounded"], wanted, atol=2e-5)


# Square


def sides_reference(c, height, width):
    """The side of the patch at queries 1, 2, ...: the area halves at the paper's counts of 10,000 queries."""
    sides = []
    for query in range(1, c.queries):
        spent = query * 10_000 // c.queries
        area = c.initial_fraction * height * width
        for count in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
            area = area / 2 if spent > count else area
        sides.append(int(min(max(round(np.sqrt(area)), 1), height, width)))
    return sides


def square_reference(key, logits, x, y, c):
    n, height, width, channels = x.shape
    start_key, search_key = jax.random.split(key)
    low, high = np.maximum(x - c.eps, 0), np.minimum(x + c.eps, 1)
    up = np.asarray(jax.random.bernoulli(start_key, shape=(n, 1, width, channels)))
    best = margin(logits(x), y)
    z = np.where((best >= 0)[:, None, None, None], x, np.where(up, high, low))
    best = margin(logits(z), y)
    trace = [best]
    for i, side in enumerate(sides_reference(c, height, width), 1):
        corner_key, sign_key = jax.random.split(jax.random.fold_in(search_key, i))
        most = np.array([[height - side + 1, width - side + 1]])
        corners = np.asarray(jax.random.randint(corner_key, (n, 2), 0, most))
        signs = np.asarray(jax.random.bernoulli(sign_key, shape=(n, 1, 1, channels)))
        proposal = z.copy()
        for k, (top, left) in enumerate(corners):
            rows, columns = slice(top, top + side), slice(left, left + side)
            faces = np.where(signs[k], high[k], low[k])
            proposal[k, rows, columns] = faces[rows, columns]
        value = margin(logits(proposal), y)
        accept = (best < 0) & (value > best)
        z = np.where(accept[:, None, None, None], proposal, z)
        best = np.where(accept, value, best)
        trace.append(best)
    return z, np.array(trace)


def test_square_is_its_reference():
    rng = np.random.default_rng(5)
    x = rng.uniform(size=(8, 4, 6, 2))
    weights = rng.normal(size=(48, 3))
    weights.reshape(4, 6, 2, 3)[:, 4:] = 0  # no query can win here, so none may be accepted
    logits = lambda z, xp=np: 2 * z.reshape(len(z), 48) @ xp.asarray(weights)  # noqa: E731
    order = np.argsort(logits(x), axis=1)
    y = order[:, -1]
    y[3] = order[3, 0]
    c = SquareConfig(0.06, 80, 0.5)
    images, labels = jnp.asarray(x, jnp.float32), jnp.asarray(y)
    run = jax.jit(lambda key: search(key, lambda z: logits(z, jnp), images, labels, c))
    ours, trace = run(jax.random.key(2))
    wanted, margins = square_reference(jax.random.key(2), logits, x, y, c)
    np.testing.assert_allclose(trace, margins, atol=2e-5)
    np.testing.assert_allclose(ours, wanted, atol=1e-6)
    fooled = margins[-1] >= 0
    assert 1 < fooled.sum() < 8
    assert not (margins[0] >= 0).all(where=fooled)  # the attack finds some of them on the way
    np.testing.assert_array_equal(ours[3], x[3].astype(np.float32))
    attack = jax.jit(lambda key: square(c)(key, lambda z: logits(z, jnp), images, labels))
    np.testing.assert_array_equal(attack(jax.random.key(2)), ours)


# Evaluation


def noise(scale):
    """An attack that returns its key alone, so that a wrong key shows."""
    return lambda key, logits_fn, x, y: jnp.clip(x + scale * jax.random.normal(key, x.shape), 0, 1)


def test_robust_accuracy_is_its_reference():
    rng = np.random.default_rng(6)
    x = rng.uniform(size=(23, 3, 2)).astype(np.float32)
    order = np.argsort(logits_of(x), axis=1)
    y = np.where(np.arange(23) % 4 == 2, order[:, 0], order[:, -1])  # every fourth example is wrong
    attacks = {"clean": no_attack, "weak": noise(0.2), "strong": noise(0.4)}
    key = jax.random.key(3)

    def masks(i, name):
        mask = []
        for batch in range(4):  # batches of 6; copies of the first example fill the last batch
            rows = [r if r < 23 else 0 for r in range(6 * batch, 6 * batch + 6)]
            batch_key = jax.random.fold_in(jax.random.fold_in(key, i), batch)
            x_adv = np.asarray(attacks[name](batch_key, network, x[rows], y[rows]), np.float64)
            mask += list(np.argmax(logits_of(x_adv), 1) == y[rows])
        return np.array(mask[:23])

    wanted = {name: masks(i, name) for i, name in enumerate(attacks)}
    wanted["worst"] = wanted["clean"] & wanted["weak"] & wanted["strong"]
    shares = {name: mask.mean() for name, mask in wanted.items()}
    assert len(set(shares.values())) == 4  # all four shares differ, so a swap of two names would show
    images, labels = jnp.asarray(x), jnp.asarray(y)
    run = jax.jit(lambda key: robust_accuracy(key, network, images, labels, attacks, 6))
    accuracy = run(key)
    assert set(accuracy) == set(wanted)
    assert {name: float(value) for name, value in accuracy.items()} == pytest.approx(shares)
    one = jax.jit(lambda key: correct_under_attack(key, network, images, labels, attacks["weak"], 6))
    np.testing.assert_array_equal(one(jax.random.fold_in(key, 1)), wanted["weak"])
    gap = masking_gap(jnp.asarray(wanted["weak"]), jnp.asarray(wanted["strong"]))
    assert gap == pytest.approx((wanted["weak"] & ~wanted["strong"]).mean())
    assert gap != pytest.approx((wanted["strong"] & ~wanted["weak"]).mean())


def test_zero_gradients_are_the_references():
    largest = np.abs(gradient_at(X, Y, "dlr")).max((1, 2))
    tolerance = np.sort(largest)[2] * 1.01
    run = jax.jit(lambda t: zero_gradient_fraction(network, IMAGES, LABELS, "dlr", t))
    assert run(tolerance) == pytest.approx(3 / 7)
    assert run(0.0) == 0


def test_largest_drop_is_its_reference():
    path = np.random.default_rng(0).normal(size=12) + 0.2 * np.arange(12)
    drop = max(path[i] - path[j] for i in range(12) for j in range(i, 12)) / (path.max() - path.min())
    assert largest_drop(jnp.asarray(path)) == pytest.approx(drop, rel=1e-5)
    assert 0.2 < drop < 1


# Adversarial training


def softmax_net():
    """A linear network with a running mean (momentum .8) as in BatchNorm, and dropout of inputs."""

    def init(key, x):
        w_key, b_key = jax.random.split(key)
        params = {"b": jax.random.normal(b_key, (1, 4)), "w": jax.random.normal(w_key, (6, 4))}
        return params, {"mean": jnp.full((1, 6), 0.25) * x.mean()}

    def apply(params, state, x, *, key=None, train=False):
        flat = x.reshape(len(x), 6)
        mean = state["mean"]
        if train:
            mean, state = (
                flat.mean(0, keepdims=True),
                {"mean": 0.8 * mean + 0.2 * flat.mean(0, keepdims=True)},
            )
        flat = flat - mean
        if train and key is not None:
            flat = flat * jax.random.bernoulli(key, 0.7, flat.shape)
        return flat @ params["w"] + params["b"], state

    return Net(init, apply)


def towards_wrong(key, logits_fn, x, y):
    """An attack that shows its key and the logits which it received."""
    shift = 0.1 * jax.random.normal(key, x.shape) + 0.05 * logits_fn(x)[:, :1, None] + 0.02 * y[:, None, None]
    return jnp.clip(x + shift, 0, 1)


class Training:
    """Adversarial training in NumPy: Madry et al. 2018 with SGD (Sutskever et al. 2013) or AdamW."""

    def __init__(self, params, mean, c, attacked):
        self.params, self.mean, self.c, self.attacked = plain.as_float64(params), np.array(mean), c, attacked
        self.velocity = jax.tree.map(np.zeros_like, self.params)
        self.adam = plain.Adam(self.params)
        self.count = 0

    def rate(self):
        c, t = self.c, self.count
        warm = min(1, (t + 1) / c.warmup) if c.warmup else 1
        if c.schedule == "constant":
            return c.learning_rate * warm
        progress = max(0, t - c.warmup) / (c.steps - c.warmup)
        return c.learning_rate * warm * (1 + np.cos(np.pi * min(progress, 1))) / 2

    def step(self, key, x, y):
        c = self.c
        attack_key, net_key = jax.random.split(key)
        if self.attacked:  # the attack runs in evaluation mode
            first = ((x.reshape(len(x), 6) - self.mean) @ self.params["w"] + self.params["b"])[:, :1, None]
            noise = np.asarray(jax.random.normal(attack_key, x.shape))
            x = np.clip(x + 0.1 * noise + 0.05 * first + 0.02 * y[:, None, None], 0, 1)
        flat = x.reshape(len(x), 6)
        kept = np.asarray(jax.random.bernoulli(net_key, 0.7, flat.shape))
        inputs = (flat - flat.mean(0)) * kept

        def loss(p):
            return cross_entropy(inputs @ p["w"] + p["b"], y).mean()

        gradient = plain.gradient(loss, self.params)
        metrics = {
            "loss": loss(self.params),
            "accuracy": (np.argmax(inputs @ self.params["w"] + self.params["b"], 1) == y).mean(),
            "gradient_norm": plain.global_norm(gradient),
        }
        rate, decay = self.rate(), c.weight_decay
        if c.optimizer == "sgd":
            push = jax.tree.map(lambda g, p: g + decay * p, gradient, self.params)
            self.velocity = jax.tree.map(lambda v, g: c.momentum * v + g, self.velocity, push)
            if c.nesterov:
                push = jax.tree.map(lambda v, g: c.momentum * v + g, self.velocity, push)
            else:
                push = self.velocity
            self.params = jax.tree.map(lambda p, g: p - rate * g, self.params, push)
        else:
            old = self.params
            self.params = jax.tree.map(
                lambda after, p: after - rate * decay * p, self.adam.step(old, gradient, rate), old
            )
        self.mean = 0.8 * self.mean + 0.2 * flat.mean(0, keepdims=True)
        self.count += 1
        return metrics


TRAININGS = {
    "sgd": (AdversarialTrainingConfig("sgd", 0.7, 0.6, False, 0.03, "cosine", 6, 2), towards_wrong),
    "nesterov": (AdversarialTrainingConfig("sgd", 0.3, 0.8, True, 0.1, "constant", 6, 3), towards_wrong),
    "adam": (AdversarialTrainingConfig("adam", 0.2, 0.5, False, 0.2, "cosine", 4, 1), towards_wrong),
    "standard": (AdversarialTrainingConfig("sgd", 0.4, 0.3, steps=3), None),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_is_its_reference(name):
    config, attack = TRAININGS[name]
    net, key = softmax_net(), jax.random.key(11)
    learner = adversarial_training(net, config, attack)
    images, labels = RNG.uniform(size=(6, 9, 3, 2)), RNG.integers(0, 4, (6, 9))
    batch = {"image": images[0].astype(np.float32), "label": labels[0]}
    state = jax.jit(learner.init)(key, batch)
    params, net_state = jax.jit(net.init)(key, batch["image"])
    plain.assert_trees_close((state.params, state.net_state), (params, net_state), 1e-6, 1e-6)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(state.opt_state))
    wanted = Training(params, net_state["mean"], config, attack is not None)
    step = jax.jit(learner.step)
    for t in range(6):  # two steps past the end of the shortest schedule
        x, y = images[t].astype(np.float32), labels[t]
        state, metrics = step(jax.random.key(t), state, {"image": x, "label": y})
        exact = wanted.step(jax.random.key(t), x.astype(np.float64), y)
        assert {k: float(v) for k, v in metrics.items()} == pytest.approx(exact, rel=1e-4, abs=1e-5), t
        plain.assert_trees_close(state.params, wanted.params, 1e-4, 3e-5)
        np.testing.assert_allclose(state.net_state["mean"], wanted.mean, rtol=1e-5)
        assert state.opt_state[-1].count == t + 1  # of the schedule
        if config.optimizer == "sgd":
            (trace,) = (x.trace for x in state.opt_state if isinstance(x, optax.TraceState))
            plain.assert_trees_close(trace, wanted.velocity, 1e-3, 1e-4)
        else:
            (adam,) = (x for x in state.opt_state if isinstance(x, optax.ScaleByAdamState))
            plain.assert_trees_close((adam.mu, adam.nu), (wanted.adam.mu, wanted.adam.nu), 1e-3, 1e-5)
            assert adam.count == t + 1
