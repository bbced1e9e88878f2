"""Commands that need a study's file and no run: list, describe, new, register."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from lrn import check
from lrn.cli.columns import print_columns
from lrn.cli.commands import Describe, List, New, Register
from lrn.study import discover, home, register, store
from lrn.study.discover import StudyFile


def list_studies(command: List) -> int:
    """List the studies that come with lrn, and say which of them failed when they last ran."""
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
    print_columns([entry[:-1] for entry in shown], [entry[-1] for entry in shown])
    for row in rows:
        if "failed" in row:
            print(f"\n{row['id']}: its last run in {command.out} failed: {row['failed']}")
    print(f"\n{home.command()} describe ID says more; run ID runs it.")
    return 0


def describe(command: Describe) -> int:
    """Print what a study claims, predicts and controls, and its presets."""
    file = discover.load(command.id)
    preset = next(iter(file.study.presets)) if "quick" not in file.study.presets else "quick"
    value = _description(file, preset)
    if command.json:
        print(json.dumps(value, indent=1))
    else:
        _print_description(file, preset, value)
    return 0


def _description(file: StudyFile, preset: str) -> dict[str, Any]:
    """A study as JSON, with its predictions and controls at one preset."""
    study = file.study
    config = study.presets[preset]
    return {
        "id": file.id,
        "path": str(file.path),
        **{
            k: getattr(study, k) for k in ("title", "claim", "claim_id", "section", "regime", "alpha", "tour")
        },
        "doc": file.doc,
        "presets": {
            p: {"config": store.plain(c), "seeds": study.seeds_for(p)} for p, c in study.presets.items()
        },
        "regimes": [r.spec() for r in study.asked(config)],
        "controls": [c.spec() for c in study.controlled(config)],
    }


def _print_description(file: StudyFile, preset: str, value: dict[str, Any]) -> None:
    study = file.study
    print(f"{file.id} ({study.claim_id}, {study.section}): {study.title}\n")
    print(f"Claim: {study.claim}\n\n{file.doc}\n\nSetting: {study.regime}\n\nRegimes (at {preset}):")
    for regime in study.asked(study.presets[preset]):
        print(f"  {regime.name}")
        for role, p in regime.all:
            print(f"  - {p.statement} [{p.kind}{'' if role == 'primary' else f', {role}'}]")
    print("Controls:")
    for c in value["controls"]:
        print(f"  - {c['statement']} [{c['kind']}; else {c['consequence']}]")
    print("Presets:")
    for name, item in value["presets"].items():
        settings = ", ".join(f"{k}={v}" for k, v in item["config"].items())
        print(f"  {name}: {item['seeds']} seeds; {settings}")


def new(command: New) -> int:
    """Write the template of a study to a new file.

    Raises:
        InputError: the path is no name of a Python module, or a file has it already.
    """
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


def register_studies(command: Register) -> int:
    """Write the registration of each study, and print the paths.

    Raises:
        InputError: no study is named, or one of them is exploratory.
    """
    if not command.ids:
        raise check.InputError("register needs the id of a study; `list` shows them.")
    for name in command.ids:
        print(register.register(discover.load(name)))
    return 0
