"""Hidden Markov models: sequences of symbols whose best possible predictions are known exactly.

States follow a Markov chain, and each state emits a symbol (Rabiner, "A tutorial on hidden Markov models",
1989). `sample` draws sequences by a key. `forward_backward` gives the posterior of states, and `predict` that
of hidden symbols, given all visible symbols: the Bayes optimum of masked prediction. All are pure functions.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, between, nan_where
from lrn.data.hmm_inputs import check_model, check_tokens
from lrn.types import Array, Key


class HMM(NamedTuple):
    """The probabilities of a hidden Markov model, which sum to 1 over the last axis.

    initial: [states], of the first state. transition: [states, states], row by row of the next state.
    emission: [states, symbols], row by row of the symbol.
    """

    initial: Array
    transition: Array
    emission: Array


def draw(
    key: Key, states: int, symbols: int, *, stay: Array | float = 0.0, concentration: ArrayLike = 0.5
) -> HMM:
    """A random model whose rows are from symmetric Dirichlet distributions; the initial state is uniform.

    Args:
        key: the key of the draw.
        states, symbols: numbers, at least 2.
        stay: the probability in [0, 1) of a state to stay, in addition to that of the drawn row.
        concentration: of all Dirichlet distributions, above 0; small values give rows near to one
            entry, hence sequences that are easier to predict.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("states", states, 2)
    check.integer("symbols", symbols, 2)
    check.between("stay", stay, 0, 1)
    check.positive("concentration", concentration)
    transition_key, emission_key = jax.random.split(key)

    def rows(key: Key, columns: int) -> Array:
        return jax.random.dirichlet(key, jnp.full((columns,), above_zero(concentration)), (states,))

    stay = between(stay, 0, 1)
    transition = stay * jnp.eye(states) + (1.0 - stay) * rows(transition_key, states)
    return HMM(jnp.full((states,), 1 / states), transition, rows(emission_key, symbols))


def join(models: HMM) -> HMM:
    """One model that follows one of n models of equal sizes, each with probability 1 / n.

    State s of model i becomes state ``i * states + s``, so a state tells its model, and the posterior of
    states that of the models.

    Args:
        models: arrays with a leading axis [n, ...], such as ``jax.vmap(draw, ...)`` makes.

    Raises:
        InputError: the arrays have no leading axis.
    """
    if models.transition.ndim != 3:
        raise check.InputError(
            f"join needs models stacked as [n, states, states], got transitions of shape "
            f"{models.transition.shape}; stack them by jax.tree.map."
        )
    n, states, symbols = models.emission.shape
    # Entry (i, s, j, t) is that of model i from s to t where j = i, and 0 elsewhere.
    blocks = jnp.eye(n)[:, None, :, None] * models.transition[:, :, None, :]
    return HMM(
        models.initial.reshape(-1) / n,
        blocks.reshape(n * states, n * states),
        models.emission.reshape(n * states, symbols),
    )


def sample(key: Key, model: HMM, n: int, time: int) -> tuple[Array, Array]:
    """Sequences of symbols and of their states, both int32 [n, time].

    All are -1, which is no symbol and no state, where a row of a traced model is no distribution: a draw from
    such a row would be a number like any other.

    Raises:
        InputError: a number is below 1, the model's shapes do not fit each other, or a row that can be read
            is no distribution.
    """
    check.integer("n", n, 1)
    check.integer("time", time, 1)
    right = check_model(model)
    state_key, symbol_key = jax.random.split(key)
    initial, transition, emission = (jnp.log(part) for part in model)

    def pick(key: Key, rows: Array) -> Array:
        return jax.random.categorical(key, rows, axis=-1).astype(jnp.int32)

    first, *_ = keys = jax.random.split(state_key, time)
    begin = pick(first, jnp.broadcast_to(initial, (n, initial.shape[0])))

    def move(state: Array, key: Key) -> tuple[Array, Array]:
        state = pick(key, transition[state])
        return state, state

    _, rest = jax.lax.scan(move, begin, keys[1:])
    states = jnp.concatenate([begin[None], rest]).T
    return jnp.where(right, pick(symbol_key, emission[states]), -1), jnp.where(right, states, -1)


def forward_backward(model: HMM, tokens: Array, hidden: Array) -> tuple[Array, Array]:
    """The posterior of every state given the visible symbols, and the likelihood of these, in log space.

    Messages are normalized at each step, so sequences may be long.

    Args:
        model: the model.
        tokens: symbols int [..., time]; those at hidden places are not read.
        hidden: bool [..., time], True where a symbol is hidden.

    Returns:
        ``(log_posterior [..., time, states], log_likelihood [...])`` in nats. Both are NaN where the visible
        symbols are impossible under the model or outside of its symbols, or a row of a traced model is no
        distribution.

    Raises:
        InputError: tokens and hidden are not integers and bools of one shape, the model's shapes do not fit
            each other, or a row that can be read is no distribution.
    """
    right = check_model(model)
    check_tokens(tokens, hidden)
    log_initial, log_transition, _ = (jnp.log(part) for part in model)
    evidence = jnp.moveaxis(_evidence(model, tokens, hidden), -2, 0)  # [time, ..., states]

    def normalized(message: Array) -> tuple[Array, Array]:
        total = jax.nn.logsumexp(message, axis=-1, keepdims=True)
        return message - total, total[..., 0]

    def forward(before: Array, seen: Array) -> tuple[Array, tuple[Array, Array]]:
        # before: log p(state | visible symbols so far), one step on.
        here, total = normalized(before + seen)
        return _step(here, log_transition), (here, total)

    def backward(after: Array, seen: Array) -> tuple[Array, Array]:
        # after: log p(visible symbols later | state), up to a constant.
        before, _ = normalized(_step(after + seen, log_transition.T))
        return before, after

    start = jnp.broadcast_to(log_initial, evidence.shape[1:])
    _, (ahead, totals) = jax.lax.scan(forward, start, evidence)
    _, behind = jax.lax.scan(backward, jnp.zeros_like(start), evidence, reverse=True)
    posterior, _ = normalized(ahead + behind)
    posterior = jnp.moveaxis(posterior, 0, -2)
    return nan_where(~right, posterior), nan_where(~right, jnp.sum(totals, axis=0))


def predict(model: HMM, tokens: Array, hidden: Array) -> Array:
    """``log p(symbol at t | all visible symbols)`` at every place, [..., time, symbols] in nats.

    At hidden places this is the Bayes-optimal prediction. At visible places it is the prediction of a second
    symbol from the same state. Arguments and errors are those of `forward_backward`.
    """
    log_posterior, _ = forward_backward(model, tokens, hidden)
    return _step(log_posterior, jnp.log(model.emission))


def cross_entropy(log_p: Array, tokens: Array, hidden: Array) -> Array:
    """The mean of ``-log_p[token]`` over hidden places, a scalar in nats.

    With `predict`'s log_p this is the Bayes optimum on these sequences and masks: no prediction from the
    visible symbols has a lower mean over sequences of the model.

    Args:
        log_p: log-probabilities [..., time, symbols].
        tokens: symbols int [..., time].
        hidden: bool [..., time].

    Returns:
        The mean; NaN if a hidden token is not among the symbols, such as a padding of -1.
    """
    inside = (tokens >= 0) & (tokens < log_p.shape[-1])
    picked = jnp.take_along_axis(log_p, jnp.where(inside, tokens, 0)[..., None], axis=-1)[..., 0]
    picked = nan_where(hidden & ~inside, picked)
    return -jnp.sum(jnp.where(hidden, picked, 0)) / jnp.sum(hidden)


def gap(log_p: Array, log_q: Array, hidden: Array) -> tuple[Array, Array]:
    """How far predictions ``log_q`` are from the optimum ``log_p``: two scalars in nats.

    Both are means over hidden places, and exact expectations over the hidden symbols given the visible ones,
    so they vary less than the means of ``-log q[token]`` do.

    Args:
        log_p: those of `predict`, [..., time, symbols].
        log_q: log-probabilities of the same shape.
        hidden: bool [..., time].

    Returns:
        ``(excess, optimum)``: the cross-entropy of ``log_q`` less that of ``log_p`` (the mean divergence
        KL(p || q)), and the cross-entropy of ``log_p`` (its mean entropy).
    """
    p = jnp.exp(log_p)

    def mean(values: Array) -> Array:
        values = jnp.sum(jnp.where(p > 0, p * values, 0), axis=-1)
        return jnp.sum(jnp.where(hidden, values, 0)) / jnp.sum(hidden)

    return mean(log_p - log_q), mean(-log_p)


def _step(message: Array, log_matrix: Array) -> Array:
    """``log sum_s exp(message[..., s] + log_matrix[s, t])``, [..., t]."""
    at = message[..., :, None] + log_matrix.reshape(*(1,) * (message.ndim - 1), *log_matrix.shape)
    return jax.nn.logsumexp(at, axis=-2)


def _evidence(model: HMM, tokens: Array, hidden: Array) -> Array:
    """``log p(symbol | state)`` of visible symbols, 0 at hidden places; [..., time, states]."""
    symbols = model.emission.shape[1]
    inside = (tokens >= 0) & (tokens < symbols)
    rows = jnp.log(model.emission.T)[jnp.where(inside, tokens, 0)]
    rows = jnp.where(inside[..., None], rows, jnp.nan)
    return jnp.where(hidden[..., None], 0.0, rows)
