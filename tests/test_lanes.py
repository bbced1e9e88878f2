"""The batch axis: any number of lanes on any number of devices gives the results of a Python loop.

`test_four_devices` runs this file again on four virtual devices.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer
from toy import ToyConfig, same, toy, toy_data, toy_mse, toy_sampler

from lrn import train
from lrn.train import job
from lrn.train.lanes import Lanes
from lrn.types import LANES
from lrn.xla.parts import axis_size
from lrn.xla.serial import serial_alone

DEVICES = jax.device_count()
COUNTS = range(1, 10) if DEVICES > 1 else (1, 2, 5)  # one device has all lanes, whatever their number
KEYS: Any = np.random.default_rng(0).integers(2**32, size=(9, 2), dtype=np.uint32)


def keys_of(count):
    return jax.random.wrap_key_data(KEYS[:count])


@pytest.mark.parametrize("count", COUNTS)
def test_get_returns_the_arrays_that_were_put(count):
    batch = Lanes(count)
    tree = {
        "x": np.random.RandomState(0).randn(count, 3).astype(np.float32),
        "n": np.arange(count, dtype=np.int32),
        "key": keys_of(count),
    }
    placed = batch.put(tree)
    assert batch.padded >= count
    assert batch.padded % min(count, DEVICES) == 0
    assert batch.padded < count + DEVICES
    assert len(placed["x"].sharding.device_set) == min(count, DEVICES)
    assert same(batch.get(placed), tree)


@jax.jit
def drawn(key):
    return jax.random.normal(key, (2,))


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("count", COUNTS)
def test_every_lane_is_computed_as_if_alone(count, in_turn):
    """The results equal those of a Python loop; each lane gets the shared argument and its own key."""
    numbers = np.random.RandomState(1)
    x, shared = numbers.randn(count, 4).astype(np.float32), numbers.randn(4, 2).astype(np.float32)

    def function(lane, shared):
        return {"y": jnp.tanh(lane["x"] @ shared), "r": drawn(lane["key"])}

    batch = Lanes(count)
    run = batch.jit(function, (True, False), in_turn=lambda: in_turn)
    result = batch.get(run(batch.put({"x": x, "key": keys_of(count)}), batch.replicate(shared)))
    for i in range(count):
        np.testing.assert_allclose(result["y"][i], np.tanh(x[i] @ shared), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(result["r"][i], drawn(jax.random.wrap_key_data(KEYS[i])))


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_a_donated_array_is_deleted(count, in_turn):
    batch = Lanes(count)
    x = batch.put(np.ones((count, 8), np.float32))
    y = batch.jit(lambda x: x + 1, (True,), donate=(0,), in_turn=lambda: in_turn)(x)
    assert x.is_deleted()
    np.testing.assert_array_equal(batch.get(y), np.full((count, 8), 2))


def test_get_returns_a_copy():
    """The next chunk may reuse the memory of the device array."""
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


def test_a_single_process_agrees_with_itself():
    assert job.main_process()
    assert job.agree(7) == 7
    assert job.any_process(True) is True
    assert job.any_process(False) is False
    assert job.on_main(lambda: "done") == "done"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_main_process_raises_its_own_error(error):
    def fail():
        raise error

    with pytest.raises(error):
        job.on_main(fail)


@pytest.mark.parametrize("count", [1, 3])
def test_eagerly_runs_each_lane_on_real_arrays(count):
    numbers = np.random.RandomState(2)
    x, shared = numbers.randn(count, 4).astype(np.float32), numbers.randn(4, 2).astype(np.float32)
    seen = []

    def function(lane, shared, n):
        if not isinstance(lane["x"], Tracer):
            seen.append(np.asarray(lane["x"]))
        return {"y": lane["x"] @ shared + n, "key": jax.random.fold_in(lane["key"], n)}

    batch, per_lane = Lanes(count), (True, False, False)
    args = batch.put({"x": x, "key": keys_of(count)}), batch.replicate(shared), jnp.int32(3)
    result = batch.get(batch.eagerly(function, per_lane)(*args))
    np.testing.assert_array_equal(seen[:count], x)
    assert len(seen) == batch.padded
    expected = batch.get(batch.jit(function, per_lane)(*args))
    np.testing.assert_allclose(result["y"], expected["y"], rtol=1e-5)
    assert same(result["key"], expected["key"])


@pytest.mark.parametrize("count", COUNTS)
def test_a_function_knows_how_many_lanes_run_together(count):
    """`lrn.nets.conv` reads this number; it is 1 for lanes that run alone or one after another."""
    batch = Lanes(count)
    for in_turn in (False, True):
        run = batch.jit(lambda x: x * 0 + axis_size(LANES), (True,), in_turn=lambda in_turn=in_turn: in_turn)
        together = 1 if in_turn else batch.padded // batch.groups
        assert batch.get(run(batch.put(np.zeros(count)))).tolist() == [together] * count
    assert batch.alone == (batch.padded // batch.groups == 1)


def test_with_parts_keeps_a_layout_of_as_many_parts_and_refuses_wrong_numbers():
    batch = Lanes(2)
    assert batch.with_parts(1) is batch
    for parts in (0, batch.spare + 1):
        with pytest.raises(
            ValueError, match=f"2 lanes cannot have {parts} of|1 lanes cannot have {parts} of"
        ):
            batch.with_parts(parts)


class Job:
    """Make this process believe that it is process ``index`` of two; ``theirs`` is what the other sends.

    said: the values that this process broadcast.
    """

    def __init__(self, monkeypatch, index, theirs):
        from jax.experimental import multihost_utils

        self.said = []
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: index)

        def broadcast(value):
            self.said.append(int(value))
            return value if index == 0 else np.int32(theirs)

        def gather(value, tiled):
            assert tiled
            return np.concatenate([np.asarray(value), theirs])

        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", broadcast)
        monkeypatch.setattr(multihost_utils, "process_allgather", gather)


def test_the_main_process_decides(monkeypatch):
    seen = Job(monkeypatch, 1, 42)
    assert job.agree(7) == 42
    assert not job.main_process()
    seen = Job(monkeypatch, 0, None)
    assert job.agree(7) == 7
    assert seen.said == [7]
    assert job.main_process()


@pytest.mark.parametrize(("flag_here", "flag_there", "expected"), [(0, 0, False), (0, 1, True), (1, 0, True)])
def test_a_flag_of_any_process_counts(flag_here, flag_there, expected, monkeypatch):
    Job(monkeypatch, 0, np.array([flag_there]))
    assert job.any_process(bool(flag_here)) is expected


def test_the_other_processes_wait_for_the_action_of_the_main_process(monkeypatch):
    def never():
        raise AssertionError("the action ran")

    Job(monkeypatch, 1, 0)
    assert job.on_main(never) is None
    Job(monkeypatch, 1, 1)
    with pytest.raises(job.JobError, match="the main process of this job failed; its own message says why"):
        job.on_main(never)
    seen = Job(monkeypatch, 0, None)
    assert job.on_main(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        job.on_main(lambda: 1 // 0)
    assert seen.said == [0, 1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError("Gloo: gone\nat line 3"), r"\(Gloo: gone\)"), (ValueError(), r"\(ValueError\)")],
)
def test_a_failed_collective_is_a_job_error(error, reason, monkeypatch):
    from jax.experimental import multihost_utils

    def fail(*_, **__):
        raise error

    Job(monkeypatch, 0, None)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", fail)
    monkeypatch.setattr(multihost_utils, "process_allgather", fail)
    for call in (lambda: job.agree(1), lambda: job.any_process(True)):
        with pytest.raises(
            job.JobError, match=f"lost each other {reason}; start all of them again"
        ) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_the_lanes_of_all_processes_are_gathered(monkeypatch):
    batch = Lanes(2)
    placed = batch.put(np.array([1.0, 2.0]))
    Job(monkeypatch, 0, np.array([3.0, 4.0]))
    assert batch.get(placed).tolist() == [1.0, 2.0]
    batch.count = 4
    assert batch.get(placed).tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.skipif(DEVICES < 4, reason="runs on four devices, in test_four_devices.py")
def test_in_a_job_every_device_takes_part(monkeypatch):
    Job(monkeypatch, 0, None)
    batch = Lanes(1)
    assert (batch.groups, batch.padded, batch.spare) == (4, 4, 1)


@pytest.mark.skipif(DEVICES < 4, reason="runs on four devices, in test_four_devices.py")
@pytest.mark.parametrize(
    ("arms", "seeds", "mark"), [(2, 3, None), (1, 5, None), (1, 1, None), (2, 2, serial_alone)]
)
def test_a_training_on_four_devices_is_that_on_one(arms, seeds, mark):
    """With 2 arms and 2 seeds each of four devices has one lane, whose kernels run in order if marked."""

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

    on_one, on_four = fit(jax.devices()[:1]), fit(None)
    for a, b in zip(jax.tree.leaves(on_one.state.params), jax.tree.leaves(on_four.state.params)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert same(on_one.state.key, on_four.state.key)
    assert same(on_one.table[:4], on_four.table[:4])
    np.testing.assert_allclose(on_one.table.value, on_four.table.value, rtol=1e-4, atol=1e-6)
