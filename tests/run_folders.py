"""Write run folders as the runner does, from invented numbers that give each verdict.

No real study has these ids, because the report would compare the folders with the study's file.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lrn import figures, files, table
from lrn.study import (
    Above,
    Below,
    Cell,
    Control,
    Equivalence,
    Exact,
    Regime,
    Share,
    Study,
    Superiority,
    Trend,
    Within,
    judge,
    seal,
    store,
)
from lrn.study.verdict import predictions_sha256
from lrn.table import Table

ARMS = ("standard", "fgsm", "rs_fgsm", "pgd")
ATTACKS = ("clean", "fgsm", "pgd", "square")
ACCURACY = np.array(
    [[0.97, 0.31, 0.02, 0.12], [0.95, 0.93, 0.11, 0.35], [0.94, 0.78, 0.61, 0.70], [0.92, 0.8, 0.74, 0.78]]
)


@dataclass(frozen=True)
class Config:
    """Settings."""

    eps: float = 0.1
    steps: int = 2000
    widths: tuple[int, ...] = (16, 32)


def made_up(
    seeds: Sequence[int], shift: float = 0.0, noise: float = 0.02, oracle: float = 0.0, random: int = 0
) -> Table:
    """Accuracy of four arms under four attacks; ``shift`` moves the FGSM-trained arm under PGD."""
    rng = np.random.default_rng(random)
    rows = []
    for i, arm in enumerate(ARMS):
        for j, attack in enumerate(ATTACKS):
            moved = shift if (arm, attack) == ("fgsm", "pgd") else 0.0
            values = ACCURACY[i, j] + moved + noise * rng.standard_normal(len(seeds))
            rows.append(table.rows(arm, seeds, 2000, f"accuracy_{attack}", np.clip(values, 0, 1)))
    for step in range(0, 2001, 500):
        loss = 2.3 * np.exp(-step / 800) + 0.05 * rng.random(len(seeds))
        rows.append(table.rows("pgd", seeds, step, "loss", loss))
    rows.append(table.rows("pgd", seeds, 0, "accuracy_unbounded", np.full(len(seeds), oracle)))
    rows.append(table.rows("fgsm", seeds, 0, "above_0.9", np.arange(len(seeds)) > 0))
    return table.concat(rows)


def regimes() -> tuple[Regime, Regime]:
    """Two regimes with a prediction of each kind."""
    cell = Cell
    return (
        Regime(
            name="one-step training",
            primary=(
                Superiority(
                    statement="Trained against FGSM, a network loses 0.3 accuracy or more from FGSM to PGD.",
                    key="drop",
                    better=cell("fgsm", "accuracy_fgsm"),
                    worse=cell("fgsm", "accuracy_pgd"),
                    margin=0.3,
                ),
            ),
            secondary=(
                Share(
                    statement="In most runs the FGSM-trained network stays above 0.9 under FGSM.",
                    cell=cell("fgsm", "above_0.9"),
                    bound=0.5,
                ),
                Below(
                    statement="Standard training leaves less than 0.1 of the images right under PGD.",
                    cell=cell("standard", "accuracy_pgd", 2000),
                    bound=0.1,
                ),
            ),
        ),
        Regime(
            name="multi-step training",
            gate=Above(
                statement="PGD training learns the task at all.",
                cell=cell("pgd", "accuracy_clean"),
                bound=0.5,
            ),
            primary=(
                Superiority(
                    statement="Training against PGD loses at most 0.2 to FGSM training on FGSM itself.",
                    better=cell("pgd", "accuracy_fgsm"),
                    worse=cell("fgsm", "accuracy_fgsm"),
                    margin=-0.2,
                ),
                Equivalence(
                    statement="RS-FGSM and PGD training are equally accurate on clean images.",
                    one=cell("rs_fgsm", "accuracy_clean"),
                    other=cell("pgd", "accuracy_clean"),
                    margin=0.05,
                ),
            ),
            secondary=(
                Within(
                    statement="PGD training keeps between 0.85 and 1 of the clean images.",
                    cell=cell("pgd", "accuracy_clean"),
                    low=0.85,
                    high=1.0,
                ),
                Trend(
                    statement="Accuracy under PGD rises with the strength of the training attack.",
                    over=tuple(cell(a, "accuracy_pgd") for a in ("standard", "rs_fgsm", "pgd")),
                    levels=(0.0, 1.0, 2.0),
                ),
            ),
        ),
    )


UNDECIDED = Regime(
    name="random starts",
    primary=(
        Superiority(
            statement="PGD training loses less than 0.02 accuracy to RS-FGSM on clean images.",
            better=Cell("pgd", "accuracy_clean"),
            worse=Cell("rs_fgsm", "accuracy_clean"),
            margin=-0.02,  # equals the loss
        ),
    ),
)


def controls() -> tuple:
    """One control that voids the verdict, and one that gives a caution."""
    return (
        Control(
            Exact(
                statement="An unbounded attack leaves no image right.",
                cell=Cell("pgd", "accuracy_unbounded"),
                value=0.0,
                atol=0.001,
            )
        ),
        Control(
            Superiority(
                statement="On the FGSM-trained network the black-box attack is no stronger than PGD.",
                better=Cell("fgsm", "accuracy_square"),
                worse=Cell("fgsm", "accuracy_pgd"),
                margin=-0.02,
            ),
            consequence="flag",
        ),
    )


def draw(results: Table, config: Any):
    """A matrix of accuracies."""
    fig, ax = figures.subplots(height=3.8)
    values = [[results.final(arm, f"accuracy_{attack}") for attack in ATTACKS] for arm in ARMS]
    figures.matrix(
        ax, values, ARMS, ATTACKS, title="Accuracy under attack", xlabel="attack", ylabel="trained against"
    )
    return fig


STUDY = Study(
    title="Does robustness carry over from attack to attack?",
    claim="A network made robust to FGSM stays vulnerable to PGD, and the other way round.",
    claim_id="O3",
    section="Observations",
    regime="8 x 8 scans of handwritten digits, a two-layer CNN, Linf balls of 0.1; made up for tests.",
    presets={p: Config() for p in ("smoke", "quick", "full")},
    regimes=regimes(),
    controls=controls(),
    run=lambda config, context: None,
    figure=draw,
)


@functools.cache
def drawn() -> dict[str, bytes]:
    """The files of one figure, drawn once per session."""
    with tempfile.TemporaryDirectory() as folder:
        paths = figures.save(lambda: draw(made_up(range(10)), Config()), Path(folder))
        return {p.name: p.read_bytes() for p in paths}


def write(
    root: Path,
    study_id: str = "made_up.attack_transfer",
    *,
    study: Study = STUDY,
    results: Table | None = None,
    preset: str = "quick",
    seeds: Sequence[int] = range(10),
    config: Config | None = None,
    name: str | None = None,
    finished: str | None = "2026-03-01T12:30:00+00:00",
    failures: Sequence[dict[str, Any]] = (),
    command: str | None = None,
    study_path: str = "",
    study_sha256: str = "0" * 64,
    study_files: dict[str, str] | None = None,
    study_where: str = "",
    failed: str | None = None,
    sealed: bool = True,
    answer: str | None = None,
    exploratory: str = "",
    doc: str = "Four ways to train, four ways to attack.\n\nThe matrix shows which robustness carries over.",
) -> Path:
    """Write a run folder; ``finished=None`` gives that of a killed run, ``sealed=False`` an old run's."""
    config = config or Config()
    seeds = list(seeds)
    results = made_up(seeds) if results is None else results
    folder = root / study_id / (name or store.run_hash(study_id, preset, config, tuple(seeds), study_sha256))
    command = command or f"python -m experiments run {study_id} --preset {preset} --seeds {len(seeds)}"
    files.write_json(
        folder / "config.json",
        {
            "study": study_id,
            **{k: getattr(study, k) for k in ("title", "claim", "claim_id", "section", "regime", "alpha")},
            "doc": doc,
            "preset": preset,
            "seeds": seeds,
            "config": store.plain(config),
            "question": study.question,
            "regimes": [r.spec() for r in study.asked(config)],
            "controls": [c.spec() for c in study.controlled(config)],
            "predictions_sha256": predictions_sha256(study, config),
            "study_sha256": study_sha256,
            "study_path": study_path,
            "command": command,
            **({"format": seal.FORMAT, "study_where": study_where} if sealed else {}),
            **({"study_files": study_files} if study_files else {}),
        },
    )
    files.write_json(
        folder / "provenance.json",
        {
            "git_commit": "3101e10f0c0ffee0000000000000000000000000",
            "git_dirty": False,
            "lrn_version": "0.1.0",
            "lrn_sha256": "a" * 64,
            "python": "3.11.9",
            "packages": {"jax": "0.10.2", "numpy": "2.2.1"},
            "platform": "Linux-6.1-x86_64",
            "device": "AMD EPYC 7B13",
            "backend": "cpu",
            "devices": 1,
            "processes": 1,
            "cpus": 2,
            "started": "2026-03-01T12:28:47+00:00",
            "resumed": 1,
            "wall_seconds": 73.4,
            "cpu_seconds": 131.0,
            "peak_memory_bytes": 851_000_000,
            "finished": finished,
            "failed": failed,
        },
    )
    if sealed:
        stamp(folder)
    if finished is not None:
        results.write(folder / "metrics.parquet")
        for file, content in drawn().items():
            files.write_bytes(folder / file, content)
        verdict = {
            "study": study_id,
            "preset": preset,
            "seeds": seeds,
            **judge(study, config, preset, results),
            "exploratory": exploratory,
            "answer": answer,
            "failures": list(failures),
            "seconds": 73.4,
        }
        files.write_json(folder / "verdict.json", verdict)
        if sealed:
            reseal(folder)
    return folder


def stamp(folder: Path, **changes: Any) -> None:
    """Change fields of provenance.json, and correct its hashes."""
    path = folder / "provenance.json"
    value = json.loads(path.read_bytes()) | changes | {"config_sha256": files.sha256(folder / "config.json")}
    files.write_bytes(path, seal.stamped(value))


def reseal(folder: Path, **changes: Any) -> None:
    """Correct the seals after a change, as a forger would."""
    stamp(folder, **changes)
    verdict = json.loads((folder / "verdict.json").read_bytes())
    files.write_bytes(folder / "verdict.json", seal.sealed(verdict, folder))


def age(folder: Path, verdict: str, reason: str) -> None:
    """Rewrite a finished run as lrn wrote it before there were regimes: a flat list of predictions."""
    new, judged = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("config", "verdict"))
    words = {"holds": "supported", "fails": "refuted", "open": "inconclusive"}

    def old(entry: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any]:
        kept = ("kind", "statement", "metric", "arms", "params", "consequence")
        made = {"regime": "", **{k: entry[k] for k in kept if k in entry}}
        if found is None:
            return made
        same = ("effect", "interval", "n", "hedges_g", "probability_of_improvement", "detail")
        made |= {k: found[k] for k in same} | {"p": found["p_holds"], "p_against": found["p_fails"]}
        return made | {"p_adjusted": found["p_holds"], "outcome": words[found["outcome"]]}

    flat = judged["predictions"]
    config = {k: v for k, v in new.items() if k not in ("regimes", "question")}
    config |= {"predictions": [old(p, None) for p in flat]}
    config["controls"] = [old(c, None) for c in new["controls"]]
    hashed = [config[k] for k in ("predictions", "controls", "claim", "alpha")]
    files.write_json(folder / "config.json", config | {"predictions_sha256": files.sha256_json(hashed)})
    known = ("study", "preset", "seeds", "failures", "seconds")
    said = {k: judged[k] for k in known} | {"verdict": verdict, "reason": reason}
    said["predictions"] = [old(p, p) for p in flat]
    said["controls"] = [{**old(c, c), "p_adjusted": None, "passed": c["passed"]} for c in judged["controls"]]
    files.write_json(folder / "verdict.json", said)
    reseal(folder)


def write_gallery(root: Path) -> dict[str, Path]:
    """A folder for each verdict and each possible defect; from what it shows to its folder."""

    def variant(claim_id: str, section: str, **changes: Any) -> Study:
        return replace(STUDY, claim_id=claim_id, section=section, **changes)

    one_way, both = made_up(range(10), shift=0.0), made_up(range(10), shift=0.75)
    one_step = STUDY.asked(Config())[0]
    guard = replace(UNDECIDED.primary[0], statement="Both learn clean images.")
    nan = table.rows("fgsm", [3], 2000, "accuracy_pgd", np.nan)
    failed = table.concat([made_up(range(10)), nan])
    studies = {
        "supported": write(
            root,
            study=STUDY,
            results=one_way,
            answer="Trained on FGSM, accuracy falls 82 points [80, 84] from FGSM to PGD.",
        ),
        "refuted": write(
            root,
            "made_up.linearity",
            study=variant(
                "I3", "Insights", regimes=(one_step,), title="Does vulnerability stem from linear behavior?"
            ),
            results=both,
        ),
        "mixed": write(
            root,
            "made_up.base_rates",
            study=variant("I5", "Insights", title="Base rates or bias?"),
            results=both,
        ),
        "partly supported": write(
            root,
            "made_up.transfer",
            study=variant("I9", "Insights", regimes=(one_step, UNDECIDED), title="Does it transfer?"),
            exploratory="its seeds were chosen on the command line",
        ),
        "partly refuted": write(
            root,
            "made_up.pruning",
            study=variant("F2", "Failure modes", regimes=(one_step, UNDECIDED), title="Does pruning help?"),
            results=both,
        ),
        "open": write(
            root,
            "made_up.sample_efficiency",
            study=variant("T4", "Trade-offs", regimes=(UNDECIDED,), title="Are models worth their bias?"),
        ),
        "answered": write(
            root,
            "made_up.curvature",
            study=variant("Q7", "Open questions", regimes=(), question=True, title="Which curvature?"),
            answer="The curvature is highest after FGSM training.",
        ),
        "caution": write(
            root,
            "made_up.noise",
            study=variant(
                "C8", "Concepts", controls=(*controls(), Control(guard)), title="What does noise do?"
            ),
        ),
        "underpowered": write(
            root,
            "made_up.rapid_adaptation",
            study=variant("I8", "Insights", title="Does MAML adapt in few steps?"),
            seeds=range(5),
        ),
        "invalid": write(
            root,
            "made_up.collapse",
            study=variant("F1", "Failure modes", title="When do trivial solutions win?"),
            results=made_up(range(10), oracle=0.4),
        ),
        "smoke": write(
            root,
            "made_up.objectives",
            study=variant("C1", "Concepts", title="Do the objectives learn features?"),
            preset="smoke",
            seeds=range(2),
        ),
        "unfinished": write(
            root,
            "made_up.deadly_triad",
            study=variant("I6", "Insights", title="What makes value learning diverge?"),
            finished=None,
        ),
        "damaged": write(
            root, "made_up.exploration", study=variant("O6", "Observations", title="Exploration by noise")
        ),
        "failed": write(
            root,
            "made_up.certified_smoothing",
            study=variant("I2", "Insights", title="What does a certificate cost?"),
            results=failed,
            failures=[{"arm": "fgsm", "seed": 3, "step": 1412, "metric": "loss"}],
        ),
        "deviated": write(
            root,
            "made_up.accuracy_tradeoff",
            study=variant("T2", "Trade-offs", title="What does robustness cost?"),
            study_path=__file__,
        ),
        "unsealed": write(
            root,
            "made_up.old",
            study=variant("T3", "Trade-offs", title="What was found long ago?"),
            sealed=False,
        ),
        "error": write(
            root,
            "made_up.no_data",
            study=variant("C7", "Concepts", title="What if there is nothing to learn from?"),
            finished=None,
            failed="mnist/train was not found.",
        ),
        "changed": write(
            root,
            "made_up.identifiability",
            study=variant("Q6", "Open questions", title="Does identifiability help?"),
            config=Config(eps=0.2),
            command="python -m experiments run made_up.identifiability --config.eps 0.2",
        ),
    }
    studies["old"] = write(
        root, "made_up.older", study=variant("T5", "Trade-offs", title="What was it then?")
    )
    age(studies["old"], "inconclusive", "1 of 7 predictions could not be decided with 10 seeds.")
    (studies["damaged"] / "verdict.json").write_text('{"study": "rl.explo')
    (studies["failed"] / "figure-dark.png").unlink()
    write(root, preset="smoke", seeds=range(2), finished="2026-03-02T09:00:00+00:00")
    write(root, seeds=range(8), finished="2026-02-20T09:00:00+00:00")
    write(root, preset="full", seeds=range(20), finished=None)
    return studies
