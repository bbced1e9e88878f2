"""The settings of the update, which every learner by gradients has."""

from __future__ import annotations

from typing import Protocol

from lrn.config import config
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig


class Settings(Protocol):
    """Any config with the settings of the update, such as `TrainingConfig`."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """The optimizer's config."""
        ...

    @property
    def average(self) -> AverageConfig:
        """The config of the averaged weights."""
        ...


@config
class TrainingConfig:
    """Settings of the update.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
