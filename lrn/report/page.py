"""The page: every claim with what came out, the studies of others, and the templates that show them."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrn import __version__, check, figures, files
from lrn.report import pictures, text
from lrn.report.answers import HOWS, NOT_JUDGED, answer_of
from lrn.report.claims import Claim, read_claims
from lrn.report.entries import Entry, in_order, slug
from lrn.report.folders import find, load
from lrn.report.plot import interval_plot
from lrn.report.run import Place, Result, Run
from lrn.report.values import download, numbers
from lrn.study import SECTIONS, discover, home

if TYPE_CHECKING:
    import jinja2

NOT_RUN = "not run"
OTHERS = "Other studies"
STATUSES = {
    "supported": "The claim holds in every regime.",
    "refuted": "The claim fails in every regime; the reason says how.",
    "mixed": "The claim holds in some regimes and fails in others; the reason says where.",
    "partly supported": "The claim holds in some regimes and fails in none; the others are not decided.",
    "partly refuted": "The claim fails in some regimes and holds in none; the others are not decided.",
    "open": "No regime is decided.",
    "answered": "The notes ask an open question; what was measured is the answer.",
    "underpowered": "Too few seeds for a verdict.",
    "invalid": "A control failed: the experiment itself cannot be trusted, so nothing else counts.",
    "smoke": "A run of seconds that shows that the study works; never a verdict.",
    "unfinished": "The run was begun and has no verdict yet; the same command goes on with it.",
    "failed": "An error ended the run before its verdict; the same command goes on when its cause is mended.",
    "damaged": "Files of the run cannot be read, or are not as they were written.",
    NOT_RUN: "There is no run of the study here, or no study of the claim yet.",
}


@dataclass(frozen=True)
class Item:
    """A claim on the page with the runs of its study, or a study that is of no claim.

    command: what runs the study where it has no run; "" where there is no such study.
    """

    id: str
    claim: str
    study: str
    area: str
    anchor: str
    entry: Entry | None
    command: str = ""

    @property
    def status(self) -> str:
        """The verdict, or why there is none."""
        return self.entry.status if self.entry else NOT_RUN


class Section(NamedTuple):
    """A section of the notes with its claims, or the studies of no claim."""

    name: str
    items: list[Item]

    @property
    def counts(self) -> dict[str, int]:
        """How many came out how, in the order of `STATUSES`."""
        return _counts(self.items)


def _counts(items: Iterable[Item]) -> dict[str, int]:
    counted = Counter(item.status for item in items)
    return {status: counted[status] for status in STATUSES if counted[status]}


def build(out: Path, *roots: Path, claims: Sequence[Claim] | None = None) -> Path:
    """Write ``<out>/report/index.html``, atomically, from the run folders and the list of claims.

    The page needs no network. A script in it filters the claims; without it all are shown. The same folders,
    claims and study files give the same bytes.

    Args:
        out: the folder of all runs, where the report goes.
        *roots: other folders of runs, read instead of ``out``.
        claims: all claims, run or not; by default those of the notes, where they are here.

    Returns:
        The path of the page.

    Raises:
        ValueError: a folder does not exist.
        OSError: the page cannot be written; the one before is untouched.
    """
    sources = [Path(root) for root in roots or (out,)]
    for root in sources:
        if not root.is_dir():
            raise check.InputError(
                f"there is no folder of runs {root}; run a study first, or give its folder."
            )
    runs = [load(folder) for folder in dict.fromkeys(f.resolve() for r in sources for f in find(r))]
    page = Path(out) / "report" / "index.html"
    # Strings from JSON may hold lone surrogates, which no encoding takes.
    files.write_bytes(page, render(runs, claims).encode("utf-8", "replace"))
    return page


def render(runs: Iterable[Run], claims: Sequence[Claim] | None = None) -> str:
    """The page as a string; see `build`."""
    listed = sections(_noted() if claims is None else claims, in_order(runs))
    items = [item for section in listed for item in section.items]
    script = (importlib.resources.files("lrn") / "templates" / "report.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("report.html")
        .render(
            version=__version__,
            sections=listed,
            items=items,
            counts=_counts(items),
            areas=sorted({item.area for item in items}),
            statuses=STATUSES,
            themes=figures.THEMES,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _noted() -> list[Claim]:
    """The claims of the notes; none where lrn is used without its experiments."""
    try:
        path = discover.claims()
    except check.InputError:
        return []
    return read_claims(path)


def sections(claims: Sequence[Claim], entries: Sequence[Entry]) -> list[Section]:
    """The sections of the notes with all their claims, then the studies that are of no claim."""
    of_claims = {claim.study for claim in claims}
    by_study: dict[str, Entry] = {}
    others: list[Entry] = []
    for entry in entries:
        if entry.run.study in of_claims and entry.run.study not in by_study:
            by_study[entry.run.study] = entry
        else:
            others.append(entry)
    studies = discover.find() if claims else {}
    taken = {entry.anchor for entry in entries}
    listed = [
        Section(
            name, [_of_claim(c, by_study.get(c.study), studies, taken) for c in claims if c.section == name]
        )
        for name in SECTIONS
    ]
    areas = {claim.area for claim in claims}
    own = [_of_none(entry, areas) for entry in others]
    return [section for section in (*listed, Section(OTHERS, own)) if section.items]


def _of_claim(claim: Claim, entry: Entry | None, studies: Iterable[str], taken: set[str]) -> Item:
    anchor = entry.anchor if entry else slug(claim.study, taken)
    command = f"{home.command()} run {claim.study}" if claim.study in studies else ""
    return Item(claim.id, claim.claim, claim.study, claim.area, anchor, entry, command)


def _of_none(entry: Entry, areas: set[str]) -> Item:
    run = entry.run
    area = run.study.split(".")[0]
    said = run.claim or run.title
    return Item(run.claim_id, said, run.study, area if area in areas else "other", entry.anchor, entry)


@functools.cache  # compiling the templates takes longer than filling them
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lrn"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": text.moment,
        "duration": text.duration,
        "how": HOWS.__getitem__,
        "memory": text.memory,
        "number": text.number,
        "p_value": text.p_value,
        "plain": text.plain,
        "region": text.region,
        "seeds": text.seeds,
        "short": text.short,
    }
    environment.globals |= {
        "answer_of": answer_of,
        "download": download,
        "effect": lambda r: text.effect(r.effect, r.low, r.high),
        "facts": _facts,
        "interval_plot": interval_plot,
        "not_judged": NOT_JUDGED,
        "numbers": numbers,
        "picture": pictures.picture,
        "places": _places,
    }
    return environment


def _places(run: Run) -> list[tuple[Place, list[Result]]]:
    """The regimes with their primary predictions; those of no regime that was judged stand at the end."""
    of: dict[str, list[Result]] = {}
    for result in run.predictions:
        if result.role == "primary":
            of.setdefault(result.regime, []).append(result)
    found = [(place, of.pop(place.name, [])) for place in run.regimes]
    return found + [(Place(name), results) for name, results in of.items()]


def _facts(run: Run) -> list[tuple[str, str]]:
    """Where the results come from, as rows of name and value; what the folder does not tell is left out."""
    p = run.provenance
    dirty = p.get("git_dirty")
    edited = " with uncommitted changes" if dirty else "" if dirty is False else " (unknown whether edited)"
    packages = p.get("packages")
    rows: Sequence[tuple[str, Any]] = (
        ("Run folder", run.where),
        ("Registered", "yes" if run.state == "finished" and not run.exploratory else None),
        ("Seeds", ", ".join(map(str, run.seeds[:100])) + (", …" if len(run.seeds) > 100 else "")),
        ("Sealed", ("yes" if run.sealed else "no") if run.state != "damaged" else None),
        ("Judged again", _judged_again(run) if run.state == "finished" else None),
        ("Started", text.moment(str(p["started"])) if p.get("started") else None),
        ("Finished", text.moment(run.finished) if run.finished else None),
        ("Resumed", f"{p['resumed']} times" if p.get("resumed") else None),
        ("Commit", f"{p['git_commit']}{edited}" if p.get("git_commit") else None),
        ("lrn", p.get("lrn_version")),
        ("lrn code (SHA-256)", p.get("lrn_sha256")),
        ("Study code (SHA-256)", run.study_sha256),
        ("Python", p.get("python")),
        (
            "Packages",
            ", ".join(f"{k} {v}" for k, v in packages.items()) if isinstance(packages, dict) else None,
        ),
        ("Platform", p.get("platform")),
        ("Device", _device(run)),
    )
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _judged_again(run: Run) -> str:
    if run.judged_again:
        return f"no: {run.judged_again}"
    return "otherwise" if run.differs else "the same"


def _device(run: Run) -> str:
    """What the run ran on."""
    p = run.provenance
    details = [
        f"{p['devices']} devices" if p.get("devices") not in (None, 1) else "",
        f"{p['cpus']} CPU cores" if p.get("cpus") else "",
    ]
    shown = ", ".join(d for d in details if d)
    return f"{p['device']}{f' ({shown})' if shown else ''}" if p.get("device") else shown
