"""The joint objective of the study without negatives has the losses of the library; its probe is a ridge."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ssl import _negatives as negatives
from lrn.ssl.barlow_twins import barlow_twins_loss
from lrn.ssl.sigreg import directions, sigreg
from lrn.ssl.simclr import nt_xent
from lrn.ssl.vicreg import vicreg_loss


@jax.jit
def both(key):
    """The losses of the joint objective, and those of the library, for random embeddings."""
    a, b = jax.random.normal(key, (2, 8, 5))
    along = directions(key, 5, negatives.DIRECTIONS)
    known = {
        "VICReg": vicreg_loss(a, b, 0.2, 0.2, 1.0),
        "Barlow Twins": barlow_twins_loss(a, b, 0.2),
        "LeJEPA": 0.2 * jnp.mean((a - b) ** 2) + 0.1 * (sigreg(a, along) + sigreg(b, along)),
        negatives.FEW: (nt_xent(a[:4], b[:4], 0.2) + nt_xent(a[4:], b[4:], 0.2)) / 2,
        negatives.MANY: nt_xent(a, b, 0.2),
    }
    return negatives.losses(key, a, b, 0.2), known


def test_each_loss_is_that_of_the_library():
    found, known = both(jax.random.key(1))
    for method, value in zip(negatives.METHODS, found, strict=True):
        np.testing.assert_allclose(value, known[method], rtol=1e-5, err_msg=method)


def test_the_probe_is_a_ridge_regression_in_float64():
    """The worst and the mean R2, with the penalty of each target chosen on validation rows."""
    rng = np.random.default_rng(0)
    sizes = {"train": 40, "validation": 30, "test": 50}
    h = {part: rng.normal(size=(n, 6)) for part, n in sizes.items()}
    out = rng.normal(size=(6, 3))
    y = {part: v @ out + rng.normal(size=(len(v), 3)) * np.array([0.1, 1.0, 3.0]) for part, v in h.items()}
    y = {part: (v - y["train"].mean(0)) for part, v in y.items()}
    floats = {part: jnp.asarray(v, jnp.float32) for part, v in h.items()}
    targets = {part: jnp.asarray(v, jnp.float32) for part, v in y.items()}
    found = jax.jit(negatives.explained)(floats, {"t": targets})
    mean, std = h["train"].mean(0), h["train"].std(0)
    x = {part: (v - mean) / std for part, v in h.items()}
    best = []
    for j in range(3):
        scores = []
        for penalty in negatives.RIDGES:
            gram = x["train"].T @ x["train"] / 40 + penalty * np.eye(6)
            w = np.linalg.solve(gram, x["train"].T @ y["train"][:, j] / 40)
            scores.append(
                [1 - np.mean((y[p][:, j] - x[p] @ w) ** 2) / y[p][:, j].var() for p in ("validation", "test")]
            )
        best.append(max(scores))
    for i, part in enumerate(("validation", "test")):
        np.testing.assert_allclose(found[f"worst t {part}"], min(b[i] for b in best), atol=1e-4)
        np.testing.assert_allclose(found[f"mean t {part}"], np.mean([b[i] for b in best]), atol=1e-4)


def test_targets_are_standardized_functions_of_what_is_hidden():
    hidden = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    parts = {"train": hidden, "test": hidden[:7]}
    y = jax.device_get(jax.jit(lambda key, parts: negatives.targets(key, parts, 5))(jax.random.key(4), parts))
    np.testing.assert_allclose(y["train"].mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(y["train"].std(0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(y["test"], y["train"][:7], atol=1e-5)
