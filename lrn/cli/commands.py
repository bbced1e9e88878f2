"""The commands and their options, as `tyro` reads them: a class for each command, a field for each option.

The docstring of a class is the help text of its command, the string below a field that of its option.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro


@dataclasses.dataclass
class List:
    """List the studies."""

    json: bool = False
    """Print JSON."""
    out: Path = Path("runs")
    """The folder of all runs; a study whose newest run failed is marked."""


@dataclasses.dataclass
class Describe:
    """Print what a study claims, predicts and controls."""

    id: tyro.conf.Positional[str]
    """A study's id, or the path of its file."""
    json: bool = False
    """Print JSON."""


@dataclasses.dataclass
class Run:
    """Run studies: train, test the predictions, give the verdict. The same command resumes a stopped run."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids of studies, or paths of study files."""
    preset: str = "quick"
    """smoke (seconds, no verdict), quick (about a minute on two cores) or full."""
    seeds: int | None = None
    """How many paired seeds; the preset's own number by default. A verdict takes at least 8."""
    first_seed: int | None = None
    """Use the seeds from this number on; the verdict is then exploratory. By default the seeds are drawn \
from a hash of the study's claim, predictions, controls and presets."""
    replicate: bool = False
    """Run on a second set of seeds drawn from the registration, to see whether the regimes come out alike. \
`publish` shows both."""
    out: Path = Path("runs")
    """The folder of all runs."""
    fresh: bool = False
    """Begin again; the default resumes or reuses an earlier run of the same settings."""
    area: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Run all studies of an area, such as rl; say beforehand how long earlier runs took."""
    tour: bool = False
    """Run the studies of the tour, and build the report."""
    progress: bool = True
    """Show progress."""
    save_seconds: float = 20.0
    """Seconds between checkpoints."""
    sinks: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Also stream metrics to tensorboard or wandb. For both: --sinks tensorboard wandb."""
    part: str | None = None
    """I/N: run only the I-th of N parts of the seeds, here; `merge` makes the run from all its parts."""
    cluster: Literal["slurm", "local"] | None = None
    """Run as jobs of a SLURM cluster, or as processes of this machine, through submitit; wait for them, \
merge their parts, and print the verdicts."""
    jobs: int = 1
    """With --cluster: into how many jobs to split the seeds of each study."""
    resources: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """With --cluster: KEY=VALUE, what each job asks for, as submitit names it: timeout_min=240 (minutes \
until the job goes back into the queue; 60 by default), gpus_per_node=1, cpus_per_task=4, mem_gb=16, \
slurm_partition=NAME, slurm_account=NAME ... Give the option once for each."""
    detach: bool = False
    """With --cluster slurm: submit, and do not wait. The same command without --detach waits and merges."""


@dataclasses.dataclass
class New:
    """Write a template of a study: commented, and ready to run."""

    file: tyro.conf.Positional[Path]
    """The path of the new file; its name ends in .py."""


@dataclasses.dataclass
class Status:
    """List the runs, newest first, each with its answer or the reason why it failed."""

    out: Path = Path("runs")
    """The folder of all runs."""


@dataclasses.dataclass
class Publish:
    """Write the results of finished runs as pages of the documentation: one page for each area."""

    out: Path = Path("runs")
    """The folder of all runs."""
    docs: Path = Path("docs/results")
    """The folder of the pages."""
    readme: Path | None = None
    """A page that holds the counts of verdicts too, between its marks for results."""
    drop: bool = False
    """Publish no more what has no finished run in the folder."""


@dataclasses.dataclass
class Register:
    """Register studies: write a hash of claim, predictions, controls and presets beside the study's file."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids of studies, or paths of study files."""


@dataclasses.dataclass
class Power:
    """Say how many seeds decide a study: simulate its regimes from the seeds of a pilot run."""

    pilot: tyro.conf.Positional[Path]
    """The folder of a finished run of the study, on pilot seeds (--first-seed 0)."""
    effect: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: the effect assumed for the prediction with that key, in the unit of its metric. All other \
predictions have the effect of the pilot."""
    studies: int = 400
    """How many studies to simulate for each number of seeds."""


@dataclasses.dataclass
class Draw:
    """Make figures and answers of finished runs again, by the studies as they are now. Nothing is trained."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders."""


@dataclasses.dataclass
class Merge:
    """Make a run from parts that ran apart (run --part I/N), and print its verdict."""

    parts: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The parts of one run: their folders, or runs/<study>/<hash>.parts, which holds them."""
    out: Path | None = None
    """The folder of all runs; by default the one in which the first part lies."""
    fresh: bool = False
    """Merge again; the default shows a run that was merged before."""


@dataclasses.dataclass
class Report:
    """Build the report, one page of HTML, from the run folders."""

    out: Path = Path("runs")
    """The folder of all runs."""


@dataclasses.dataclass
class Compare:
    """Show two runs side by side, with intervals."""

    a: tyro.conf.Positional[Path]
    """A run folder."""
    b: tyro.conf.Positional[Path]
    """Another run folder."""
