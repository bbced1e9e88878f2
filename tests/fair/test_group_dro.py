"""Group DRO: steps by hand, and a problem whose worst-group optimum is known in closed form."""

import jax
import numpy as np
import pytest
from linear_net import GROUP, PARAMS, PLAIN_SGD, WEIGHT, Y, batch, linear, logit, moved, sigmoid

from lrn.check import InputError
from lrn.fair import training
from lrn.fair.group_dro import GroupDROConfig, group_dro, predictor
from lrn.supervised.optimizers import OptimizerConfig
from tests import plain

COUNTS = (100, 9)


def losses_of(params, kept=slice(None)):
    z = logit(params)
    each = np.logaddexp(0, z) - Y * z
    return np.array(
        [np.average(each[kept][GROUP[kept] == g], weights=WEIGHT[kept][GROUP[kept] == g]) for g in range(2)]
    )


def test_a_step_raises_the_weights_and_descends_on_the_weighted_losses():
    config = GroupDROConfig(PLAIN_SGD, rate=0.8, adjustment=1.5)
    learner = group_dro(linear(params=PARAMS), COUNTS, config)
    before = jax.jit(learner.init)(jax.random.key(0), batch())._replace(
        log_q=np.log(np.array([0.6, 0.4], np.float32))
    )
    after, metrics = jax.jit(learner.step)(jax.random.key(1), before, batch())
    q = np.array([0.6, 0.4]) * np.exp(0.8 * (losses_of(PARAMS) + 1.5 / np.sqrt(COUNTS)))
    q = q / q.sum()
    np.testing.assert_allclose(np.exp(after.log_q), q, rtol=1e-5)
    gradient = plain.gradient(lambda p: float(q @ losses_of(p)), PARAMS)
    plain.assert_trees_close(moved(before.model.params, after.model.params), gradient, 1e-3, 2e-5)
    assert metrics["loss"] == pytest.approx(q @ losses_of(PARAMS), rel=1e-5)
    assert metrics["worst_loss"] == pytest.approx(losses_of(PARAMS).max(), rel=1e-5)
    assert metrics["largest_weight"] == pytest.approx(q.max(), rel=1e-5)
    # Names of groups do not matter.
    swapped = group_dro(linear(params=PARAMS), COUNTS[::-1], config)
    other = before._replace(log_q=before.log_q[::-1])
    again, _ = jax.jit(swapped.step)(jax.random.key(1), other, batch(group=1 - GROUP))
    np.testing.assert_allclose(again.log_q[::-1], after.log_q, rtol=1e-5)
    plain.assert_trees_close(again.model.params, after.model.params, 1e-5, 1e-6)


def test_a_group_that_a_batch_lacks_keeps_its_weight():
    config = GroupDROConfig(PLAIN_SGD, rate=0.8, adjustment=1.5)
    learner = group_dro(linear(params=PARAMS), COUNTS, config)
    state, kept = jax.jit(learner.init)(jax.random.key(0), batch()), GROUP == 0
    after, metrics = jax.jit(learner.step)(jax.random.key(1), state, batch(kept))
    z = logit(PARAMS)
    alone = np.average((np.logaddexp(0, z) - Y * z)[kept], weights=WEIGHT[kept])
    q = np.array([np.exp(0.8 * (alone + 1.5 / 10)), 1])
    np.testing.assert_allclose(np.exp(after.log_q), q / q.sum(), rtol=1e-5)
    assert np.isfinite(after.model.params["w"]).all()
    wrong, metrics = jax.jit(learner.step)(jax.random.key(1), state, batch(kept, group=GROUP - 1))
    assert np.isnan(metrics["loss"])
    assert np.isnan(wrong.model.params["w"]).all()
    assert np.isnan(wrong.log_q).all()


def test_the_worst_group_optimum():
    """One logit z for all rows, and groups with base rates a < 1/2 < b: the losses differ by (b - a) z.

    So the worst loss is least at z = 0, where it is log 2; the adjusted one is least where the adjustments
    make up the difference. There ``q_a a + q_b b = sigmoid(z)``. Plain training ends at the base rate of all.
    """
    a, b, n = 0.2, 0.7, (20, 10)
    group = np.repeat([0, 1], n)
    y = np.concatenate([np.arange(20) < 4, np.arange(10) < 7]).astype(np.int32)
    rows = {"x": np.zeros((30, 1), np.float32), "y": y, "group": group.astype(np.int32)}

    def train(adjustment):
        config = GroupDROConfig(OptimizerConfig("sgd", 0.5, momentum=0.0), rate=0.2, adjustment=adjustment)
        learner = group_dro(linear(), n, config)
        state, _ = training.descend(jax.random.key(0), learner, rows, 3000)
        return predictor(linear(), state)(rows["x"])[0], state.log_q

    adjustments = np.array([0.0, 2.0], np.float32)
    chance, log_q = jax.jit(jax.vmap(train))(adjustments)
    for i, c in enumerate(adjustments):
        z = (c / np.sqrt(n[1]) - c / np.sqrt(n[0])) / (b - a)
        share = (b - sigmoid(z)) / (b - a)
        assert chance[i] == pytest.approx(sigmoid(z), abs=2e-3)
        np.testing.assert_allclose(np.exp(log_q[i]), [share, 1 - share], atol=5e-3)
    assert abs(y.mean() - 0.5) > 0.1


def test_bad_input():
    with pytest.raises(InputError, match="every entry of counts must be at least 1"):
        group_dro(linear(), (3, 0), GroupDROConfig())
    with pytest.raises(InputError, match="the number of counts must be at least 1"):
        group_dro(linear(), (), GroupDROConfig())
    with pytest.raises(InputError, match="adjustment must be a finite number, 0 or more"):
        GroupDROConfig(adjustment=-1.0)
    with pytest.raises(InputError, match="rate must be a finite number above 0"):
        GroupDROConfig(rate=0.0)
    with pytest.raises(InputError, match="group must lie between 0 and 0"):
        group_dro(linear(), (24,), GroupDROConfig()).init(jax.random.key(0), batch())
