"""DINO against lightly; the schedules, and what centering, sharpening, the teacher and freezing change."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl import dino as module
from lrn.ssl.dino import DINOConfig, dino_loss, teacher_codes
from lrn.supervised.optimizers import OptimizerConfig

HASTY = {"xla_backend_optimization_level": 0}


def tensors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of the student [crops, n, prototypes], of the teacher [views, n, prototypes], and a center."""
    rng = np.random.default_rng(0)
    for shape in ((3, 6, 5), (4, 5), (2, 8, 5)):  # the numbers that the peer draws first
        rng.normal(size=shape)
    teacher, student = rng.normal(size=(2, 6, 4)), rng.normal(size=(3, 6, 4))
    return student.astype(np.float32), teacher.astype(np.float32), 0.1 * rng.normal(size=4).astype(np.float32)


COMPILED = jax.jit(jax.value_and_grad(dino_loss, argnums=(0, 1)))


def test_the_loss_equals_lightlys_and_the_teacher_has_no_gradient():
    value, (student, teacher) = COMPILED(*tensors(), 0.1, 0.04)
    # lightly 1.6.0, torch 2.13.0, float64: DINOLoss(teacher_temp=.04, student_temp=.1, center_momentum=.9).
    assert value == pytest.approx(12.80970339170092, rel=1e-5)
    assert np.abs(student).max() > 0.01
    assert not teacher.any()


def test_gradients_are_finite_at_zero_and_in_bfloat16():
    student, teacher, center = tensors()
    assert np.isfinite(COMPILED(0 * student, 0 * teacher, center, 0.1, 0.04)[1][0]).all()
    rough, coarse = student.astype(jnp.bfloat16), teacher.astype(jnp.bfloat16)
    half = COMPILED(rough, coarse, center, 0.1, 0.04)[1][0]
    full = COMPILED(rough.astype(np.float32), coarse.astype(np.float32), center, 0.1, 0.04)[1][0]
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), full, atol=0.01 * float(np.abs(full).max()))


# Adam with an L2 term: it would turn a last layer whose gradient is zero.
OPTIMIZER = OptimizerConfig("adam", learning_rate=0.003, weight_decay=0.01)


@functools.cache
def run(steps: int, **changed) -> tuple[list, list[dict[str, float]]]:
    """The states after each step and the metrics of the example with other settings."""
    made = module.example()
    learner = made.factory(dataclasses.replace(made.config, optimizer=OPTIMIZER, **changed))
    assert made.sampler is not None
    data = {name: jnp.asarray(made.data[name]) for name in ("image", "label")}
    draw = made.sampler.draw

    def init(key):
        return learner.init(key, draw(key, data))

    def step(key, state):
        return learner.step(key, state, draw(jax.random.fold_in(key, 1), data))

    init, step = (jax.jit(f, compiler_options=HASTY) for f in (init, step))
    states, metrics = [init(jax.random.key(0))], []
    for i in range(steps):
        state, measured = step(jax.random.key(i), states[-1])
        states.append(state)
        metrics.append({name: float(x) for name, x in measured.items()})
    return states, metrics


def test_the_teacher_follows_at_the_scheduled_momentum():
    states, _ = run(150)
    for step in (1, 2, 150):
        before, after = (states[i].memory["teacher"][0]["encoder"] for i in (step - 1, step))
        student = states[step].training.params["encoder"]
        momentum = (
            1 - (1 - 0.97) * (np.cos(np.pi * (step - 1) / 300) + 1) / 2
        )  # the schedule of BYOL and DINO
        expected = jax.tree.map(lambda a, b, m=momentum: m * a + (1 - m) * b, before, student)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after, expected)


def test_the_last_layer_is_frozen_then_moves():
    states, _ = run(150)
    last = [np.asarray(s.training.params["last"]) for s in states[:4]]
    assert (last[0] == last[2]).all()
    assert (last[2] != last[3]).any()


def test_the_center_is_a_running_mean_of_the_teachers_outputs():
    states, _ = run(150)
    assert np.abs(states[0].memory["center"]).max() == 0
    # With momentum .9 the first center is a tenth of a mean of cosines.
    assert 0 < np.abs(states[1].memory["center"]).max() < 0.1
    assert np.abs(run(150, centering=False)[0][-1].memory["center"]).max() == 0


def test_without_a_guard_the_teacher_collapses():
    """Without centering few outputs win; without sharpening all become uniform (section 5.3, figure 7)."""
    guarded, uncentered, blunt = (
        run(150, **changed)[1][-1] for changed in ({}, {"centering": False}, {"sharpening": False})
    )
    assert uncentered["usage_entropy"] < guarded["usage_entropy"] - 1
    assert blunt["code_entropy"] > guarded["code_entropy"] + 0.5
    # The difference of both entropies is what an output tells about its example.
    told = [m["usage_entropy"] - m["code_entropy"] for m in (guarded, uncentered, blunt)]
    assert told[0] > 0.4 + max(told[1:])


def test_codes_are_centered_and_sharpened():
    _, teacher, center = tensors()
    expected = np.exp((teacher - center) / 0.5)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        teacher_codes(jnp.asarray(teacher), jnp.asarray(center), 0.5), expected, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: DINOConfig(prototypes=1), "two or more"),
        (lambda x: DINOConfig(temperature=0.0), "temperature"),
        (lambda x: DINOConfig(teacher_temperature=0.0), "teacher_temperature"),
        (lambda x: DINOConfig(momentum=1.5), "momentum"),
        (lambda x: dino_loss(x, x[:1], jnp.zeros(3), 0.0, 0.1), "temperature"),
        (lambda x: dino_loss(x, x[:1, :, :2], jnp.zeros(2), 0.1, 0.1), "of one n"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((2, 4, 3)))
