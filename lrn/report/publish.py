"""The results as pages of the documentation: a table of all claims; a page an area, with answers and figures.

What is written is Markdown and pictures, to be committed: the answers are what people come for. A claim
without a finished run says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrn import check, files
from lrn.report import second, text
from lrn.report.answers import HOWS, answer_of, first_sentence
from lrn.report.claims import Claim
from lrn.report.entries import Entry, in_order
from lrn.report.folders import find, load
from lrn.report.page import NOT_RUN, STATUSES
from lrn.report.published import INDEX, Facts, published
from lrn.report.run import Run
from lrn.study import SECTIONS, discover

# The index names a page of this name beside it, which is written by hand.
METHOD = (
    "How verdicts are reached, how often they err, and which of the first ones changed: "
    "[method.md](method.md).",
    "",
)
MARKS = ("<!-- results: written by `python -m experiments publish` -->", "<!-- end of results -->")


def publish(
    claims: Sequence[Claim], out: Path, docs: Path, readme: Path | None = None, drop: bool = False
) -> list[Path]:
    """Write ``docs/README.md``, ``docs/<area>.md`` and ``docs/figures/<study>.png`` from finished runs.

    A study that is published and has no finished run in ``out`` keeps its part of the pages, so that a clone,
    which has the pages and no runs, publishes what it ran itself.

    Args:
        claims: all there are.
        out: a folder of runs; of each study its best finished run is taken (registered, then full). Runs of
            the smoke preset count as none, and runs on second seeds only stand beside the first.
        docs: where the pages go; pages of before are replaced.
        drop: whether a study that is published, and has no finished run in ``out``, is published no more.
        readme: a page whose lines between `MARKS` become the counts of verdicts by section.

    Returns:
        The paths written.

    Raises:
        InputError: there is no folder of runs, the published facts are of an older form, or the page lacks
            the marks.
        OSError: a page cannot be read or written.
    """
    if not out.is_dir():
        raise check.InputError(f"there is no folder of runs {out}; run a study first, or give its folder.")
    every = [load(folder) for folder in find(out)]
    seconds = [second.facts_of(run) for run in every if second.is_second(run) and run.state == "finished"]
    first = in_order(run for run in every if not second.is_second(run))
    entries = {entry.run.study: entry for entry in reversed(first)}
    done = {s: e for s, e in entries.items() if e.run.state == "finished" and e.run.verdict != "smoke"}
    runs = {claim.study: done[claim.study].run for claim in claims if claim.study in done}
    facts = {} if drop or not (docs / INDEX).exists() else published(docs, claims)
    seconds += [own["second"] for own in facts.values() if "second" in own]
    for claim in claims:
        if claim.study in runs:
            facts[claim.study] = _facts(claim, runs[claim.study], _smaller(done[claim.study]))
    for study, own in facts.items():
        own.pop("second", None)
        if found := second.fitting(study, own, seconds):
            own["second"] = found
    studies = discover.find()
    method = METHOD if (docs / "method.md").exists() else ()
    pages: dict[str, bytes] = {"README.md": _index(claims, facts, method).encode()}
    for area in dict.fromkeys(claim.area for claim in claims):
        pages[f"{area}.md"] = _area([c for c in claims if c.area == area], facts, studies).encode()
    pages[INDEX] = (json.dumps(dict(sorted(facts.items())), indent=1) + "\n").encode()
    for study, run in runs.items():
        for theme, picture in (("", run.figure), ("-dark", run.figure_dark)):
            if picture:
                pages[f"figures/{study}{theme}.png"] = picture
    written = {docs / name: content for name, content in pages.items()}
    if readme is not None:
        written[readme] = _marked(readme, [*_counts(claims, facts), "", _where(readme, docs)]).encode()
    for path, content in written.items():
        files.write_bytes(path, content)
    return list(written)


def _marked(page: Path, lines: Sequence[str]) -> str:
    """The text of a page with these lines between its marks."""
    content = page.read_text(encoding="utf-8")
    before, begin, rest = content.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise check.InputError(
            f"{page} lacks the lines {MARKS[0]!r} and {MARKS[1]!r}; add both, in this order."
        )
    return "\n".join([before + begin, "", *lines, "", end + after])


def _where(readme: Path, docs: Path) -> str:
    index = (docs / "README.md").resolve()
    folder = readme.resolve().parent
    link = index.relative_to(folder) if index.is_relative_to(folder) else index
    return f"Every claim, its answer and its figure: [{link.parent.as_posix()}]({link.as_posix()})."


def _smaller(entry: Entry) -> list[Run]:
    """The registered runs of a study at other presets than that of the run it is judged by, one of each."""
    by_preset = {}
    for run in (shown.run for shown in entry.older):
        if run.verdict not in ("smoke", "underpowered") and not run.overridden and not run.exploratory:
            by_preset.setdefault(run.preset, run)
    by_preset.pop(entry.run.preset, None)
    return list(by_preset.values())


def _facts(claim: Claim, run: Run, smaller: Sequence[Run]) -> dict[str, Any]:
    """What is kept of a run in the pages; its names are `FACTS`."""
    return {
        "study_sha256": run.study_sha256,
        "run": run.name,
        "preset": run.preset,
        "seeds": len(run.seeds),
        "seconds": run.provenance.get("wall_seconds"),
        "commit": run.provenance.get("git_commit"),
        "changed": bool(run.provenance.get("git_dirty")),
        "finished": run.finished,
        "verdict": run.verdict,
        "exploratory": run.exploratory,
        "regimes": second.regimes_of(run),
        "answer": first_sentence(answer_of(run)),
        "page": "\n".join(_study(claim, run, smaller)),
    }


def _verdict(claim: Claim, facts: Facts) -> str:
    return facts[claim.study]["verdict"] if claim.study in facts else NOT_RUN


def _index(claims: Sequence[Claim], facts: Facts, method: Iterable[str] = ()) -> str:
    lines = [
        "# Results",
        "",
        f"What the notes claim, and what came out: {len(claims)} claims, of which {len(facts)} have a run. A "
        "verdict is exploratory where its study was not registered before it ran. What comes out in a "
        "regime is corrected over the regimes, so that one may be open though its prediction holds by "
        "itself.",
        "",
        *method,
        *_counts(claims, facts),
    ]
    for section in SECTIONS:
        own = [claim for claim in claims if claim.section == section]
        if own:
            rows = [_row(claim, facts.get(claim.study)) for claim in own]
            lines += ["", f"## {section}", "", *_table(("", "claim", "verdict", "answer"), rows)]
    if facts:
        rows = [
            (c.id, f"[{c.study}]({_link(c)})", *_run_facts(facts[c.study]), second.word(facts[c.study]))
            for c in claims
            if c.study in facts
        ]
        lines += ["", "## Runs", "", *_table(("", "study", *_RUN_FACTS, "second seeds"), rows)]
    return "\n".join(lines) + "\n"


def _counts(claims: Sequence[Claim], facts: Facts) -> list[str]:
    """A table of how many claims of each section came out how."""
    verdicts = [(claim.section, _verdict(claim, facts)) for claim in claims]
    words = [word for word in STATUSES if any(word == verdict for _, verdict in verdicts)]
    rows = [
        (section, *(str(verdicts.count((section, word)) or "") for word in words))
        for section in SECTIONS
        if any(section == own for own, _ in verdicts)
    ]
    total = [str(sum(word == verdict for _, verdict in verdicts)) for word in words]
    return _table(("section", *words), [*rows, ("all", *total)])


def _row(claim: Claim, own: Mapping[str, Any] | None) -> tuple[str, ...]:
    if own is None:
        return f"[{claim.id}]({_link(claim)})", claim.claim, NOT_RUN, ""
    verdict = own["verdict"] + (" (exploratory)" if own["exploratory"] else "")
    return f"[{claim.id}]({_link(claim)})", claim.claim, verdict, own["answer"]


def _area(claims: Sequence[Claim], facts: Facts, studies: Iterable[str]) -> str:
    lines = [f"# Results: {claims[0].area}", ""]
    for claim in claims:
        lines += [f"## {_heading(claim)}", "", f"*{claim.claim}*", ""]
        if claim.study in facts:
            lines += [facts[claim.study]["page"], *second.lines(facts[claim.study])]
        elif claim.study in studies:
            lines += [f"Not run. This runs it: `python -m experiments run {claim.study}`", ""]
        else:
            lines += ["Not run. There is no study of this claim yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _study(claim: Claim, run: Run, smaller: Sequence[Run]) -> list[str]:
    lines = [f"**{run.verdict}.** {answer_of(run)}", ""]
    for other in smaller:
        facts = f"preset {other.preset}, {len(other.seeds)} seeds"
        lines += [f"In a smaller setting ({facts}) **{other.verdict}.** {answer_of(other)}", ""]
    if run.exploratory:
        lines += [f"Exploratory: {run.exploratory.rstrip('.')}.", ""]
    lines += _picture(claim, run)
    lines += [*_regimes(run), "", *_controls(run)]
    commit, changed = run.provenance.get("git_commit"), run.provenance.get("git_dirty")
    facts = {"commit": commit, "changed": changed, "seconds": run.provenance.get("wall_seconds")}
    row = _run_facts({**facts, "preset": run.preset, "seeds": len(run.seeds), "exploratory": run.exploratory})
    return [*lines, *_table(_RUN_FACTS, [row]), "", f"`{run.command}`", ""]


def _regimes(run: Run) -> list[str]:
    """A table of the primary predictions and of the gates."""
    rows = []
    for result in run.predictions:
        if result.role in ("primary", "gate"):
            outcome = next((place.outcome for place in run.regimes if place.name == result.regime), "")
            how = f", {HOWS[result.how]}" if result.how else ""
            shown = " ".join(text.effect(result.effect, result.low, result.high))
            rows.append((f"{result.regime}: {outcome}", result.statement, f"{result.outcome}{how}", shown))
    return _table(("regime", "prediction", "outcome", "effect, 95% interval"), rows)


def _controls(run: Run) -> list[str]:
    """The controls that do not hold, folded; a control whose failure ends the experiment is a guard."""
    lost = [control for control in run.controls if control.outcome in ("fails", "open")]
    if not lost:
        return [f"All {len(run.controls)} controls hold.", ""] if run.controls else []
    kinds = {"invalid": "guard", "flag": "flag"}
    said = [f"- {kinds[c.consequence]}, {c.outcome}: {' '.join(c.statement.split())}" for c in lost]
    summary = f"Of {len(run.controls)} controls, {len(lost)} {'does' if len(lost) == 1 else 'do'} not hold"
    return [f"<details><summary>{summary}</summary>", "", *said, "", "</details>", ""]


def _picture(claim: Claim, run: Run) -> list[str]:
    if not run.figure:
        return []
    light, alt = f"figures/{claim.study}", f"Figure of {claim.study}"
    if not run.figure_dark:
        return [f"![{alt}]({light}.png)", ""]
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{light}-dark.png">'
    return [f'<picture>{dark}<img alt="{alt}" src="{light}.png"></picture>', ""]


_RUN_FACTS = ("preset", "seeds", "cost", "commit", "registered")


def _run_facts(own: Mapping[str, Any]) -> tuple[str, ...]:
    commit, changed = own["commit"], " (changed)" if own["changed"] else ""
    return (
        own["preset"],
        str(own["seeds"]),
        text.duration(own["seconds"]),
        f"{str(commit)[:12]}{changed}" if commit else text.NONE,
        "exploratory" if own["exploratory"] else "registered",
    )


def _heading(claim: Claim) -> str:
    return f"{claim.id}. {claim.study}"


def _link(claim: Claim) -> str:
    """The heading of a claim on the page of its area, by the anchor that Markdown gives it."""
    return f"{claim.area}.md#{_heading(claim).lower().replace('.', '').replace(' ', '-')}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown; each text stays in its cell."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    first, *rest = [f"| {' | '.join(row)} |" for row in cells]
    return [first, "|" + "---|" * len(head), *rest]
