"""Progress of a training: a rich bar on a terminal, and a plain line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """The display of one training: steps done, steps per second, time left and the newest metrics.

    Args:
        name: the training's name.
        total: the number of steps of the training.
        console: the console; by default that of stderr. A terminal or a notebook shows a bar, any other
            console a plain line every ``every`` seconds.
        every: seconds between plain lines.
    """

    def __init__(self, name: str, total: int, console: Console | None = None, every: float = 10.0):
        self._name, self._total, self._start, self._every = name, total, 0, every
        self._console = console or Console(stderr=True)
        self._began = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal or self._console.is_jupyter:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}", style="dim"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(name, total=total, rate="compiling", metrics="")

    def __enter__(self) -> Self:
        """Start drawing."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self._bar:
            self._bar.stop()

    def begin(self, step: int) -> None:
        """Start the clock; ``step`` steps were done by an earlier process."""
        self._start = step
        self._began = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=step)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that ``step`` steps are done."""
        now = time.monotonic()
        rate = (step - self._start) / max(now - self._began, 1e-9)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in metrics.items())
        if self._bar:
            self._bar.update(self._task, completed=step, rate=f"{rate:,.0f} steps/s", metrics=shown)
        elif now - self._printed >= self._every:
            self._printed = now
            left = (self._total - step) / max(rate, 1e-9)
            self._console.print(
                f"{self._name}: step {step}/{self._total}, {rate:,.0f} steps/s, {left:.0f} s left  {shown}",
                highlight=False,
                soft_wrap=True,
            )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)
