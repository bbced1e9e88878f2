"""The study of identifiability: exact decoders, planted errors, the worlds' side information, lanes."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.representation import _map_of_recoveries as judging
from experiments.representation import _recoveries as recoveries
from experiments.representation._recoveries import CAUSES, GAUSSIAN, HOLDS, IVAE, LABELS, PAIRS, TIED, TIME
from lrn import nets
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.losses import squared_error
from lrn.supervised.optimizers import OptimizerConfig

N = 2200


@jax.jit
def scores(seed):
    """Of the sources and of reflected sources, with the mixing as decoder."""
    s = recoveries.drawn(jax.random.key(seed), recoveries.KNOWN, HOLDS, N).s
    mix = recoveries.mixing_of(seed, 0.3)
    mean, std = s.mean(0)[None], s.std(0)[None]
    found = []
    for turn in (jnp.eye(3), jnp.asarray(judging.TURN, jnp.float32)):
        z = recoveries.standard(s) @ turn

        def decode(codes, turn=turn):
            return mix.forward((codes @ turn.T) * std + mean)

        found.append(judging.judge_one(seed, 0.3, z, s, mix.forward(s), decode))
    return found


def test_the_exact_decoder_manipulates_and_reflected_sources_do_not():
    own, turned = scores(5)
    np.testing.assert_allclose([own["MCC"], own["rank MCC"], own["manipulation"]], 1, atol=1e-3)
    assert own["off target"] < 1e-3
    assert own["not decoded"] < 1e-5
    assert turned["not decoded"] < 1e-5
    assert turned["MCC"] < 0.85
    assert turned["manipulation"] < 0.5


def test_worlds_have_or_lack_their_side_information():
    asked = [(m, w) for m in (IVAE, CAUSES, PAIRS) for w in (HOLDS, GAUSSIAN)]
    asked += [(m, w) for m in (LABELS, TIME) for w in (HOLDS,)] + [
        (m, TIED) for m in (IVAE, PAIRS, LABELS, TIME)
    ]
    # One program for all: the compilation takes longer than the draws.
    draw = jax.jit(lambda key: {pair: recoveries.drawn(key, *pair, N) for pair in asked})
    found = {pair: (own.s, own.extra) for pair, own in jax.device_get(draw(jax.random.key(1))).items()}

    def rows(method, world):
        return found[method, world]

    for world, tells in ((HOLDS, True), (GAUSSIAN, False)):
        s, extra = rows(IVAE, world)
        segment = extra["side"].argmax(1)
        spread = np.stack([s[segment == k].std(0) for k in range(recoveries.SEGMENTS)])
        assert (spread.std(0).min() > 0.3) == tells
        s, extra = rows(CAUSES, world)
        means = [s[extra["environment"] == k].mean(0) for k in range(4)]
        assert (means[1][0] - means[0][0] > 1) == tells
        _, extra = rows(PAIRS, world)
        assert (np.mean(extra["partner"] ** 4) / np.mean(extra["partner"] ** 2) ** 2 > 4) == tells
    for method in (IVAE, PAIRS, LABELS, TIME):
        off = [np.corrcoef(rows(method, world)[0].T)[0, 1] for world in (HOLDS, TIED)]
        assert abs(off[0]) < 0.25
        assert off[1] > 0.4
    s, extra = rows(LABELS, HOLDS)
    count = extra["labeled"][: N - recoveries.SPARE - recoveries.JUDGED].sum()
    assert recoveries.NAMED <= count <= 2 * recoveries.NAMED
    s, extra = rows(TIME, HOLDS)
    np.testing.assert_array_equal(extra["before"][1:], s[:-1])


def test_a_lane_sees_the_rows_of_its_place():
    data = {"x": jax.random.normal(jax.random.key(2), (2, 9, 3)), "y": jnp.ones((2, 9, 3))}
    batch = {"at": jnp.array([4, 1, 1]), "data": data}

    def inner(optimizer):
        return supervised(nets.mlp(3, ()), squared_error, SupervisedConfig(optimizer))

    lane = recoveries.on_place(inner, recoveries.LaneConfig(OptimizerConfig(), 1.0))
    alone = inner(OptimizerConfig())
    own = {k: v[1][batch["at"]] for k, v in data.items()}
    key = jax.random.key(3)
    (_, found), (_, expected) = (
        jax.jit(lambda b, of=of: of.step(key, of.init(key, b), b))(b)
        for of, b in ((lane, batch), (alone, own))
    )
    assert found["loss"] == expected["loss"]
