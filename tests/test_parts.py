"""One lane on several devices: a learner that divides its step gives the results of one device.

`test_four_devices` runs this file again on four virtual devices.
"""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import ToyConfig, toy, toy_data, toy_sampler

from lrn import nets, train
from lrn.meta import learner
from lrn.meta import reptile as reptile_module
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import episodes
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import regression
from lrn.meta.reptile import ReptileConfig, reptile
from lrn.train.lanes import Lanes
from lrn.xla.parts import divisor, mean_of_parts, parts

DEVICES = jax.device_count()
four = pytest.mark.skipif(DEVICES < 4, reason="runs on four devices, in test_four_devices.py")
X = np.arange(12.0).reshape(6, 2)
PROBLEM = regression(nets.mlp(None, (8,)))
# One task at a time: on CPU a group of tasks that one core adapts together is not divided.
MAML = MAMLConfig(inner=InnerConfig(steps=2), tasks_at_once=1)
REPTILE = ReptileConfig(inner=InnerConfig(steps=2), meta_rate=0.1)


def fit(learner, configs, seeds, tasks, devices, steps=12, **options):
    return train.fit(
        lambda config: learner(PROBLEM, config), configs, range(seeds), steps=steps,
        sampler=episodes(sinusoid(), tasks), progress=False, devices=devices, **options,
    )  # fmt: skip


@functools.cache
def fit_once(learner, seeds, tasks, devices):
    """The training of several tests; None are all devices."""
    config = MAML if learner is maml else REPTILE
    return fit(learner, config, seeds, tasks, devices and jax.devices()[:devices])


def close(a, b):
    chex.assert_trees_all_close(a.state.meta, b.state.meta, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a.table.value, b.table.value, rtol=1e-4, atol=1e-6)


def test_outside_of_a_training_there_is_one_part():
    assert parts() == 1
    np.testing.assert_array_equal(mean_of_parts(lambda x: x.mean(0), X), X.mean(0))


@pytest.mark.parametrize(
    ("items", "most", "devices"), [(8, 4, 4), (6, 4, 3), (7, 4, 1), (2, 4, 2), (1, 4, 1), (8, 1, 1)]
)
def test_divisor_is_the_most_devices_that_divide_the_items(items, most, devices):
    assert divisor(items, most) == devices


@pytest.mark.parametrize(
    ("meta_learner", "tasks"),
    [
        (maml(PROBLEM, MAML), 8),
        (maml(PROBLEM, dataclasses.replace(MAML, tasks_at_once=0)), 1),  # one core adapts all eight together
        (reptile(PROBLEM, REPTILE), 8),
    ],
)
def test_a_learner_says_what_its_step_divides(meta_learner, tasks, monkeypatch):
    """``divides`` returns the number of items that the step gives to `mean_of_parts`."""
    divided, said = [], []

    def spy(function, items):
        divided.append(len(jax.tree.leaves(items)[0]))
        return function(items)

    for module in (learner, reptile_module):
        monkeypatch.setattr(module, "mean_of_parts", spy)

    def step(key):
        batch = episodes(sinusoid(), 8).draw(key, None)
        state = meta_learner.init(key, batch)
        meta_learner.step(key, state, batch)
        said.append(meta_learner.divides(state, batch))

    jax.eval_shape(step, jax.random.key(0))
    assert (divided or [1]) == [tasks] == said


@four
@pytest.mark.parametrize(
    ("count", "groups", "spare"), [(1, 1, 4), (2, 2, 2), (3, 3, 1), (4, 4, 1), (6, 4, 1)]
)
def test_spare_devices_are_divided_among_lanes(count, groups, spare):
    lanes = Lanes(count)
    assert (lanes.groups, lanes.parts, lanes.spare) == (groups, 1, spare)
    assert lanes.with_parts(spare).parts == spare
    with pytest.raises(ValueError, match="cannot have"):
        lanes.with_parts(spare + 1)


@four
@pytest.mark.parametrize("count", [8, 6])
def test_each_device_computes_its_share(count):
    """Each of four devices gets two of eight items; four does not divide six, so each gets all six."""
    seen = []

    def function(items):
        def mean(x):
            seen.append(len(x))
            return x.mean(0), jnp.ones(())

        return mean_of_parts(mean, items)

    x = np.random.RandomState(0).randn(1, count, 3).astype(np.float32)
    lanes = Lanes(1, parts=4)
    value, constant = lanes.get(lanes.jit(function, (True,))(lanes.put(x)))
    np.testing.assert_allclose(value[0], x[0].mean(0), rtol=1e-6)
    assert constant[0] == 1
    assert set(seen) == {2 if count == 8 else 6}


@four
@pytest.mark.parametrize(
    ("learner", "seeds", "tasks"),
    [
        (maml, 1, 8),
        (maml, 3, 8),
        (maml, 1, 6),
        (reptile, 2, 8),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (maml, 2, 8),
                (maml, 5, 4),
                (reptile, 1, 8),
                (reptile, 3, 8),
                (reptile, 1, 6),
                (reptile, 5, 4),
            ]
        ),
    ],
)
def test_a_training_on_four_devices_is_that_on_one(learner, seeds, tasks):
    close(*(fit_once(learner, seeds, tasks, devices) for devices in (1, None)))


@four
@pytest.mark.parametrize("at_once", [1, 3, 4, 12])
def test_groups_need_not_divide_the_share_of_a_device(at_once):
    """Two devices get six of twelve tasks each; six tasks are no whole number of groups of four."""
    config = dataclasses.replace(MAML, tasks_at_once=at_once)
    close(fit(maml, config, 1, 12, jax.devices()[:2]), fit_once(maml, 1, 12, 1))


@four
def test_arms_and_seeds_each_have_their_devices():
    """Two lanes with a rate of their own have two devices each."""
    configs = {str(rate): dataclasses.replace(MAML, meta_rate=rate) for rate in (1e-3, 1e-2)}
    on_one, on_four = (fit(maml, configs, 1, 8, devices) for devices in (jax.devices()[:1], None))
    close(on_one, on_four)
    assert not np.allclose(*jax.tree.leaves(on_one.state.meta)[0])


@four
def test_a_lane_resumes_on_another_number_of_devices(tmp_path):
    fit(maml, MAML, 1, 8, None, steps=6, folder=tmp_path)
    close(fit(maml, MAML, 1, 8, jax.devices()[:2], folder=tmp_path), fit_once(maml, 1, 8, None))


@four
@pytest.mark.parametrize(("divided", "devices"), [(8, 4), (6, 3), (7, 1), (0, 1)])
def test_a_lane_has_the_most_devices_that_divide_its_items(divided, devices):
    seen = []

    def learner(config):
        def step(key, state, batch):
            seen.append(parts())
            state, metrics = toy(config).step(key, state, batch)
            if divided:
                metrics = {**metrics, "mean": mean_of_parts(jnp.mean, jnp.arange(1.0 * divided))}
            return state, metrics

        return toy(config)._replace(step=step, divides=(lambda state, batch: divided) if divided else None)

    result = train.fit(
        learner, ToyConfig(), [0], steps=2, data=toy_data(), sampler=toy_sampler, progress=False
    )  # fmt: skip
    assert max(seen) == devices
    if divided:
        np.testing.assert_allclose(result.table.final("default", "mean"), (divided - 1) / 2, rtol=1e-6)


@four
def test_a_learner_that_divides_nothing_says_one():
    def learner(config):
        return toy(config)._replace(divides=lambda state, batch: 0)

    with pytest.raises(ValueError, match="divides gives must be at least 1, got 0"):
        train.fit(learner, ToyConfig(), [0], steps=2, data=toy_data(), sampler=toy_sampler, progress=False)
