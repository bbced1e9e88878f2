"""Run folders from anywhere: hostile texts, odd types, and tables of no reasonable size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import run_folders
from report_pages import (
    Page,
    built,
    edit,
    first,
    put,
)

from lrn import report, table
from lrn.report import metrics, page

HOSTILE = (
    "<script>alert(1)</script></style><img src=x onerror=alert(2)> \" onmouseover='x' "
    "{{ 7*7 }} {% raw %} &lt; \u202e \ud800"
)


def test_hostile_text_is_text(tmp_path):
    folder = run_folders.write(tmp_path)
    config, verdict, provenance = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("config", "verdict", "provenance")
    )
    for key in ("title", "claim", "claim_id", "section", "regime", "doc", "command"):
        config[key] = HOSTILE
    config["config"] = {HOSTILE: HOSTILE}
    verdict["reason"] = verdict["answer"] = verdict["exploratory"] = HOSTILE
    verdict["regimes"][0] |= {"name": HOSTILE, "outcome": HOSTILE, "how": [HOSTILE]}
    config["regimes"][0] |= {"name": HOSTILE}
    for result in [*verdict["predictions"], *verdict["controls"]]:
        result |= {
            "statement": HOSTILE,
            "regime": HOSTILE,
            "role": HOSTILE,
            "how": HOSTILE,
            "metric": HOSTILE,
            "detail": HOSTILE,
            "kind": HOSTILE,
        }
    verdict["failures"] = [{"arm": HOSTILE, "seed": HOSTILE, "step": 3, "metric": HOSTILE}]
    provenance |= dict.fromkeys(provenance, HOSTILE) | {"packages": {HOSTILE: HOSTILE}}
    for name, value in (("config", config), ("verdict", verdict), ("provenance", provenance)):
        (folder / f"{name}.json").write_text(json.dumps(value))
    named = "<b onclick=x>"
    table.concat(
        [run_folders.made_up(range(10)), table.rows(named, np.arange(10), 0, named, np.arange(10.0))]
    ).write(folder / "metrics.parquet")
    run_folders.reseal(folder)  # who is hostile can compute seals
    html = built(tmp_path)
    parsed = Page(html)
    assert {tag for tag, _ in parsed.elements} & {"b"} == set()
    assert len(parsed.all("script")) == 1
    assert all(image["src"].startswith("data:image/png") for image in parsed.all("img") if image["src"])
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert "<script>alert(1)</script></style>" in parsed.text
    assert "{{ 7*7 }} {% raw %} &lt;" in parsed.text
    assert named in parsed.text


@pytest.mark.parametrize(
    "odd", [None, True, -3, 10**400, "", [[1]], {"a": [None]}], ids=lambda v: repr(v)[:12]
)
def test_values_of_odd_types_are_shown_or_named_but_break_nothing(tmp_path, odd):
    folder = run_folders.write(tmp_path)
    for slow in ("metrics.parquet", "figure.png", "figure-dark.png"):
        (folder / slow).unlink()
    for name in ("config.json", "verdict.json", "provenance.json"):
        whole = (folder / name).read_text()
        for key in json.loads(whole):
            put(name, key, odd)(folder)
            Page(page.render([report.load(folder)], ()))
            (folder / name).write_text(whole)
    path = folder / "verdict.json"
    whole = path.read_text()
    for list_of, keys in json.loads(whole).items():
        for key in keys[0] if list_of in ("regimes", "predictions", "controls") else ():
            edit(path.name, lambda v, of=list_of, k=key: v[of][0].update({k: odd}))(folder)
            Page(page.render([report.load(folder)], ()))
            path.write_text(whole)
    path = folder / "config.json"
    whole = path.read_text()
    for key in json.loads(whole)["regimes"][1]:
        edit(path.name, lambda v, k=key: v["regimes"][1].update({k: odd}))(folder)
        Page(page.render([report.load(folder)], ()))
        path.write_text(whole)
    run_folders.age(run_folders.write(tmp_path / "old"), "mixed", "It was so.")
    (folder,) = report.find(tmp_path / "old")
    path = folder / "verdict.json"
    whole = path.read_text()
    for key in json.loads(whole)["predictions"][0]:
        first(key, odd)(folder)
        Page(page.render([report.load(folder)], ()))
        path.write_text(whole)


def of_size(folder: Path, **columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: columns[name] for name in table.COLUMNS}), folder / "metrics.parquet")


def test_what_is_too_large_is_one_sentence(tmp_path, monkeypatch):
    import pyarrow as pa

    folder = run_folders.write(tmp_path)
    n = 30_000

    def same(value, kind) -> pa.Array:
        return pa.DictionaryArray.from_arrays(
            np.zeros(n, np.int32), pa.array([value], kind)
        ).dictionary_decode()

    arm, metric = same("a", pa.string()), same("m", pa.string())
    zeros, value = np.zeros(n, np.int64), np.zeros(n)
    plain = dict(arm=arm, seed=zeros, step=zeros, metric=metric, value=value)
    many = [f"arm{i}" for i in range(n)]
    cases = {
        "has more than 5,000 pairs of arm and metric|30,000 arms or metrics": plain | {"arm": many},
        "whose name has more than 1,000 characters": plain | {"metric": same("m" * 2000, pa.string())},
    }
    for sentence, columns in cases.items():
        of_size(folder, **columns)
        assert re.search(sentence, "; ".join(report.load(folder).damage))
        assert re.search(sentence, built(tmp_path))
    of_size(folder, **plain)
    for limit, least, sentence in (
        ("ROWS", n - 1, "has 30,000 rows, and 29,999 are the most that are read"),
        ("TEXT_BYTES", 10, "unpacks to .* bytes, and 10 are the most"),
        ("NUMBER_BYTES", 100, "unpacks to .* bytes, and 100 are the most"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(metrics, limit, least)
            patch.setattr(
                "pyarrow.parquet.ParquetFile.iter_batches", lambda *_, **__: pytest.fail("it was read")
            )
            assert re.search(sentence, "; ".join(report.load(folder).damage))
    with open(folder / "verdict.json", "r+b") as file:
        file.truncate(268_000_000)
    with open(folder / "figure.png", "r+b") as file:
        file.truncate(268_000_000)
    damage = "; ".join(report.load(folder).damage)
    for name in ("verdict.json", "figure.png"):
        assert f"{name} has 268,000,000 bytes, and" in damage


def test_long_texts_and_lists_are_cut_and_that_is_said(tmp_path):
    folder = run_folders.write(tmp_path)
    edit("config.json", lambda v: v.update(doc="x" * 200_000))(folder)
    edit("config.json", lambda v: v["regimes"][0].update(secondary=v["regimes"][0]["secondary"] * 2000))(
        folder
    )
    put("verdict.json", "failures", [{"arm": "a", "seed": i, "step": 1, "metric": "m"} for i in range(5000)])(
        folder
    )
    run_folders.reseal(folder)
    run = report.load(folder)
    assert len(run.doc) == 100_000
    assert len(run.failures) == 1000
    assert "config.json: regime 1: secondary has 4,000 entries, and the first 1,000 are shown" in run.damage
    assert "config.json: doc has 200,000 characters, and the first 100,000 are shown" in run.damage
    assert "verdict.json: failures has 5,000 entries, and the first 1,000 are shown" in run.damage
