"""Runs on several devices and in several processes give the results of one device in one process.

The devices are virtual CPU devices. tests/test_lanes.py covers the numbers of lanes.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Process, Run, Server

from lrn import check, table
from lrn.train import job

SLOW = pytest.mark.slow


def devices(count: int) -> dict[str, str]:
    # The flags of all tests stay: other optimizations would give other last digits.
    flags = os.environ.get("XLA_FLAGS", "")
    return {"XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={count}"}


def close(folder: Path, expected: Path) -> None:
    """Assert that two run folders have the same rows, with values that agree within float tolerance."""
    a, b = table.read(folder / "metrics.parquet"), table.read(expected / "metrics.parquet")
    for column in ("arm", "seed", "step", "metric"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column))
    np.testing.assert_allclose(a.value, b.value, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def one_device(server: Server, scratch: Path, uninterrupted: Any) -> Run:
    uninterrupted("smoke")
    return Run(server, scratch / "reference-smoke")


@pytest.fixture(scope="module")
def two_devices(server: Server, scratch: Path) -> Run:
    """A run of one process with two devices; each has as many lanes as in a job of two processes."""
    run = Run(server, scratch / "two-devices")
    ended = run.ended(env=devices(2))
    assert ended.code == 0, ended.said
    return run


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_four_devices_give_the_metrics_of_one(seeds, server, out, uninterrupted):
    """Six lanes (three seeds, two arms) and ten do not divide by four."""
    runs = [Run(server, out / f"{count}", options=("--seeds", seeds)) for count in (1, 4)]
    for count, run in zip((1, 4), runs):
        ended = run.ended(env=devices(count))
        assert ended.code == 0, ended.said
    close(runs[0].folder, runs[1].folder)


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_devices(run, one_device):
    run.ended(env=devices(4), faults=[dict(at="lrn.train.log:Log.flush", call=6, do="kill")])
    ended = run.ended(env=devices(3))
    assert ended.code == 0, ended.said
    close(run.folder, one_device.folder)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_job(run: Run, faults: Sequence[Sequence[dict[str, Any]]] = ((), ())) -> list[Process]:
    """Start the two processes of a job on this machine."""
    port = free_port()
    alone = [devices(1) | of_job(f"127.0.0.1:{port}", process=str(i)) for i in range(2)]
    return [run.start(env=env, faults=own) for env, own in zip(alone, faults)]


def check_job(run: Run, expected: Run, job: list[Process] | None = None) -> None:
    """Run a job to its end: its folder equals that of one process, and only its main process prints."""
    main, second = [p.wait() for p in job or start_job(run)]
    assert main.code == 0, main.said
    assert second.code == 0, second.said
    assert "smoke" in main.said
    assert [line for line in second.said.splitlines() if "[Gloo]" not in line and line] == []
    assert run.result() == expected.result()
    assert run.litter() == []


def names(run: Run) -> set[str]:
    return {str(f.relative_to(run.folder)) for f in run.folder.iterdir()}


@pytest.mark.parametrize("told", [1, pytest.param(0, marks=SLOW)])
def test_a_job_of_two_processes_gives_the_folder_of_one(told, run, two_devices, one_device):
    """A SIGTERM to one process stops both at the same step; the job then resumes."""
    both = start_job(run)
    both[0].wait_until(run.saved)
    both[told].send(signal.SIGTERM)
    for process in both:
        ended = process.wait()
        assert ended.code == 143, ended.said
    assert run.checkpoints()
    check_job(run, two_devices)
    close(run.folder, one_device.folder)
    assert names(run) == names(one_device)


@pytest.mark.slow
def test_a_job_from_start_to_end(run, two_devices):
    check_job(run, two_devices)


@pytest.mark.slow
def test_a_job_finds_itself_under_slurm(run, two_devices):
    """The environment has the variables that srun sets for two tasks on one node."""
    port = free_port()
    slurm = {
        "LRN_DISTRIBUTED": "auto",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_PORT": str(port),
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
    }
    tasks = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
    check_job(run, two_devices, [run.start(env=devices(1) | slurm | task) for task in tasks])


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_process_is_killed_the_other_ends_too(killed, run, two_devices):
    both = start_job(run)
    both[0].wait_until(run.saved)
    both[killed].send(signal.SIGKILL)
    ended = [p.wait(60) for p in both]
    assert ended[killed].code == -signal.SIGKILL
    assert ended[1 - killed].code in (1, -signal.SIGABRT)  # jax aborts a process whose coordinator has gone
    check_job(run, two_devices)


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_when_one_process_fails_the_other_ends_too(failing, run, two_devices):
    """The process fails in a step, at a moment when the processes do not exchange values."""
    faults: list[list[dict[str, Any]]] = [[], []]
    faults[failing] = [dict(at="lrn.train.program:Program.advance", call=2, do="crash")]
    ended = [p.wait(60) for p in start_job(run, faults)]
    assert ended[failing].code == 1
    assert "ZeroDivisionError" in ended[failing].said
    assert ended[1 - failing].code in (1, -signal.SIGABRT)
    assert "the processes of this job lost each other" in ended[1 - failing].said
    check_job(run, two_devices)


@pytest.mark.slow
def test_a_job_whose_main_process_cannot_begin_fails_as_a_whole(run):
    alone = run.start(faults=[dict(at="lrn.train.log:Log.stream", call=2, do="sleep", seconds=20)])
    alone.wait_until(run.saved)
    main, second = [p.wait(60) for p in start_job(run)]
    assert (main.code, second.code) == (1, 1)
    assert "another process is running" in main.said
    assert "the main process of this job failed" in second.said
    assert alone.wait().code == 0


@pytest.mark.slow
def test_a_job_with_a_damaged_checkpoint_recovers(run, two_devices):
    for process in start_job(run, [[dict(at="lrn.train.log:Log.flush", call=4, do="kill")], []]):
        process.wait(60)
    newest = run.saved()[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    main, second = [p.wait() for p in start_job(run)]
    assert (main.code, second.code) == (0, 0), main.said + second.said
    assert "the one before it is used." in main.said
    assert run.result() == two_devices.result()


def of_job(coordinator: str = "node1:8476", processes: str = "2", process: str = "0") -> dict[str, str]:
    return {"LRN_COORDINATOR": coordinator, "LRN_PROCESSES": processes, "LRN_PROCESS": process}


BAD = {
    "one variable of three": ({"LRN_PROCESSES": "2"}, "LRN_COORDINATOR, LRN_PROCESS is not"),
    "no port": (of_job("node1"), "must be host:port"),
    "a port too high": (of_job("node1:70000"), "must be host:port"),
    "a scheme": (of_job("http://node1:1"), "must be host:port"),
    "a count in words": (of_job(processes="two"), "a whole number"),
    "an index below zero": (of_job(process="-1"), "a whole number"),
    "an index too high": (of_job(process="2"), "from 0 to"),
    "no process at all": (of_job(processes="0"), "from 0 to"),
    "an unknown word": ({"LRN_DISTRIBUTED": "yes"}, "must be auto or 0"),
    "both ways": (of_job() | {"LRN_DISTRIBUTED": "auto"}, "finds the job by itself"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_environment_is_one_sentence(case, monkeypatch):
    env, sentence = BAD[case]
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(check.InputError, match=sentence) as raised:
        job.join()
    assert "\n" not in str(raised.value)


def test_no_cluster_to_be_found_is_one_sentence(run):
    ended = run.ended(env={"LRN_DISTRIBUTED": "auto"})
    assert ended.code == 2
    (line,) = ended.said.splitlines()
    assert line.startswith("error: this process could not join its job")
    assert not any(run.out.iterdir())


@pytest.mark.slow
def test_a_job_of_one_process_is_a_plain_run(run, one_device):
    ended = run.ended(env=of_job("localhost:1", processes="1"))
    assert ended.code == 0, ended.said
    assert run.result() == one_device.result()
