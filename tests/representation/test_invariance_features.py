"""CORAL's and MMD's distances: double loops, DomainBed's formulas in torch, properties."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.representation.coral import moment_distance
from lrn.representation.mmd import GAMMAS, discrepancy

TORCH = json.loads((Path(__file__).parent / "references" / "penalties_torch.json").read_text())
Z = np.random.default_rng(3).normal(size=(3, 6, 2)) * np.array([1.0, 2.0, 0.5])[:, None, None]


@pytest.fixture(scope="module")
def by_lrn():
    """Both distances of some environments: as they are, in another order, shifted; and those of torch."""

    @jax.jit
    def found(z, torch):
        shifted = z.at[1].add(3.0)
        cases = {"as is": z, "reordered": z[jnp.array([2, 0, 1])], "shifted": shifted, "torch": torch}
        cases["far"] = z + 1000.0
        cases["equal"] = jnp.stack([z[0], z[0][::-1]])
        return {name: (moment_distance(x), discrepancy(x)) for name, x in cases.items()}

    torch = np.asarray(TORCH["features"], np.float32)
    return jax.device_get(found(Z.astype(np.float32), torch))


def test_they_are_double_loops(by_lrn):
    moments, kernels = [], []
    for a, b in itertools.combinations(Z, 2):
        off = np.cov(a.T) - np.cov(b.T)
        moments.append(np.mean((a.mean(0) - b.mean(0)) ** 2) + np.mean(off**2))

        def k(x, y):
            return np.mean([[sum(np.exp(-g * np.sum((p - q) ** 2)) for g in GAMMAS) for q in y] for p in x])

        kernels.append(k(a, a) + k(b, b) - 2 * k(a, b))
    np.testing.assert_allclose(by_lrn["as is"], [np.mean(moments), np.mean(kernels)], rtol=1e-4)


def test_they_are_those_of_torch(by_lrn):
    np.testing.assert_allclose(by_lrn["torch"], [TORCH["coral"], TORCH["mmd"]], rtol=1e-4)


def test_environments_have_no_names_and_equal_ones_no_distance(by_lrn):
    np.testing.assert_allclose(by_lrn["reordered"], by_lrn["as is"], rtol=1e-5)
    np.testing.assert_allclose(by_lrn["far"], by_lrn["as is"], rtol=1e-3)
    np.testing.assert_allclose(by_lrn["equal"], 0, atol=1e-5)
    assert (np.array(by_lrn["shifted"]) > np.array(by_lrn["as is"])).all()


def test_bad_input():
    with pytest.raises(InputError, match=r"two environments or more, got \(1, 4, 2\)"):
        discrepancy(jnp.ones((1, 4, 2)))
    with pytest.raises(InputError, match=r"two rows or more, got \(2, 1, 2\)"):
        moment_distance(jnp.ones((2, 1, 2)))
    with pytest.raises(InputError, match="got None"):
        moment_distance(None)
    with pytest.raises(InputError, match="every entry of gammas must be a finite number above 0"):
        discrepancy(jnp.ones((2, 4, 2)), (1.0, 0.0))
    with pytest.raises(InputError, match="gammas must have one value or more"):
        discrepancy(jnp.ones((2, 4, 2)), ())
