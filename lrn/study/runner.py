"""The run of a study in its folder: it writes the predictions, trains, and writes the verdict.

``verdict.json`` is written last and marks the run as finished. If the run stops before, the same command
goes on from the last checkpoint and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrn import check, figures, files, interrupt
from lrn import table as tables
from lrn.study import apart, discover, home, parts, seal, select, source, store
from lrn.study.context import Context
from lrn.study.discover import StudyFile
from lrn.study.findings import Findings
from lrn.study.parts import Part
from lrn.study.register import exploratory
from lrn.study.verdict import judge, predictions_sha256
from lrn.table import Table


class Outcome(NamedTuple):
    """A finished run.

    folder: the run's folder. verdict: the object in its verdict.json; {} in a process of a job other than the
    main process, if reused. reused: whether the run had been finished before.
    """

    folder: Path
    verdict: dict[str, Any]
    reused: bool


def run(
    found: StudyFile,
    preset: str,
    config: Any,
    seeds: Sequence[int],
    out: Path,
    *,
    fresh: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
    save_seconds: float = 20.0,
    sinks: Sequence[Any] = (),
    command: str = "",
    part: Part | None = None,
) -> Outcome:
    """Run a study, or resume its run, or return the outcome of its finished run.

    Args:
        found: the study, from `lrn.study.discover.load`.
        preset: the name of the preset from which ``config`` came.
        config: the study's config.
        seeds: distinct seeds.
        out: the folder of all runs.
        fresh: whether to remove an earlier run of the same settings first.
        progress: whether to show progress.
        say: prints one sentence to the user.
        save_seconds: the seconds between checkpoints.
        sinks: receivers of metrics during the training, see `lrn.train.sinks`.
        command: the command line that repeats the run, for the report.
        part: the part of the run to run, in a folder of its own; `lrn.study.merge` needs all parts. By
            default the whole run. ``seeds`` are those of the whole run either way.

    Raises:
        store.Busy: another process runs in the same folder.
        interrupt.Interrupted: a signal asked to stop; the run can be resumed.
        ValueError: the run was begun by other code, or its files are damaged; or the study cannot be split.
        Exception: what the study's ``run`` raises; provenance.json then notes the error.
    """
    from lrn.train import job
    from lrn.xla.runtime import enable_compilation_cache

    seeds, found = tuple(seeds), found.hashed()
    discover.prepare(found)
    folder = folder_of(found, preset, config, seeds, out)
    own = seeds if part is None else part.seeds(seeds)
    if part is not None:
        folder = part.folder(folder)
    enable_compilation_cache()
    if not job.main_process():
        say, progress = (lambda _: None), False

    def begin() -> Begun:
        stack.enter_context(store.owned(folder))
        store.clean(folder, fresh)
        if (folder / "verdict.json").exists():
            return Begun(finished(found, folder, say), {}, store.Clock(None))
        before = _unfinished(folder)
        begun = Begun(None, store.provenance(), store.Clock(before))
        if before is None:
            registration = preregister(found, preset, config, seeds, command, where_of(found, out))
            if part is not None:
                registration["part"] = {"number": part.number, "of": part.of, "seeds": list(own)}
            files.write_json(folder / "config.json", registration)
        else:
            _check_same_code(before, begun.provenance, folder)
            _check_registered(found, config, folder)
            again = " (it had ended, and lacks its verdict.json)" if before.get("finished") else ""
            say(f"{found.id}: resuming {folder}{again}")
        begun.write(folder)
        return begun

    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupt.handled())
        begun = job.on_main(begin)  # None in the other processes of a job
        if job.agree(int(begun is not None and begun.verdict is not None)):
            return Outcome(folder, (begun and begun.verdict) or {}, reused=True)
        try:
            context = Context(folder, preset, own, say, progress, save_seconds, sinks)
            made = parts.Together(folder, part, len(own), job.main_process(), say) if part else None
            if part is not None and part.number == 1:
                apart.check_once(found, folder)
            try:
                with select.made_by(made):
                    found.study.run(config, context)
            except SystemExit as error:
                raise RuntimeError(f"{found.id} left its run by sys.exit({error.code!r}).") from error
            table = context.table()
            if part is None or made is None:
                verdict = verdict_of(found, preset, config, seeds, table, context.failures, say)
            else:
                verdict = {
                    "study": found.id,
                    "preset": preset,
                    "seeds": list(own),
                    "verdict": parts.VERDICT,
                    "reason": f"{part}; {home.command()} merge {folder.parent} makes the run.",
                    "failures": context.failures,
                    "blocks": parts.sizes(context.blocks()),
                    "choices": made.made,
                }
            job.on_main(lambda: begun and finish(folder, found, config, table, verdict, begun, say))
        except BaseException as error:
            with contextlib.suppress(OSError):
                # A signal may come after the verdict is written; files that the verdict seals stay untouched.
                if begun is not None and not (folder / "verdict.json").exists():
                    begun.write(folder, failed=_failure(error))
            raise
        return Outcome(folder, verdict, reused=False)


def verdict_of(
    found: StudyFile,
    preset: str,
    config: Any,
    seeds: Sequence[int],
    table: Table,
    failures: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The object in verdict.json, but for what `finish` adds.

    Args:
        found: the study, with its code.
        preset: the name of the preset.
        config: the study's config.
        seeds: the seeds.
        table: the run's results.
        failures: the lanes that became non-finite, see `lrn.study.context.Context.failures`.
        say: prints one sentence to the user.
    """
    verdict = {
        "study": found.id,
        "preset": preset,
        "seeds": list(seeds),
        **judge(found.study, config, preset, table),
        "exploratory": exploratory(found, preset, config, seeds),
        "failures": list(failures),
    }
    verdict["answer"] = _answer(found, verdict, say)
    return verdict


def folder_of(found: StudyFile, preset: str, config: Any, seeds: Sequence[int], out: Path) -> Path:
    """The folder of a study's run with these settings, in the folder of all runs ``out``."""
    code = found.hashed().code
    assert code is not None
    name = store.run_hash(found.id, preset, config, tuple(seeds), code.sha256, where_of(found, out))
    return Path(out) / found.id / name


def where_of(study_file: StudyFile, out: Path) -> str:
    """The path of a study outside of ``experiments``, relative to ``out``: both can be moved together."""
    return "" if study_file.is_ours else os.path.relpath(study_file.path.resolve(), Path(out).resolve())


def draw(folder: Path) -> list[Path]:
    """Draw the figure of a finished run again, and say its answer again, by the study's present code.

    The figure is made from the run's table, the answer from the findings of its verdict. Nothing is trained.
    A process that is killed here leaves the old figure, the new figure, or none.

    Args:
        folder: the folder of the run.

    Returns:
        The paths of the figure's files.

    Raises:
        store.Busy: another process uses the folder.
        ValueError: the folder holds no finished run, a file other than the figure is damaged, or code
            that the training could use has changed.
        Exception: what the study's ``figure`` raises; the old figure then stays.
    """
    folder = Path(folder)
    if not (folder / "verdict.json").is_file():
        raise check.InputError(
            f"{folder} is no finished run, it has no verdict.json; give the path of runs/<study>/<hash>."
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupt.handled())
        stack.enter_context(store.owned(folder))
        store.clean(folder)
        state = seal.look(folder)
        if state.wrongs and not state.only_figures:
            raise _damaged(folder, state)
        if not state.sealed or state.verdict is None:
            raise check.InputError(
                f"{folder} was made before runs were sealed, so its figure stays; run the study again."
            )
        study, config = study_of(folder)
        assert study.code is not None
        table = tables.read(folder / "metrics.parquet")
        contents = figures.render(lambda: study.study.figure(table, config))
        verdict = {**state.verdict, "text_sha256": study.code.text_sha256, "figure_failed": None}
        verdict["answer"] = _answer(study, state.verdict, print)
        # A verdict without a figure is written first, so that the seal is right at every moment.
        between = {**verdict, "figure_failed": "The drawing was interrupted."}
        files.write_bytes(folder / "verdict.json", seal.sealed(between, folder, without=seal.FIGURES))
        for name, content in contents.items():
            files.write_bytes(folder / name, content)
        files.write_bytes(folder / "verdict.json", seal.sealed(verdict, folder))
    return [folder / name for name in contents]


def study_of(folder: Path) -> tuple[StudyFile, Any]:
    """The study and the config of a finished run, or of a part of a run.

    Raises:
        InputError: the study's code has changed in more than its figure and texts, or the config cannot be
            read back.
        ValueError: the study cannot be loaded.
    """
    registered = json.loads((folder / "config.json").read_bytes())
    name = registered["study"]
    if where := registered["study_where"]:
        here = Path(registered["study_path"])
        out = folder.resolve().parents[2 if "part" in registered else 1]
        name = str(here if here.is_file() else out / where)
    study_file = discover.load(name).hashed()
    assert study_file.code is not None
    if study_file.code.sha256 != registered["study_sha256"]:
        files_then = registered.get("study_files") or {}
        changed = [n for n, h in study_file.code.files.items() if files_then.get(n) != h]
        raise check.InputError(
            f"{folder} cannot be used again: {' and '.join(changed) or 'the study'} has changed since in "
            "more than its figure and texts; run the study again."
        )
    preset = study_file.study.presets.get(registered["preset"])
    config = _restored(preset, registered["config"])
    if config is None or store.plain(config) != registered["config"]:
        raise check.InputError(
            f"{folder} cannot be used again: its settings cannot be read back; run it again."
        )
    return study_file, config


def _restored(like: Any, value: Any) -> Any:
    """A config, or a value in a config, from its JSON; ``like`` is a value of the same form."""
    if dataclasses.is_dataclass(like) and not isinstance(like, type) and isinstance(value, dict):
        fields = {f.name: getattr(like, f.name) for f in dataclasses.fields(like) if f.init}
        return dataclasses.replace(like, **{k: _restored(v, value.get(k)) for k, v in fields.items()})
    if isinstance(value, list):
        inner = like[0] if isinstance(like, (tuple, list)) and like else None
        return tuple(_restored(inner, v) for v in value)
    return value


class Begun(NamedTuple):
    """A run at its beginning.

    verdict: that of a finished run; None where the study is still to be run. provenance: code, versions and
    machine. clock: measures the run's cost.
    """

    verdict: dict[str, Any] | None
    provenance: dict[str, Any]
    clock: store.Clock

    def write(self, folder: Path, finished: str | None = None, failed: str | None = None) -> float:
        """Write provenance.json: provenance, cost so far, and end or error. Returns the cost in seconds."""
        cost = self.clock.cost()
        note = {
            **self.provenance,
            **cost,
            "finished": finished,
            "failed": failed,
            "config_sha256": files.sha256(folder / "config.json"),
        }
        files.write_bytes(folder / "provenance.json", seal.stamped(note))
        return cost["wall_seconds"]


def _failure(error: BaseException) -> str | None:
    """A sentence on the error that ended a run; None where a signal stopped the run."""
    if not isinstance(error, (Exception, SystemExit)):
        return None
    what = (
        str(error) if isinstance(error, (check.InputError, OSError)) else f"{type(error).__name__}: {error}"
    )
    where = source.line(error)
    return " ".join(what.split())[:1000].removesuffix(".") + (f" ({where})" if where else "") + "."


def _answer(study_file: StudyFile, verdict: Mapping[str, Any], say: Callable[[str], None]) -> str | None:
    """The study's answer from its findings; None for a smoke run, or if ``answer`` is missing or raises."""
    if study_file.study.answer is None or verdict["verdict"] == "smoke":
        return None
    try:
        return study_file.study.answer(Findings(verdict))
    except Exception as error:
        say(f"{study_file.id}: the verdict stands, and there is no answer: {_failure(error)}")
        return None


def finish(
    folder: Path,
    study_file: StudyFile,
    config: Any,
    table: Table,
    verdict: dict[str, Any],
    begun: Begun,
    say: Callable[[str], None],
) -> None:
    """Write table, figure and provenance, and last the verdict, which seals the other files.

    A part of a run gets no figure.
    """
    assert study_file.code is not None
    table.write(folder / "metrics.parquet")
    verdict["text_sha256"] = study_file.code.text_sha256
    verdict["figure_failed"] = None
    try:
        if verdict["verdict"] != parts.VERDICT:
            figures.save(lambda: study_file.study.figure(table, config), folder)
    except files.WriteError:
        raise
    except (Exception, SystemExit) as error:  # a bug in a figure must not lose the training
        for name in seal.FIGURES:
            (folder / name).unlink(missing_ok=True)
        verdict["figure_failed"] = _failure(error)
        if os.environ.get("LRN_DEBUG"):
            traceback.print_exc()
        _say_figure(verdict, study_file, folder, say)
    verdict["seconds"] = begun.write(folder, finished=store.now())
    files.write_bytes(folder / "verdict.json", seal.sealed(verdict, folder))


def _say_figure(
    verdict: Mapping[str, Any], study_file: StudyFile, folder: Path, say: Callable[[str], None]
) -> None:
    if failed := verdict.get("figure_failed"):
        say(
            f"{study_file.id}: the verdict stands, and there is no figure: {failed} "
            f"When that is mended, {home.command()} draw {folder} draws it and trains nothing."
        )


def preregister(
    study_file: StudyFile, preset: str, config: Any, seeds: tuple[int, ...], command: str, where: str
) -> dict[str, Any]:
    """The object in config.json: the study's statements, its settings, and the hashes of its code."""
    study, code = study_file.study, study_file.code
    assert code is not None
    return {
        "format": seal.FORMAT,
        "study": study_file.id,
        "title": study.title,
        "claim": study.claim,
        "claim_id": study.claim_id,
        "section": study.section,
        "regime": study.regime,
        "doc": study_file.doc,
        "preset": preset,
        "seeds": list(seeds),
        "config": store.plain(config),
        "alpha": study.alpha,
        "question": study.question,
        "regimes": [r.spec() for r in study.asked(config)],
        "controls": [c.spec() for c in study.controlled(config)],
        "predictions_sha256": predictions_sha256(study, config),
        "study_sha256": code.sha256,
        "study_files": code.files,
        "study_path": str(study_file.path),
        "study_where": where,
        "command": command,
    }


def finished(study_file: StudyFile, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The verdict of a finished run.

    Raises:
        InputError: a file of the run has changed since it was written.
    """
    looked = seal.look(folder)
    if looked.wrongs or looked.verdict is None:
        raise _damaged(folder, looked)
    verdict = looked.verdict
    kinds = {"verdict": str, "reason": str, "seeds": list, "seconds": (int, float)}
    if lacking := [key for key, kind in kinds.items() if not isinstance(verdict.get(key), kind)]:
        raise check.InputError(
            f"{folder / 'verdict.json'} is damaged ({', '.join(lacking)} missing or of another type); "
            "use --fresh to run it again."
        )
    if not looked.sealed:
        say(f"{study_file.id}: {folder} was made before runs were sealed, so changes of files do not show.")
        return verdict
    if seal.read_stamped(folder / "provenance.json").get("lrn_sha256") != store.source_sha256():
        say(f"{study_file.id}: {folder} was made by other code of lrn; --fresh runs it again.")
    _say_figure(verdict, study_file, folder, say)
    return verdict


def _damaged(folder: Path, looked: seal.Sealed) -> check.InputError:
    """The error for a finished run with faulty files."""
    redraw = (
        f"{home.command()} draw {folder} draws it again, or " if looked.sealed and looked.only_figures else ""
    )
    return check.InputError(
        f"the finished run {folder} is damaged ({looked.sentence}); {redraw}use --fresh to run it again."
    )


def _unfinished(folder: Path) -> dict[str, Any] | None:
    """The provenance of an unfinished run; None where no run was begun.

    Raises:
        InputError: a file of the run is missing or damaged.
    """
    path, registration = folder / "provenance.json", folder / "config.json"

    def damaged(name: str, what: str) -> check.InputError:
        return check.InputError(
            f"the unfinished run {folder} is damaged ({name} {what}) and nothing of it was changed; "
            "restore that file from a copy, or use --fresh to begin again."
        )

    if not path.exists():
        # provenance.json is written before anything is trained. A process that was killed earlier may have
        # left a config.json alone.
        if any((folder / name).exists() for name in ("checkpoints", "metrics.parquet")):
            raise damaged("provenance.json", "is missing")
        return None
    try:
        before = seal.read_stamped(path)
    except seal.Broken as broken:
        raise damaged("provenance.json", str(broken)) from None
    if not registration.is_file():
        raise damaged("config.json", "is missing")
    if files.sha256(registration) != before.get("config_sha256"):
        raise damaged("config.json", "does not match the checksum in provenance.json")
    return before


def _check_registered(study_file: StudyFile, config: Any, folder: Path) -> None:
    """Raise InputError unless the study's predictions are those in the run's config.json."""
    registered = json.loads((folder / "config.json").read_bytes())
    if registered.get("predictions_sha256") != predictions_sha256(study_file.study, config):
        raise check.InputError(
            f"{study_file.id} predicts other things than {folder} registered when it was begun, though its "
            "code is the same; predictions must follow from the config alone. Use --fresh to begin again."
        )


def _check_same_code(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError unless the run was begun by the present code of lrn, of Python and of its packages."""
    for what in ("lrn_sha256", "python", "packages"):
        if before.get(what) != now[what]:
            named = "lrn's code" if what == "lrn_sha256" else what
            raise check.InputError(
                f"{folder} was begun with other code ({named} has changed since); "
                "go back to that code to resume, or use --fresh to begin again."
            )
