"""``run --cluster``: studies as jobs of SLURM, or of this machine, through the library submitit.

A job runs the command ``run`` for one study, or for one part of its seeds. When the cluster takes a job's
machine away, or the job's time is up, the run saves, the job goes back into the queue, and the run resumes.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from lrn import check as checks
from lrn import files, interrupt
from lrn.cli import errors
from lrn.cli.commands import Run
from lrn.study import parts, store

_PATIENCE = 600.0  # seconds that a job waits for another part, before it gives its place in the cluster away
_LOOK_SECONDS = 1.0
_RESULT_SECONDS = 15.0  # in which a network disk shows the result of a job that has ended
_GRACE = 120.0  # seconds after SIGTERM in which SLURM may still say what it wants
_DEFAULTS: dict[str, Mapping[str, Any]] = {
    # SLURM sends a preempted job back into its queue only where the job or the cluster asks for it.
    "slurm": {
        "timeout_min": 60,
        "slurm_signal_delay_s": 120,
        "slurm_additional_parameters": {"requeue": True},
    },
    "local": {"timeout_min": 7 * 24 * 60},
}


def check(command: Run) -> None:
    """Check the options of ``run`` that concern parts and clusters.

    Raises:
        InputError: an option is out of its range or contradicts another one, submitit is not installed, or it
            refuses the resources.
    """
    checks.integer("--jobs", command.jobs, 1)
    if command.cluster is None:
        if command.jobs > 1 or command.resources or command.detach:
            raise checks.InputError(
                "--jobs, --resources and --detach go with --cluster; give --cluster slurm or --cluster local."
            )
        return
    if command.part is not None:
        raise checks.InputError("--part runs one part here; leave out --cluster, or give --jobs instead.")
    if command.detach and command.cluster != "slurm":
        raise checks.InputError("--detach goes with --cluster slurm; local jobs end with the command.")
    with tempfile.TemporaryDirectory() as folder:
        _executor(Path(folder), command, "lrn")


def _resources(words: Sequence[str]) -> dict[str, Any]:
    """The resources KEY=VALUE; a value of digits is a number, true and false are booleans."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier() or not value:
            raise checks.InputError(f"--resources takes KEY=VALUE, got {word!r}; give timeout_min=240.")
        plain: dict[str, Any] = {"true": True, "false": False}
        found[key] = int(value) if value.isdecimal() else plain.get(value, value)
    return found


class _Submitted(NamedTuple):
    """A job: what it runs, in words; the folder of the whole run; and the job as submitit returned it."""

    what: str
    whole: Path
    job: Any


def run(wholes: Mapping[Path, Sequence[str]], command: Run, say: Callable[[str], None]) -> set[Path]:
    """Submit the jobs of some runs, and wait for their ends.

    Args:
        wholes: from the folder of each run to the words of the command line ``run`` that repeats it.
        command: the options of the command.
        say: prints one sentence to the user.

    Returns:
        The folders of the runs of which a job failed.

    Raises:
        store.Busy: a run that is to begin again is going on.
        interrupt.Interrupted: a signal came. The jobs of SLURM go on, those of this machine save and end.
    """
    submitted = [job for whole, words in wholes.items() for job in _submit(whole, words, command, say)]
    if command.detach:
        say("the same command without --detach waits for the jobs and merges their parts.")
        return set()
    try:
        with interrupt.handled():
            return {job.whole for job in submitted if not _did_its_work(job, command, say)}
    except interrupt.Interrupted:
        if command.cluster == "local":
            for job in submitted:
                job.job.cancel()
        else:
            say("the jobs go on; the same command waits for them again, and scancel ends them.")
        raise


def _submit(whole: Path, words: Sequence[str], command: Run, say: Callable[[str], None]) -> list[_Submitted]:
    """The jobs of one run, submitted now or before; none for what is finished."""
    chosen = _parts(whole, command)
    if command.fresh:  # not by the jobs: one that resumes would begin again
        for folder in dict.fromkeys([whole, *chosen.values()]):
            with store.owned(folder):
                store.clean(folder, fresh=True)
    elif (whole / "verdict.json").exists():
        return []
    name, logs = f"{whole.parent.name}/{whole.name}", whole.with_name(f"{whole.name}.jobs").resolve()
    executor = _executor(logs, command, f"lrn {whole.parent.name}")
    jobs = []
    for part, folder in chosen.items():
        if (folder / "verdict.json").exists():
            continue
        what, note = f"{part} of {name}" if part else name, logs / f"{folder.name}.job"
        job = _going_on(executor, logs, note)
        if job is None:
            job = executor.submit(Job(_words(words, part, command), command.cluster == "slurm"))
            files.write_bytes(note, job.job_id.encode())
        say(f"job {job.job_id}: {what}, log {job.paths.stderr}")
        jobs.append(_Submitted(what, whole, job))
    return jobs


def _words(words: Sequence[str], part: parts.Part | None, command: Run) -> list[str]:
    """The words of a job's command after ``run``."""
    options = ["--out", str(Path(command.out).resolve()), "--no-progress"]
    options += ["--save-seconds", str(command.save_seconds)]
    options += [word for sink in command.sinks for word in ("--sinks", sink)]
    options += ["--part", f"{part.number}/{part.of}"] if part else []
    return [*options, *words]  # the options come first: --config.FIELD takes all words that follow it


def _parts(whole: Path, command: Run) -> dict[parts.Part | None, Path]:
    """The parts of a run with their folders; None for a run that is not split."""
    if command.jobs == 1:
        return {None: whole}
    return {part: part.folder(whole) for part in parts.all_parts(command.jobs)}


def _going_on(executor: Any, logs: Path, note: Path) -> Any:
    """The job that the command submitted when it ran before, if it is in the queue of SLURM; else None."""
    if executor.cluster != "slurm" or not note.is_file():
        return None
    import submitit

    job = submitit.SlurmJob(logs, note.read_text())
    return None if _is_over(job, "slurm") else job


def _executor(folder: Path, command: Run, name: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise checks.InputError(
            "--cluster needs the library submitit; pip install '.[cluster]' installs it."
        ) from error
    kind = command.cluster
    limits = {"slurm_max_num_timeout": 10_000} if kind == "slurm" else {}
    try:
        executor = submitit.AutoExecutor(folder.resolve(), cluster=kind, **limits)
        executor.update_parameters(name=name, **{**_DEFAULTS[str(kind)], **_resources(command.resources)})
    except (AssertionError, NameError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300].removesuffix(".")
        raise checks.InputError(f"submitit refuses these jobs ({reason}); see --resources.") from error
    return executor


def _did_its_work(submitted: _Submitted, command: Run, say: Callable[[str], None]) -> bool:
    """Wait for the end of a job; whether the job did its work. Otherwise its error is printed."""
    job = submitted.job
    while not _is_over(job, str(command.cluster)):
        time.sleep(_LOOK_SECONDS)
    end = time.monotonic() + _RESULT_SECONDS
    while not (finished := job.paths.result_pickle.exists()) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    codes = job.results() if finished and job.exception() is None else ["no exit code"]
    if not any(codes):
        return True
    said = [line for line in _tail(job.paths.stderr) if line.strip()]
    last = next((line for line in reversed(said) if line.startswith("error: ")), said[-1] if said else "")
    why = last.removeprefix("error: ") or "it said nothing"
    say(f"{submitted.what} ended with {codes[0]}: {why} (log {job.paths.stderr})")
    return False


def _is_over(job: Any, cluster: str) -> bool:
    """Whether a job has ended, or has left the queue of SLURM."""
    if cluster != "slurm":
        return job.done()
    if job.paths.result_pickle.exists():
        return True
    # submitit asks sacct, which not every cluster has.
    # submitit asks sacct, which not every cluster has.
    asked = subprocess.run(["squeue", "--noheader", "--jobs", job.job_id], capture_output=True, text=True)
    return not asked.stdout.strip() if asked.returncode == 0 else "Invalid job id" in asked.stderr


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:]
    except OSError:
        return []


class Job:
    """What a job runs: the command ``run``. submitit sends it back into the queue by `checkpoint`.

    Args:
        words: the words of the command after ``run``.
        yields: whether a part that waits long for another part gives its place in the queue away.
    """

    def __init__(self, words: Sequence[str], yields: bool):
        self._words, self._yields = list(words), yields

    def checkpoint(self) -> Any:
        """The same job: the run's folder has all that a resume needs."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> int:
        """Run the command, and return its exit code.

        Raises:
            RuntimeError: SIGTERM stopped the run, and the cluster did not say that it wants the job back.
        """
        from lrn.cli import dispatch

        number = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        requeue, bypass = signal.getsignal(number), signal.getsignal(signal.SIGTERM)
        asked: list[int] = []

        def stop(signum: int, frame: FrameType | None) -> None:
            asked.append(signum)
            if signal.getsignal(signal.SIGTERM) == bypass:  # the run has not begun, or has ended
                raise interrupt.Interrupted(signal.SIGTERM)
            if interrupt.requested() is None:
                signal.raise_signal(signal.SIGTERM)  # the run saves and stops as for any SIGTERM

        signal.signal(number, stop)
        try:
            with parts.patient(_PATIENCE if self._yields else math.inf):
                code = errors.exit_code(lambda: dispatch.dispatch(["run", *self._words]))
        finally:
            signal.signal(number, requeue)
        if asked or code == parts.WAITED:
            signal.raise_signal(number)  # submitit calls `checkpoint`, requeues the job and ends the process
        if job := sys.modules.get("lrn.train.job"):
            job.leave(code)
        if code in interrupt.EXIT_CODES.values():
            time.sleep(_GRACE)
            raise RuntimeError("a signal stopped the run, whose state is saved; the same command resumes it.")
        return code
