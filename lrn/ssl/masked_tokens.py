"""Masked tokens (Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2019)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.ssl.masking import check_hidden, check_shares, take, token_mask
from lrn.ssl.pretraining import Objective, Parts, Value, one_output, pretrain_on
from lrn.ssl.similarity import wide
from lrn.ssl.views import inputs_or_tokens
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, MaskedNet, Net, PyTree


@config
class MaskedTokensConfig:
    """Settings of masked token prediction.

    vocabulary: the number of tokens; the token ``vocabulary`` is the mask.
    hidden: the number of places to predict in each sequence (`lrn.ssl.masking.count`; BERT's share is .15).
    optimizer: the optimizer's config. average: the config of the averaged weights.
    replaced: the probability that the token of such a place becomes the mask.
    random: the probability that it becomes a uniform token. Otherwise it stays. BERT has .8 and .1; a pure
        mask has 1 and 0.

    Raises:
        InputError: a field is out of its range, or the two probabilities exceed 1 together.
    """

    vocabulary: int
    hidden: int
    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    replaced: float = 0.8
    random: float = 0.1

    def __post_init__(self) -> None:
        check.integer("vocabulary", self.vocabulary, 2)
        check.integer("hidden", self.hidden, 1)
        check_shares(self.replaced, self.random)


def token_cross_entropy(logits: Array, tokens: Array) -> Array:
    """``-log softmax(logits)[token]`` in nats, [...], for logits [..., vocabulary] and tokens int [...].

    A token outside of the vocabulary gives NaN.
    """
    log_p = jax.nn.log_softmax(wide(logits))
    chosen = tokens[..., None] == jnp.arange(logits.shape[-1]).reshape(*(1,) * tokens.ndim, -1)
    picked = jnp.sum(jnp.where(chosen, log_p, 0), axis=-1)
    return -jnp.where(jnp.any(chosen, axis=-1), picked, jnp.nan)


def predict(
    encoder: MaskedNet, head: Net, params: Parts, net_state: Parts, tokens: Array, hidden: Array
) -> Array:
    """Logits [batch, hidden, vocabulary] of the tokens at hidden places, in evaluation mode.

    Args:
        encoder, head: the networks of the method.
        params, net_state: parts "encoder" and "head".
        tokens: int [batch, time], with the mask where it is to be.
        hidden: places int [batch, hidden].
    """
    out, _ = encoder.tokens.apply(params["encoder"], net_state["encoder"], tokens)
    rows = take(out, hidden)
    logits, _ = head.apply(params["head"], net_state["head"], rows.reshape(-1, rows.shape[-1]))
    return logits.reshape(*hidden.shape, -1)


def masked_tokens(encoder: MaskedNet, head: Net, config: MaskedTokensConfig) -> Learner:
    """Predict chosen tokens of a sequence in which most of them are masked.

    Batches are ``{"x": integers [batch, time]}``; labels are ignored. The networks of the state are "encoder"
    and "head"; `lrn.ssl.pretraining.encode` takes ``encoder.net``. Metrics: ``loss``, the cross-entropy in
    nats a place, and ``accuracy`` in [0, 1], over all chosen places.

    Args:
        encoder: `lrn.nets.token_transformer` of the same vocabulary, or an encoder of that form.
        head: maps rows of tokens [n, dim] to logits [n, vocabulary].
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if the inputs are no tokens, the mask hides all or nothing, or the head's
            output is not [n, vocabulary].
    """

    def checked(logits: Array) -> Array:
        one_output("head", logits, logits.shape[0])
        if logits.shape[1] != config.vocabulary:
            raise check.InputError(
                f"the head must give one logit for each of the {config.vocabulary} tokens, got "
                f"{logits.shape[1]}; set its number of outputs."
            )
        return logits

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        _check_tokens(x)
        encoder_key, head_key = jax.random.split(key)
        check_hidden(config.hidden, x.shape[1])
        params, states = {}, {}
        params["encoder"], states["encoder"] = encoder.net.init(encoder_key, x)
        tokens, _ = jax.eval_shape(encoder.tokens.apply, params["encoder"], states["encoder"], x)
        rows = jnp.zeros((x.shape[0] * config.hidden, tokens.shape[-1]), tokens.dtype)
        params["head"], states["head"] = head.init(head_key, rows)
        return params, states, ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        _check_tokens(x)
        mask_key, encoder_key, head_key = jax.random.split(key, 3)
        given, hidden = token_mask(
            mask_key, x, config.hidden, config.vocabulary, config.replaced, config.random
        )
        states = dict(net_state)
        tokens, states["encoder"] = encoder.tokens.apply(
            params["encoder"], states["encoder"], given, key=encoder_key, train=True
        )
        rows, wanted = take(tokens, hidden), take(x, hidden)
        logits, states["head"] = head.apply(
            params["head"], states["head"], rows.reshape(-1, rows.shape[-1]), key=head_key, train=True
        )
        wanted = wanted.reshape(-1)
        losses = token_cross_entropy(checked(logits), wanted)
        right = jnp.argmax(logits, axis=1) == wanted
        return jnp.mean(losses), (states, memory, {"accuracy": jnp.mean(right)})

    return pretrain_on(Objective(init, loss, least=1, read=inputs_or_tokens), config)


def _check_tokens(x: Array) -> None:
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise check.InputError(
            f"masked tokens need integers [batch, time], got {x.dtype} of shape {x.shape}; for real values "
            "use lrn.ssl.mae with lrn.nets.sequence_transformer."
        )


def example() -> Example:
    """A small transformer on sequences of a hidden Markov model."""
    import numpy as np

    from lrn import nets
    from lrn.data import hmm
    from lrn.data.sampler import minibatch

    stay, emit = 0.7 * np.eye(3) + 0.1, np.repeat(np.eye(3) / 2, 2, axis=1)
    parts = (np.full(3, 1 / 3), stay, 0.9 * emit + 0.1 / 6)
    model = hmm.HMM(*(jnp.asarray(part, jnp.float32) for part in parts))
    tokens, states = jax.jit(hmm.sample, static_argnums=(2, 3))(jax.random.key(1), model, 512, 12)
    encoder = nets.token_transformer(6, 16, 1, 2, hidden=32)
    return Example(
        factory=lambda config: masked_tokens(encoder, nets.mlp(6, ()), config),
        config=MaskedTokensConfig(6, 3, OptimizerConfig(learning_rate=0.003, eps=1e-4)),
        data={"x": tokens, "label": states[:, 0]},
        sampler=minibatch(32, columns=("x", "label")),
        # Symbols alone are uniform, so a prediction without context has a loss of log 6 = 1.79.
        solves=Goal("loss", below=1.65),
    )
