"""The rules that choose among candidates: by hand, and in the example that gives each its name."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn.check import InputError
from lrn.representation.selection import LEAVE_ONE_OUT, ORACLE, RULES, TRAINING_DOMAINS, Scores, choose

NAN = np.nan
# Candidate 0 uses what is spurious, 1 is invariant, 2 is poor, 3 diverged.
TABLE = Scores(
    validation=np.array([[0.90, 0.80], [0.74, 0.76], [0.50, 0.50], [NAN, 0.99]]),
    left_out=np.array([[0.60, 0.70], [0.75, 0.73], [0.50, 0.50], [0.99, NAN]]),
    test=np.array([0.10, 0.72, 0.75, NAN]),
)


def test_each_rule_looks_at_its_own_scores():
    assert [int(choose(rule, TABLE)) for rule in RULES] == [0, 1, 2]
    assert [rule.name for rule in RULES] == ["training domains", "leave one environment out", "oracle"]
    np.testing.assert_allclose(TRAINING_DOMAINS.score(TABLE)[:3], [0.85, 0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(LEAVE_ONE_OUT.score(TABLE)[:3], [0.65, 0.74, 0.5], rtol=1e-6)


def test_environments_have_no_names_ties_go_to_the_first_and_divergence_is_last():
    flipped = TABLE._replace(
        validation=np.asarray(TABLE.validation)[:, ::-1], left_out=np.asarray(TABLE.left_out)[:, ::-1]
    )
    assert [int(choose(rule, flipped)) for rule in RULES] == [0, 1, 2]
    equal = Scores(np.array([[NAN, NAN], [0.5, 0.5], [0.5, 0.5]]))
    assert int(choose(TRAINING_DOMAINS, equal)) == 1
    lost = Scores(np.full((2, 2), NAN), test=np.full(2, NAN))
    assert [int(choose(rule, lost)) for rule in (TRAINING_DOMAINS, ORACLE)] == [-1, -1]


def test_a_table_with_seeds_is_a_loop_and_jit_changes_nothing():
    rng = np.random.default_rng(0)
    scores = Scores(rng.random((5, 4, 3)), rng.random((5, 4, 3)), rng.random((5, 4)))
    for rule in RULES:
        together = choose(rule, scores)
        one_by_one = [int(choose(rule, jax.tree.map(lambda a, i=i: a[i], scores))) for i in range(5)]
        np.testing.assert_array_equal(together, one_by_one)
        np.testing.assert_array_equal(jax.jit(choose, static_argnums=0)(rule, scores), together)


def test_bad_input():
    alone = Scores(TABLE.validation)
    with pytest.raises(InputError, match=r"the scores' left_out, .*got none"):
        choose(LEAVE_ONE_OUT, alone)
    with pytest.raises(InputError, match="the oracle looks at the new environment"):
        choose(ORACLE, alone)
    with pytest.raises(InputError, match=r"the scores' validation.*got shape \[3\]"):
        choose(TRAINING_DOMAINS, Scores(np.ones(3)))
