"""Optional receivers of metrics besides the run folder: TensorBoard and Weights & Biases.

A sink is any object with ``write(table)`` and ``close()`` (`lrn.train.Sink`). The packages of these two
(``pip install lrn[sinks]``) are imported only when a sink is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrn import check

if TYPE_CHECKING:
    from lrn.table import Table


class TensorBoard:
    """TensorBoard, under ``folder/tensorboard``, with one run for each arm and seed."""

    def __init__(self, folder: Path):
        self._module = _need("tensorboardX", "tensorboard")
        self._folder = folder / "tensorboard"
        self._writers: dict[str, Any] = {}

    def write(self, table: Table) -> None:
        """Take the rows of one chunk."""
        for arm, seed, step, metric, value in zip(*table):
            run = f"{arm}/seed-{seed}"
            if run not in self._writers:
                self._writers[run] = self._module.SummaryWriter(str(self._folder / run))
            self._writers[run].add_scalar(metric, value, int(step))

    def close(self) -> None:
        """Flush to disk."""
        for writer in self._writers.values():
            writer.close()


class WeightsAndBiases:
    """Weights & Biases, with one run for all arms and seeds; a metric is named ``arm/metric/seed``."""

    def __init__(self, folder: Path):
        self._run = _need("wandb", "wandb").init(project="lrn", name=folder.name, dir=str(folder))

    def write(self, table: Table) -> None:
        """Take the rows of one chunk."""
        for arm, seed, step, metric, value in zip(*table):
            self._run.log({f"{arm}/{metric}/{seed}": value, f"{arm}/step": int(step)})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


_SINKS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_sinks(names: Sequence[str], folder: Path | None) -> list[Any]:
    """Open the named sinks in a folder; with ``folder=None`` only check the names.

    Raises:
        InputError: a name is unknown, or its package is not installed.
    """
    for name in names:
        check.choice("sink", name, _SINKS)
    if folder is None or not names:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    return [_SINKS[name](folder) for name in names]


def _need(module: str, sink: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise check.InputError(
            f"the sink {sink} needs the package {module}; pip install 'lrn[sinks]'."
        ) from None
