"""Runs a study into its folder: predictions first, then the training, the verdict last.

The folder's ``verdict.json`` is written last and marks the run as finished. Whatever happens before,
the same command goes on from the last checkpoint and ends with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrn import check, discover, figures, files, interrupt, seal, source, store
from lrn import table as tables
from lrn.discover import StudyFile
from lrn.study import MISTAKEN, OVERLAP, given, judge, predictions_sha256
from lrn.table import Table


class Outcome(NamedTuple):
    """Where a run lies and what came out; ``reused`` when it had been finished before."""

    folder: Path
    verdict: dict[str, Any]
    reused: bool


class Context:
    """What a study's ``run`` gets: seeds, training that resumes, and a place for results.

    ``run`` is replayed from its top after an interruption. So everything in it must follow from the
    config and the seeds; what takes long goes through `fit` or `once`, which remember.
    """

    def __init__(
        self,
        folder: Path,
        preset: str,
        seeds: tuple[int, ...],
        say: Callable[[str], None],
        progress: bool = True,
        save_seconds: float = 20.0,
        sinks: Sequence[Any] = (),
    ):
        self.folder, self.preset, self.seeds, self.say = folder, preset, seeds, say
        self._progress, self._save_seconds, self._sinks = progress, save_seconds, tuple(sinks)
        self._tables: list[Table] = []
        self._names: set[str] = set()
        self._recorded: set[tuple[str, str, int]] = set()
        self._trained_on: dict[str, list[Mapping[str, Any]]] = {}  # the options of the fits of an arm
        self._given: dict[tuple[str, str], np.ndarray] = {}  # by arm and budget, [seeds]
        self.failures: list[dict[str, Any]] = []

    def fit(
        self,
        factory: Callable[[Any], Any],
        arms: Mapping[str, Any],
        *,
        name: str | None = None,
        **options: Any,
    ) -> Any:
        """`lrn.train.fit` over this run's seeds, resumable, its metrics recorded.

        Args:
            factory: see `lrn.train.fit`.
            arms: from arm name to config.
            name: what to call it; must be given when the same arms are trained twice.
            options: see `lrn.train.fit`.

        Returns:
            The `lrn.train.Fit`.
        """
        from lrn import train

        name = self._claim(name or "+".join(arms))
        result = train.fit(
            factory,
            arms,
            self.seeds,
            name=name,
            folder=self.folder / "checkpoints" / _slug(name),
            **{
                "progress": self._progress,
                "save_seconds": self._save_seconds,
                "sinks": self._sinks,
                "on_event": self.say if not self._progress else None,
                **options,
            },
        )
        self._tables.append(result.table)
        self.failures += [f._asdict() for f in result.failures]
        for arm, config in arms.items():
            self._trained_on.setdefault(arm, []).append(options)
            self.given(arm, budgets(config, options))
        return result

    def given(self, arm: str, amounts: Mapping[str, Any]) -> None:
        """Add to what an arm was given, by the names of `lrn.study.BUDGETS`; the sums are recorded.

        `fit` does so for what it trains. For arms that are made otherwise, count what was used where it was
        used (visits in a state, rows of an array), not what was asked for.

        Args:
            arm: the arm.
            amounts: from name to one number, or to one a seed.
        """
        for what, amount in amounts.items():
            each = np.broadcast_to(np.asarray(amount, float), len(self.seeds))
            self._given[arm, given(what)] = self._given.get((arm, given(what)), 0.0) + each

    def judged_on(
        self,
        arm: str,
        items: Any,
        *,
        trained_on: Any = None,
        trained_like: str = "",
        seen: Callable[[Any], Any] = lambda batch: batch,
        by_seed: bool = False,
    ) -> None:
        """Record how many of the items that an arm is judged on it was also trained on.

        Args:
            arm: the arm.
            items: array [items, ...] of what it is judged on, as the network sees it, such as pictures.
            trained_on: nested arrays [..., *item] of what it was trained on; by default some batches, drawn
                as `fit` drew them for the arm, or its data where it had no sampler.
            trained_like: the arm that was trained, where it bears another name.
            seen: what the arm takes of a drawn batch.
            by_seed: whether each seed has its own items, [seeds, items, ...].

        Raises:
            ValueError: nothing that the arm was trained on has the shape of an item.
        """
        each = np.asarray(items) if by_seed else np.asarray(items)[None]

        def overlap(own: np.ndarray, i: int) -> float:
            shape = own.shape[1:]
            data = trained_on
            if trained_on is None:
                data = [
                    [seen(x) for x in _drawn(options, i)] for options in self._trained_on[trained_like or arm]
                ]
            found = [rows for rows in _arrays(data) if rows.shape[max(rows.ndim - len(shape), 0) :] == shape]
            if not shape or not found:
                raise ValueError(
                    f"nothing that {arm!r} was trained on has the shape {list(shape)} of an item; pass "
                    "trained_on= the arrays that it was trained on, or compare rows by judged_on_rows."
                )
            known = {item for rows in found for item in _fingerprints(rows, shape)}
            return float(sum(item in known for item in _fingerprints(own, shape)))

        both = [overlap(own, i) for i, own in enumerate(each)]
        self.record(arm, OVERLAP, np.broadcast_to(both, len(self.seeds)))

    def judged_on_rows(self, arm: str, rows: Any, trained_on: Any) -> None:
        """The same for one data set, of which each seed takes rows: both integers [seeds, n]."""
        both = [np.isin(mine, seen).sum() for mine, seen in zip(np.asarray(rows), np.asarray(trained_on))]
        self.record(arm, OVERLAP, np.asarray(both, float))

    def judged_state(self, arm: str, judged: Any, trained: Any) -> None:
        """Record how many arrays of what is judged under an arm differ from what was trained under it.

        Args:
            arm: the arm.
            judged: arrays [seeds, ...] as they are handed to the judge.
            trained: the same of the training that bears the arm's name, from `lrn.train.Fit.arm`.
        """
        import jax

        pairs = zip(jax.tree.leaves(judged), jax.tree.leaves(trained), strict=True)
        differ = [[not np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b)] for a, b in pairs]
        self.record(arm, MISTAKEN, np.sum(np.asarray(jax.device_get(differ), float), 0))

    def record(self, arm: str, metric: str, values: Any, step: int = 0) -> None:
        """Record one value a seed.

        Args:
            arm: the arm.
            metric: the metric.
            values: [seeds], in the order of ``seeds``.
            step: where on the arm's axis of steps.

        Raises:
            ValueError: another number of values than of seeds.
        """
        values = np.asarray(values, np.float64)
        if values.shape != (len(self.seeds),):
            raise ValueError(
                f"record({arm!r}, {metric!r}) got values of shape {list(values.shape)} for "
                f"{len(self.seeds)} seeds; give one number a seed."
            )
        if (arm, metric, step) in self._recorded:
            raise ValueError(f"{metric} of {arm} at step {step} was recorded before; record it once.")
        self._recorded.add((arm, metric, step))
        self._tables.append(tables.rows(arm, self.seeds, step, metric, values))

    def once(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays that ``compute`` returns; computed once in a run's life, then read back.

        For what takes long outside of `fit`, such as an attack. ``name`` must be unique in the run.
        """
        from lrn import checkpoint, lanes

        folder = self.folder / "checkpoints" / _slug(self._claim(name))
        loaded = checkpoint.load(folder)
        if lanes.agree(int(loaded is not None)) != int(loaded is not None):
            raise ValueError(
                f"the processes of this job see different files in {folder}; give a shared --out."
            )
        if loaded is not None:
            for warning in loaded.warnings:
                self.say(warning)
            return dict(zip(loaded.meta["names"], loaded.tree.values()))
        arrays = {k: np.asarray(v) for k, v in compute().items()}
        arrays = {k: arrays[k] for k in sorted(arrays)}  # the order in which they will be read back
        names, values = list(arrays), list(arrays.values())
        lanes.on_main(lambda: checkpoint.save(folder, 0, values, {"names": names}))
        return arrays

    def over_seeds(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A pure function mapped over the seeds, laid over all devices and compiled once.

        Args:
            function: ``function(one, shared)`` on arrays without a seed axis.

        Returns:
            ``mapped(each, shared)``: ``each`` has leaves [seeds, ...], every seed sees ``shared`` whole; the
            result is host arrays [seeds, ...].
        """
        from lrn.lanes import Lanes

        lanes = Lanes(len(self.seeds))
        jitted = lanes.jit(function, (True, False))
        return lambda each, shared: lanes.get(jitted(lanes.put(each), lanes.replicate(shared)))

    def table(self) -> Table:
        """All rows recorded so far."""
        sums = [tables.rows(arm, self.seeds, 0, what, x) for (arm, what), x in self._given.items()]
        return tables.concat([*self._tables, *sums])

    def _claim(self, name: str) -> str:
        if _slug(name) in self._names:
            raise ValueError(
                f"this run already has a part named {name!r}; give each fit and once its own name."
            )
        self._names.add(_slug(name))
        return name


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
) -> Outcome:
    """Run a study, or go on with it, or return what it found before.

    Args:
        found: the study, from `lrn.discover.load`.
        preset: the name of the preset ``config`` came from.
        config: the study's config.
        seeds: distinct seeds.
        out: the folder of all runs.
        fresh: forget what an earlier run of the same settings left.
        progress: show progress.
        say: is told what happens, one sentence each.
        save_seconds: seconds between checkpoints.
        sinks: where metrics go as they come, besides the folder.
        command: what reproduces the run, for the report.

    Raises:
        store.Busy: another process runs in the same folder.
        interrupt.Interrupted: a signal asked to stop; the run can be resumed.
        ValueError: the run was begun by another version of the code, or files of it are damaged.
    """
    from lrn import lanes
    from lrn.runtime import enable_compilation_cache

    seeds, found = tuple(seeds), found.hashed()
    discover.prepare(found)
    folder = folder_of(found, preset, config, seeds, out)
    enable_compilation_cache()
    if not lanes.main_process():
        say, progress = (lambda _: None), False

    def begin() -> _Begun:
        stack.enter_context(store.owned(folder))
        store.clean(folder, fresh)
        if (folder / "verdict.json").exists():
            return _Begun(_finished(found, folder, say), {}, store.Clock(None))
        before = _unfinished(folder)
        begun = _Begun(None, store.provenance(), store.Clock(before))
        if before is None:
            registration = _preregister(found, preset, config, seeds, command, _where(found, out))
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
        begun = lanes.on_main(begin)  # None in the other processes of a job
        if lanes.agree(int(begun is not None and begun.verdict is not None)):
            return Outcome(folder, (begun and begun.verdict) or {}, reused=True)
        try:
            context = Context(folder, preset, seeds, say, progress, save_seconds, sinks)
            try:
                found.study.run(config, context)
            except SystemExit as error:
                raise RuntimeError(f"{found.id} left its run by sys.exit({error.code!r}).") from error
            table = context.table()
            verdict = {
                "study": found.id,
                "preset": preset,
                "seeds": list(seeds),
                **judge(found.study, config, preset, table),
                "failures": context.failures,
            }
            lanes.on_main(lambda: begun and _finish(folder, found, config, table, verdict, begun, say))
        except BaseException as error:
            with contextlib.suppress(OSError):
                # A signal may come right after the verdict: what it seals is written to no more.
                if begun is not None and not (folder / "verdict.json").exists():
                    begun.write(folder, failed=_failure(error))  # with what it has cost until now
            raise
        return Outcome(folder, verdict, reused=False)


def budgets(config: Any, options: Mapping[str, Any]) -> dict[str, float]:
    """What one arm of a fit is given: steps; samples, if it draws batches; environment steps of an agent."""
    steps = float(options["steps"])
    amounts = {"steps": steps}
    if isinstance(played := getattr(config, "interactions", None), int):
        amounts["environment steps"] = steps * played
    if (sampler := options.get("sampler")) is not None and (size := _batch_size(sampler, options)):
        amounts["samples"] = steps * size
    return amounts


def _batch_size(sampler: Any, options: Mapping[str, Any]) -> int | None:
    """The leading axis of what a sampler draws at a step; None where it draws scalars alone, such as a key."""
    import jax

    batch = jax.eval_shape(sampler.draw, jax.random.key(0), _data_of(options, 0))
    return next((leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape), None)


def _drawn(options: Mapping[str, Any], seed: int, batches: int = 8) -> list[Any]:
    """Some batches as a fit of these options draws them for a seed; the data alone, if it draws none."""
    import jax

    data = _data_of(options, seed)
    if (sampler := options.get("sampler")) is None:
        return [data]
    draw = jax.jit(sampler.draw)
    return [draw(jax.random.key(i), data) for i in range(batches)]


def _data_of(options: Mapping[str, Any], seed: int) -> Any:
    """What one seed of a fit sees, by its place among the seeds."""
    import jax

    from lrn._program import merge

    own = jax.tree.map(lambda x: np.asarray(x)[seed], dict(options.get("per_seed") or {}))
    return jax.tree.map(jax.numpy.asarray, merge(options.get("data"), own))


def _arrays(data: Any) -> list[np.ndarray]:
    """All arrays of numbers in nested data."""
    import jax

    from lrn.types import is_key

    return [np.asarray(x) for x in jax.tree.leaves(data) if not is_key(x)]


def _fingerprints(rows: np.ndarray, shape: tuple[int, ...]) -> list[bytes]:
    """One string of bytes an item, the same for numbers that differ by their dtype or by rounding alone."""
    rounded = np.round(np.asarray(rows, np.float64), 4) + 0.0  # no negative zero
    return [item.tobytes() for item in np.ascontiguousarray(rounded.reshape(-1, *shape), np.float32)]


def folder_of(found: StudyFile, preset: str, config: Any, seeds: Sequence[int], out: Path) -> Path:
    """The folder of a run."""
    code = found.hashed().code
    assert code is not None
    name = store.run_hash(found.id, preset, config, tuple(seeds), code.sha256, _where(found, out))
    return Path(out) / found.id / name


def _where(found: StudyFile, out: Path) -> str:
    """The path of a study that is not ours from the folder of all runs on: both can be moved together."""
    return "" if found.is_ours else os.path.relpath(found.path.resolve(), Path(out).resolve())


def draw(folder: Path) -> list[Path]:
    """Draw the figure of a finished run again, from its table, by the study's code as it is now.

    Nothing is trained. Stopped at any moment, the folder has its figure or none.

    Returns:
        The paths of the figure's files.

    Raises:
        store.Busy: another process uses the folder.
        ValueError: it holds no finished run, files other than the figure's are damaged, or code that the
            training could use has changed.
        Exception: what the study's ``figure`` raises; the figure before is then as it was.
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
        found = seal.look(folder)
        if found.wrongs and not found.only_figures:
            raise _damaged(folder, found)
        if not found.sealed or found.verdict is None:
            raise check.InputError(
                f"{folder} was made before runs were sealed, so its figure stays; run the study again."
            )
        study, config = _study_of(folder)
        assert study.code is not None
        table = tables.read(folder / "metrics.parquet")
        contents = figures.render(lambda: study.study.figure(table, config))
        verdict = {**found.verdict, "text_sha256": study.code.text_sha256, "figure_failed": None}
        # First a verdict without a figure, so that it seals what is there at any moment.
        between = {**verdict, "figure_failed": "The drawing was interrupted."}
        files.write_bytes(folder / "verdict.json", seal.sealed(between, folder, without=seal.FIGURES))
        for name, content in contents.items():
            files.write_bytes(folder / name, content)
        files.write_bytes(folder / "verdict.json", seal.sealed(verdict, folder))
    return [folder / name for name in contents]


def _study_of(folder: Path) -> tuple[StudyFile, Any]:
    """The study of a finished run, whose training is still that of the run, and the run's config."""
    registered = json.loads((folder / "config.json").read_bytes())
    name = registered["study"]
    if where := registered["study_where"]:
        here = Path(registered["study_path"])
        name = str(here if here.is_file() else folder.resolve().parent.parent / where)
    found = discover.load(name).hashed()
    assert found.code is not None
    if found.code.sha256 != registered["study_sha256"]:
        files_then = registered.get("study_files") or {}
        changed = [n for n, h in found.code.files.items() if files_then.get(n) != h]
        raise check.InputError(
            f"{folder} cannot be drawn again: {' and '.join(changed) or 'the study'} has changed since in "
            "more than its figure and texts; run the study again."
        )
    preset = found.study.presets.get(registered["preset"])
    config = _restored(preset, registered["config"])
    if config is None or store.plain(config) != registered["config"]:
        raise check.InputError(
            f"{folder} cannot be drawn again: its settings cannot be read back; run it again."
        )
    return found, config


def _restored(like: Any, value: Any) -> Any:
    """JSON back into a value of the form of ``like``: a config, or what stands in one."""
    if dataclasses.is_dataclass(like) and not isinstance(like, type) and isinstance(value, dict):
        fields = {f.name: getattr(like, f.name) for f in dataclasses.fields(like) if f.init}
        return dataclasses.replace(like, **{k: _restored(v, value.get(k)) for k, v in fields.items()})
    if isinstance(value, list):
        inner = like[0] if isinstance(like, (tuple, list)) and like else None
        return tuple(_restored(inner, v) for v in value)
    return value


class _Begun(NamedTuple):
    """What the main process found and noted when it began: a verdict means that nothing is left to do."""

    verdict: dict[str, Any] | None
    provenance: dict[str, Any]
    clock: store.Clock

    def write(self, folder: Path, finished: str | None = None, failed: str | None = None) -> float:
        """Note in the folder what the run rests on, has cost and failed with; returns its seconds."""
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
    """What to note of a run that ended by an error; None where it was only stopped."""
    if not isinstance(error, (Exception, SystemExit)):
        return None
    what = (
        str(error) if isinstance(error, (check.InputError, OSError)) else f"{type(error).__name__}: {error}"
    )
    where = source.line(error)
    return " ".join(what.split())[:1000].removesuffix(".") + (f" ({where})" if where else "") + "."


def _finish(
    folder: Path,
    found: StudyFile,
    config: Any,
    table: Table,
    verdict: dict[str, Any],
    begun: _Begun,
    say: Callable[[str], None],
) -> None:
    """Write the results; the verdict last, because it says that all the others are there, and seals them."""
    assert found.code is not None
    table.write(folder / "metrics.parquet")
    verdict["text_sha256"] = found.code.text_sha256
    verdict["figure_failed"] = None
    try:
        figures.save(lambda: found.study.figure(table, config), folder)
    except files.WriteError:
        raise
    except (Exception, SystemExit) as error:  # a bug in a figure costs no training
        for name in seal.FIGURES:
            (folder / name).unlink(missing_ok=True)
        verdict["figure_failed"] = _failure(error)
        if os.environ.get("LRN_DEBUG"):
            traceback.print_exc()
        _say_figure(verdict, found, folder, say)
    verdict["seconds"] = begun.write(folder, finished=store.now())
    files.write_bytes(folder / "verdict.json", seal.sealed(verdict, folder))


def _say_figure(
    verdict: Mapping[str, Any], found: StudyFile, folder: Path, say: Callable[[str], None]
) -> None:
    if failed := verdict.get("figure_failed"):
        say(
            f"{found.id}: the verdict stands, and there is no figure: {failed} "
            f"When that is mended, python -m experiments draw {folder} draws it and trains nothing."
        )


def _preregister(
    found: StudyFile, preset: str, config: Any, seeds: tuple[int, ...], command: str, where: str
) -> dict[str, Any]:
    study, code = found.study, found.code
    assert code is not None
    return {
        "format": seal.FORMAT,
        "study": found.id,
        "title": study.title,
        "claim": study.claim,
        "claim_id": study.claim_id,
        "section": study.section,
        "regime": study.regime,
        "doc": found.doc,
        "preset": preset,
        "seeds": list(seeds),
        "config": store.plain(config),
        "alpha": study.alpha,
        "predictions": [p.spec() for p in study.predicted(config)],
        "controls": [c.spec() for c in study.controlled(config)],
        "predictions_sha256": predictions_sha256(study, config),
        "study_sha256": code.sha256,
        "study_files": code.files,
        "study_path": str(found.path),
        "study_where": where,
        "command": command,
    }


def _finished(found: StudyFile, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The verdict of a finished run of which no file has changed since."""
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
        say(f"{found.id}: {folder} was made before runs were sealed, so changes of its files cannot be told.")
        return verdict
    if seal.read_stamped(folder / "provenance.json").get("lrn_sha256") != store.source_sha256():
        say(f"{found.id}: {folder} was made by other code of lrn; --fresh runs it again.")
    _say_figure(verdict, found, folder, say)
    return verdict


def _damaged(folder: Path, looked: seal.Sealed) -> check.InputError:
    redraw = (
        f"python -m experiments draw {folder} draws it again, or "
        if looked.sealed and looked.only_figures
        else ""
    )
    return check.InputError(
        f"the finished run {folder} is damaged ({looked.sentence}); {redraw}use --fresh to run it again."
    )


def _unfinished(folder: Path) -> dict[str, Any] | None:
    """The provenance of a run that was begun; None where none was."""
    path, registration = folder / "provenance.json", folder / "config.json"

    def damaged(name: str, what: str) -> check.InputError:
        return check.InputError(
            f"the unfinished run {folder} is damaged ({name} {what}) and nothing of it was changed; "
            "restore that file from a copy, or use --fresh to begin again."
        )

    if not path.exists():
        # It is written before anything is trained. A killed process may have left a config.json alone.
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


def _check_registered(found: StudyFile, config: Any, folder: Path) -> None:
    registered = json.loads((folder / "config.json").read_bytes())
    if registered.get("predictions_sha256") != predictions_sha256(found.study, config):
        raise check.InputError(
            f"{found.id} predicts other things than {folder} registered when it was begun, though its code "
            "is the same; predictions must follow from the config alone. Use --fresh to begin again."
        )


def _check_same_code(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """A run that began under other code would end as neither the one nor the other."""
    for what in ("lrn_sha256", "python", "packages"):
        if before.get(what) != now[what]:
            named = "lrn's code" if what == "lrn_sha256" else what
            raise check.InputError(
                f"{folder} was begun with other code ({named} has changed since); "
                "go back to it to resume, or use --fresh to begin again."
            )


def _slug(name: str) -> str:
    """A file name for a part of a run; what is too long for one is cut and told apart by a hash."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "part"
    return slug if len(slug) <= 100 else f"{slug[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
