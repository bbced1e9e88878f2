"""Reads run folders, which may come from anywhere and be damaged anywhere, into `Run`.

A file that cannot be read never raises here: what is wrong goes into `Run.damage`, one sentence each.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrn import files
from lrn.report.fields import TEXT, Fields, read_object, text_of
from lrn.report.metrics import batches, last_values
from lrn.report.pictures import png
from lrn.report.predictions import OLD_WORDS, OUTCOMES, judged, registered, specs
from lrn.report.rejudge import judge_again
from lrn.report.run import OLD, Final, Place, Run
from lrn.study import seal
from lrn.study.verdict import VERSION, Verdict

_FILES = ("config.json", "provenance.json", "metrics.parquet", "verdict.json", "figure.png")
_VERDICTS = typing.get_args(Verdict)
_STUDY_FIELDS = ("study_path", "study_where", "study_sha256")


def find(root: Path) -> list[Path]:
    """The run folders under ``root``, sorted: ``<root>/<study>/<hash>/`` with one of a run's files in it."""
    return [
        folder
        for of_study in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        for folder in sorted(p for p in of_study.iterdir() if p.is_dir() and not p.name.startswith("."))
        if any((folder / name).exists() for name in _FILES) or _is_hash(folder.name)
    ]


def _is_hash(name: str) -> bool:
    return len(name) == 12 and set(name) <= set("0123456789abcdef")


def load(folder: Path) -> Run:
    """Read a run folder; never raises for what is in it."""
    run = Run(folder=folder, study=folder.parent.name)
    config = read_object(folder / "config.json", run.damage)
    verdict = read_object(folder / "verdict.json", run.damage)
    provenance = read_object(folder / "provenance.json", run.damage)
    has_verdict = (folder / "verdict.json").exists()
    if config is None and not (folder / "config.json").exists():
        run.damage.append("config.json is missing")
    if config is not None:
        _read_config(run, Fields(config, "config.json", run.damage))
        _check_registered(run, config)
    if verdict is not None:
        stated = run.predictions, run.controls
        _read_verdict(run, Fields(verdict, "verdict.json", run.damage))
        for key, then, now in zip(("predictions", "controls"), stated, (run.predictions, run.controls)):
            if config is not None and [r[:7] for r in then] != [r[:7] for r in now]:
                run.damage.append(f"the {key} of verdict.json are not those of config.json")
    if provenance is not None:
        run.provenance = provenance
    elif not (folder / "provenance.json").exists():
        run.damage.append("provenance.json is missing")
    if has_verdict:
        run.finals = _finals(run, folder / "metrics.parquet")
        run.figure = png(folder / "figure.png", run.damage, required=not run.figure_failed)
        run.figure_dark = png(folder / "figure-dark.png", run.damage, required=False)
        broken = _check_seal(run, verdict)
        if config is not None and run.verdict and not broken:
            run.state = "finished"
            judge_again(run, config, verdict or {})
    elif config is not None:
        _read_unfinished(run, provenance or {})
    return run


def _check_seal(run: Run, verdict: Mapping[str, Any] | None) -> bool:
    """Note and drop what is not as it was sealed; returns whether verdict or config are so."""
    looked = seal.look(run.folder)
    run.sealed = looked.sealed
    for name, wrong in looked.wrongs.items():
        # What cannot be read is said already.
        if not any(d.startswith(name) for d in run.damage):
            run.damage.append(f"{name} {wrong}")
    if "metrics.parquet" in looked.wrongs:
        run.finals = {}
    listed = (verdict or {}).get("seal")
    names = listed.get("files") if isinstance(listed, dict) else None
    kept = [n for n in seal.FIGURES if not looked.sealed or (isinstance(names, dict) and n in names)]
    if "figure.png" in looked.wrongs or "figure.png" not in kept:
        run.figure = run.figure_dark = None
    if "figure-dark.png" in looked.wrongs or "figure-dark.png" not in kept:
        run.figure_dark = None
    return bool({"config.json", "verdict.json"} & set(looked.wrongs))


def _read_unfinished(run: Run, provenance: Mapping[str, Any]) -> None:
    run.state = "unfinished"
    if "config_sha256" not in provenance:
        return  # of before there were seals
    run.sealed = True
    try:
        seal.read_stamped(run.folder / "provenance.json")
    except seal.Broken as broken:
        run.damage.append(f"provenance.json {broken}")
    if files.sha256(run.folder / "config.json") != provenance["config_sha256"]:
        run.damage.append("config.json does not match the checksum in provenance.json")
        run.state = "damaged"
    if provenance.get("finished"):
        run.damage.append("verdict.json is missing, though the run had ended; its command writes it again")
    if run.state == "unfinished" and provenance.get("failed"):
        run.state, run.failed = "failed", text_of(provenance["failed"])[:TEXT]


def _read_config(run: Run, fields: Fields) -> None:
    run.study = fields.text("study", required=True) or run.study
    run.claim = fields.text("claim", required=True)
    run.preset = fields.text("preset", required=True)
    for key in ("title", "claim_id", "section", "doc", "regime", "command", *_STUDY_FIELDS):
        setattr(run, key, fields.text(key))
    run.study_files = {k: v for k, v in fields.mapping("study_files").items() if isinstance(v, str)}
    run.title = run.title or run.study
    run.seeds = fields.whole_numbers("seeds")
    run.config = fields.mapping("config")
    run.alpha = fields.number("alpha")
    run.exploratory = "" if "regimes" in fields.values else OLD
    run.predictions = [registered(f, "primary") for f in specs(fields)]
    run.controls = [registered(f) for f in fields.objects("controls", "control")]


def _check_registered(run: Run, config: Mapping[str, Any]) -> None:
    """The predictions must be those that were hashed when the run began."""
    new = ("regimes", "controls", "claim", "alpha", "question")
    keys = new if "regimes" in config else ("predictions", *new[1:4])
    expected = config.get("predictions_sha256")
    if expected is not None and files.sha256_json([config.get(k) for k in keys]) != expected:
        run.damage.append("config.json: the predictions are not those that were hashed when the run began")


def _read_verdict(run: Run, fields: Fields) -> None:
    old = "judge" not in fields.values
    if not old and fields.values["judge"] != VERSION:
        fields.wrong("judge", f"is not {VERSION}, the only one that this version of lrn knows")
    verdict = fields.one_of("verdict", (*_VERDICTS, *(OLD_WORDS if old else ())), required=True)
    run.verdict = "open" if verdict == "inconclusive" else verdict
    run.reason, run.answer = fields.text("reason"), fields.text("answer")
    run.exploratory = OLD if old else fields.text("exploratory")
    run.figure_failed = fields.text("figure_failed")
    run.seeds = fields.whole_numbers("seeds") or run.seeds
    run.regimes = [] if old else [_place(f) for f in fields.objects("regimes", "regime")]
    predictions = fields.objects("predictions", "prediction")
    run.predictions = [judged(f, old, "primary") for f in predictions]
    run.controls = [judged(f, old) for f in fields.objects("controls", "control")]
    if fields.values.get("failures") is not None:
        run.failures = [
            {key: text_of(f.values.get(key)) for key in ("arm", "seed", "step", "metric")}
            for f in fields.objects("failures", "failure")
        ]


def _place(fields: Fields) -> Place:
    return Place(
        fields.text("name"),
        fields.one_of("outcome", OUTCOMES, required=True),
        fields.number("adjusted_holds"),
        fields.number("adjusted_fails"),
    )


def _finals(run: Run, path: Path) -> dict[tuple[str, str], Final]:
    """The last values of the run's table; notes what is wrong with it."""
    try:
        finals = last_values(batches(path))
    except seal.Broken as broken:
        run.damage.append(f"{path.name} {broken}")
        return {}
    except Exception:  # whatever a parquet reader makes of arbitrary bytes
        what = "cannot be read as a table of metrics" if path.exists() else "is missing"
        run.damage.append(f"{path.name} {what}")
        return {}
    seeds = np.unique(np.concatenate([np.zeros(0, np.int64), *(final.seeds for final in finals.values())]))
    if run.seeds and seeds.tolist() != sorted(run.seeds):
        run.damage.append(f"{path.name} has {len(seeds)} seeds that are not the {len(run.seeds)} of the run")
    return finals
