"""Hidden Markov models against brute force over all sequences of states."""

from __future__ import annotations

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import hmm
from lrn.data.hmm import HMM

STATES, SYMBOLS, TIME = 3, 4, 5
BOTH = jax.jit(lambda *given: (hmm.forward_backward(*given), hmm.predict(*given)))


def model(seed: int = 0) -> HMM:
    """A model of three states and four symbols, some of whose probabilities are 0."""
    rng = np.random.default_rng(seed)
    transition, emission = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(4), 3)
    transition[0, 1], emission[1, 2] = 0, 0
    parts = rng.dirichlet(np.ones(3)), *(x / x.sum(1, keepdims=True) for x in (transition, emission))
    return HMM(*(jnp.asarray(x, jnp.float32) for x in parts))


def brute_force(m: HMM, tokens, hidden) -> tuple[np.ndarray, float, np.ndarray]:
    """Posterior of states, likelihood of visible symbols and prediction, path by path in float64."""
    initial, transition, emission = (np.asarray(x, np.float64) for x in m)
    posterior, prediction, likelihood = np.zeros((TIME, STATES)), np.zeros((TIME, SYMBOLS)), 0.0
    for path in itertools.product(range(STATES), repeat=TIME):
        p = initial[path[0]] * math.prod(transition[a, b] for a, b in itertools.pairwise(path))
        p *= math.prod(emission[s, x] for s, x, h in zip(path, tokens, hidden) if not h)
        likelihood += p
        for t, state in enumerate(path):
            posterior[t, state] += p
            prediction[t] += p * emission[state]
    return posterior / likelihood, likelihood, prediction / likelihood


def test_posteriors_predictions_and_likelihoods_equal_brute_force():
    rng = np.random.default_rng(1)
    tokens, hidden = rng.integers(0, SYMBOLS, (6, TIME)), rng.random((6, TIME)) < 0.5
    hidden[0], hidden[1] = True, False
    (posterior, likelihood), prediction = BOTH(model(), jnp.asarray(tokens), jnp.asarray(hidden))
    for i in range(6):
        wanted = brute_force(model(), tokens[i], hidden[i])
        np.testing.assert_allclose(np.exp(posterior[i]), wanted[0], atol=1e-6)
        assert float(likelihood[i]) == pytest.approx(math.log(wanted[1]), abs=2e-6)
        np.testing.assert_allclose(np.exp(prediction[i]), wanted[2], atol=1e-6)
    # One sequence alone gives the same as a row of the batch.
    (one, _), _ = BOTH(model(), jnp.asarray(tokens[2]), jnp.asarray(hidden[2]))
    np.testing.assert_allclose(one, posterior[2], atol=1e-6)


def test_the_expected_optimum_equals_brute_force():
    """Over all sequences of visible and hidden symbols, weighted by their probabilities."""
    hidden = np.array([False, True, False, False, True])
    every = np.array(list(itertools.product(range(SYMBOLS), repeat=TIME)))
    masks = jnp.tile(jnp.asarray(hidden), (len(every), 1))
    (_, seen), log_p = BOTH(model(), jnp.asarray(every), masks)
    (_, whole), _ = BOTH(model(), jnp.asarray(every), jnp.zeros_like(masks))
    weight = np.exp(np.asarray(whole, np.float64))
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    losses = jax.jit(jax.vmap(hmm.cross_entropy))(log_p, jnp.asarray(every), masks)
    entropies = jax.jit(jax.vmap(lambda p, h: hmm.gap(p, p, h)[1]))(log_p, masks)
    # H(x_t | visible) = H(x_t, visible) - H(visible), by brute force in float64 for each hidden place.
    wanted = []
    for t in np.nonzero(hidden)[0]:
        joint: dict[tuple, float] = {}
        visible: dict[tuple, float] = {}
        for row, p in zip(every, [brute_force_likelihood(row) for row in every]):
            rest = tuple(row[~hidden])
            visible[rest] = visible.get(rest, 0) + p
            joint[(row[t], *rest)] = joint.get((row[t], *rest), 0) + p
        wanted.append(entropy(joint) - entropy(visible))
    # A sequence of probability 0 has the loss inf, and no part in the mean.
    for values in (losses, entropies):
        assert np.sum(weight[weight > 0] * np.asarray(values)[weight > 0]) == pytest.approx(
            np.mean(wanted), abs=1e-6
        )
    assert np.isfinite(seen).all()


def brute_force_likelihood(tokens) -> float:
    """The probability of a whole sequence, by products of matrices in float64."""
    initial, transition, emission = (np.asarray(x, np.float64) for x in model())
    message = initial * emission[:, tokens[0]]
    for x in tokens[1:]:
        message = (message @ transition) * emission[:, x]
    return message.sum()


def entropy(p: dict[tuple, float]) -> float:
    return -sum(x * math.log(x) for x in p.values() if x > 0)


def test_a_hidden_token_that_is_no_symbol_makes_the_loss_nan_and_a_visible_one_does_not():
    log_p = jnp.log(jnp.full((1, TIME, SYMBOLS), 1 / SYMBOLS))
    hidden = jnp.arange(TIME)[None] == 2
    loss = jax.jit(jax.value_and_grad(hmm.cross_entropy))
    for wrong in (-1, SYMBOLS):
        value, gradient = loss(log_p, jnp.where(hidden, wrong, 0), hidden)
        assert np.isnan(value)
        assert np.isnan(gradient).any()
        value, gradient = loss(log_p, jnp.where(hidden, 0, wrong), hidden)
        assert value == pytest.approx(np.log(SYMBOLS))
        assert np.isfinite(gradient).all()


def test_the_gap_is_a_divergence_and_the_optimum_is_the_least():
    tokens = jnp.asarray(np.random.default_rng(2).integers(0, SYMBOLS, (3, TIME)))
    hidden = jnp.asarray(np.random.default_rng(3).random((3, TIME)) < 0.5)
    _, log_p = BOTH(model(), tokens, hidden)
    log_q = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(4).normal(size=log_p.shape), jnp.float32))
    excess, optimum = jax.jit(hmm.gap)(log_p, log_q, hidden)
    p, q, h = (np.asarray(x, np.float64) for x in (np.exp(log_p), np.exp(log_q), hidden))
    cross = -(np.where(p > 0, p * np.log(q), 0).sum(-1) * h).sum() / h.sum()
    assert float(excess + optimum) == pytest.approx(cross, rel=1e-5)
    assert float(excess) > 0.01
    assert float(jax.jit(hmm.gap)(log_p, log_p, hidden)[0]) == 0


def test_samples_have_the_model_s_frequencies():
    n = 20_000
    m = model()
    tokens, states = jax.jit(partial(hmm.sample, n=n, time=4))(jax.random.key(0), m)
    assert tokens.shape == states.shape == (n, 4)
    assert tokens.dtype == states.dtype == jnp.int32
    tokens, states = np.asarray(tokens), np.asarray(states)
    tolerance = 4.5 * math.sqrt(0.25 / (n / 20))
    assert np.abs(np.bincount(states[:, 0], minlength=3) / n - m.initial).max() < 4.5 * math.sqrt(0.25 / n)
    for s in range(3):
        after = states[:, 1:][states[:, :-1] == s]
        assert np.abs(np.bincount(after, minlength=3) / after.size - m.transition[s]).max() < tolerance
        symbols = tokens[states == s]
        assert np.abs(np.bincount(symbols, minlength=4) / symbols.size - m.emission[s]).max() < tolerance
    assert not (states[:, 1:][states[:, :-1] == 0] == 1).any()
    last = np.linalg.matrix_power(np.asarray(m.transition), 3)
    wanted = np.asarray(m.initial) @ last
    assert np.abs(np.bincount(states[:, 3], minlength=3) / n - wanted).max() < 4.5 * math.sqrt(0.25 / n)


def test_traced_rows_that_are_no_distributions_give_nan():
    """A wrong row anywhere in the model, and the right model among them."""
    m = model()
    wrong = m._replace(emission=m.emission.at[0].multiply(0.9)), m._replace(transition=2 * m.transition)
    negative = m._replace(initial=jnp.asarray([1.5, -0.5, 0.0]))
    models = jax.tree.map(lambda *x: jnp.stack(x), m, *wrong, negative)
    tokens = jnp.zeros((1, TIME), int)
    for value in jax.jit(jax.vmap(hmm.forward_backward, in_axes=(0, None, None)))(
        models, tokens, tokens == 1
    ):
        assert np.isfinite(value[0]).all()
        assert np.isnan(value[1:]).all()


def test_a_model_with_a_wrong_probability_has_no_samples():
    def drawn(stay):
        return hmm.sample(jax.random.key(1), hmm.draw(jax.random.key(0), 2, 3, stay=stay), 4, TIME)

    right, *wrong = zip(*jax.jit(jax.vmap(drawn))(jnp.asarray([0.5, 1.5, jnp.nan])))
    assert min(np.min(x) for x in right) >= 0
    for found in wrong:
        assert all((np.asarray(x) == -1).all() for x in found)


def test_a_joined_family_tells_its_models():
    models = jax.tree.map(lambda *x: jnp.stack(x), model(0), model(5))
    joined = hmm.join(models)
    tokens, states = jax.jit(partial(hmm.sample, n=50, time=TIME))(jax.random.key(1), joined)
    which = np.asarray(states) // STATES
    assert (which == which[:, :1]).all()
    assert 10 < which[:, 0].sum() < 40
    (posterior, _), _ = BOTH(joined, tokens, jnp.zeros(tokens.shape, bool))
    by_model = np.exp(posterior).reshape(50, TIME, 2, STATES).sum(-1)
    for i in range(3):
        p = [brute_force(model(seed), np.asarray(tokens[i]), [False] * TIME)[1] for seed in (0, 5)]
        np.testing.assert_allclose(by_model[i], np.tile(np.array(p) / sum(p), (TIME, 1)), atol=1e-6)


def test_many_models_at_once_equal_a_loop():
    models = jax.tree.map(lambda *x: jnp.stack(x), model(0), model(5))
    tokens = jnp.asarray(np.random.default_rng(6).integers(0, SYMBOLS, (2, 4, TIME)))
    hidden = jnp.asarray(np.random.default_rng(7).random((2, 4, TIME)) < 0.5)
    together = jax.jit(jax.vmap(hmm.predict))(models, tokens, hidden)
    for i, seed in enumerate((0, 5)):
        np.testing.assert_allclose(BOTH(model(seed), tokens[i], hidden[i])[1], together[i], atol=1e-5)


def test_drawn_models():
    m = jax.jit(partial(hmm.draw, states=4, symbols=6))(jax.random.key(0), stay=0.9)
    for part in m:
        np.testing.assert_allclose(part.sum(-1), 1, rtol=1e-5)
    assert (np.diagonal(m.transition) >= 0.9).all()
    assert m.emission.shape == (4, 6)


def test_long_sequences_stay_finite_and_impossible_ones_are_nan():
    tokens, _ = jax.jit(partial(hmm.sample, n=1, time=2000))(jax.random.key(0), model())
    (posterior, likelihood), _ = BOTH(model(), tokens, jnp.zeros(tokens.shape, bool))
    np.testing.assert_allclose(np.exp(posterior).sum(-1), 1, rtol=1e-5)
    assert -2000 * math.log(4) < float(likelihood[0]) < -1000
    stuck = HMM(jnp.asarray([1.0, 0.0]), jnp.eye(2), jnp.eye(2))
    given = jnp.asarray([[0, 1, 0], [0, 0, 2], [0, 0, -1], [0, 7, 0]])
    hidden = jnp.zeros((4, 3), bool).at[3, 1].set(True)
    (posterior, likelihood), prediction = BOTH(stuck, given, hidden)
    for out in (posterior, likelihood, prediction):
        assert np.isnan(out[:3]).all()
    np.testing.assert_array_equal(np.exp(prediction[3]), [[1, 0]] * 3)  # hidden symbols are not read


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hmm.draw(jax.random.key(0), 1, 4), "states"),
        (lambda: hmm.draw(jax.random.key(0), 2, 4, stay=1.5), "stay"),
        (lambda: hmm.draw(jax.random.key(0), 2, 4, concentration=0.0), "concentration"),
        (lambda: hmm.sample(jax.random.key(0), model(), 0, 4), "n must"),
        (lambda: hmm.sample(jax.random.key(0), model()._replace(initial=jnp.ones(2)), 1, 4), "shapes"),
        (lambda: hmm.sample(jax.random.key(0), model()._replace(initial=jnp.ones(3)), 1, 4), "of initial"),
        (lambda: hmm.join(model()), "stacked"),
        (lambda: hmm.predict(model(), jnp.zeros((2, 3)), jnp.zeros((2, 3), bool)), "integers and bools"),
        (lambda: hmm.predict(model(), jnp.zeros((2, 3), int), jnp.zeros(3, bool)), "of one shape"),
        (lambda: hmm.predict(model(), jnp.zeros((2, 3), int), jnp.zeros((2, 3), int)), "integers and bools"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
