"""What a study's `run` gets: seeds, training that resumes, and a place for results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrn import table as tables
from lrn.data.seeded import Parts
from lrn.study.controls import MISTAKEN, OVERLAP, given
from lrn.study.select import EDGE, Choice
from lrn.table import Table


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

    def judged_on_parts(self, arm: str, parts: Parts, column: str) -> None:
        """The same for the test rows of `lrn.data.seeded.for_seeds`, against each seed's training rows."""
        pictures = [np.asarray(x[column]) for x in (parts.train, parts.test)]
        if pictures[0] is pictures[1]:
            self.judged_on_rows(arm, parts.test_rows, parts.train_rows)
        else:  # the same rows for all seeds
            seen, judged = (x[rows[0]] for x, rows in zip(pictures, (parts.train_rows, parts.test_rows)))
            self.judged_on(arm, judged, trained_on=seen)

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

    def record(self, arm: str, metric: str | Mapping[str, Any], values: Any = None, step: int = 0) -> None:
        """Record one value a seed, of one metric or of several.

        Args:
            arm: the arm.
            metric: the metric; or a dict from metric to values.
            values: [seeds], in the order of ``seeds``; None with a dict.
            step: where on the arm's axis of steps.

        Raises:
            ValueError: another number of values than of seeds, or a metric that was recorded before.
        """
        if isinstance(metric, Mapping):
            for name, each in metric.items():
                self.record(arm, name, each, step)
            return
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

    def chosen(self, arm: str, choice: Choice, candidates: int) -> None:
        """Record what `lrn.study.select.select` chose for an arm: how many candidates it had, and an edge."""
        self.given(arm, {"candidates": candidates})
        seeds = len(self.seeds)
        self.record(arm, EDGE, np.full(seeds, float(choice.edge)))

    def per_seed(
        self,
        name: str,
        function: Callable[[Any, Any], Mapping[str, Any]],
        each: Any,
        shared: Any = None,
        lost: Any = None,
    ) -> dict[str, np.ndarray]:
        """What ``function`` gives for every seed, computed once in a run's life and over all devices.

        Args:
            name: unique in the run.
            function: ``function(own, shared) -> {name: array}``, pure, of one seed.
            each: leaves [seeds, ...], such as the states of an arm; a seed sees its own.
            shared: arrays that every seed sees whole.
            lost: bool [seeds], from `lrn.train.Fit.lost`: what is found for these seeds is NaN.

        Returns:
            From name to array [seeds, ...].
        """
        found = self.once(name, lambda: self.over_seeds(function)(each, shared))
        if lost is None or not np.any(lost):
            return found
        marked = {name: np.array(x, float) for name, x in found.items()}
        for x in marked.values():
            x[np.asarray(lost, bool)] = np.nan
        return marked

    def once(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays that ``compute`` returns; computed once in a run's life, then read back.

        For what takes long outside of `fit`, such as an attack. ``name`` must be unique in the run.
        """
        from lrn.train import checkpoint, job

        folder = self.folder / "checkpoints" / _slug(self._claim(name))
        loaded = checkpoint.load(folder)
        if job.agree(int(loaded is not None)) != int(loaded is not None):
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
        job.on_main(lambda: checkpoint.save(folder, 0, values, {"names": names}))
        return arrays

    def over_seeds(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A pure function mapped over the seeds, laid over all devices and compiled once.

        Args:
            function: ``function(one, shared)`` on arrays without a seed axis.

        Returns:
            ``mapped(each, shared)``: ``each`` has leaves [seeds, ...], every seed sees ``shared`` whole; the
            result is host arrays [seeds, ...].
        """
        from lrn.train.lanes import Lanes

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
    """The leading axis of what a sampler draws at a step; None where it draws a key or other scalars."""
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

    from lrn.train.program import merge

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


def _slug(name: str) -> str:
    """A file name for a part of a run; what is too long for one is cut and told apart by a hash."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "part"
    return slug if len(slug) <= 100 else f"{slug[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
