"""Masked tokens: the loss against torch, what the method may read, refusals; the Bayes optimum is slow."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.data import hmm
from lrn.ssl.masked_tokens import MaskedTokensConfig, masked_tokens, predict, token_cross_entropy
from lrn.ssl.masking import as_mask, take, token_mask
from lrn.ssl.pretraining import encode
from lrn.ssl.views import inputs
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import MaskedNet

# `torch.nn.functional.cross_entropy` of torch 2.13.0 on `tensors()`.
THEIRS = 2.0693154335021973


def tensors() -> tuple[np.ndarray, np.ndarray]:
    """The last draw of the tensors whose losses were recorded with torch."""
    rng = np.random.default_rng(0)
    for shape in ((3, 8, 12), (3, 8, 12)):
        rng.normal(size=shape)
    rng.random((3, 8))
    for _ in range(2):
        rng.normal(size=(4, 6))
    return rng.normal(size=(5, 7)).astype(np.float32), np.array([0, 6, 3, 2, 2])


def test_the_loss_is_torchs_and_a_wrong_token_gives_nan():
    logits, tokens = tensors()
    entropies = jax.jit(token_cross_entropy)
    losses = entropies(logits, tokens)
    assert float(losses.mean()) == pytest.approx(THEIRS, rel=1e-5)
    wrong = np.array([7, *tokens[1:]])
    assert np.isnan(entropies(logits, wrong)).tolist() == [True] + [False] * 4
    half = entropies(logits.astype(jnp.bfloat16), tokens)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, losses, atol=0.02)


def planted(vocabulary: int):
    """An encoder whose tokens are one-hot inputs, and a head that gives logits from the mask alone."""
    tokens = nets.from_function(
        lambda key, x: {"w": jnp.zeros(())},
        lambda params, x: jax.nn.one_hot(x, vocabulary + 1) + params["w"],
    )
    features = nets.from_function(
        lambda key, x: {"w": jnp.zeros(())}, lambda params, x: tokens.apply(params, (), x)[0].mean(1)
    )
    return MaskedNet(features, tokens, lambda x: x[:, :, None])


def test_only_chosen_tokens_are_predicted_and_a_pure_mask_hides_them():
    """Input 3 in all places. A head that answers 3 to a mask, and is 20 nats wrong where it sees a 3."""
    x = jnp.full((6, 10), 3, jnp.int32)
    head = nets.from_function(
        lambda key, x: {"w": jnp.zeros(())},
        lambda params, x: 20 * (x[:, 5:] * jnp.eye(5)[3][None] + x[:, 3:4] * jnp.eye(5)[0][None]),
    )

    def loss(replaced: float, random: float):
        learner = masked_tokens(planted(5), head, MaskedTokensConfig(5, 4, replaced=replaced, random=random))
        _, metrics = learner.step(jax.random.key(1), learner.init(jax.random.key(0), {"x": x}), {"x": x})
        return metrics["loss"], metrics["accuracy"]

    loss = jax.jit(loss)
    (pure, hit), (kept, missed) = loss(1.0, 0.0), loss(0.0, 0.0)
    assert float(pure) < 1e-6
    assert float(hit) == 1
    assert float(kept) == pytest.approx(20, rel=1e-5)
    assert float(missed) == 0


def test_predictions_are_those_of_training():
    net, head = nets.token_transformer(5, 8, 1, 2), nets.mlp(5, ())
    x = jnp.asarray(np.random.default_rng(0).integers(0, 5, (4, 7)))
    learner = masked_tokens(net, head, MaskedTokensConfig(5, 2, replaced=1.0, random=0.0))

    @jax.jit
    def run(key):
        state = learner.init(key, {"x": x})
        given, hidden = token_mask(jax.random.key(5), x, 2, 5, 1.0, 0.0)
        parts = state.training.params, state.training.net_state
        logits = predict(net, head, *parts, given, hidden)
        # Other symbols in the hidden places leave the prediction as it is.
        other = jnp.where(as_mask(hidden, 7), (x + 1) % 5, x)
        again = jnp.where(as_mask(hidden, 7), 5, other)
        return logits, predict(net, head, *parts, again, hidden), encode(net.net, state, x)

    logits, again, features = run(jax.random.key(0))
    assert logits.shape == (4, 2, 5)
    np.testing.assert_array_equal(logits, again)
    assert features.shape == (4, 8)


def test_only_methods_of_tokens_take_integers():
    tokens = {"x": jnp.zeros((4, 7), jnp.int32)}
    assert inputs(tokens, tokens=True).dtype == jnp.int32
    for batch, options in ((tokens, {}), ({"x": jnp.zeros((4, 7), bool)}, {"tokens": True})):
        with pytest.raises(InputError, match="inputs must be floats"):
            inputs(batch, **options)


def test_wrong_input_is_refused():
    def begin(x, hidden=2, logits=5):
        net, head = nets.token_transformer(5, 8, 1, 2), nets.mlp(logits, ())
        learner = masked_tokens(net, head, MaskedTokensConfig(5, hidden))
        state = jax.eval_shape(learner.init, jax.random.key(0), {"x": x})
        jax.eval_shape(learner.step, jax.random.key(0), state, {"x": x})

    tokens = jnp.zeros((4, 7), jnp.int32)
    begin(tokens)
    for bad in (tokens.astype(jnp.float32), tokens[:, :, None]):
        with pytest.raises(InputError, match="masked tokens need integers"):
            begin(bad)
    with pytest.raises(InputError, match="hide some of the 7 places"):
        begin(tokens, hidden=7)
    with pytest.raises(InputError, match="one logit for each of the 5 tokens"):
        begin(tokens, logits=6)
    for config in ({"vocabulary": 1}, {"hidden": 0}, {"replaced": 1.2}, {"replaced": 0.8, "random": 0.3}):
        with pytest.raises(InputError):
            MaskedTokensConfig(**{"vocabulary": 5, "hidden": 2, **config})


@pytest.mark.slow
def test_the_bayes_optimum_of_a_hidden_markov_model_is_reached():
    """Within 2% of the least cross-entropy; without the visible symbols the best is over 30% above it."""
    model = jax.jit(partial(hmm.draw, states=4, symbols=8, stay=0.9, concentration=0.2))(jax.random.key(0))
    net, head, steps = nets.token_transformer(8), nets.mlp(8, ()), 2500
    optimizer = OptimizerConfig(learning_rate=3e-3, schedule="cosine", steps=steps, warmup=100.0, clip=1.0)
    learner = masked_tokens(net, head, MaskedTokensConfig(8, 4, optimizer, replaced=1.0, random=0.0))

    def draw(key, n):
        return hmm.sample(key, model, n, 16)[0]

    def train(state, key):
        data_key, key = jax.random.split(key)
        return learner.step(key, state, {"x": draw(data_key, 64)})

    @jax.jit
    def run(key):
        first, loop, data_key, mask_key = jax.random.split(key, 4)
        state = learner.init(first, {"x": jnp.zeros((64, 16), jnp.int32)})
        state, _ = jax.lax.scan(train, state, jax.random.split(loop, steps))
        x = draw(data_key, 2048)
        given, hidden = token_mask(mask_key, x, 4, 8, 1.0, 0.0)
        parts = state.training.params, state.training.net_state
        ours = jax.nn.log_softmax(predict(net, head, *parts, given, hidden))
        mask = as_mask(hidden, 16)
        best, blind = (take(hmm.predict(model, x, m), hidden) for m in (mask, jnp.ones_like(mask)))
        return [hmm.gap(best, q, jnp.ones(hidden.shape, bool)) for q in (ours, blind)]

    (excess, optimum), (without, _) = run(jax.random.key(1))
    assert 0 < float(excess) < 0.02 * float(optimum)
    assert float(without) > 0.3 * float(optimum)
