"""The command ``run``: it checks every study's settings, then runs one study after the other."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import tyro

from lrn import check, stall
from lrn.cli import cluster, errors, named, words
from lrn.cli.columns import STYLE, print_columns
from lrn.cli.commands import Merge, Run
from lrn.cli.estimate import Expected, Pace, expected
from lrn.cli.on_runs import build_report
from lrn.study import Study, discover, home, parts, register
from lrn.study.discover import StudyFile


@dataclasses.dataclass
class _Plan:
    """A study and the checked settings of its run.

    config: the study's config. seeds: distinct seeds. words: those of the ``run`` that repeats the run.
    part: the part to run; None for the whole run.
    """

    file: StudyFile
    config: Any
    seeds: Sequence[int]
    words: Sequence[str]
    part: parts.Part | None

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return f"{home.command()} run {shlex.join(self.words)}"


def run_studies(command: Run, base: Sequence[str], overrides: Sequence[str]) -> int:
    """Run studies and print their verdicts.

    Args:
        command: the parsed options.
        base: all words of the command line but ``overrides``.
        overrides: the words ``--config.FIELD VALUE...``.

    Returns:
        1 if one of several studies failed while the others ran, else 0.

    Raises:
        InputError: an option is wrong; nothing has run then.
        Exception: what the only study raised.
    """
    ids = [*command.ids, *named.of_areas(command.area), *(named.of_tour() if command.tour else ())]
    _check(command, ids)
    # Every study's settings are checked before the first study runs.
    plans = [_plan(discover.load(name), command, base, overrides) for name in dict.fromkeys(ids)]
    if command.cluster is not None:
        return _run_on_cluster(plans, command)
    discover.apart([plan.file for plan in plans])
    from lrn.study import runner
    from lrn.train import job
    from lrn.train.sinks import open_sinks

    open_sinks(command.sinks, None)
    job.join()
    pace = Pace([_expected(plan, command, runner) for plan in plans])
    several = len(plans) > 1 and _is_main_process()
    if several:
        _say(pace.all(command.preset))
    verdicts, failed = [], False
    for i, plan in enumerate(plans):
        if several:
            _say(pace.begin(i))
        try:
            verdicts.append(_run_one(plan, command, runner))
        except Exception as error:
            if len(plans) == 1 or job.in_job():  # the processes of a job would no longer be in step
                raise
            failed = True  # the other studies still run
            errors.say(error, 1) if errors.raised_by_lrn(error) else traceback.print_exc()
        pace.end(i)
    if not _is_main_process():
        return int(failed)
    _print_verdicts(verdicts)
    if command.tour:
        build_report(command.out)
    return int(failed)


def merge_parts(command: Merge) -> int:
    """Make a run from its parts, and print its verdict."""
    from lrn.study import merge

    _print_merged([merge.merge(command.parts, command.out, command.fresh, _say)])
    return 0


def _run_on_cluster(plans: Sequence[_Plan], command: Run) -> int:
    """Run each study as jobs, merge the parts, and print the verdicts; 1 if a study failed, else 0."""
    from lrn.study import merge, runner

    whole = {
        runner.folder_of(plan.file, command.preset, plan.config, plan.seeds, command.out): plan
        for plan in plans
    }
    before = {path for path in whole if (path / "verdict.json").exists() and not command.fresh}
    failed = cluster.run({folder: plan.words for folder, plan in whole.items()}, command, _say)
    if command.detach:
        return 0
    outcomes = []
    for folder, plan in whole.items():
        if folder in failed:
            continue
        if command.jobs == 1 or (folder / "verdict.json").exists():
            outcomes.append(
                runner.Outcome(folder, runner.finished(plan.file, folder, _say), folder in before)
            )
        else:
            paths = [part.folder(folder) for part in parts.all_parts(command.jobs)]
            outcomes.append(merge.merge(paths, command.out, say=_say))
    _print_merged(outcomes)
    if command.tour:
        build_report(command.out)
    return int(bool(failed))


def _print_merged(outcomes: Sequence[Any]) -> None:
    from lrn.study import runner

    _print_verdicts([(runner.study_of(outcome.folder)[0], outcome) for outcome in outcomes])


def _check(command: Run, ids: Sequence[str]) -> None:
    """Raise InputError where an option is out of its range, or where no study is named."""
    if not ids:
        raise check.InputError(
            "run needs the id of a study, before any --config.FIELD; `list` shows them, or give --area or "
            "--tour."
        )
    check.positive("--save-seconds", command.save_seconds)
    if command.seeds is not None:
        check.integer("--seeds", command.seeds, low=1)
        check.between("--seeds", command.seeds, 1, 10_000)
    if command.first_seed is not None:
        check.between("--first-seed", command.first_seed, 0, 2**32 - 10_001)
    if command.replicate and (command.first_seed is not None or command.preset == "smoke"):
        raise check.InputError(
            "--replicate takes the second drawn seeds; leave out --first-seed, and give a preset that draws "
            "seeds, such as full."
        )
    cluster.check(command)
    if command.out.exists() and not command.out.is_dir():
        raise check.InputError(f"--out {command.out} is a file; give a folder.")


def _plan(file: StudyFile, command: Run, base: Sequence[str], overrides: Sequence[str]) -> _Plan:
    """The settings of one study's run.

    Raises:
        InputError: the study has no such preset, or its config refuses a value.
    """
    study = file.study
    check.choice(f"the preset of {file.id}", command.preset, study.presets)
    config = study.presets[command.preset]
    if overrides or words.asks_for_help(base):
        config = _with_overrides(file, config, base, overrides)
    count = command.seeds if command.seeds is not None else study.seeds_for(command.preset)
    seeds = _seeds(study, command, count)
    name = file.id if file.is_ours else str(file.path)
    first = ("--first-seed", str(command.first_seed)) if command.first_seed is not None else ()
    again = ("--replicate",) if command.replicate else ()
    options = ("--preset", command.preset, "--seeds", str(count), *first, *again, *overrides)
    part = None if command.part is None else parts.read(command.part, count)
    parts.check_count("--jobs", command.jobs, count)
    return _Plan(file.hashed(), config, seeds, (name, *options), part)


def _with_overrides(file: StudyFile, default: Any, base: Sequence[str], overrides: Sequence[str]) -> Any:
    """The preset's config with the overridden fields; with --help, `tyro` prints the help and exits.

    Raises:
        InputError: the config refuses a value.
    """
    try:
        # Every field takes a value, bools too: `--config.FIELD VALUE` is the one form.
        kind = tyro.conf.FlagConversionOff[type(default)]
        full = dataclasses.make_dataclass("Run", [("config", kind, default)], bases=(Run,))
        full.__doc__ = f"{file.study.title}. {file.study.claim}"
        # All words are parsed together, so that help lists every option and a misspelt field is recognized.
        return tyro.cli(full, args=[*base[1:], *overrides], prog=f"lrn run {file.id}").config
    except ValueError as error:  # from the config's own checks
        raise check.InputError(str(error)) from error


def _seeds(study: Study, command: Run, count: int) -> Sequence[int]:
    """The seeds of a run: those from --first-seed on, or those drawn from the study's registration.

    A smoke run and a run of an exploratory study begin at seed 0 instead.
    """
    if command.replicate and study.exploratory:
        raise check.InputError(
            f"--replicate needs a registered study; this one is not ({study.exploratory})."
        )
    if command.first_seed is None and command.preset != "smoke" and not study.exploratory:
        draw = register.second_seeds if command.replicate else register.drawn_seeds
        return draw(register.registration(study), command.preset, count)
    first = command.first_seed or 0
    return range(first, first + count)


def _expected(plan: _Plan, command: Run, runner: Any) -> Expected:
    folder = runner.folder_of(plan.file, command.preset, plan.config, plan.seeds, command.out)
    seeds = len(plan.seeds) if plan.part is None else len(plan.part.seeds(plan.seeds))
    folder = folder if plan.part is None else plan.part.folder(folder)
    return expected(plan.file.id, command.preset, seeds, folder)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run_one(plan: _Plan, command: Run, runner: Any) -> tuple[StudyFile, Any]:
    """Run one study, and return its file with the `lrn.study.runner.Outcome`."""
    from lrn.train.sinks import open_sinks

    folder = command.out / plan.file.id
    if not plan.file.is_ours:  # a file in another folder may have the same name
        folder /= hashlib.sha256(str(plan.file.path).encode()).hexdigest()[:6] + "-sinks"
    sinks = open_sinks(command.sinks, folder) if _is_main_process() else []
    # Parts, and processes of a job, wait for each other; and only CPUs are known to wait for themselves.
    watched = stall.watched(stall.begin_again) if plan.part is None and _on_cpu_alone() else nullcontext()
    try:
        with watched:
            outcome = runner.run(
                plan.file,
                command.preset,
                plan.config,
                plan.seeds,
                command.out,
                fresh=command.fresh,
                progress=command.progress,
                say=_say,
                save_seconds=command.save_seconds,
                sinks=sinks,
                command=plan.command,
                part=plan.part,
            )
    finally:
        for sink in sinks:
            sink.close()
    return plan.file, outcome


def _on_cpu_alone() -> bool:
    """Whether this process computes on a CPU, and waits for no other process."""
    import jax

    return jax.default_backend() == "cpu" and jax.process_count() == 1


def _is_main_process() -> bool:
    from lrn.train import job

    return job.main_process()


def _print_verdicts(verdicts: Sequence[tuple[StudyFile, Any]]) -> None:
    from rich.console import Console

    ids = [file.id for file, _ in verdicts]
    names = [str(file.path) if ids.count(file.id) > 1 else file.id for file, _ in verdicts]
    rows, styles = [("study", "verdict", "seeds", "seconds")], [""]
    for name, (_, outcome) in zip(names, verdicts):
        v = outcome.verdict
        seconds = f"{v['seconds']:.0f}{' (run before)' if outcome.reused else ''}"
        rows.append((name, v["verdict"], str(len(v["seeds"])), seconds))
        styles.append(STYLE.get(v["verdict"], ""))
    print_columns(rows, styles)
    console = Console(soft_wrap=True)  # paths stay whole, to be copied
    for name, (_, outcome) in zip(names, verdicts):
        for line in (f"\n{name}: {outcome.verdict['reason']}", *_remarks(outcome.verdict, outcome.folder)):
            console.print(line, markup=False, highlight=False)


def _remarks(verdict: Mapping[str, Any], folder: Path) -> list[str]:
    """The lines below a verdict's reason: the answer, reasons for doubt, and the run's folder."""
    lines = [verdict.get("answer"), verdict.get("exploratory") and f"exploratory: {verdict['exploratory']}"]
    if verdict["verdict"] not in ("smoke", "underpowered"):  # too few seeds show no control to hold
        lines += [f"caution: this is not shown to hold: {c}" for c in verdict.get("cautions") or ()]
    return [f"  {line}" for line in (*lines, folder) if line]
