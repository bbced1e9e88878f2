"""What the tests of the report share: a strict reader of pages, and ways to spoil a run folder."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

from lrn import report
from lrn.report import page

OWN = ("made_up.old", "made_up.older", "made_up.noise")  # studies of the gallery that are of no claim
VOID = {"meta", "link", "img", "br", "hr", "col", "source", "input"}


class Page(HTMLParser):
    """A strict reading of the page: every element closed in order; text and attributes kept."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag in ("td", "th", "dt", "dd", "li", "p", "span"):
            self.words.append(" ")

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def article(html: str, study: str) -> str:
    """The part of the page about one study."""
    slug = "study-" + re.sub(r"[^a-z0-9]+", "-", study.lower())
    return re.search(rf'<article id="{slug}".*?</article>', html, re.DOTALL)[0]  # pyright: ignore


def built(root: Path, claims: Sequence[report.Claim] = ()) -> str:
    """The page of the runs in a folder; without claims their studies are of none."""
    return report.build(root, claims=claims).read_text(encoding="utf-8")


def ranked(tmp_path) -> report.Run:
    (entry,) = page.in_order(report.load(f) for f in report.find(tmp_path))
    return entry.run


def run_of(root: Path) -> report.Run:
    (folder,) = report.find(root)
    return report.load(folder)


def edit(name: str, change):
    """A change of the JSON object in a file."""

    def damage(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return damage


def put(name: str, key: str, value):
    return edit(name, lambda v: v.update({key: value}))


def first(key: str, value):
    return edit("verdict.json", lambda v: v["predictions"][0].update({key: value}))


def overwrite(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def truncate(name: str):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def remove(name: str):
    return lambda folder: (folder / name).unlink()


def printed(comparison, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(comparison)
    return out.getvalue()
