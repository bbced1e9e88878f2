"""Commands that read finished runs: status, publish, power, draw, report, compare."""

from __future__ import annotations

from pathlib import Path

from lrn import check
from lrn.cli.columns import STYLE, print_columns
from lrn.cli.commands import Compare, Draw, Power, Publish, Status
from lrn.study import discover


def status(command: Status) -> int:
    """List the runs in a folder, the newest first.

    Raises:
        InputError: there is no such folder.
    """
    from lrn import report
    from lrn.report.answers import answer_of

    if not command.out.is_dir():
        raise check.InputError(f"there is no folder of runs {command.out}; run a study first, or give --out.")
    newest_first = sorted(
        map(report.load, report.find(command.out)), key=lambda run: run.finished, reverse=True
    )
    rows, styles = [("study", "preset", "seeds", "state", "")], [""]
    for run in newest_first:
        state = run.verdict if run.state == "finished" else run.state
        outcome = run.failed or "; ".join(run.damage) or answer_of(run)
        rows.append((run.study, run.preset, str(len(run.seeds)), state, f"{run.folder}  {outcome}".rstrip()))
        styles.append(STYLE.get(state, ""))
    print_columns(rows, styles)
    return 0


def publish_results(command: Publish) -> int:
    """Write the pages of results from the finished runs in a folder."""
    from lrn.report import publish, read_claims

    written = publish.publish(
        read_claims(discover.claims()), command.out, command.docs, command.readme, command.drop
    )
    print(f"{len(written)} files in {command.docs}")
    return 0


def say_power(command: Power) -> int:
    """Print how many seeds decide each regime of a study, from the seeds of a pilot run.

    Raises:
        InputError: an effect that is no number or belongs to no prediction, or a pilot that cannot be used.
    """
    from lrn import table
    from lrn.study import power, runner

    check.between("--studies", command.studies, 10, 100_000)
    effects = {}
    for given in command.effect:
        key, _, value = given.partition("=")
        try:
            effects[key] = float(value)
        except ValueError:
            raise check.InputError(f"--effect takes KEY=VALUE, got {given!r}; give a number.") from None
    file, config = runner.study_of(command.pilot)
    pilot = table.read(command.pilot / "metrics.parquet")
    chances = power.chances(file.study, config, pilot, effects, studies=command.studies)
    for name, seeds in power.enough(chances).items():
        count = f"{seeds} seeds" if seeds else f"more than {power.COUNTS[-1]} seeds"
        print(f"{name}: decided by {count} with a chance of {power.POWER:g}")
        for c in chances:
            if c.regime == name:
                print(f"  {c.seeds:3d} seeds: holds {c.holds:.2f}, fails {c.fails:.2f}, open {c.open:.2f}")
    return 0


def draw(command: Draw) -> int:
    """Draw the figures of finished runs again, and print the paths of the files.

    Raises:
        InputError: no run is named, or one of them is not finished, is damaged, or has other code.
    """
    from lrn.study import runner

    if not command.runs:
        raise check.InputError("draw needs the path of a finished run, runs/<study>/<hash>.")
    for folder in command.runs:
        for path in runner.draw(folder):
            print(path)
    return 0


def build_report(out: Path) -> int:
    """Build the report of the runs in a folder, and print its path.

    Raises:
        InputError: there is no such folder.
    """
    from lrn import report

    if not out.is_dir():
        raise check.InputError(f"there is no folder {out}; run a study first, or give --out.")
    print(f"report: {report.build(out)}")
    return 0


def compare(command: Compare) -> int:
    """Print two runs side by side."""
    from rich.console import Console

    from lrn import report

    Console().print(report.compare_runs(command.a, command.b))
    return 0
