"""Steps of the methods against NumPy, by the papers; environments have no names; what the methods choose."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_environments import DIM, PARAMS, PLAIN_SGD, E, X, Y, batch, linear, losses, slopes, squares

from lrn import nets
from lrn.check import InputError
from lrn.representation.coral import coral
from lrn.representation.environments import body_and_head, read, without
from lrn.representation.erm import ERMConfig, erm
from lrn.representation.fish import FishConfig, fish
from lrn.representation.group_dro import GroupDROConfig, group_dro
from lrn.representation.irm import irm
from lrn.representation.mmd import mmd
from lrn.representation.penalized import PenaltyConfig
from lrn.representation.told import told, with_code
from lrn.representation.vrex import vrex
from lrn.supervised.losses import cross_entropy, squared_error
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain

NET, L2 = linear(PARAMS), 0.05
SETTINGS = PenaltyConfig(PLAIN_SGD, penalty=7.0, begin=1.0, before=0.5, l2=L2)
METHODS = {
    "ERM": erm(NET, cross_entropy, ERMConfig(PLAIN_SGD, l2=L2)),
    "IRM": irm(NET, cross_entropy, SETTINGS),
    "IRM, pairs": irm(NET, cross_entropy, SETTINGS, estimate="pairs"),
    "V-REx": vrex(NET, cross_entropy, SETTINGS),
    "group DRO": group_dro(NET, cross_entropy, GroupDROConfig(PLAIN_SGD, rate=0.8, l2=L2)),
}


def risk(params):
    return losses(params).mean(1)


def pairs(params):
    s = slopes(params)
    return ((s.sum(1) ** 2 - (s**2).sum(1)) / (s.shape[1] * (s.shape[1] - 1))).mean()


PENALTIES = {
    "IRM": lambda p: (slopes(p).mean(1) ** 2).mean(),
    "IRM, pairs": pairs,
    "V-REx": lambda p: risk(p).var(),
}


def model(state):
    return getattr(state, "model", state)


@pytest.fixture(scope="module")
def stepped():
    """Two steps of each method on a batch, and one on the batch with its environments in another order."""
    order = np.array([2, 0, 1])

    @jax.jit
    def both(first, other):
        found = {}
        for name, learner in METHODS.items():
            start = learner.init(jax.random.key(0), first)
            once, metrics = learner.step(jax.random.key(1), start, first)
            # The second step starts from the parameters of the first, so that one reference serves both.
            again = model(once)._replace(params=model(start).params)
            again = again if name != "group DRO" else once._replace(model=again)
            twice, _ = learner.step(jax.random.key(2), again, first)
            moved, shuffled = learner.step(jax.random.key(1), start, other)
            found[name] = (once, metrics, twice, moved, shuffled)
        return found

    return jax.device_get(both(batch(), batch(order)))


def moved(state):
    return jax.tree.map(lambda a, b: a - np.asarray(b), PARAMS, model(state).params)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_the_papers(name, stepped):
    once, metrics, twice, *_ = stepped[name]
    weights = [np.full(E, 1 / E)] * 2
    if name == "group DRO":
        q = np.exp(0.8 * risk(PARAMS))
        weights = [q / q.sum(), q**2 / (q**2).sum()]
        np.testing.assert_allclose(np.exp(once.log_q), weights[0], rtol=1e-5)
        assert metrics["largest_weight"] == pytest.approx(weights[0].max(), rel=1e-5)
    penalty = PENALTIES.get(name, lambda p: 0.0)
    for state, q, weight in zip((once, twice), weights, (0.5, 7.0)):
        weight = weight if name in PENALTIES else 0.0
        total = lambda p: q @ risk(p) + L2 * squares(p) + weight * penalty(p)  # noqa: E731, B023
        expected = plain.gradient(lambda p: float(total(p)) / max(weight, 1.0), PARAMS)  # noqa: B023
        plain.assert_trees_close(moved(state), expected, 1e-3, 2e-5)
    assert metrics["loss"] == pytest.approx(risk(PARAMS).mean(), rel=1e-5)
    assert metrics["worst_loss"] == pytest.approx(risk(PARAMS).max(), rel=1e-5)
    right = ((X @ PARAMS["w"] + PARAMS["b"])[..., 0] > 0) == Y
    assert metrics["accuracy"] == pytest.approx(right.mean())
    if name in PENALTIES:
        assert metrics["penalty"] == pytest.approx(PENALTIES[name](PARAMS), rel=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_environments_have_no_names(name, stepped):
    once, metrics, _, other, shuffled = stepped[name]
    plain.assert_trees_close(model(other).params, model(once).params, 1e-5, 1e-6)
    if name == "group DRO":
        np.testing.assert_allclose(other.log_q, once.log_q[[2, 0, 1]], rtol=1e-5)
    for metric, value in metrics.items():
        assert shuffled[metric] == pytest.approx(value, rel=1e-4), metric


def test_fish_walks_through_the_environments_and_goes_a_share_of_the_way():
    """In any order of the environments; the order is drawn, and every order occurs."""
    rate, share = 0.3, 0.25
    config = FishConfig(OptimizerConfig("sgd", rate, momentum=0.0), meta_rate=share, l2=L2)
    learner = fish(NET, cross_entropy, config)
    state = jax.jit(learner.init)(jax.random.key(0), batch())
    many = jax.jit(jax.vmap(lambda k: learner.step(k, state, batch())[0].params))
    ends = jax.device_get(many(jax.random.split(jax.random.key(1), 40)))
    ends = np.concatenate([ends["w"].reshape(40, -1), ends["b"]], 1)

    expected = []
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        copy = PARAMS
        for e in order:
            own = lambda p, e=e: float(losses(p, X[e], Y[e]).mean() + L2 * squares(p))  # noqa: E731
            slope = plain.gradient(own, copy)
            copy = jax.tree.map(lambda a, g: a - rate * g, copy, slope)
        end = jax.tree.map(lambda a, b: a + share * (b - a), PARAMS, copy)
        expected.append(np.concatenate([end["w"].ravel(), end["b"]]))
    distance = np.abs(ends[:, None] - np.array(expected)[None]).max(-1)
    assert (distance.min(1) < 1e-5).all()
    assert set(distance.argmin(1)) == set(range(6))


def test_a_large_meta_rate_of_one_inner_step_is_a_gradient_of_each_environment_in_turn():
    """To second order in the rate the mean end over orders is ERM's minus the gradient of the inner products.

    The mean over orders of Fish's move is ``-rate sum g + rate^2 / 2 sum_{i != j} H_i g_j``, and the second
    sum is half the gradient of ``sum_{i != j} g_i . g_j`` (theorem 3.1 of Shi et al.).
    """
    rate = 0.05
    config = FishConfig(OptimizerConfig("sgd", rate, momentum=0.0), meta_rate=1.0)
    learner = fish(NET, cross_entropy, config)
    state = jax.jit(learner.init)(jax.random.key(0), batch())
    many = jax.jit(jax.vmap(lambda k: learner.step(k, state, batch())[0].params))
    ends = jax.device_get(many(jax.random.split(jax.random.key(3), 300)))
    ends = np.concatenate([ends["w"].reshape(300, -1), ends["b"]], 1)
    move = np.unique(np.round(ends, 6), axis=0).mean(0) - np.append(PARAMS["w"].ravel(), PARAMS["b"])

    def flat(p):
        return np.append(p["w"].ravel(), p["b"])

    def slope(p, e):
        return flat(plain.gradient(lambda q: float(losses(q, X[e], Y[e]).mean()), p))

    def agreement(p):
        g = [slope(p, e) for e in range(E)]
        return float(sum(g[i] @ g[j] for i in range(E) for j in range(E) if i != j))

    descent = -rate * sum(slope(PARAMS, e) for e in range(E))
    towards = flat(plain.gradient(agreement, PARAMS, 1e-4))
    gap = move - descent
    assert gap @ towards / np.linalg.norm(gap) / np.linalg.norm(towards) > 0.98
    assert np.linalg.norm(gap) == pytest.approx(rate**2 / 4 * np.linalg.norm(towards), rel=0.2)


def test_swept_weights_below_zero_make_parameters_nan():
    """The metric ``loss`` is the mean risk without the weight, so the parameters say it."""
    swept = {
        "l2 of ERM": lambda v: erm(NET, cross_entropy, ERMConfig(PLAIN_SGD, l2=v)),
        "l2": lambda v: vrex(NET, cross_entropy, PenaltyConfig(PLAIN_SGD, l2=v)),
        "penalty": lambda v: vrex(NET, cross_entropy, PenaltyConfig(PLAIN_SGD, penalty=v, begin=9.0)),
        "begin": lambda v: vrex(NET, cross_entropy, PenaltyConfig(PLAIN_SGD, begin=v)),
        "rate": lambda v: group_dro(NET, cross_entropy, GroupDROConfig(PLAIN_SGD, rate=v)),
        "l2 of DRO": lambda v: group_dro(NET, cross_entropy, GroupDROConfig(PLAIN_SGD, l2=v)),
        "meta rate": lambda v: fish(NET, cross_entropy, FishConfig(PLAIN_SGD, meta_rate=v)),
        "l2 of Fish": lambda v: fish(NET, cross_entropy, FishConfig(PLAIN_SGD, l2=v)),
    }

    def ends(value):
        found = {}
        for name, of in swept.items():
            learner = of(value)
            start = learner.init(jax.random.key(0), batch())
            found[name] = model(learner.step(jax.random.key(1), start, batch())[0]).params["w"]
        return found

    for name, value in jax.jit(jax.vmap(ends))(jnp.asarray([0.5, -0.5, np.inf])).items():
        assert np.isnan(value).all(axis=(1, 2)).tolist() == [False, True, True], name


def test_told_learners_see_the_code_of_the_environment():
    x = jnp.arange(12.0).reshape(2, 2, 3)
    coded = with_code(x, 1, 3)
    np.testing.assert_array_equal(coded[..., :3], x)
    np.testing.assert_array_equal(coded[..., 3:], np.broadcast_to([0, 1, 0], (2, 2, 3)))
    assert np.isnan(jax.jit(lambda e: with_code(x, e, 3))(3)[..., 3:]).all()
    learner, given = told(linear(), cross_entropy, ERMConfig(PLAIN_SGD)), batch()
    params = jax.eval_shape(learner.init, jax.random.key(0), given).params
    assert params["w"].shape == (DIM + E, 1)


def test_an_environment_can_be_left_out():
    rows = {"x": np.arange(24.0).reshape(3, 4, 2), "y": np.arange(12).reshape(3, 4), "e": np.arange(3)}
    left = jax.jit(without)
    for e in range(3):
        kept = [i for i in range(3) if i != e]
        found = left(rows, float(e))
        np.testing.assert_array_equal(found["x"], rows["x"][kept])
        np.testing.assert_array_equal(found["y"], rows["y"][kept])
        np.testing.assert_array_equal(found["e"], kept)
    two = {name: value[:2] for name, value in rows.items()}
    np.testing.assert_array_equal(without(two, 0)["y"], [[4, 6], [5, 7]])
    np.testing.assert_array_equal(without(two, 1)["y"], [[0, 2], [1, 3]])
    np.testing.assert_array_equal(without(two, 1)["e"], [0, 0])
    for wrong in (-1, 3, 0.5):
        with pytest.raises(InputError, match="left_out must be an index from 0 to 2"):
            without(rows, wrong)
        assert np.isnan(left({"x": jnp.ones((3, 4, 2))}, float(wrong))["x"]).all()
    with pytest.raises(InputError, match="the number of environments must be at least 2"):
        without({"x": jnp.ones((1, 4, 2))}, 0)


def start(learner, given=None, **changes):
    jax.eval_shape(partial(learner.init, jax.random.key(0)), {**(given or batch()), **changes})


def start_step(learner, given):
    def both():
        return learner.step(jax.random.key(1), learner.init(jax.random.key(0), given), given)

    jax.eval_shape(both)


def test_bad_input():
    one = {name: value[:1] for name, value in batch().items()}
    features = coral(nets.mlp(None, (4,)), nets.mlp(2, ()), cross_entropy, PenaltyConfig())
    for learner in (*METHODS.values(), fish(NET, cross_entropy, FishConfig()), features):
        with pytest.raises(InputError, match="the batch has 1; give two environments or more"):
            start(learner, one)
    learner = METHODS["IRM"]
    with pytest.raises(InputError, match=r"'y' must be \[environments, batch, ...\], got shape \(24,\)"):
        start(learner, y=Y.reshape(-1).astype(np.int32))
    with pytest.raises(InputError, match=r"same environments and rows, but 'x' has \[3, 8\] and 'y' has"):
        start(learner, y=Y[:2].astype(np.int32))
    with pytest.raises(InputError, match="a batch must be a dict"):
        read(X)
    with pytest.raises(InputError, match="labels must lie between 0 and 1, got 0 to 3"):
        learner.init(jax.random.key(0), {**batch(), "y": (3 * Y).astype(np.int32)})
    with pytest.raises(InputError, match=r"the loss must be \[batch\], got shape \(\)"):
        start(vrex(NET, lambda a, b: cross_entropy(a, b).mean(), SETTINGS))
    with pytest.raises(InputError, match="or one logit a row for labels 0 and 1, got shape"):
        start(erm(nets.from_function(lambda k, x: (), lambda p, x: x[None]), cross_entropy, ERMConfig()))
    flat = nets.from_function(lambda k, x: (), lambda p, x: x[:, 0])
    with pytest.raises(InputError, match=r"outputs \[n, dim\] for this penalty, got shape \[3, 8\]"):
        start_step(irm(flat, lambda a, b: (a - b) ** 2, SETTINGS), {**batch(), "y": Y.astype(np.float32)})
    with pytest.raises(InputError, match="wrap it so that it does"):
        start(erm(nets.from_function(lambda k, x: (), lambda p, x: [x]), cross_entropy, ERMConfig()))
    with pytest.raises(InputError, match="environment must lie between 0 and 2"):
        with_code(jnp.ones((2, 1)), 3, 3)
    for bad in (
        lambda: ERMConfig(l2=-1.0),
        lambda: GroupDROConfig(rate=0.0),
        lambda: FishConfig(meta_rate=0.0),
    ):
        with pytest.raises(InputError, match="must be a finite number"):
            bad()


def test_a_network_without_features_and_one_row():
    from lrn.representation.penalized import penalized

    with pytest.raises(InputError, match="join two networks by body_and_head"):
        start(penalized(NET, cross_entropy, lambda k, s: s.risks.mean(), PenaltyConfig(), with_features=True))
    narrow = {name: value[:, :1] for name, value in batch().items()}
    learner = coral(nets.mlp(None, (4,)), nets.mlp(2, ()), cross_entropy, PenaltyConfig())
    state = jax.eval_shape(learner.init, jax.random.key(0), narrow)
    with pytest.raises(InputError, match="two environments and two rows or more"):
        jax.eval_shape(learner.step, jax.random.key(1), state, narrow)


def test_float_targets_have_a_loss_and_no_accuracy():
    net = body_and_head(nets.mlp(None, (4,)), nets.mlp(1, ()))
    given = {"x": batch()["x"], "y": X[..., :1].astype(np.float32)}
    learner = irm(net, squared_error, PenaltyConfig(PLAIN_SGD))

    @jax.jit
    def run(given):
        state = learner.init(jax.random.key(0), given)
        return state, learner.step(jax.random.key(1), state, given)[1]

    state, metrics = jax.device_get(run(given))
    assert set(state.params) == {"body", "head"}
    assert "accuracy" not in metrics
    x, y = (given[name].reshape(24, -1) for name in ("x", "y"))
    body, head = (state.params[name] for name in ("body", "head"))
    hidden = np.maximum(x @ body["dense_0"]["kernel"] + body["dense_0"]["bias"], 0)
    output = hidden @ head["head"]["kernel"] + head["head"]["bias"]
    assert metrics["loss"] == pytest.approx(np.mean((output - y) ** 2), rel=1e-4)
    slope = (2 * output * (output - y)).reshape(3, 8).mean(1)
    assert metrics["penalty"] == pytest.approx(np.mean(slope**2), rel=1e-3)


def test_a_wrong_label_makes_a_jitted_step_nan():
    learner = METHODS["V-REx"]
    state = jax.jit(learner.init)(jax.random.key(0), batch())
    wrong = {**batch(), "y": np.where(np.arange(8)[None] == 3, 5, Y).astype(np.int32)}
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, wrong)
    assert np.isnan(metrics["loss"])
    assert np.isnan(after.params["w"]).all()


def test_mmd_of_equal_environments_is_erm():
    """A penalty on features changes nothing where the environments are copies of each other."""
    same = {"x": np.stack([X[0]] * 2).astype(np.float32), "y": np.stack([Y[0]] * 2).astype(np.int32)}
    body, head = nets.mlp(None, (4,)), nets.mlp(2, ())
    plain_config = PenaltyConfig(PLAIN_SGD, penalty=9.0, rescale=False)
    learners = [
        mmd(body, head, cross_entropy, plain_config),
        coral(body, head, cross_entropy, plain_config),
        erm(body_and_head(body, head), cross_entropy, ERMConfig(PLAIN_SGD)),
    ]

    @jax.jit
    def ends(given):
        found = []
        for learner in learners:
            state = learner.init(jax.random.key(0), given)
            found.append(learner.step(jax.random.key(1), state, given)[0].params)
        return found

    first, second, bare = jax.device_get(ends(same))
    plain.assert_trees_close(first, bare, 1e-4, 1e-5)
    plain.assert_trees_close(second, bare, 1e-4, 1e-5)
