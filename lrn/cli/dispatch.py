"""From the words of a command line to the function that carries out the command."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from lrn import __version__, check
from lrn.cli import on_runs, on_studies, run, words
from lrn.cli.commands import (
    Compare,
    Describe,
    Draw,
    List,
    Merge,
    New,
    Power,
    Publish,
    Register,
    Report,
    Run,
    Status,
)
from lrn.study import discover

_DESCRIPTION = """Studies of lrn: list them, describe one, run some, compare runs, build the report.

--version prints the version. Environment: LRN_DATA_DIR, a folder of data sets; LRN_CACHE_DIR, where \
downloads and compiled programs are kept; LRN_DEBUG=1, the whole traceback of every error."""


def dispatch(argv: list[str]) -> int:
    """Parse the arguments, carry out the command, and return its exit code.

    Raises:
        InputError: an option is out of its range, or belongs to another command. (`tyro` itself exits with
            code 2 where a command or an option is unknown.)
    """
    if argv[:1] == ["--version"]:
        print(f"lrn {__version__}")
        return 0
    base, overrides = words.split_overrides(words.repeat_sinks(argv))
    command = _parse(base)
    if overrides and not isinstance(command, Run):
        raise check.InputError(f"{overrides[0]} only goes with run.")
    match command:
        case List():
            return on_studies.list_studies(command)
        case Describe():
            return on_studies.describe(command)
        case New():
            return on_studies.new(command)
        case Register():
            return on_studies.register_studies(command)
        case Status():
            return on_runs.status(command)
        case Publish():
            return on_runs.publish_results(command)
        case Merge():
            return run.merge_parts(command)
        case Power():
            return on_runs.say_power(command)
        case Draw():
            return on_runs.draw(command)
        case Report():
            return on_runs.build_report(command.out)
        case Compare():
            return on_runs.compare(command)
        case _:
            return run.run_studies(command, base, overrides)


def _parse(base: Sequence[str]) -> Any:
    """The command that the words name, as an instance of its class in `lrn.cli.commands`."""
    completion = bool(base) and base[0].replace("_", "-").startswith(("--tyro-print-", "--tyro-write-"))
    if completion:
        check.choice("the shell", base[1] if len(base) > 1 else "", ("bash", "zsh", "fish"))
    # A completion script can only offer subcommands, so for such a script each id becomes one.
    ids = list(discover.find()) if completion else []
    describe_kind, run_kind = (_offering(kind, ids) if completion else kind for kind in (Describe, Run))
    return tyro.cli(
        Annotated[List, tyro.conf.subcommand("list")]  # pyright: ignore[reportOperatorIssue]
        | Annotated[describe_kind, tyro.conf.subcommand("describe")]
        | Annotated[run_kind, tyro.conf.subcommand("run")]
        | Annotated[New, tyro.conf.subcommand("new")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[Publish, tyro.conf.subcommand("publish")]
        | Annotated[Register, tyro.conf.subcommand("register")]
        | Annotated[Merge, tyro.conf.subcommand("merge")]
        | Annotated[Power, tyro.conf.subcommand("power")]
        | Annotated[Draw, tyro.conf.subcommand("draw")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Compare, tyro.conf.subcommand("compare")],
        args=words.without_help(base) if words.asks_for_help_on_a_study(base) else base,
        prog="lrn",
        description=_DESCRIPTION,
    )


def _offering(command: type[Any], ids: Sequence[str]) -> type[Any]:
    """A class like ``command`` that also has each id as a subcommand with the same options."""
    choices = [Annotated[command, tyro.conf.subcommand(name)] for name in ids]
    field = Annotated[functools.reduce(operator.or_, choices), tyro.conf.arg(name="")]
    offering = dataclasses.make_dataclass(
        command.__name__, [("study", field, dataclasses.field(kw_only=True))], bases=(command,)
    )
    offering.__doc__ = command.__doc__
    return offering
