"""A gallery of run folders and its page, made once for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import run_folders
from report_pages import OWN, built

from lrn.report import Claim, load

NEVER_RUN = [
    Claim("C9", "Concepts", "rl.explore_exploit", "A claim whose study was not run."),
    Claim("Q9", "Open questions", "made_up.none", "A claim without a study."),
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A run folder for each verdict and for each thing that can be wrong; no test changes them."""
    return run_folders.write_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="session")
def claims(folders) -> list[Claim]:
    """Claims of most of the gallery's studies in a shuffled order, and two that never ran."""
    runs = [load(folder) for folder in folders.values()]
    made = [Claim(r.claim_id, r.section, r.study, f"{r.title} So it is.") for r in runs if r.study not in OWN]
    return [*NEVER_RUN, *sorted(made, key=lambda claim: claim.id)]


@pytest.fixture(scope="session")
def gallery(folders, claims) -> tuple[dict[str, Path], str]:
    """The folders and their page."""
    return folders, built(next(iter(folders.values())).parent.parent, claims)
