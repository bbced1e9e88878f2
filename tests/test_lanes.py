"""The batch axis: every count of lanes on every number of devices gives what a loop gives.

The last test runs this file again on four virtual devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_devices import passes_on_four_devices
from toy import ToyConfig, same, toy, toy_data, toy_mse, toy_sampler

from lrn import lanes, train
from lrn.lanes import Lanes
from lrn.serial import serial_alone

DEVICES = jax.device_count()
COUNTS = range(1, 10)


@pytest.mark.parametrize("count", COUNTS)
def test_what_is_put_comes_back(count):
    batch = Lanes(count)
    tree = {
        "x": np.random.RandomState(0).randn(count, 3).astype(np.float32),
        "n": np.arange(count, dtype=np.int32),
        "key": jax.random.split(jax.random.key(0), count),
    }
    placed = batch.put(tree)
    assert batch.padded >= count
    assert batch.padded % min(count, DEVICES) == 0
    assert batch.padded < count + DEVICES
    assert len(placed["x"].sharding.device_set) == min(count, DEVICES)
    assert same(batch.get(placed), tree)


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_every_lane_is_computed_as_if_alone(count, in_turn):
    """Against a Python loop; the shared argument and the typed key reach each lane whole."""
    numbers = np.random.RandomState(1)
    x, shared = numbers.randn(count, 4).astype(np.float32), numbers.randn(4, 2).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), count)

    def function(lane, shared):
        return {"y": jnp.tanh(lane["x"] @ shared), "r": jax.random.normal(lane["key"], (2,))}

    batch = Lanes(count)
    run = batch.jit(function, (True, False), in_turn=lambda: in_turn)
    found = batch.get(run(batch.put({"x": x, "key": keys}), batch.replicate(shared)))
    for i in range(count):
        np.testing.assert_allclose(found["y"][i], np.tanh(x[i] @ shared), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found["r"][i], jax.random.normal(keys[i], (2,)))


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_donated_memory_is_given_up(count, in_turn):
    batch = Lanes(count)
    x = batch.put(np.ones((count, 8), np.float32))
    y = batch.jit(lambda x: x + 1, (True,), donate=(0,), in_turn=lambda: in_turn)(x)
    assert x.is_deleted()
    np.testing.assert_array_equal(batch.get(y), np.full((count, 8), 2))


def test_what_get_returns_is_a_copy():
    """The next chunk may reuse the buffer."""
    batch = Lanes(2)
    x = batch.put(np.ones((2, 8), np.float32))
    host = batch.get(x)
    batch.jit(lambda x: x + 1, (True,), donate=(0,))(x)
    np.testing.assert_array_equal(host, np.ones((2, 8)))


@pytest.mark.parametrize(("count", "devices"), [(0, None), (-1, None), (3, [])])
def test_no_lane_or_no_device_is_refused(count, devices):
    with pytest.raises(ValueError, match="at least one lane and one device") as raised:
        Lanes(count, devices)
    assert "\n" not in str(raised.value)


def test_alone_a_process_agrees_with_itself():
    assert lanes.main_process()
    assert lanes.agree(7) == 7
    assert lanes.any_process(True) is True
    assert lanes.any_process(False) is False
    assert lanes.on_main(lambda: "done") == "done"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_main_process_is_its_own(error):
    def fail():
        raise error

    with pytest.raises(error):
        lanes.on_main(fail)


@pytest.mark.skipif(DEVICES < 4, reason="runs on four devices, in the test below")
@pytest.mark.parametrize(
    ("arms", "seeds", "mark"), [(2, 3, None), (1, 5, None), (1, 1, None), (2, 2, serial_alone)]
)
def test_a_training_on_four_devices_is_that_on_one(arms, seeds, mark):
    """Also where a lane is alone on each of the four, its kernels in order, and with others on the one."""

    def learner(config):
        return toy(config)._replace(step=mark(toy(config).step)) if mark else toy(config)

    def fit(devices):
        configs = {str(i): ToyConfig(lr=0.01 * (i + 1)) for i in range(arms)}
        return train.fit(
            learner,
            configs,
            range(seeds),
            steps=30,
            data=toy_data(),
            sampler=toy_sampler,
            evaluate=toy_mse,
            eval_every=10,
            log_every=7,
            progress=False,
            devices=devices,
        )

    one, four = fit(jax.devices()[:1]), fit(None)
    for a, b in zip(jax.tree.leaves(one.state.params), jax.tree.leaves(four.state.params)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert same(one.state.key, four.state.key)
    assert same(one.table[:4], four.table[:4])
    np.testing.assert_allclose(one.table.value, four.table.value, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(DEVICES > 1, reason="is what starts this")
def test_all_of_this_on_four_devices():
    passes_on_four_devices(__file__)
