"""Augmentations of sequences: NumPy's interpolation, places and frequencies of changes, and properties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import augment

N, TIME = 300, 12
X = np.random.default_rng(0).normal(size=(N, TIME, 2)).astype(np.float32)


def drawn(augmentation, x=X, seed=0):
    return np.asarray(jax.jit(augmentation)(jax.random.key(seed), x))


def test_a_crop_is_a_window_of_the_sequence_interpolated():
    """Each result is NumPy's interpolation of one of the windows of 6 to 12 steps, and all windows occur."""
    found = drawn(augment.crop_in_time((0.5, 1.0)))
    windows = {}
    for length in range(6, TIME + 1):
        places = np.clip((np.arange(TIME) + 0.5) * length / TIME - 0.5, 0, length - 1)
        for start in range(TIME - length + 1):
            part = X[:, start : start + length]
            windows[start, length] = np.stack(
                [[np.interp(places, np.arange(length), c) for c in one.T] for one in part]
            ).swapaxes(1, 2)
    errors = np.stack([np.abs(w - found).max((1, 2)) for w in windows.values()])
    assert errors.min(0).max() < 1e-5
    lengths = np.array([length for _, length in windows])[errors.argmin(0)]
    assert len(set(errors.argmin(0))) == len(windows)
    # The rounded length is uniform over 6 to 12 steps, with half of the mass at both ends.
    assert abs(lengths.mean() - 9) < 4 * 2 / np.sqrt(N)
    inner = [np.mean(lengths == length) for length in range(7, TIME)]
    np.testing.assert_allclose(inner, 1 / 6, atol=4 * np.sqrt(5 / 36 / N))


def test_noise_and_scale_have_their_deviation():
    noise = drawn(augment.jitter(0.5)) - X
    assert noise.std() == pytest.approx(0.5, rel=0.04)
    factors = drawn(augment.scale_channels(0.2)) / X
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-4)
    assert factors[:, 0].std() == pytest.approx(0.2, rel=0.15)
    assert factors[:, 0].mean() == pytest.approx(1, abs=0.04)
    assert abs(np.mean((factors[:, 0, 0] - 1) * (factors[:, 0, 1] - 1))) < 0.25 * 0.2**2


def test_a_mask_is_one_window():
    found = drawn(augment.mask_in_time(0.34, p=0.8, fill=9.0))
    filled = (found == 9).all(2)
    np.testing.assert_array_equal(found[~filled], X[~filled])
    lengths = filled.sum(1)
    assert set(lengths) == set(range(5))  # at most .34 of 12 steps, rounded down
    assert (np.abs(np.diff(filled.astype(int), axis=1)).sum(1) <= 2).all()
    assert abs((lengths == 4).mean() - 0.8 / 5) < 4 * np.sqrt(0.13 / N)
    assert filled.any(0).all(), "every step is masked somewhere"


def test_segments_are_put_in_every_order():
    steps = np.broadcast_to(np.arange(5.0, dtype=np.float32)[None, :, None], (N, 5, 1))
    # Three segments of 5 steps: of lengths 2, 2 and 1.
    found = {tuple(one.ravel().astype(int)) for one in drawn(augment.permute_segments(3), steps)}
    parts = [(0, 1), (2, 3), (4,)]
    orders = [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3]
    assert found == {parts[a] + parts[b] + parts[c] for a, b, c in orders}
    changed = drawn(augment.permute_segments(3, p=0.3), steps)[:, :, 0] != np.arange(5)
    assert abs(changed.any(1).mean() - 0.3 * 5 / 6) < 4 * np.sqrt(0.19 / N)


def everything(key, x, strength):
    return augment.compose(
        augment.crop_in_time((strength / 2, strength)),
        augment.jitter(strength),
        augment.scale_channels(strength),
        augment.mask_in_time(strength, strength),
        augment.permute_segments(3, strength),
    )(key, x)


def test_vmap_over_keys_and_strengths_is_a_loop(key_reuse_checks):
    keys, x = jax.random.split(jax.random.key(3), 2), X[:8].reshape(2, 4, TIME, 2)
    strengths = jnp.array([0.3, 0.8])
    together = jax.jit(jax.vmap(everything))(keys, x, strengths)
    alone = jax.jit(everything)
    for lane, key in enumerate(keys):
        np.testing.assert_allclose(together[lane], alone(key, x[lane], strengths[lane]), atol=1e-5)


def test_a_traced_number_out_of_bounds_gives_nan():
    swept = {
        "jitter": augment.jitter,
        "scale": augment.scale_channels,
        "share": augment.mask_in_time,
        "mask": lambda p: augment.mask_in_time(p=p),
        "segments": lambda p: augment.permute_segments(2, p),
    }

    def drawn(value):
        return {name: of(value)(jax.random.key(0), jnp.asarray(X[:2])) for name, of in swept.items()}

    for name, value in jax.jit(jax.vmap(drawn))(jnp.asarray([0.5, -0.5, jnp.nan])).items():
        assert np.isnan(value).all(axis=(1, 2, 3)).tolist() == [False, True, True], name


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: augment.crop_in_time((0.5, 1.2)), "crop's share of the sequence, must lie between 0 and 1"),
        (lambda: augment.crop_in_time((0.0, 0.5)), "lower end of share must be"),
        (lambda: augment.jitter(-1.0), "std must be"),
        (lambda: augment.scale_channels(float("nan")), "std must be"),
        (lambda: augment.mask_in_time(1.5), "share must lie between 0 and 1"),
        (lambda: augment.mask_in_time(p=-1.0), "probability p"),
        (lambda: augment.permute_segments(1), "segments must be at least 2"),
        (
            lambda: augment.permute_segments(13)(jax.random.key(0), jnp.asarray(X)),
            "12 steps has no 13 segments",
        ),
        (
            lambda: augment.jitter()(jax.random.key(0), jnp.asarray(X)[0]),
            r"sequences must be floats \[batch, time, chan",
        ),
        (lambda: augment.jitter()(jax.random.key(0), jnp.asarray(X, int)), "one-hot"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InputError, match=said) as error:
        call()
    assert "\n" not in str(error.value)
