"""`Context`, the argument of a study's ``run``: seeds, training that resumes, and recorded results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrn import table as tables
from lrn.study.controls import given
from lrn.study.judged import Judged
from lrn.study.parts import Block
from lrn.study.seen import budgets
from lrn.study.select import EDGE, Choice
from lrn.table import Table


class Context(Judged):
    """The argument of a study's ``run``: seeds, training that resumes, and recorded results.

    After an interruption ``run`` is called again from its beginning. Everything in ``run`` must therefore
    follow from the config and the seeds. `fit` and `once` keep their results in the run's folder; long
    computations go through these two.

    folder: the run's folder. preset: the name of the preset. seeds: the seeds, ints.
    say: prints one sentence to the user.
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
        self._brief = preset == "smoke"  # its trainings last seconds, and compiling them most of these
        self._progress, self._save_seconds, self._sinks = progress, save_seconds, tuple(sinks)
        self._blocks: list[Block] = []
        self._names: set[str] = set()
        self._recorded: set[tuple[str, str, int]] = set()
        self._trained_on: dict[str, list[Mapping[str, Any]]] = {}  # from arm to the options of its fits
        self._given: dict[tuple[str, str], np.ndarray] = {}  # from (arm, metric of a budget) to [seeds]

    def fit(
        self,
        factory: Callable[[Any], Any],
        arms: Mapping[str, Any],
        *,
        name: str | None = None,
        **options: Any,
    ) -> Any:
        """Train by `lrn.train.fit` over this run's seeds, resumably, and record the metrics and budgets.

        Args:
            factory: see `lrn.train.fit`.
            arms: from the name of an arm to its config.
            name: the name of this fit, unique in the run; by default made of the arms' names.
            options: see `lrn.train.fit`.

        Returns:
            The `lrn.train.Fit`.

        Raises:
            ValueError: the name was used before in this run, or `lrn.train.fit` refuses an argument.
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
                "brief": self._brief,
                **options,
            },
        )
        self._blocks.append(Block(result.table, [f._asdict() for f in result.failures]))
        for arm, config in arms.items():
            self._trained_on.setdefault(arm, []).append(options)
            self.given(arm, budgets(config, options))
        return result

    def given(self, arm: str, amounts: Mapping[str, Any]) -> None:
        """Add to the budgets that an arm was given; the sums are recorded as metrics.

        `fit` calls this for the arms that it trains. For other arms count the amounts where they are used
        (visits in a state, rows of an array), not where they are requested.

        Args:
            arm: the arm.
            amounts: from a name in `lrn.study.BUDGETS` to one number for all seeds, or to numbers [seeds].

        Raises:
            InputError: a name is not in `lrn.study.BUDGETS`.
        """
        for what, amount in amounts.items():
            by_seed = np.broadcast_to(np.asarray(amount, float), len(self.seeds))
            self._given[arm, given(what)] = self._given.get((arm, given(what)), 0.0) + by_seed

    def record(self, arm: str, metric: str | Mapping[str, Any], values: Any = None, step: int = 0) -> None:
        """Record a value for each seed, of one metric or of several.

        Args:
            arm: the arm.
            metric: the name of the metric, or a dict from metrics to values.
            values: the values [seeds] in the order of ``seeds``; None with a dict.
            step: the step of the arm at which the values were measured.

        Raises:
            ValueError: there is not one value for each seed, or the metric was recorded before at this step.
        """
        if isinstance(metric, Mapping):
            for name, by_seed in metric.items():
                self.record(arm, name, by_seed, step)
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
        self._blocks.append(Block(tables.rows(arm, self.seeds, step, metric, values), []))

    def chosen(self, arm: str, choice: Choice, candidates: int) -> None:
        """Record the choice of `lrn.study.select.select` for an arm.

        The metrics are the number of candidates and the number of axes along which the choice lies at the
        edge, which `lrn.study.select.interior_choice` reads.
        """
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
        """Map a function over the seeds, on all devices; the results are kept in the run's folder.

        Args:
            name: the name of this computation, unique in the run.
            function: ``function(own, shared) -> {name: array}``, pure, for one seed.
            each: arrays with leaves [seeds, ...], such as the states of an arm; ``own`` is one seed's part.
            shared: arrays that every seed sees whole.
            lost: bool [seeds], from `lrn.train.Fit.lost`; the results of these seeds become NaN.

        Returns:
            From name to array [seeds, ...].
        """
        results = self.once(name, lambda: self.over_seeds(function)(each, shared))
        if lost is None or not np.any(lost):
            return results
        marked = {name: np.array(x, float) for name, x in results.items()}
        for x in marked.values():
            x[np.asarray(lost, bool)] = np.nan
        return marked

    def once(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays that ``compute`` returns, computed once and kept in the run's folder.

        Use this for long computations outside of `fit`, such as an attack.

        Args:
            name: the name of this computation, unique in the run.
            compute: ``compute() -> {name: array}``.

        Returns:
            From name to array, in the order of the names.

        Raises:
            ValueError: the name was used before in this run, or the processes of a job do not share a folder.
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
            function: ``function(own, shared)`` on arrays without a seed axis.

        Returns:
            ``mapped(each, shared)``: ``each`` has leaves [seeds, ...], every seed sees ``shared`` whole,
            and the results are host arrays [seeds, ...].
        """
        from lrn.train.lanes import Lanes
        from lrn.xla.runtime import brief_options

        lanes = Lanes(len(self.seeds))
        jitted = lanes.jit(function, (True, False), options=brief_options(0) if self._brief else None)
        return lambda each, shared: lanes.get(jitted(lanes.put(each), lanes.replicate(shared)))

    def table(self) -> Table:
        """The table of all values recorded so far, the budgets among them."""
        return tables.concat([block.table for block in self.blocks()])

    def blocks(self) -> list[Block]:
        """The rows of `table`, apart for each training, each recorded metric and each budget."""
        sums = [tables.rows(arm, self.seeds, 0, what, x) for (arm, what), x in self._given.items()]
        return [*self._blocks, *(Block(table, []) for table in sums)]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The lanes of `fit` that became non-finite, as dicts of `lrn.train.Failure`."""
        return [failure for block in self._blocks for failure in block.failures]

    def _claim(self, name: str) -> str:
        if _slug(name) in self._names:
            raise ValueError(
                f"this run already has a part named {name!r}; give each fit and once its own name."
            )
        self._names.add(_slug(name))
        return name


def _slug(name: str) -> str:
    """A file name for a part of a run; a name that is too long is cut and gets a hash."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "part"
    return slug if len(slug) <= 100 else f"{slug[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
