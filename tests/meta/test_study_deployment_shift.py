"""The study of deployment shifts: runs at its smallest, its parts by hand, its verdict from the regrets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.meta import deployment_shift as study
from experiments.meta.deployment_shift import (
    ARM,
    ENSEMBLE,
    FROZEN,
    IRM,
    KINDS,
    LABEL_FREE,
    MAML,
    NORMED,
    SHUFFLED,
    STATISTICS,
    STUDY,
    TUNED,
    Config,
)
from lrn import check, table
from lrn.meta.episode import check_family, draw

SEEDS = list(range(10))
CONFIG = Config()


def made(arm=2.0, statistics=2.0, concept=40.0, shuffled=45.0, least=0.0, accuracy=90.0):
    """Regrets in which each method does what the literature says, except for the arguments."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.1
    covariate = {FROZEN: 10.0, NORMED: 10.0, STATISTICS: statistics, ARM: arm, IRM: 10.0, ENSEMBLE: 7.0}
    regrets = {("covariate", m, 0): v for m, v in covariate.items()}
    for m in LABEL_FREE:
        regrets["none", m, 0] = 1.0
        regrets["label", m, 0] = 8.0 if m == STATISTICS else 3.0
        regrets["concept", m, 0] = concept if m == ARM else 40.0
    for n in CONFIG.labels:
        for m, gain in ((TUNED, 1.0), (MAML, 2.0)):
            regrets["none", m, n] = 1.0
            regrets["concept", m, n] = 40.0 / (1 + gain * n / 10)
    regrets["concept", SHUFFLED, CONFIG.labels[-1]] = shuffled
    rows = [table.rows(m, SEEDS, 0, study.regret(k, n), v + spread) for (k, m, n), v in regrets.items()]
    for kind in KINDS:
        rows.append(table.rows("oracle", SEEDS, 0, f"{kind}: regret@0", np.zeros(10)))
        rows.append(table.rows("best of all", SEEDS, 0, f"{kind}: least regret", least + spread))
        for m in (FROZEN, NORMED):
            half = (regrets.get((kind, m, 0), 0.0) + spread) / 2
            rows.append(table.rows(m, SEEDS, 0, f"{kind}: half of the regret", half))
    rows.append(table.rows(FROZEN, SEEDS, 0, "none: accuracy@0", accuracy + spread))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"arm": 8.0}, "mixed"),
        ({"statistics": 8.0}, "mixed"),
        ({"concept": 20.0}, "mixed"),  # a context that reveals the meaning of labels
        ({"accuracy": 50.0}, "invalid"),
        ({"least": -5.0}, "invalid"),
        ({"shuffled": 20.0}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_regrets(found, verdict):
    result = judge(STUDY, CONFIG, "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def pictures():
    return jax.random.randint(jax.random.key(0), (10, 30, 10, 10, 1), 0, 256).astype(jnp.uint8)


def test_each_kind_shifts_what_it_says_and_training_half():
    images = pictures()
    for kind, name in enumerate(KINDS):
        family = study._family(images, 5, 5, kind, 1.0)
        check_family(family)
        code = np.asarray(draw(family, jax.random.key(1), 200).code)
        moved = np.abs(code[:, :4]).max(0) > 0
        np.testing.assert_array_equal(moved, name == "covariate")
        assert (code[:, 5:15].std() > 0.01) == (name == "label")
        names = code[:, 15:].reshape(-1, 10, 10).argmax(2)
        assert (names != np.arange(10)).sum(1).max() == (6 if name == "concept" else 0)
    code = np.asarray(draw(study._family(images, 5, 5, 1, 0.5), jax.random.key(1), 200).code)
    assert 0.8 * 30 < 180 * np.abs(code[:, 0]).max() <= 30
    code = np.asarray(draw(study._family(images, 5, 5, 3, 0.5), jax.random.key(1), 200).code)
    assert set((code[:, 15:].reshape(-1, 10, 10).argmax(2) != np.arange(10)).sum(1)) == {3}


def test_the_oracle_undoes_a_shift():
    """With exchanged labels and frequencies its outputs are the network's, renamed, plus the log prior."""
    oracle, problem = study._oracle(10), study._problem()
    x = jax.random.uniform(jax.random.key(0), (4, 100))
    params = problem.init(jax.random.key(1), x)[0]
    given = draw(study._family(pictures(), 5, 5, 0, 1.0), jax.random.key(2), 2)
    state = oracle.init(jax.random.key(3), given)._replace(meta=params)
    names, often = np.roll(np.arange(10), 3), np.arange(1, 11) / 55
    code = jnp.concatenate([jnp.zeros(5), jnp.asarray(often), jax.nn.one_hot(names, 10).reshape(-1)])
    outputs = np.asarray(oracle.curve(state, {}, x, code, 0)[0])
    plain = np.asarray(problem.predict(params, (), {"x": x}, x)) + np.log(often)
    np.testing.assert_allclose(outputs[:, names], plain, rtol=1e-4, atol=1e-4)
    # Brightness and contrast, where nothing was cut off.
    faded = 0.5 + 0.6 * (x - 0.5) + 0.1
    shift = code.at[1].set(0.1).at[2].set(0.4)
    np.testing.assert_allclose(oracle.curve(state, {}, faded, shift, 0)[0], outputs, rtol=1e-3, atol=1e-3)


def test_batch_norm_takes_the_statistics_it_is_given():
    problem = study._normed()
    x = jax.random.normal(jax.random.key(0), (20, 5))
    params, state = problem.init(jax.random.key(1), x)
    outputs = problem.predict(params, state, {"x": 3 * x + 1}, 3 * x + 1)
    np.testing.assert_allclose(outputs, problem.predict(params, state, {"x": x}, x), atol=1e-3)
    # A query is judged alone, by the statistics of the support set.
    few = problem.predict(params, state, {"x": x}, x[:3])
    np.testing.assert_allclose(few, problem.predict(params, state, {"x": x}, x + 0)[:3], atol=1e-5)


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match="must divide the last"):
        Config(labels=(5, 20, 50))
    with pytest.raises(check.InputError, match="labels must be two or more increasing"):
        Config(labels=(10, 5))
