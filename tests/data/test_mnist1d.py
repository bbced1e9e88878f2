"""MNIST-1D against the authors' file, and the draws by a key against the authors' deterministic steps."""

import dataclasses

import jax
import numpy as np
import pyarrow as pa
import pytest

import lrn.data
from lrn.check import InputError
from lrn.data import mnist1d
from lrn.data.columns import Series
from lrn.data.errors import DataError
from lrn.data.mnist1d import Mnist1dConfig, published, sample, templates

DRAW = jax.jit(sample)
QUIET = Mnist1dConfig(scale=0.0, smooth_noise=0.0, white_noise=0.0, shear=0.0, translation=1)
LABELS = np.repeat(np.arange(10), 200)


def test_the_published_set_is_the_authors_file():
    # Values of mnist1d_data.pkl at github.com/greydanus/mnist1d, commit 7878d96: the first numbers of x[0]
    # and of x_test[-1], the first labels, the counts of labels, and four covariances over all rows.
    x, y = published()
    first = [-0.33200567, -0.47191037, -0.77869708, -1.00974083, -0.88235257, 0.10393481]
    last = [-0.51932871, -0.69872276, -1.28103769, -2.16101485, -2.38942113, -0.24233900]
    np.testing.assert_allclose(x[0, :6], first, atol=1e-8)
    np.testing.assert_allclose(x[4999, :6], last, atol=1e-8)
    assert y[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert np.bincount(y[:4000]).tolist() == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]
    np.testing.assert_allclose(
        np.cov(x.T)[5, 5:9], [1.22305802, 1.01187753, 0.69770037, 0.47953992], atol=1e-7
    )


def test_load_gives_the_published_parts():
    x, y = published()
    train, test = lrn.data.load("mnist1d"), lrn.data.load("mnist1d", "test")
    assert train["x"].dtype == np.float32
    assert (train.rows, test["x"].shape) == (4000, (1000, 40, 1))
    np.testing.assert_array_equal(test["x"][..., 0], x[4000:].astype(np.float32))
    np.testing.assert_array_equal(train["label"], y[:4000])


def test_templates_begin_at_zero_with_one_scale():
    x = templates()
    assert x.shape == (10, 12)
    np.testing.assert_array_equal(x[:, 0], 0)
    np.testing.assert_allclose(x.std(1), 1 / 6)


@pytest.mark.parametrize("padding", [0, 60])
def test_without_chance_a_signal_is_its_stretched_template(padding):
    """The interpolation of the authors' code, twice, in float64."""
    signals = DRAW(jax.random.key(0), np.arange(10), dataclasses.replace(QUIET, padding=(padding, padding)))
    for label, template in enumerate(templates()):
        padded = np.concatenate([template, np.zeros(padding)])
        wide = np.interp(np.linspace(0, 1, 12 + padding), np.linspace(0, 1, len(padded)), padded)
        expected = np.interp(np.linspace(0, 1, 40), np.linspace(0, 1, len(wide)), wide)
        expected = (expected - mnist1d.MEAN) / mnist1d.STD
        np.testing.assert_allclose(signals[label, :, 0], expected, atol=2e-5)


def test_draws_have_the_moments_of_the_published_set():
    x, y = published()
    drawn = np.asarray(DRAW(jax.random.key(1), LABELS, Mnist1dConfig()))[..., 0]
    assert drawn.dtype == np.float32
    assert drawn.std() == pytest.approx(1, abs=0.03)
    ratios = []
    for label in range(10):
        theirs, ours = x[y == label], drawn[label == LABELS]
        error = np.sqrt(theirs.var(0) / len(theirs) + ours.var(0) / len(ours))
        assert np.abs((theirs.mean(0) - ours.mean(0)) / error).max() < 4.5
        ratios.append(ours.var(0) / theirs.var(0))
        # Neighboring points: smoothing, shear and interpolation show in their correlation.
        lag = [np.diagonal(np.corrcoef(s.T), 2).mean() for s in (theirs, ours)]
        assert lag[1] == pytest.approx(lag[0], abs=0.04)
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_each_argument_is_seen():
    """A draw is an affine function of what the noise and the shear add, so each changes it."""
    key = jax.random.key(2)
    base = DRAW(key, LABELS, Mnist1dConfig())
    for name in ("scale", "smooth_noise", "white_noise", "shear"):
        changed = DRAW(key, LABELS, dataclasses.replace(Mnist1dConfig(), **{name: 0.0}))
        assert float(np.std(changed - base)) > 0.05, name
    shifts = DRAW(key, LABELS[:50], dataclasses.replace(QUIET, translation=48, length=72))
    plain = DRAW(key, LABELS[:50], dataclasses.replace(QUIET, length=72))
    moves = {
        int(np.argmin([np.abs(np.roll(b, k) - a).max() for k in range(72)]))
        for a, b in zip(np.asarray(shifts)[..., 0], np.asarray(plain)[..., 0])
    }
    assert max(moves) < 48
    assert len(moves) > 20


def test_jit_vmap_and_labels_that_are_no_digits():
    keys = jax.random.split(jax.random.key(3), 2)
    labels = np.array([0, 10, -1])
    many = jax.jit(jax.vmap(lambda key: sample(key, labels)))(keys)
    drawn = sample(keys[1], labels)
    np.testing.assert_allclose(many[1], drawn, rtol=1e-5, atol=1e-5)
    assert np.isfinite(drawn[0]).all()
    assert np.isnan(drawn[1:]).all()


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="labels must be integers"):
        sample(jax.random.key(0), np.ones(3))
    with pytest.raises(InputError, match="the largest padding"):
        Mnist1dConfig(padding=(5, 4))
    with pytest.raises(InputError, match="shear"):
        Mnist1dConfig(shear=-1.0)


def test_a_column_of_series():
    kind = Series(2, 2)
    for form in (None, pa.list_(pa.float32(), 4)):
        read = kind.read(pa.chunked_array([pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], form)]))
        assert read.dtype == np.float32
        assert read.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    for values, said in (
        ([[1.0, 2, 3, 4], [1.0]], "row 1 has 1 numbers, expected 4"),
        ([[1.0, 2, 3, 4], None], "row 1 is missing"),
        ([1.0], "expected lists of numbers"),
        ([["a", "b", "c", "d"]], "expected numbers"),
    ):
        with pytest.raises(DataError, match=said):
            kind.read(pa.chunked_array([pa.array(values)]))
