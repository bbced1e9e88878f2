"""Adversarial training against hand-written loops, a closed form, and optax's own optimizers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.config import stack
from lrn.robust.adversarial_training import AdversarialTrainingConfig, TrainState, adversarial_training
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import is_correct
from lrn.robust.pgd import PGDConfig, pgd
from lrn.types import Net


@pytest.fixture(scope="module")
def batch():
    x_key, y_key = jax.random.split(jax.random.key(0))
    return {
        "image": jax.random.uniform(x_key, (16, 4, 4, 1)),
        "label": jax.random.randint(y_key, (16,), 0, 3),
    }


def train(learner, batch, steps=5):
    @jax.jit
    def run(key):
        init_key, key = jax.random.split(key)
        body = lambda s, k: learner.step(k, s, batch)  # noqa: E731
        return jax.lax.scan(body, learner.init(init_key, batch), jax.random.split(key, steps))

    return run(jax.random.key(1))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_standard_training_is_the_loop_by_hand(mlp, batch, optimizer):
    net = mlp(8, 3)
    config = AdversarialTrainingConfig(
        optimizer, 0.05, momentum=0.8, nesterov=True, weight_decay=0.01, schedule="cosine", steps=5
    )
    schedule = optax.cosine_decay_schedule(0.05, 5)
    if optimizer == "sgd":
        peer = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(schedule, 0.8, nesterov=True))
    else:
        peer = optax.adamw(schedule, weight_decay=0.01)
    params, _ = net.init(jax.random.split(jax.random.key(1))[0], batch["image"])
    opt_state, losses = peer.init(params), []

    @jax.jit
    def step(params, opt_state):
        def loss(p):
            logits = net.apply(p, (), batch["image"])[0]
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, opt_state = peer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    for _ in range(5):
        params, opt_state, value = step(params, opt_state)
        losses.append(value)
    state, metrics = train(adversarial_training(net, config), batch)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, params)


def test_warm_up_and_constant_rate():
    # One parameter with logits (0, 1e-9 p) and label 0: the gradient of the loss is 1/2 at every step.
    def apply(params, state, x, *, key=None, train=False):
        return jnp.stack([jnp.zeros(1), 1e-9 * params[None]], axis=1), state

    net = Net(lambda key, x: (jnp.zeros(()), ()), apply)
    batch = {"image": jnp.zeros((1, 1)), "label": jnp.zeros(1, int)}

    def rates(config):
        learner = adversarial_training(net, config)
        state, params = learner.init(jax.random.key(0), batch), [0.0]
        step = jax.jit(learner.step)
        for i in range(6):
            state, _ = step(jax.random.key(i), state, batch)
            params.append(float(state.params))
        return -np.diff(params) / 0.5e-9

    base = AdversarialTrainingConfig(learning_rate=0.3, momentum=0.0, steps=6)
    assert rates(base) == pytest.approx(np.full(6, 0.3), rel=1e-4)
    assert rates(dataclasses.replace(base, warmup=3)) == pytest.approx(
        np.array([0.1, 0.2, 0.3, 0.3, 0.3, 0.3]), rel=1e-4
    )
    cosine = rates(dataclasses.replace(base, warmup=2, schedule="cosine"))
    expected = [0.15, 0.3, *(0.15 * (1 + np.cos(np.pi * np.arange(4) / 4)))]
    assert cosine == pytest.approx(np.array(expected), rel=1e-4)


def linear_net():
    """Two classes with margin w.x + b, for which adversarial training has a closed form."""

    def init(key, x):
        return {"w": jnp.linspace(-1, 1, x[0].size), "b": jnp.zeros(())}, ()

    def apply(params, state, x, *, key=None, train=False):
        score = (x.reshape(x.shape[0], -1) @ params["w"][:, None]) + params["b"]
        return jnp.concatenate([jnp.zeros_like(score), score], axis=1), state

    return Net(init, apply)


@pytest.mark.parametrize("attack", [fgsm(FGSMConfig(eps=0.05)), pgd(PGDConfig(0.05, 0.02, 8, keep="last"))])
def test_on_a_linear_model_it_minimizes_the_worst_case_loss(batch, attack):
    # max over |d| <= eps of softplus(-s (w.(x + d) + b)) is softplus(eps |w|_1 - s (w.x + b)), s = +-1.
    inside = {"image": 0.1 + 0.8 * batch["image"], "label": batch["label"] % 2}
    sign = 2.0 * inside["label"] - 1
    net, lr = linear_net(), 0.1

    def worst(params):
        score = inside["image"].reshape(16, -1) @ params["w"] + params["b"]
        return jax.nn.softplus(0.05 * jnp.abs(params["w"]).sum() - sign * score).mean()

    learner = adversarial_training(net, AdversarialTrainingConfig(learning_rate=lr, momentum=0.0), attack)
    state = learner.init(jax.random.key(0), inside)
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, inside)
    value, gradient = jax.value_and_grad(worst)(state.params)
    assert metrics["loss"] == pytest.approx(float(value), rel=1e-5)
    assert metrics["gradient_norm"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
    for name in ("w", "b"):
        np.testing.assert_allclose(after.params[name], state.params[name] - lr * gradient[name], atol=1e-6)


def test_the_attack_sees_evaluation_mode_and_the_update_training_mode(batch):
    # The network notes its modes, and its state is the mean of the last training batch.
    modes = []

    def apply(params, state, x, *, key=None, train=False):
        modes.append((train, key is not None))
        logits = x.reshape(x.shape[0], -1) @ params
        return logits, {"mean": x.mean()} if train else state

    net = Net(lambda key, x: (jax.random.normal(key, (16, 3)), {"mean": jnp.zeros(())}), apply)
    attack = fgsm(FGSMConfig(eps=0.1))
    learner = adversarial_training(net, AdversarialTrainingConfig(), attack)
    state = learner.init(jax.random.key(0), batch)
    after, _ = learner.step(jax.random.key(1), state, batch)
    *attacked, trained = modes  # the shapes are also computed in evaluation mode
    assert set(attacked) == {(False, False)}
    assert trained == (True, True)
    x_adv = attack(
        jax.random.key(0), lambda z: z.reshape(16, -1) @ state.params, batch["image"], batch["label"]
    )
    assert after.net_state["mean"] == pytest.approx(float(x_adv.mean()), abs=1e-6)


def test_no_gradient_flows_through_the_attack(mlp, batch):
    net = mlp(8, 3)
    state = adversarial_training(net, AdversarialTrainingConfig()).init(jax.random.key(0), batch)

    @jax.jit
    @jax.value_and_grad
    def loss(eps):
        attack = fgsm(FGSMConfig(eps=eps))
        learner = adversarial_training(net, AdversarialTrainingConfig(), attack)
        return learner.step(jax.random.key(1), state, batch)[1]["loss"]

    (low, slope), (high, _) = loss(0.0), loss(0.3)
    assert slope == 0
    assert high > low + 0.01


def test_rates_and_eps_sweep_under_vmap(mlp, batch):
    net = mlp(8, 3)
    configs = [
        AdversarialTrainingConfig(learning_rate=lr, weight_decay=wd) for lr, wd in [(0.1, 0.0), (0.02, 0.1)]
    ]
    attacks = [FGSMConfig(eps=e) for e in (0.0, 0.2)]

    @jax.jit
    def run(config, attack):
        learner = adversarial_training(net, config, fgsm(attack))
        state = learner.init(jax.random.key(0), batch)
        return learner.step(jax.random.key(1), learner.step(jax.random.key(2), state, batch)[0], batch)

    swept = jax.vmap(run)(stack(configs), stack(attacks))
    for i in range(2):
        alone = run(configs[i], attacks[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-5), swept, alone)


def test_it_makes_a_network_robust(mlp):
    # Two features: one is large and reliable; many are tiny and predictive, and an eps of .1 reverses them.
    def draw(key, n):
        y_key, noise_key = jax.random.split(key)
        y = jax.random.randint(y_key, (n,), 0, 2)
        sign = (2.0 * y - 1)[:, None]
        x = 0.5 + jnp.concatenate([0.3 * sign, 0.03 * sign * jnp.ones((1, 60))], axis=1)
        return {"image": jnp.clip(x + 0.1 * jax.random.normal(noise_key, x.shape), 0, 1), "label": y}

    data = draw(jax.random.key(0), 256)
    net, config = mlp(16, 2), AdversarialTrainingConfig("adam", 0.01, steps=150)
    attack = pgd(PGDConfig(eps=0.1, step_size=0.05, steps=4, keep="last"))
    accuracy = {}
    for name, trained in (("standard", None), ("adversarial", attack)):
        state, metrics = train(adversarial_training(net, config, trained), data, steps=150)
        logits = lambda z, p=state.params: net.apply(p, (), z)[0]  # noqa: E731
        x_adv = jax.jit(attack, static_argnums=1)(jax.random.key(5), logits, data["image"], data["label"])
        accuracy[name] = float(is_correct(logits(x_adv), data["label"]).mean())
        assert metrics["loss"][-1] < metrics["loss"][0]
    assert accuracy["adversarial"] > accuracy["standard"] + 0.3


def test_state_and_metrics(mlp, batch):
    learner = adversarial_training(mlp(8, 3), AdversarialTrainingConfig())
    state = learner.init(jax.random.key(0), batch)
    assert isinstance(state, TrainState)
    shapes = jax.eval_shape(learner.step, jax.random.key(1), state, batch)
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(state)
    assert set(shapes[1]) == {"loss", "accuracy", "gradient_norm"}
    assert all(v.shape == () for v in shapes[1].values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": jnp.zeros((16, 4, 4, 1), jnp.uint8)}, "x must hold floats"),
        ({"label": jnp.zeros((16, 3))}, "integer class labels"),
        ({"label": jnp.zeros(4, int)}, "16 inputs and 4 labels"),
    ],
)
def test_bad_batches(mlp, batch, change, message):
    learner = adversarial_training(mlp(8, 3), AdversarialTrainingConfig())
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(learner.init, jax.random.key(0), batch | change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamw"}, "optimizer 'adamw' is not known; did you mean adam"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"momentum": 1.5}, "momentum must lie between 0 and 1"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number, 0 or more"),
        ({"schedule": "cos"}, "schedule 'cos' is not known; did you mean cosine"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 10, "warmup": 10}, "warmup must be below steps, got 10 and 10"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        AdversarialTrainingConfig(**settings)
