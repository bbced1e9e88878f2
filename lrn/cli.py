"""The command line: ``python -m experiments list | describe | run | draw | report | compare``, or ``lrn``.

Exit codes: 0 done; 1 a run failed; 2 bad input; 130 or 143 stopped by SIGINT or SIGTERM with
everything saved, so that the same command resumes. Nothing here imports jax until a study runs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.resources
import json
import operator
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from lrn import __version__, check
from lrn.study import Study, discover, register, source, store
from lrn.study.discover import StudyFile

_DESCRIPTION = """Studies of lrn: list them, describe one, run some, compare runs, build the report.

--version prints the version. Environment: LRN_DATA_DIR, a folder of data sets; LRN_CACHE_DIR, where \
downloads and compiled programs are kept; LRN_DEBUG=1, the whole traceback of every error."""
_SINKS = ("tensorboard", "wandb")  # of lrn.train.sinks
_STYLE = {"supported": "green", "refuted": "red", "mixed": "yellow", "invalid": "bold red"}
_STYLE |= {f"partly {verdict}": _STYLE[verdict] for verdict in ("supported", "refuted")}


@dataclasses.dataclass
class List:
    """List the studies."""

    json: bool = False
    """Print JSON."""
    out: Path = Path("runs")
    """The folder of all runs: a study whose newest run there failed is marked."""


@dataclasses.dataclass
class Describe:
    """Say what a study claims, predicts and controls."""

    id: tyro.conf.Positional[str]
    """A study's id, or the path of its file."""
    json: bool = False
    """Print JSON."""


@dataclasses.dataclass
class Run:
    """Run studies: train, test the predictions, give the verdict. An interrupted run is resumed."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids of studies, or paths of study files."""
    preset: str = "quick"
    """smoke (seconds, no verdict), quick (about a minute on two cores) or full."""
    seeds: int | None = None
    """How many paired seeds; the preset's own number by default. A verdict takes at least 8."""
    first_seed: int | None = None
    """Take the seeds from this one on; a verdict is then exploratory. By default they are drawn from a hash \
of what the study states beforehand."""
    out: Path = Path("runs")
    """The folder of all runs."""
    fresh: bool = False
    """Begin again instead of resuming or reusing an earlier run of the same settings."""
    tour: bool = False
    """Run the studies of the tour, and build the report."""
    progress: bool = True
    """Show progress."""
    save_seconds: float = 20.0
    """Seconds between checkpoints."""
    sinks: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Also stream metrics to this: tensorboard or wandb. Both: --sinks tensorboard wandb."""


@dataclasses.dataclass
class New:
    """Write a commented study that runs, to begin one's own with."""

    file: tyro.conf.Positional[Path]
    """Where; a name that ends in .py and is not taken."""


@dataclasses.dataclass
class Status:
    """List the runs, newest first: what came out of each, or why it failed."""

    out: Path = Path("runs")
    """The folder of all runs."""


@dataclasses.dataclass
class Publish:
    """Write the results as pages of the documentation, from finished runs: all claims, a page an area."""

    out: Path = Path("runs")
    """The folder of all runs."""
    docs: Path = Path("docs/results")
    """Where the pages go."""


@dataclasses.dataclass
class Register:
    """Register studies: a file beside each, to be committed, holds a hash of what it states beforehand."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Ids of studies, or paths of study files."""


@dataclasses.dataclass
class Power:
    """Say how many seeds a study takes: simulate its regimes from the seeds of a pilot run."""

    pilot: tyro.conf.Positional[Path]
    """The folder of a finished run of the study, on pilot seeds (--first-seed 0)."""
    effect: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE: the effect stated for the prediction with that key, in the unit of its metric. The others \
have that of the pilot."""
    studies: int = 400
    """How many studies to simulate for each number of seeds."""


@dataclasses.dataclass
class Draw:
    """Draw the figures of finished runs again, after a change of the study's figure. Nothing is trained."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders."""


@dataclasses.dataclass
class Report:
    """Build the report, one page, from the run folders."""

    out: Path = Path("runs")
    """The folder of all runs."""


@dataclasses.dataclass
class Compare:
    """Show two runs side by side, with intervals."""

    a: tyro.conf.Positional[Path]
    """A run folder."""
    b: tyro.conf.Positional[Path]
    """Another run folder."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    code = _guarded(lambda: _dispatch(argv))
    if job := sys.modules.get("lrn.train.job"):  # only a run imports it, and jax
        job.leave(code)
    sys.exit(code)


def main_study(file: str) -> None:
    """``python -m experiments.<area>.<study>``: `run` for the one study in ``file``."""
    path = Path(file).resolve()
    ids = [name for name, found in discover.find().items() if found.resolve() == path]
    main(["run", *(ids or [str(path)]), *sys.argv[1:]])


def _guarded(command: Callable[[], int]) -> int:
    """The command's exit code; an error that is the caller's becomes one sentence."""
    from lrn import interrupt

    try:
        return command()
    except interrupt.Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except store.Busy as busy:
        print(f"error: {busy}", file=sys.stderr)
        return 1
    except check.InputError as error:
        return _say_error(error, 2)
    except (ValueError, OSError) as error:
        # Our own sentences need no traceback; a study's bug does.
        if _raised_by_lrn(error):
            return _say_error(error, 2 if isinstance(error, ValueError) else 1)
        traceback.print_exc()
        return 1
    except Exception:
        traceback.print_exc()
        return 1


def _say_error(error: Exception, code: int) -> int:
    """One sentence; of an error in a study also where in its code it came up."""
    if os.environ.get("LRN_DEBUG"):
        traceback.print_exc()
    where = source.line(error)
    print(f"error: {error}" + (f" ({where})" if where and where not in str(error) else ""), file=sys.stderr)
    return code


def _raised_by_lrn(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("lrn.")


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["--version"]:
        print(f"lrn {__version__}")
        return 0
    base, overrides = _split_overrides(_one_by_one(argv))
    completion = bool(base) and base[0].replace("_", "-").startswith(("--tyro-print-", "--tyro-write-"))
    if completion:
        check.choice("the shell", base[1] if len(base) > 1 else "", ("bash", "zsh", "fish"))
    # Ids as subcommands: what takes one in a word's place is all that a completion script can offer.
    describe, run = (_offering(c, list(discover.find())) if completion else c for c in (Describe, Run))
    command: Any = tyro.cli(
        Annotated[List, tyro.conf.subcommand("list")]  # pyright: ignore[reportOperatorIssue]
        | Annotated[describe, tyro.conf.subcommand("describe")]
        | Annotated[run, tyro.conf.subcommand("run")]
        | Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[Publish, tyro.conf.subcommand("publish")]
        | Annotated[Register, tyro.conf.subcommand("register")]
        | Annotated[Power, tyro.conf.subcommand("power")]
        | Annotated[Draw, tyro.conf.subcommand("draw")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Compare, tyro.conf.subcommand("compare")],
        args=_without_help(base) if _asks_about_a_study(base) else base,
        prog="lrn",
        description=_DESCRIPTION,
    )
    if overrides and not isinstance(command, Run):
        raise check.InputError(f"{overrides[0]} only goes with run.")
    if isinstance(command, List):
        return _list(command)
    if isinstance(command, Describe):
        return _describe(command)
    if isinstance(command, New):
        return _new(command)
    if isinstance(command, Status):
        return _status(command)
    if isinstance(command, Publish):
        return _publish(command)
    if isinstance(command, Register):
        return _register(command)
    if isinstance(command, Power):
        return _power(command)
    if isinstance(command, Draw):
        return _draw(command)
    if isinstance(command, Report):
        return _report(command.out)
    if isinstance(command, Compare):
        return _compare(command)
    return _run(command, base, overrides)


def _offering(command: type[Any], ids: Sequence[str]) -> type[Any]:
    """A command that has each id as a subcommand with the command's own options, and those itself."""
    choices = [Annotated[command, tyro.conf.subcommand(name)] for name in ids]
    field = Annotated[functools.reduce(operator.or_, choices), tyro.conf.arg(name="")]
    made = dataclasses.make_dataclass(
        command.__name__, [("study", field, dataclasses.field(kw_only=True))], bases=(command,)
    )
    made.__doc__ = command.__doc__
    return made


def _one_by_one(argv: Sequence[str]) -> list[str]:
    """Give each sink its own ``--sinks``, so that the words after the last one are not taken for sinks."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word != "--sinks":
            words.append(word)
            continue
        words += ["--sinks", *rest[:1]]
        del rest[:1]
        while rest and rest[0] in _SINKS:
            words += ["--sinks", rest.pop(0)]
    return words


def _split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take ``--config.FIELD VALUE...`` out: what those fields are is known only with the study."""
    base: list[str] = []
    overrides: list[str] = []
    target = base
    for word in argv:
        if word.startswith("--"):
            target = overrides if word.startswith("--config.") else base
        target.append(word)
    return base, overrides


def _asks_about_a_study(base: Sequence[str]) -> bool:
    return (
        len(base) > 1
        and base[0] == "run"
        and bool({"-h", "--help"} & set(base))
        and not base[1].startswith("-")
    )


def _without_help(base: Sequence[str]) -> list[str]:
    return [word for word in base if word not in ("-h", "--help")]


def _list(command: List) -> int:
    failed = store.failures(command.out)
    rows: list[dict[str, Any]] = []
    for name, path in discover.find().items():
        try:
            rows.append({"id": name, **discover.described(name, path)})
        except ValueError as error:  # one broken file must not hide the others
            rows.append({"id": name, "error": str(error)})
        if name in failed:
            rows[-1]["failed"] = failed[name]
    if command.json:
        print(json.dumps(rows, indent=1))
        return 0
    shown = [("id", "notes", "section", "what it decides", "")]
    for row in rows:
        if "error" in row:
            shown.append((row["id"], "", "", row["error"], "red"))
        else:
            title = row["title"] + (" (tour)" if row["tour"] else "")
            shown.append((row["id"], row["claim_id"], row["section"], title, ""))
    _print_columns([entry[:-1] for entry in shown], [entry[-1] for entry in shown])
    for row in rows:
        if "failed" in row:
            print(f"\n{row['id']}: its last run in {command.out} failed: {row['failed']}")
    print("\npython -m experiments describe ID says more; run ID runs it.")
    return 0


def _print_columns(rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
    """Rows in columns as wide as their words, the first row a heading; nothing is ever cut, or folded."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    for number, (row, style) in enumerate(zip(rows, styles)):
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        console.print(Text("  ".join([*cells, row[-1]]).rstrip(), "bold" if number == 0 else style))


def _describe(command: Describe) -> int:
    found = discover.load(command.id)
    study = found.study
    shown = next(iter(study.presets)) if "quick" not in study.presets else "quick"
    config = study.presets[shown]
    value = {
        "id": found.id,
        "path": str(found.path),
        **{
            k: getattr(study, k) for k in ("title", "claim", "claim_id", "section", "regime", "alpha", "tour")
        },
        "doc": found.doc,
        "presets": {
            p: {"config": store.plain(c), "seeds": study.seeds_for(p)} for p, c in study.presets.items()
        },
        "regimes": [r.spec() for r in study.asked(config)],
        "controls": [c.spec() for c in study.controlled(config)],
    }
    if command.json:
        print(json.dumps(value, indent=1))
        return 0
    print(f"{found.id} ({study.claim_id}, {study.section}): {study.title}\n")
    print(f"Claim: {study.claim}\n\n{found.doc}\n\nSetting: {study.regime}\n\nRegimes (at {shown}):")
    for regime in study.asked(config):
        print(f"  {regime.name}")
        for role, p in regime.all:
            print(f"  - {p.statement} [{p.kind}{'' if role == 'primary' else f', {role}'}]")
    print("Controls:")
    for c in value["controls"]:
        print(f"  - {c['statement']} [{c['kind']}; else {c['consequence']}]")
    print("Presets:")
    for preset, item in value["presets"].items():
        settings = ", ".join(f"{k}={v}" for k, v in item["config"].items())
        print(f"  {preset}: {item['seeds']} seeds; {settings}")
    return 0


@dataclasses.dataclass
class _Plan:
    """One study with its settings, all checked."""

    found: StudyFile
    config: Any
    seeds: Sequence[int]
    command: str


def _run(command: Run, base: Sequence[str], overrides: Sequence[str]) -> int:
    ids = list(command.ids)
    if command.tour:
        ids += _tour()
    if not ids:
        raise check.InputError(
            "run needs the id of a study, before any --config.FIELD; `list` shows them, or give --tour."
        )
    check.positive("--save-seconds", command.save_seconds)
    if command.seeds is not None:
        check.integer("--seeds", command.seeds, low=1)
        check.between("--seeds", command.seeds, 1, 10_000)
    if command.first_seed is not None:
        check.between("--first-seed", command.first_seed, 0, 2**32 - 10_001)
    if command.out.exists() and not command.out.is_dir():
        raise check.InputError(f"--out {command.out} is a file; give a folder.")
    # Everything is checked for every study before the first one starts.
    plans = [_plan(discover.load(name), command, base, overrides) for name in dict.fromkeys(ids)]
    discover.apart([plan.found for plan in plans])
    from lrn.train.sinks import open_sinks

    open_sinks(command.sinks, None)
    verdicts = []
    from lrn.study import runner
    from lrn.train import job

    job.join()
    failed = False
    for plan in plans:
        try:
            verdicts.append(_run_one(plan, command, runner))
        except Exception as error:
            if len(plans) == 1 or job.in_job():  # where the processes would no longer be in step
                raise
            failed = True  # the others still run
            _say_error(error, 1) if _raised_by_lrn(error) else traceback.print_exc()
    if not _is_main_process():
        return int(failed)
    _print_verdicts(verdicts)
    if command.tour:
        _report(command.out)
    return int(failed)


def _tour() -> list[str]:
    """The studies of the tour; a file that is broken is said and left out."""
    ids = []
    for name, path in discover.find().items():
        try:
            ids += [name] if discover.described(name, path)["tour"] else []
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
    return ids


def _run_one(plan: _Plan, command: Run, runner: Any) -> tuple[StudyFile, Any]:
    from lrn.train.sinks import open_sinks

    folder = command.out / plan.found.id
    if not plan.found.is_ours:  # another folder may have a file of this name
        folder /= hashlib.sha256(str(plan.found.path).encode()).hexdigest()[:6] + "-sinks"
    sinks = open_sinks(command.sinks, folder) if _is_main_process() else []
    try:
        outcome = runner.run(
            plan.found,
            command.preset,
            plan.config,
            plan.seeds,
            command.out,
            fresh=command.fresh,
            progress=command.progress,
            say=lambda text: print(text, file=sys.stderr, flush=True),
            save_seconds=command.save_seconds,
            sinks=sinks,
            command=plan.command,
        )
    finally:
        for sink in sinks:
            sink.close()
    return plan.found, outcome


def _plan(found: StudyFile, command: Run, base: Sequence[str], overrides: Sequence[str]) -> _Plan:
    study = found.study
    check.choice(f"the preset of {found.id}", command.preset, study.presets)
    default = study.presets[command.preset]
    config = default
    if overrides or {"-h", "--help"} & set(base):
        try:
            # Every field takes a value, bools too: `--config.FIELD VALUE` is the one form.
            kind = tyro.conf.FlagConversionOff[type(default)]
            full = dataclasses.make_dataclass("Run", [("config", kind, default)], bases=(Run,))
            full.__doc__ = f"{study.title}. {study.claim}"
            # Parsed with the rest, so that help shows it all and a misspelt field is recognized.
            config = tyro.cli(full, args=[*base[1:], *overrides], prog=f"lrn run {found.id}").config
        except ValueError as error:  # from a config's own checks
            raise check.InputError(str(error)) from error
    count = command.seeds if command.seeds is not None else study.seeds_for(command.preset)
    seeds = _seeds(study, command, count)
    name = found.id if found.is_ours else str(found.path)
    words = [
        "python",
        "-m",
        "experiments",
        "run",
        name,
        "--preset",
        command.preset,
        "--seeds",
        str(count),
        *(("--first-seed", str(command.first_seed)) if command.first_seed is not None else ()),
        *overrides,
    ]
    return _Plan(found.hashed(), config, seeds, shlex.join(words))


def _seeds(study: Study, command: Run, count: int) -> Sequence[int]:
    """The seeds of a run: those asked for, or drawn from the registration; the first ones of a smoke run."""
    if command.first_seed is None and command.preset != "smoke" and not study.exploratory:
        return register.drawn_seeds(register.registration(study), command.preset, count)
    first = command.first_seed or 0
    return range(first, first + count)


def _is_main_process() -> bool:
    from lrn.train import job

    return job.main_process()


def _print_verdicts(verdicts: Sequence[tuple[StudyFile, Any]]) -> None:
    from rich.console import Console

    ids = [found.id for found, _ in verdicts]
    names = [str(found.path) if ids.count(found.id) > 1 else found.id for found, _ in verdicts]
    rows, styles = [("study", "verdict", "seeds", "seconds")], [""]
    for name, (_, outcome) in zip(names, verdicts):
        v = outcome.verdict
        seconds = f"{v['seconds']:.0f}{' (run before)' if outcome.reused else ''}"
        rows.append((name, v["verdict"], str(len(v["seeds"])), seconds))
        styles.append(_STYLE.get(v["verdict"], ""))
    _print_columns(rows, styles)
    console = Console(soft_wrap=True)  # paths stay whole, to be copied
    for name, (_, outcome) in zip(names, verdicts):
        for line in (f"\n{name}: {outcome.verdict['reason']}", *_remarks(outcome.verdict, outcome.folder)):
            console.print(line, markup=False, highlight=False)


def _remarks(verdict: Mapping[str, Any], folder: Path) -> list[str]:
    """What is said of a verdict besides its reason: the answer, what to doubt, and where it lies."""
    said = [verdict.get("answer"), verdict.get("exploratory") and f"exploratory: {verdict['exploratory']}"]
    if verdict["verdict"] not in ("smoke", "underpowered"):  # where nothing can be shown
        said += [f"caution: this is not shown to hold: {c}" for c in verdict.get("cautions") or ()]
    return [f"  {line}" for line in (*said, folder) if line]


def _new(command: New) -> int:
    if command.file.suffix != ".py" or not command.file.stem.isidentifier():
        raise check.InputError(
            f"a study is a file of Python, got {command.file}; give for example my_study.py."
        )
    if command.file.exists():
        raise check.InputError(f"{command.file} exists already; give another name.")
    template = importlib.resources.files("lrn") / "templates" / "new_study.py"
    command.file.write_bytes(template.read_bytes())
    print(f"{command.file}: a study that runs. python -m lrn run {command.file} gives its verdict.")
    return 0


def _status(command: Status) -> int:
    from lrn import report
    from lrn.report.answers import answer_of

    if not command.out.is_dir():
        raise check.InputError(f"there is no folder of runs {command.out}; run a study first, or give --out.")
    found = sorted(map(report.load, report.find(command.out)), key=lambda run: run.finished, reverse=True)
    rows, styles = [("study", "preset", "seeds", "state", "")], [""]
    for run in found:
        state = run.verdict if run.state == "finished" else run.state
        said = run.failed or "; ".join(run.damage) or answer_of(run)
        rows.append((run.study, run.preset, str(len(run.seeds)), state, f"{run.folder}  {said}".rstrip()))
        styles.append(_STYLE.get(state, ""))
    _print_columns(rows, styles)
    return 0


def _publish(command: Publish) -> int:
    from lrn.report import publish, read_claims

    written = publish.publish(read_claims(discover.claims()), command.out, command.docs)
    print(f"{len(written)} files in {command.docs}")
    return 0


def _register(command: Register) -> int:
    if not command.ids:
        raise check.InputError("register needs the id of a study; `list` shows them.")
    for name in command.ids:
        print(register.register(discover.load(name)))
    return 0


def _power(command: Power) -> int:
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
    found, config = runner.study_of(command.pilot)
    pilot = table.read(command.pilot / "metrics.parquet")
    chances = power.chances(found.study, config, pilot, effects, studies=command.studies)
    for name, seeds in power.enough(chances).items():
        said = f"{seeds} seeds" if seeds else f"more than {power.COUNTS[-1]} seeds"
        print(f"{name}: decided by {said} with a chance of {power.POWER:g}")
        for c in chances:
            if c.regime == name:
                print(f"  {c.seeds:3d} seeds: holds {c.holds:.2f}, fails {c.fails:.2f}, open {c.open:.2f}")
    return 0


def _draw(command: Draw) -> int:
    from lrn.study import runner

    if not command.runs:
        raise check.InputError("draw needs the path of a finished run, runs/<study>/<hash>.")
    for folder in command.runs:
        for path in runner.draw(folder):
            print(path)
    return 0


def _report(out: Path) -> int:
    from lrn import report

    if not out.is_dir():
        raise check.InputError(f"there is no folder {out}; run a study first, or give --out.")
    print(f"report: {report.build(out)}")
    return 0


def _compare(command: Compare) -> int:
    from rich.console import Console

    from lrn import report

    Console().print(report.compare_runs(command.a, command.b))
    return 0
