"""The levels of O4, and what its variance shares see."""

import functools

import jax
import numpy as np
import pytest

from experiments.robust._levels import ARCHITECTURES, KINDS, PROCEDURES, RATES, setting
from experiments.robust.architecture_vs_training import FACTORS, REGIMES, STUDY, shuffled
from lrn import nets, stats


def test_a_kind_of_procedures_is_one_compile():
    for kind in KINDS:
        forms = {jax.tree.structure(setting(p, 0.01, 100, 0.1)) for p in kind}
        assert len(forms) == 1, kind
    leaves = [tuple(jax.tree.leaves(setting(p, 0.01, 100, 0.1))) for p in PROCEDURES]
    assert len(set(leaves)) == len(PROCEDURES), "no two procedures are the same"
    assert set(RATES) == set(ARCHITECTURES)
    assert all(set(names) <= set(PROCEDURES) for names in REGIMES.values())


@pytest.mark.slow  # a search by tracing, for each architecture
@pytest.mark.parametrize(("preset", "side"), [("quick", 8), ("full", 12)])
def test_the_architectures_are_of_one_size(preset, side):
    config = STUDY.presets[preset]
    for name in config.architectures:
        build = functools.partial(ARCHITECTURES[name], 2 if side == 8 else 4)
        net = nets.of_size(build, (side, side, 1), config.parameters)
        assert abs(nets.parameter_count(net, (side, side, 1)) / config.parameters - 1) < 0.05, name


def test_shuffled_architectures_have_no_share_and_their_own_have():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 1)) + 0.3 * rng.normal(size=(6, 8))
    assert stats.variance_shares(table)[FACTORS.index("architecture")] > 0.6
    assert abs(shuffled(table)) < 0.1
