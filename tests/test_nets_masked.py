"""Transformers that drop places and the 1-d CNN: against the ViT, loops, and what they must not read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.nets.patches import patchify
from lrn.nets.places import rows_of

KEPT = jnp.asarray([[3, 0, 9, 14], [7, 1, 2, 15]])


def image(seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random((2, 8, 8, 3)), jnp.float32)


def made(init, x):
    """Parameters and state, by one program."""
    return jax.jit(init)(jax.random.key(0), x)


def shapes(init, x):
    """Their shapes alone, by no program."""
    return jax.eval_shape(init, jax.random.key(0), x)


@pytest.fixture(scope="module")
def small():
    """A small encoder of 16 patches with its parameters, and its calls, each compiled once."""
    net = nets.masked_vit(2, 16, 2, 2, hidden=24, mean=0.5, std=0.2)
    params, state = made(net.net.init, image())
    return (
        net,
        params,
        jax.jit(lambda params, x: net.net.apply(params, state, x)[0]),
        jax.jit(lambda params, x, kept: net.tokens.apply(params, state, (x, kept))[0]),
    )


def test_features_are_those_of_the_vit_and_the_mean_of_the_tokens(small):
    _, params, features, tokens = small
    out = features(params, image())
    every = jnp.tile(jnp.arange(16)[None], (2, 1))
    np.testing.assert_allclose(tokens(params, image(), every).mean(1), out, atol=1e-5)

    vit = nets.vit(16, 2, 16, 2, 2, hidden=24, pool="mean", mean=0.5, std=0.2)
    same = {
        **{k: v for k, v in params.items() if k not in ("embed", "positions")},
        "patches": {"Dense_0": params["embed"]},
        "positions": params["positions"][None],
        "head": {"kernel": jnp.eye(16), "bias": jnp.zeros(16)},
    }
    np.testing.assert_allclose(jax.jit(lambda p, x: vit.apply(p, (), x)[0])(same, image()), out, atol=1e-5)


def test_kept_tokens_do_not_read_the_others_and_follow_their_order(small):
    net, params, _, tokens = small
    out = tokens(params, image(), KEPT)
    np.testing.assert_allclose(tokens(params, image(), KEPT[:, ::-1])[:, ::-1], out, atol=1e-5)
    # Places that are dropped become NaN, which any use of them would spread.
    patches = np.array(patchify(image(), 2)).reshape(2, 16, 12)
    kept = np.zeros((2, 16), bool)
    np.put_along_axis(kept, np.asarray(KEPT), True, axis=1)
    patches[~kept] = np.nan
    planted = patches.reshape(2, 4, 4, 2, 2, 3).swapaxes(2, 3).reshape(2, 8, 8, 3)
    np.testing.assert_array_equal(tokens(params, jnp.asarray(planted), KEPT), out)
    np.testing.assert_array_equal(net.split(jnp.asarray(planted)).reshape(2, 16, 12), patches)


def test_a_place_outside_of_the_grid_gives_nan(small):
    _, params, _, tokens = small
    for bad in (-1, 16):
        out = tokens(params, image(), KEPT.at[0, 0].set(bad))
        assert np.isnan(out[0]).all()
        assert np.isfinite(out[1]).all()


def test_the_cost_is_proportional_to_the_places_kept():
    """FLOPs as compiled, at ViT-tiny's width; attention's square makes the small difference."""
    net = nets.masked_vit(4, 192, 1, 3)
    x = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
    params, state = jax.eval_shape(net.net.init, jax.random.key(0), x)

    def flops(kept: int | None) -> float:
        given = x if kept is None else (x, jax.ShapeDtypeStruct((4, kept), jnp.int32))
        compiled = (
            jax.jit(lambda p, given: net.tokens.apply(p, state, given)[0]).lower(params, given).compile()
        )
        cost = compiled.cost_analysis()
        assert cost is not None
        return cost["flops"]

    whole, half, quarter = flops(None), flops(32), flops(16)
    assert half / whole == pytest.approx(1 / 2, abs=0.03)
    assert quarter / whole == pytest.approx(1 / 4, abs=0.03)


def test_sequences_and_tokens_have_places_of_their_own():
    x = jnp.arange(2 * 12 * 3, dtype=jnp.float32).reshape(2, 12, 3)
    net = nets.sequence_transformer(4, 8, 1, 2)
    np.testing.assert_array_equal(net.split(x)[1, 2], x[1, 8:12].reshape(-1))
    params, state = shapes(net.net.init, x)
    assert params["positions"].shape == (3, 8)
    assert jax.eval_shape(net.net.apply, params, state, x)[0].shape == (2, 8)
    with pytest.raises(InputError, match="do not divide into segments"):
        shapes(net.net.init, x[:, :11])
    with pytest.raises(InputError, match="must be sequences"):
        shapes(net.net.init, x[0])

    tokens = nets.token_transformer(5, 8, 1, 2)
    params, _ = shapes(tokens.net.init, jnp.zeros((2, 6), jnp.int32))
    assert params["embed"].shape == (6, 8)  # five tokens and the mask
    with pytest.raises(InputError, match="must be tokens"):
        shapes(tokens.net.init, jnp.zeros((2, 6)))
    with pytest.raises(InputError, match="must be tokens"):
        shapes(tokens.net.init, jnp.zeros((2, 6, 1), jnp.int32))


def test_rows_of_a_table():
    table = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    rows = rows_of(table, jnp.asarray([[1, 0], [2, -1]]))
    np.testing.assert_array_equal(rows, [[[3, 4], [1, 2]], [[np.nan] * 2] * 2])
    weights = jax.grad(lambda t: rows_of(t, jnp.asarray([1, 1, 0])).sum())(table)
    np.testing.assert_array_equal(weights, [[1, 1], [2, 2]])


def test_the_decoder_answers_place_by_place():
    net = nets.mask_decoder(5, 16, 8, 1, 2, hidden=16)
    hidden = jnp.asarray([[1, 2, 4], [0, 3, 4]])
    tokens = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 16)), jnp.float32)
    params, state = made(net.init, (tokens, KEPT, hidden))
    apply = jax.jit(lambda tokens, kept, hidden: net.apply(params, state, (tokens, kept, hidden))[0])
    out = apply(tokens, KEPT, hidden)
    assert out.shape == (2, 3, 5)
    np.testing.assert_allclose(apply(tokens, KEPT, hidden[:, ::-1])[:, ::-1], out, atol=1e-5)
    np.testing.assert_allclose(apply(tokens[:, ::-1], KEPT[:, ::-1], hidden), out, atol=1e-5)
    assert np.abs(apply(tokens, KEPT[:, ::-1], hidden) - out).max() > 1e-4  # which token is where matters
    assert np.abs(apply(tokens, KEPT, hidden.at[:, 0].set(6))[:, 0] - out[:, 0]).max() > 1e-4
    with pytest.raises(InputError, match="hidden must list places"):
        jax.eval_shape(net.apply, params, state, (tokens, KEPT, hidden.astype(jnp.float32)))
    with pytest.raises(InputError, match="kept must list places"):
        jax.eval_shape(net.apply, params, state, (tokens, KEPT[0], hidden))


def test_the_sequence_cnn_equals_loops():
    x = np.random.default_rng(2).normal(size=(2, 11, 3)).astype(np.float32)
    net = nets.cnn1d(4, (5, 6), kernel=3, stride=2, reduce="mean", mean=0.1, std=2.0)
    params, state = made(net.init, jnp.asarray(x))
    y = (x - 0.1) / 2
    for i, width in enumerate((5, 6)):
        kernel, bias = (np.asarray(params[f"conv_{i}"][name]) for name in ("kernel", "bias"))
        time = -(-y.shape[1] // 2)
        pad = max((time - 1) * 2 + 3 - y.shape[1], 0)
        padded = np.pad(y, ((0, 0), (pad // 2, pad - pad // 2), (0, 0)))
        out = np.zeros((2, time, width))
        for t in range(time):
            for j in range(3):
                out[:, t] += padded[:, 2 * t + j] @ kernel[j, 0]
        y = np.maximum(out + bias[None, None], 0)
    head = jax.tree.map(np.asarray, params["head"])
    wanted = y.mean(1) @ head["kernel"] + head["bias"][None]
    apply = jax.jit(lambda params, x: net.apply(params, state, x)[0])
    np.testing.assert_allclose(apply(params, jnp.asarray(x)), wanted, atol=1e-5)


def test_the_sequence_cnn_gives_features_and_follows_the_mode():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(6, 16, 2)), jnp.float32)
    net = nets.cnn1d(None, (4, 8), norm="batch")
    params, state = made(net.init, x)
    out, after = jax.jit(lambda p, s, x: net.apply(p, s, x, train=True))(params, state, x)
    assert out.shape == (6, 4 * 8)
    assert not np.array_equal(*(tree["batch_stats"]["norm_0"]["mean"] for tree in (state, after)))
    with pytest.raises(InputError, match="must be sequences"):
        shapes(net.init, x[0])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nets.masked_vit(0), "patch"),
        (lambda: nets.masked_vit(4, 10, 1, 3), "heads do not divide"),
        (lambda: nets.sequence_transformer(0), "segment"),
        (lambda: nets.token_transformer(1), "vocabulary"),
        (lambda: nets.mask_decoder(4, 1), "places"),
        (lambda: nets.cnn1d(widths=()), "at least one entry"),
        (lambda: nets.cnn1d(norm="layer"), "norm"),
        (lambda: nets.cnn1d(stride=0), "stride"),
    ],
)
def test_wrong_settings_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_wrong_places_are_refused():
    net = nets.masked_vit(2, 8, 1, 2)
    params, state = shapes(net.net.init, image())
    for bad in (KEPT[:1], KEPT[:, :0], KEPT.astype(jnp.float32)):
        with pytest.raises(InputError, match="kept must list places"):
            jax.eval_shape(net.tokens.apply, params, state, (image(), bad))
    with pytest.raises(InputError, match="do not divide into patches"):
        shapes(net.net.init, image()[:, :7])
    with pytest.raises(InputError, match="do not fit"):
        jax.eval_shape(net.tokens.apply, params, state, (jnp.zeros((2, 16, 16, 3)), KEPT))
