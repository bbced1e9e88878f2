"""Damage of a run folder is named, and hides nothing else."""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import run_folders
from report_pages import (
    Page,
    article,
    built,
    edit,
    first,
    overwrite,
    put,
    remove,
    truncate,
)

from lrn import report, table
from lrn.report import page


def other_columns(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({c: [1.5] for c in table.COLUMNS}), folder / "metrics.parquet")


MARGIN = edit("config.json", lambda v: v["regimes"][0]["primary"][0]["params"].update(margin=0.01))


DAMAGE = {
    "no config": (remove("config.json"), "config.json is missing"),
    "half a config": (truncate("config.json"), "config.json is not valid JSON"),
    "a config that is a list": (overwrite("config.json", b"[]"), "config.json is not a JSON object"),
    "a config of bytes": (overwrite("config.json", b"\xff\xfe\x00"), "config.json is not valid JSON"),
    "a config without claim": (put("config.json", "claim", None), "config.json: claim is missing"),
    "a title that is a number": (put("config.json", "title", 3), "config.json: title is not text"),
    "seeds of text": (
        put("config.json", "seeds", ["a"]),
        "config.json: seeds is not a list of whole numbers",
    ),
    "a margin moved after the run": (MARGIN, "the predictions are not those that were hashed"),
    "a prediction dropped": (
        edit("verdict.json", lambda v: v["predictions"].pop()),
        "the predictions of verdict.json are not those of config.json",
    ),
    "a margin moved in the verdict": (
        edit("verdict.json", lambda v: v["predictions"][0]["params"].update(margin=0.01)),
        "the predictions of verdict.json are not those of config.json",
    ),
    "a primary made secondary": (
        first("role", "secondary"),
        "the predictions of verdict.json are not those of config.json",
    ),
    "regimes of text": (put("config.json", "regimes", "x"), "regimes is not a list of objects"),
    "a regime without primaries": (
        edit("config.json", lambda v: v["regimes"][0].pop("primary")),
        "regime 1: primary is not a list of objects",
    ),
    "an unknown outcome of a regime": (
        edit("verdict.json", lambda v: v["regimes"][0].update(outcome="yes")),
        "regime 1: outcome is 'yes'",
    ),
    "an unknown role": (first("role", "main"), "prediction 1: role is 'main'"),
    "an unknown way to fail": (first("how", "badly"), "prediction 1: how is 'badly'"),
    "an unknown judge": (put("verdict.json", "judge", 3), "verdict.json: judge is not 2, the only one"),
    "no provenance": (remove("provenance.json"), "provenance.json is missing"),
    "half a provenance": (truncate("provenance.json"), "provenance.json is not valid JSON"),
    "an empty verdict": (overwrite("verdict.json", b""), "verdict.json is not valid JSON"),
    "a verdict nested deep": (overwrite("verdict.json", b"[" * 100_000), "verdict.json is not valid JSON"),
    "a verdict nested": (put("verdict.json", "x", json.loads("[" * 90 + "]" * 90)), "of reasonable depth"),
    "no verdict in it": (put("verdict.json", "verdict", None), "verdict.json: verdict is missing"),
    "an unknown verdict": (put("verdict.json", "verdict", "proven"), "verdict.json: verdict is 'proven'"),
    "predictions of text": (put("verdict.json", "predictions", "x"), "predictions is not a list of objects"),
    "an effect of NaN": (first("effect", math.nan), "verdict.json holds NaN, which is no number"),
    "an effect of null": (
        first("effect", None),
        "prediction 1: outcome is 'holds', but effect or interval",
    ),
    "an interval of null": (
        first("interval", [None, None]),
        "prediction 1: outcome is 'holds', but effect",
    ),
    "an effect of text": (first("effect", "big"), "prediction 1: effect is not a finite number"),
    "an effect too large": (first("effect", 10**400), "prediction 1: effect is not a finite number"),
    "half an interval": (first("interval", [0.1]), "prediction 1: interval is not a pair of numbers"),
    "an interval swapped": (first("interval", [2, 1]), "prediction 1: interval has its ends swapped"),
    "an unknown outcome": (first("outcome", "yes"), "prediction 1: outcome is 'yes'"),
    "no metrics": (remove("metrics.parquet"), "metrics.parquet is missing"),
    "half the metrics": (truncate("metrics.parquet"), "metrics.parquet cannot be read"),
    "metrics of text": (overwrite("metrics.parquet", b"PAR1 nothing PAR1"), "metrics.parquet cannot be read"),
    "metrics of other types": (other_columns, "metrics.parquet cannot be read"),
    "metrics of other seeds": (
        lambda folder: run_folders.made_up(range(5)).write(folder / "metrics.parquet"),
        "metrics.parquet has 5 seeds that are not the 10",
    ),
    "no figure": (remove("figure.png"), "figure.png is missing"),
    "half a figure": (truncate("figure.png"), "figure.png is not a whole PNG"),
    "a figure that is text": (overwrite("figure.png", b"<svg onload=x>"), "figure.png is not a whole PNG"),
    "half a dark figure": (truncate("figure-dark.png"), "figure-dark.png is not a whole PNG"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_and_hides_nothing_else(case, tmp_path):
    damage, sentence = DAMAGE[case]
    run_folders.write(tmp_path, "another.study")
    damage(run_folders.write(tmp_path))
    html = built(tmp_path)
    said = Page(html).text
    assert "damaged" in article(html, "made_up.attack_transfer")
    assert sentence in said
    part = Page(article(html, "made_up.attack_transfer")).text.replace(sentence, "")
    assert not re.search(r"\b(nan|inf|null|None)\b", part)
    whole = Page(article(html, "another.study")).text
    assert "The claim holds in every regime." in whole
    assert "damaged" not in whole


def test_numbers_that_do_not_apply_are_no_damage(tmp_path):
    folder = run_folders.write(tmp_path, seeds=range(1))
    assert report.load(folder).damage == []
    assert "null" not in Page(article(built(tmp_path), "made_up.attack_transfer")).text


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_pictures_that_are_no_plain_png_are_refused(tmp_path):
    import PIL.Image

    folder = run_folders.write(tmp_path)
    whole = (folder / "figure.png").read_bytes()
    jpeg, gif = io.BytesIO(), io.BytesIO()
    small = PIL.Image.new("RGB", (4, 4))
    small.save(jpeg, "JPEG")
    small.save(gif, "GIF")
    head = b"\x89PNG\r\n\x1a\n"
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**24))
    cases = {
        "a jpeg": jpeg.getvalue(),
        "a gif": gif.getvalue(),
        "no picture in it": head + chunk(b"IEND", b""),
        "of 900 million pixels": head + huge + rest,
        "of 100 million pixels": head + large + rest,
        "a text that unpacks to 16 MB": whole[:33] + bomb + whole[33:],
        "a script after its end": whole + b"<script>alert(1)</script>",
        "a broken end": whole[:-1] + b"x",
    }
    for case, content in cases.items():
        (folder / "figure.png").write_bytes(content)
        run = report.load(folder)
        assert run.figure is None, case
        assert run.damage == ["figure.png is not a whole PNG image"], case


def test_any_flipped_bit_of_a_figure_is_found(tmp_path):
    folder = run_folders.write(tmp_path)
    path = folder / "figure.png"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert report.load(folder).damage == ["figure.png is not a whole PNG image"]


def test_no_bytes_break_the_page(tmp_path):
    folder = run_folders.write(tmp_path)
    whole = {p: p.read_bytes() for p in folder.iterdir()}
    rng = np.random.default_rng(0)
    for _ in range(60):
        for path, content in whole.items():
            changed = bytearray(content)
            for _ in range(int(rng.integers(0, 4))):
                changed[rng.integers(len(changed))] = rng.integers(256)
            path.write_bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.1 else changed)
        Page(page.render([report.load(folder)], ()))
