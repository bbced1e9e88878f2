"""W-MSE and SIGReg against closed forms; every guard against collapse, and what its removal permits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.alignment_uniformity import AlignmentUniformityConfig, alignment_uniformity
from lrn.ssl.barlow_twins import BarlowTwinsConfig, barlow_twins
from lrn.ssl.moco import MoCoConfig, moco
from lrn.ssl.sigreg import LeJEPAConfig, directions, epps_pulley, lejepa
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.vicreg import VICRegConfig, vicreg
from lrn.ssl.views import draw
from lrn.ssl.w_mse import WMSEConfig, w_mse, w_mse_loss, whitened

RAW = np.random.default_rng(0).normal(size=(24, 4))
X = (0.5 + 1.5 * (RAW - RAW.mean(0)) / RAW.std(0)).astype(np.float32)


def test_whitened_rows_have_the_identity_as_their_covariance():
    z = jax.jit(whitened)(X @ np.diag([1, 2, 3, 4]).astype(np.float32))
    np.testing.assert_allclose(np.mean(z, 0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=1e-4)


def test_the_statistic_equals_its_closed_form():
    """The integral over all frequencies has a closed form, a sum over pairs (Baringhaus and Henze 1988)."""
    x = X[:, :2].astype(np.float64)
    n = len(x)
    expected = []
    for column in x.T:
        apart = np.exp(-((column[:, None] - column[None]) ** 2) / 2).sum() * np.sqrt(2 * np.pi) / n
        centered = 2 * np.sqrt(np.pi) * np.exp(-(column**2) / 4).sum()
        expected.append(apart - centered + n * np.sqrt(2 * np.pi / 3))
    wide, usual = jax.jit(lambda x: (epps_pulley(x, 129, 8.0), epps_pulley(x)))(X[:, :2])
    np.testing.assert_allclose(wide, expected, rtol=1e-4)
    np.testing.assert_allclose(usual, expected, rtol=0.02)  # the authors' 17 points up to 3


def test_the_statistic_has_its_known_mean_under_normality_and_sees_departures():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(128, 400)).astype(np.float32)
    value = jax.jit(epps_pulley)
    # The mean over draws of n |phi_n - phi|^2 is 1 - phi^2.
    expected = np.sqrt(2 * np.pi) - np.sqrt(2 * np.pi / 3)
    drawn = np.asarray(value(x))
    assert drawn.mean() == pytest.approx(expected, abs=4 * float(drawn.std()) / 20 + 0.02)
    for other in (2 * x, 0 * x, x + 0.5, np.sqrt(3) * np.sign(x) / np.sqrt(3)):
        assert np.mean(value(other)) > 3 * expected


def test_directions_are_unit_vectors_in_all_directions():
    along = np.asarray(jax.jit(lambda key: directions(key, 3, 500))(jax.random.key(0)))
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(along.T @ along / 500, np.eye(3) / 3, atol=0.06)


def identity():
    return nets.from_function(lambda key, x: (), lambda params, x: x)


def noisy(key, x):
    return x + 0.1 * jax.random.normal(key, x.shape)


def constant():
    """An encoder after its collapse: all inputs have one output."""
    return nets.from_function(lambda key, x: (), lambda params, x: 0.5 + 0 * x)


def copies():
    """An encoder whose dimensions have collapsed to one."""
    return nets.from_function(lambda key, x: (), lambda params, x: x[:, :1] + 0 * x)


# A method, its config, what removes its guard, the collapse that this permits, and the least loss.
GUARDS = {
    "simclr": (simclr, SimCLRConfig(), {"negatives": False}, constant, -2.0),
    "moco": (moco, MoCoConfig(queue=24, temperature=0.5), {"negatives": False}, constant, -2.0),
    "vicreg, constant": (vicreg, VICRegConfig(), {"variance": 0.0}, constant, 0.0),
    "barlow_twins": (barlow_twins, BarlowTwinsConfig(), {"redundancy": 0.0}, copies, None),
    "vicreg, copies": (vicreg, VICRegConfig(), {"covariance": 0.0}, copies, None),
    "w_mse": (w_mse, WMSEConfig(), {"whiten": False}, constant, 0.0),
    "lejepa": (lejepa, LeJEPAConfig(), {"weight": 0.0}, constant, 0.0),
    "alignment": (alignment_uniformity, AlignmentUniformityConfig(), {"uniformity": 0.0}, constant, 0.0),
}


@pytest.fixture(scope="module")
def losses():
    """The loss of the second step by method, guard and encoder, all in one program.

    The networks have no parameters, so the first step fills the queue of MoCo and changes nothing else.
    """

    @jax.jit
    def all_losses(x):
        out = {}
        for name, (method, config, removed, collapsed, _) in GUARDS.items():
            for guard in ("guarded", "removed"):
                used = config if guard == "guarded" else dataclasses.replace(config, **removed)
                for encoder, net in (("collapsed", collapsed()), ("faithful", identity())):
                    learner = method(net, identity(), noisy, used)
                    state = learner.init(jax.random.key(0), {"x": x})
                    state, _ = learner.step(jax.random.key(1), state, {"x": x})
                    metrics = learner.step(jax.random.key(2), state, {"x": x})[1]
                    out[name, guard, encoder] = metrics["loss"]
        return {" ".join(name): value for name, value in out.items()}

    return jax.device_get(all_losses(X))


@pytest.mark.parametrize("name", GUARDS)
def test_the_guard_alone_makes_a_collapse_worse(losses, name):
    """With the guard the collapsed encoder has the larger loss; without it none is better."""
    assert losses[f"{name} guarded collapsed"] > losses[f"{name} guarded faithful"]
    least = GUARDS[name][-1]
    if least is None:  # the invariance is that of the one dimension
        assert losses[f"{name} removed collapsed"] < 1.3 * losses[f"{name} removed faithful"]
    else:
        assert losses[f"{name} removed collapsed"] == pytest.approx(least, abs=1e-5)
        assert losses[f"{name} removed collapsed"] < losses[f"{name} removed faithful"]


def test_w_mse_whitens_random_groups_several_times():
    """The mean over the groups of a division; a loop over them with the keys of the step."""
    config = WMSEConfig(size=8, iterations=2, shrink=0.01)
    learner = w_mse(identity(), identity(), noisy, config)

    @jax.jit
    def both(x):
        key = jax.random.key(1)
        state = learner.init(jax.random.key(0), {"x": x})
        ours = learner.step(key, state, {"x": x})[1]["loss"]
        view_key, _, division_key = jax.random.split(key, 3)
        a, b = draw(noisy, view_key, x)
        losses = []
        for each in jax.random.split(division_key, 2):
            order = jax.random.permutation(each, 24)
            losses += [w_mse_loss(a[part], b[part], 0.01) for part in jnp.split(order, 3)]
        return ours, jnp.mean(jnp.stack(losses)), w_mse_loss(a, b, 0.01)

    ours, loop, whole = both(X)
    assert ours == pytest.approx(float(loop), rel=1e-4)
    assert abs(ours - whole) > 1e-4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: WMSEConfig(shrink=2.0), "shrink"),
        (lambda: WMSEConfig(iterations=0), "iterations"),
        (lambda: VICRegConfig(variance=-1.0), "variance"),
        (lambda: BarlowTwinsConfig(redundancy=-1.0), "redundancy"),
        (lambda: LeJEPAConfig(weight=1.5), "weight"),
        (lambda: LeJEPAConfig(knots=1), "knots"),
        (lambda: AlignmentUniformityConfig(t=0.0), "t must be"),
    ],
)
def test_wrong_settings_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_groups_that_do_not_divide_the_batch_are_refused():
    learner = w_mse(identity(), identity(), noisy, WMSEConfig(size=7))
    state = learner.init(jax.random.key(0), {"x": X})
    with pytest.raises(InputError, match="groups of 7 do not divide a batch of 24"):
        learner.step(jax.random.key(1), state, {"x": X})
