"""The results as pages of the documentation: a table of all claims; a page an area, with answers and figures.

What is written is Markdown and pictures, to be committed: the answers are what people come for. A claim
without a finished run says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lrn import check, files
from lrn.report import text
from lrn.report.page import Entry, in_order
from lrn.report.runs import Run, find, load

NOT_RUN = "not run"
_SECTIONS = ("Concepts", "Insights", "Failure modes", "Trade-offs", "Observations", "Open questions")


class Claim(NamedTuple):
    """A statement of the notes, and the study that decides it."""

    id: str
    section: str
    study: str
    claim: str

    @property
    def area(self) -> str:
        """The folder of its study."""
        return self.study.split(".")[0]


def read_claims(path: Path) -> list[Claim]:
    """The claims of a JSON file: a list of objects with id, section, study and claim.

    Raises:
        InputError: it is not such a file, or two claims share an id.
    """
    try:
        found = [Claim(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise check.InputError(f"{path} is no list of claims ({error}); restore it.") from error
    if len({c.id for c in found}) < len(found):
        raise check.InputError(f"{path} has two claims of one id; give each its own.")
    for claim in found:
        check.choice(f"the section of {claim.id}", claim.section, _SECTIONS)
    return found


def publish(claims: Sequence[Claim], out: Path, docs: Path) -> list[Path]:
    """Write ``docs/README.md``, ``docs/<area>.md`` and ``docs/figures/<study>.png`` from finished runs.

    Args:
        claims: all there are.
        out: the folder of all runs; of each study its best finished run is taken (registered, then full).
        docs: where the pages go; pages of before are replaced.

    Returns:
        The paths written.

    Raises:
        InputError: there is no folder of runs.
        OSError: a page cannot be written.
    """
    if not out.is_dir():
        raise check.InputError(f"there is no folder of runs {out}; run a study first, or give its folder.")
    shown = {e.run.study: e for e in in_order(map(load, find(out))) if e.run.state == "finished"}
    runs = {c.study: shown[c.study] for c in claims if c.study in shown}
    pages = {"README.md": _index(claims, runs)}
    for area in dict.fromkeys(c.area for c in claims):
        pages[f"{area}.md"] = _area(area, [c for c in claims if c.area == area], runs)
    pages["index.json"] = json.dumps(_facts(runs), indent=1) + "\n"
    written = []
    for name, content in pages.items():
        files.write_bytes(docs / name, content.encode())
        written.append(docs / name)
    for study, entry in runs.items():
        if entry.run.figure:
            files.write_bytes(docs / "figures" / f"{study}.png", entry.run.figure)
            written.append(docs / "figures" / f"{study}.png")
    return written


def published(docs: Path) -> dict[str, dict[str, Any]]:
    """What the pages were made from, by study: the hash of its code, the run, the verdict.

    Raises:
        InputError: nothing was published there.
    """
    try:
        return json.loads((docs / "index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise check.InputError(f"{docs} holds no published results; publish them first.") from error


def _facts(runs: dict[str, Entry]) -> dict[str, dict[str, Any]]:
    return {
        study: {
            "study_sha256": e.run.study_sha256,
            "run": e.run.name,
            "preset": e.run.preset,
            "verdict": e.status,
            "exploratory": e.run.exploratory,
        }
        for study, e in sorted(runs.items())
    }


def _index(claims: Sequence[Claim], runs: dict[str, Entry]) -> str:
    lines = [
        "# Results",
        "",
        f"What the notes claim, and what came out: {len(claims)} claims, of which {len(runs)} have a run. A "
        "verdict is exploratory where its study was not registered before it ran.",
        "",
        "| section | " + " | ".join(_words(claims, runs)) + " |",
        "|---|" + "---|" * len(_words(claims, runs)),
    ]
    for section in _SECTIONS:
        own = [c for c in claims if c.section == section]
        counts = [sum(_verdict(c, runs) == word for c in own) for word in _words(claims, runs)]
        lines.append(f"| {section} | " + " | ".join(str(n) if n else "" for n in counts) + " |")
    for section in _SECTIONS:
        lines += ["", f"## {section}", "", "| | claim | verdict | answer |", "|---|---|---|---|"]
        lines += [_row(c, runs) for c in claims if c.section == section]
    return "\n".join(lines) + "\n"


def _words(claims: Sequence[Claim], runs: dict[str, Entry]) -> list[str]:
    return [*dict.fromkeys(sorted({_verdict(c, runs) for c in claims} - {NOT_RUN})), NOT_RUN]


def _verdict(claim: Claim, runs: dict[str, Entry]) -> str:
    return runs[claim.study].status if claim.study in runs else NOT_RUN


def _row(claim: Claim, runs: dict[str, Entry]) -> str:
    entry = runs.get(claim.study)
    said = _cell(entry.run.answer or entry.run.reason) if entry else ""
    verdict = _verdict(claim, runs) + (" (exploratory)" if entry and entry.run.exploratory else "")
    link = f"[{claim.id}]({claim.area}.md#{_anchor(claim)})"
    return f"| {link} | {_cell(claim.claim)} | {verdict} | {said} |"


def _area(area: str, claims: Sequence[Claim], runs: dict[str, Entry]) -> str:
    lines = [f"# Results: {area}", ""]
    for claim in claims:
        lines += [f"## {claim.id}. {claim.study}", "", f"*{claim.claim}*", ""]
        entry = runs.get(claim.study)
        lines += _study(claim, entry.run, entry.status) if entry else ["Not run.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _study(claim: Claim, run: Run, verdict: str) -> list[str]:
    lines = [f"**{verdict}.** {run.answer or run.reason}", ""]
    if run.exploratory:
        lines += [f"Exploratory: {run.exploratory.rstrip('.')}.", ""]
    if run.figure:
        lines += [f"![{claim.study}](figures/{claim.study}.png)", ""]
    lines += ["| regime | outcome | prediction | effect |", "|---|---|---|---|"]
    for result in run.predictions:
        if result.role in ("primary", "gate"):
            shown = " ".join(text.effect(result.effect, result.low, result.high))
            regime = next((r.outcome for r in run.regimes if r.name == result.regime), "")
            cells = (f"{result.regime}: {regime}", result.outcome, result.statement, shown)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    p = run.provenance
    facts = [
        text.seeds(run.seeds),
        f"preset {run.preset}",
        text.duration(p.get("wall_seconds")),
        f"commit {str(p['git_commit'])[:12]}" if p.get("git_commit") else "",
    ]
    return [*lines, "", "; ".join(f for f in facts if f) + f". `{run.command}`", ""]


def _anchor(claim: Claim) -> str:
    return f"{claim.id}-{claim.study}".lower().replace(".", "")


def _cell(said: str) -> str:
    """Text that stays in one cell of a table."""
    return " ".join(said.split()).replace("|", "\\|")
