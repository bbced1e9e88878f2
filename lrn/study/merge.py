"""A run from its parts: the table, the registration and the verdict are those of a run in one place.

The parts must be of one run: of the same study, code, settings and registration, each seed in one part.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrn import check, files, interrupt
from lrn import table as tables
from lrn.study import parts, runner, seal, store
from lrn.study.runner import Begun, Outcome

_CODE = ("lrn_sha256", "python", "packages")  # in provenance.json; a run resumes with the same ones only


class _Part(NamedTuple):
    """A finished part of a run: its folder, and the objects in its three JSON files."""

    folder: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    verdict: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        return self.config["part"]["seeds"]


def find(folders: Sequence[Path]) -> list[Path]:
    """The folders of parts among ``folders`` and directly in them.

    Raises:
        InputError: a folder is no part and holds none.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        inside = sorted(path.parent for path in folder.glob("*-of-*/config.json"))
        own = [folder] if (folder / "config.json").is_file() else inside
        if not own:
            raise check.InputError(f"{folder} holds no part of a run; give runs/<study>/<hash>.parts.")
        found += own
    return list(dict.fromkeys(path.resolve() for path in found))


def merge(
    folders: Sequence[Path], out: Path | None = None, fresh: bool = False, say: Callable[[str], None] = print
) -> Outcome:
    """Make a run from all its parts, or return the outcome of the run that was made of them before.

    Args:
        folders: the parts, or folders of parts.
        out: the folder of all runs; by default the one in which the first part lies.
        fresh: whether to remove an earlier run of the same settings first.
        say: prints one sentence to the user.

    Raises:
        store.Busy: another process uses the folder of the run.
        InputError: a part is unfinished, damaged or missing; the parts are not of one run; or the study is
            not the one that they ran.
    """
    found = [_read(folder) for folder in find(folders)]
    if not found:
        raise check.InputError("merge needs the parts of a run; give runs/<study>/<hash>.parts.")
    _check_one_run(found)
    found.sort(key=lambda part: part.config["seeds"].index(part.seeds[0]))
    first = found[0]
    study, config = runner.study_of(first.folder)
    if first.provenance["lrn_sha256"] != store.source_sha256():
        raise check.InputError(
            f"{first.folder} was made by other code of lrn; go back to that code to merge, or run it again."
        )
    table, failures = parts.joined([_blocks(part) for part in found])
    preset, seeds = first.config["preset"], tuple(first.config["seeds"])
    out = out or first.folder.parents[2]  # of <out>/<study>/<hash>.parts/<i>-of-<n>
    folder = runner.folder_of(study, preset, config, seeds, out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupt.handled())
        stack.enter_context(store.owned(folder))
        store.clean(folder, fresh)
        if (folder / "verdict.json").exists():
            return Outcome(folder, runner.finished(study, folder, say), reused=True)
        if (folder / "checkpoints").exists():
            raise check.InputError(
                f"{folder} holds an unfinished run of the same seeds in one place; use --fresh to remove it."
            )
        begun = Begun(None, _provenance(found), store.Clock(_cost(found)))
        registered = {k: v for k, v in first.config.items() if k != "part"}
        registered["study_where"] = runner.where_of(study, out)
        files.write_json(folder / "config.json", registered)
        verdict = runner.verdict_of(study, preset, config, seeds, table, failures, say)
        runner.finish(folder, study, config, table, verdict, begun, say)
    return Outcome(folder, verdict, reused=False)


def _read(folder: Path) -> _Part:
    """A finished part.

    Raises:
        InputError: the folder holds none, or it is damaged.
    """
    if not (folder / "verdict.json").exists():
        raise check.InputError(f"{folder} is unfinished, it has no verdict.json; run that part to its end.")
    state = seal.look(folder)
    if state.wrongs or state.verdict is None:
        raise check.InputError(f"{folder} is damaged ({state.sentence}); run that part again with --fresh.")
    config = json.loads((folder / "config.json").read_bytes())
    if state.verdict.get("verdict") != parts.VERDICT or "part" not in config:
        raise check.InputError(
            f"{folder} is a whole run and no part; run parts with --part I/N, or with --cluster and --jobs."
        )
    return _Part(folder, config, json.loads((folder / "provenance.json").read_bytes()), state.verdict)


def _check_one_run(found: Sequence[_Part]) -> None:
    """Raise InputError unless these are all parts of one run."""
    first = found[0]
    for other in found[1:]:
        if what := _differs(first, other):
            raise check.InputError(f"{first.folder} and {other.folder} are not of one run: {what}.")
    owner: dict[int, _Part] = {}
    for part in found:
        for seed in part.seeds:
            if seed in owner:
                raise check.InputError(
                    f"seed {seed} is in {owner[seed].folder} and in {part.folder}; give each seed once."
                )
            owner[seed] = part
    if lacking := [seed for seed in first.config["seeds"] if seed not in owner]:
        some = ", ".join(map(str, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
        raise check.InputError(
            f"{len(lacking)} of {len(first.config['seeds'])} seeds are in no part ({some}); give all parts."
        )
    choices: dict[str, tuple[Any, _Part]] = {}
    for part in found:
        for name, made in part.verdict["choices"].items():
            before, other = choices.setdefault(name, (made, part))
            if before != made:
                raise check.InputError(
                    f"{other.folder} and {part.folder} chose other settings ({before} and {made}), and one "
                    "place would have chosen the same for all seeds; run the study in one place."
                )


def _differs(a: _Part, b: _Part) -> str:
    """What tells two parts to be of different runs, as a clause; "" if they are of one run."""
    if a.config["study"] != b.config["study"]:
        return f"one is of {a.config['study']}, the other of {b.config['study']}"
    if a.config["study_sha256"] != b.config["study_sha256"]:
        then, now = (part.config["study_files"] for part in (a, b))
        changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
        return f"the code differs in {' and '.join(changed)}"
    for key in _CODE:
        if a.provenance[key] != b.provenance[key]:
            return f"the code differs ({'that of lrn' if key == 'lrn_sha256' else key})"
    if a.config["preset"] != b.config["preset"]:
        return f"the presets are {a.config['preset']} and {b.config['preset']}"
    if a.config["config"] != b.config["config"]:
        fields = [k for k, v in a.config["config"].items() if b.config["config"].get(k) != v]
        return f"the settings differ in {' and '.join(fields)}"
    if a.config["predictions_sha256"] != b.config["predictions_sha256"]:
        return "they registered different predictions"
    if a.config["seeds"] != b.config["seeds"]:
        return "they are parts of different lists of seeds"
    return ""


def _blocks(part: _Part) -> list[parts.Block]:
    table = tables.read(part.folder / "metrics.parquet")
    return parts.cut(table, part.verdict["failures"], part.verdict["blocks"])


def _provenance(found: Sequence[_Part]) -> dict[str, Any]:
    """The provenance of the run: that of its first part, and where each part ran."""
    own = {"git_commit", "git_dirty", "platform", "device", "backend", "devices", "processes", "cpus"}
    told = (*sorted(own), "started", "finished", "wall_seconds", "cpu_seconds")
    first = {k: v for k, v in found[0].provenance.items() if k in own | {"lrn_version", *_CODE}}
    first["git_dirty"] = _any_dirty(found)
    return {
        **first,
        "parts": [
            {"seeds": part.seeds, **{name: part.provenance.get(name) for name in told}} for part in found
        ],
    }


def _any_dirty(found: Sequence[_Part]) -> bool | None:
    """Whether the checkout of a part was changed, or parts ran from different commits."""
    several = len({part.provenance["git_commit"] for part in found}) > 1
    known = [part.provenance["git_dirty"] for part in found]
    return True if several or any(known) else None if None in known else False


def _cost(found: Sequence[_Part]) -> dict[str, Any]:
    """What the parts cost together, as `store.Clock` continues it."""
    costs = [part.provenance for part in found]
    return {
        "started": min(cost["started"] for cost in costs),
        "resumed": sum(cost["resumed"] for cost in costs) - 1,
        "wall_seconds": sum(cost["wall_seconds"] for cost in costs),
        "cpu_seconds": sum(cost["cpu_seconds"] for cost in costs),
        "peak_memory_bytes": max(cost["peak_memory_bytes"] for cost in costs),
    }
