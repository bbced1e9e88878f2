"""Properties that every attack has, and the checks of inputs."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.config import stack
from lrn.robust.apgd import APGDConfig, apgd
from lrn.robust.attack import check_batch, no_attack
from lrn.robust.carlini_wagner import CarliniWagnerConfig, carlini_wagner
from lrn.robust.deepfool import DeepFoolConfig, deepfool
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.hop_skip_jump import HopSkipJumpConfig, hop_skip_jump
from lrn.robust.losses import is_correct
from lrn.robust.norms import distance
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.square import SquareConfig, square

ATTACKS = {
    "fgsm": (fgsm, FGSMConfig()),
    "fgm_l2": (fgsm, FGSMConfig(norm="l2")),
    "rs_fgsm": (rs_fgsm, RSFGSMConfig()),
    "pgd": (pgd, PGDConfig(step_size=0.05, steps=3, restarts=2)),
    "pgd_l2_last": (pgd, PGDConfig(step_size=0.3, steps=3, norm="l2", keep="last", loss="margin")),
    "square": (square, SquareConfig(queries=30)),
    "pgd_l1": (pgd, PGDConfig(step_size=0.3, steps=4, norm="l1")),
    "apgd": (apgd, APGDConfig(steps=5, restarts=2)),
    "apgd_l1_targets": (apgd, APGDConfig(steps=6, norm="l1", loss="targeted_dlr", early_stop=True)),
    "carlini_wagner": (
        carlini_wagner,
        CarliniWagnerConfig(step_size=0.1, initial_c=0.1, searches=3, steps=20),
    ),
    "deepfool": (deepfool, DeepFoolConfig(steps=20)),
    "deepfool_linf": (deepfool, DeepFoolConfig(steps=20, norm="linf")),
    "hop_skip_jump": (hop_skip_jump, HopSkipJumpConfig(steps=6, first_draws=40)),
    "hop_skip_jump_linf": (hop_skip_jump, HopSkipJumpConfig(steps=6, first_draws=40, norm="linf")),
}
DETERMINISTIC = ("fgsm", "fgm_l2", "carlini_wagner", "deepfool", "deepfool_linf")
NEAREST = ("carlini_wagner", "deepfool", "deepfool_linf", "hop_skip_jump", "hop_skip_jump_linf")
EPS = (0.0, 0.1, 0.3)


class Case(NamedTuple):
    """One attack, compiled once alone, and once over three lanes that differ in eps, key and parameters."""

    name: str
    factory: Callable
    configs: list
    params: Any  # leaves [3, ...]
    x: jax.Array
    y: jax.Array
    logits: Callable  # (params, x) -> logits
    run: Callable  # (config, key, params) -> x_adv, jitted
    lanes: jax.Array  # x_adv of the three lanes at once, [3, ...]

    def lane(self, i):
        return self.configs[i], jax.random.key(i), jax.tree.map(lambda p: p[i], self.params)


@pytest.fixture(scope="module", params=ATTACKS)
def case(request, mlp):
    factory, config = ATTACKS[request.param]
    scale = {"linf": 1, "l2": 4, "l1": 10}[getattr(config, "norm", "linf")]
    configs = [dataclasses.replace(config, eps=scale * e) for e in EPS]
    net = mlp(12, 4)
    x = jax.random.uniform(jax.random.key(9), (12, 4, 4, 2))
    params = jax.vmap(lambda seed: net.init(jax.random.key(seed), x)[0])(jnp.arange(3))
    logits = lambda p, z: net.apply(p, (), z)[0]  # noqa: E731
    y = jnp.argmax(logits(jax.tree.map(lambda p: p[2], params), x), axis=1)
    run = jax.jit(lambda c, key, p: factory(c)(key, lambda z: logits(p, z), x, y))
    lanes = jax.vmap(run)(stack(configs), jax.vmap(jax.random.key)(jnp.arange(3)), params)
    return Case(request.param, factory, configs, params, x, y, logits, run, lanes)


def in_box(x):
    return bool(jnp.all((x >= 0) & (x <= 1)))  # also False for NaN


def test_stays_in_ball_and_box(case):
    assert case.lanes.shape == (3, *case.x.shape)
    assert case.lanes.dtype == case.x.dtype
    assert in_box(case.lanes)
    norm = getattr(case.configs[0], "norm", "linf")
    for x_adv, config in zip(case.lanes, case.configs):
        assert distance(x_adv, case.x, norm).max() <= config.eps + 1e-6
    least = 0.2 if case.name in NEAREST else 0.5
    assert distance(case.lanes[2], case.x, norm).max() > least * case.configs[2].eps


def test_eps_zero_is_identity(case):
    np.testing.assert_array_equal(case.lanes[0], case.x)


def test_vmap_over_eps_seeds_and_parameters_equals_loop(case):
    for i in range(3):
        np.testing.assert_allclose(case.lanes[i], case.run(*case.lane(i)), atol=1e-5)


@pytest.mark.parametrize("case", ["pgd", "square"], indirect=True)
def test_jit_equals_eager(case):
    short = {"steps": 1, "restarts": 1, "queries": 3}
    config, key, params = case.lane(2)
    config = dataclasses.replace(config, **{k: v for k, v in short.items() if hasattr(config, k)})
    eager = case.factory(config)(key, lambda z: case.logits(params, z), case.x, case.y)
    np.testing.assert_allclose(case.run(config, jax.random.key(2), params), eager, atol=1e-5)


def test_keys_matter_exactly_where_the_attack_is_random(case):
    config, key, params = case.lane(2)
    same = np.array_equal(case.run(config, key, params), case.run(config, jax.random.key(7), params))
    assert same == (case.name in DETERMINISTIC)


def test_accuracy_falls(case):
    _, _, params = case.lane(2)
    assert is_correct(case.logits(params, case.x), case.y).all()
    assert is_correct(case.logits(params, case.lanes[2]), case.y).mean() <= 0.75


def test_networks_without_gradients_or_with_nan_leave_valid_images(case):
    config, key, params = case.lane(2)
    for value in (0.0, jnp.nan):
        broken = jax.tree.map(lambda p, v=value: jnp.full_like(p, v), params)
        assert in_box(case.run(config, jax.random.clone(key), broken))


def test_bfloat16_images_stay_bfloat16(case):
    config, key, params = case.lane(2)
    small = case.x.astype(jnp.bfloat16)
    attack = lambda x: case.factory(config)(key, lambda z: case.logits(params, z), x, case.y)  # noqa: E731
    assert jax.eval_shape(attack, small).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2, int), "x must hold floats in"),
        (np.zeros((2,), np.float32), np.zeros(2, int), "at least two axes"),
        (np.zeros((2, 8, 8, 1), np.float32), np.zeros(2, np.float32), "integer class labels"),
        (np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 4), int), "integer class labels"),
        (np.zeros((2, 8, 8, 1), np.float32), np.zeros(3, int), "2 inputs and 3 labels"),
        (np.zeros((0, 8, 8, 1), np.float32), np.zeros(0, int), "the batch is empty"),
    ],
)
@pytest.mark.parametrize("attack", [no_attack, *(factory(config) for factory, config in ATTACKS.values())])
def test_bad_inputs_are_refused_while_tracing(attack, x, y, message):
    def never(z):
        raise AssertionError("the network ran")

    with pytest.raises(ValueError, match=message):
        jax.jit(lambda x, y: attack(jax.random.key(0), never, x, y))(x, y)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FGSMConfig(eps=-0.1), "eps must be a finite number, 0 or more, got -0.1"),
        (lambda: FGSMConfig(eps=float("nan")), "eps must be a finite number"),
        (
            lambda: FGSMConfig(eps=8),
            "eps must lie between 0 and 1 for the Linf norm, got 8; .* divide .* by 255",
        ),
        (lambda: FGSMConfig(norm="l0"), "norm 'l0' is not known"),
        (lambda: FGSMConfig(targeted=None), "targeted must be True or False"),  # pyright: ignore
        (lambda: PGDConfig(targeted="no"), "targeted must be True or False"),  # pyright: ignore
        (lambda: FGSMConfig(loss="mse"), "loss 'mse' is not known"),
        (lambda: RSFGSMConfig(step_ratio=0), "step_ratio must be a finite number above 0"),
        (lambda: RSFGSMConfig(eps="0.1"), "eps must be a number"),  # pyright: ignore[reportArgumentType]
        (lambda: PGDConfig(steps=0), "steps must be at least 1, got 0"),
        (lambda: PGDConfig(steps=2.5), "steps must be a whole number"),  # pyright: ignore[reportArgumentType]
        (lambda: PGDConfig(restarts=0), "restarts must be at least 1"),
        (lambda: PGDConfig(step_size=-1.0), "step_size must be a finite number above 0"),
        (lambda: PGDConfig(norm="inf"), "norm 'inf' is not known; did you mean linf"),
        (lambda: PGDConfig(keep="first"), "keep 'first' is not known"),
        (lambda: PGDConfig(restarts=2, random_start=False), "2 restarts without a random start"),
        (lambda: PGDConfig(restarts=2, keep="last"), "no meaning with several restarts"),
        (lambda: SquareConfig(queries=0), "queries must be at least 1"),
        (lambda: SquareConfig(initial_fraction=1.5), "initial_fraction must lie between 0 and 1"),
        (lambda: SquareConfig(eps=1.5), "eps must lie between 0 and 1"),
    ],
)
def test_bad_configs(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_l2_eps_may_exceed_one():
    assert FGSMConfig(eps=3.0, norm="l2").eps == 3


def test_check_batch():
    x, y = np.full((4, 2, 2, 1), 0.5, np.float32), np.array([0, 1, 2, 2])
    check_batch(x, y, 3)
    with pytest.raises(ValueError, match="labels must lie between 0 and 1, got 0 to 2"):
        check_batch(x, y, 2)
    with pytest.raises(ValueError, match="labels must lie between 0 and 2, got -1 to 2"):
        check_batch(x, np.array([0, -1, 2, 2]), 3)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\], got values from 127.5"):
        check_batch(255 * x, y, 3)
    with pytest.raises(ValueError, match="1 values that are not finite"):
        check_batch(np.where(np.arange(16).reshape(x.shape) == 3, np.nan, x), y, 3)
    with pytest.raises(ValueError, match="these arrays are traced"):
        jax.jit(lambda x: check_batch(x, y, 3))(x)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        check_batch(x, y, 1)


RADII = np.linspace(0, 0.3, 48, dtype=np.float32)


@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        (pgd(PGDConfig(eps=RADII, step_size=0.1, steps=3)), "linf"),  # pyright: ignore[reportArgumentType]
        (pgd(PGDConfig(eps=RADII, step_size=0.1, steps=3, norm="l2")), "l2"),  # pyright: ignore
        (pgd(PGDConfig(eps=RADII, step_size=0.1, steps=3, norm="l1")), "l1"),  # pyright: ignore
        (fgsm(FGSMConfig(eps=RADII)), "linf"),  # pyright: ignore[reportArgumentType]
        (rs_fgsm(RSFGSMConfig(eps=RADII)), "linf"),  # pyright: ignore[reportArgumentType]
        (square(SquareConfig(eps=RADII, queries=5)), "linf"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_each_example_has_its_own_eps(linear, attack, norm):
    x_adv = attack(jax.random.key(0), linear.logits, linear.x, linear.y)
    found = np.asarray(distance(x_adv, linear.x, norm))
    assert (found <= RADII + 1e-6).all()
    reached = found[np.asarray(linear.logits(linear.x).argmax(1) == linear.y)]
    assert reached.max() > 0.25, "the largest radius is used"


def test_an_array_of_eps_is_checked():
    with pytest.raises(check.InputError, match="eps must lie between 0 and 1"):
        FGSMConfig(eps=np.asarray([0.1, 8.0]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(check.InputError, match="one for each of 48 examples"):
        fgsm(FGSMConfig(eps=np.ones(3)))(jax.random.key(0), lambda z: z, np.zeros((48, 2)), np.zeros(48, int))  # pyright: ignore
