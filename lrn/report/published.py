"""What is published: the facts behind the pages of the results, and which are older than their studies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrn import check
from lrn.report.claims import Claim
from lrn.study import source

INDEX = "index.json"  # the file that keeps the facts, beside the pages
Facts = dict[str, dict[str, Any]]  # by study; the names of a study's facts are `FACTS`

FACTS = (
    "study_sha256", "run", "preset", "seeds", "seconds", "commit", "changed", "finished", "verdict",
    "exploratory", "regimes", "answer", "page",
)  # fmt: skip


def published(docs: Path, claims: Sequence[Claim] | None = None) -> Facts:
    """What the pages were made from, by study: the hash of its code, its run, its verdict, its page.

    Args:
        docs: the folder of the pages.
        claims: leave out the studies of other claims; by default all are given.

    Raises:
        InputError: nothing was published there, or what was lacks a fact.
    """
    try:
        facts = json.loads((docs / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise check.InputError(f"{docs} holds no published results; publish them first.") from error
    for study, own in facts.items():
        if missing := [name for name in FACTS if name not in own]:
            raise check.InputError(
                f"{docs / 'index.json'} lacks {', '.join(missing)} of {study}; run the study again, publish "
                "with --drop."
            )
    known = facts if claims is None else {claim.study for claim in claims}
    return {study: own for study, own in facts.items() if study in known}


def outdated(docs: Path, studies: Mapping[str, Path]) -> list[str]:
    """A sentence for each published study whose training, predictions or controls are others by now.

    A change of its figure, its answer or its texts makes no result old.

    Args:
        docs: the pages.
        studies: the studies as they are now, from id to file.

    Raises:
        InputError: nothing was published there.
    """
    said = []
    for study, facts in published(docs).items():
        if study not in studies:
            said.append(f"{study} is gone, and its results are still published; publish the results again.")
        elif source.read(studies[study]).sha256 != facts["study_sha256"]:
            said.append(
                f"{study} was changed after its published run; run it again (python -m experiments run "
                f"{study} --preset {facts['preset']}), then python -m experiments publish, and commit "
                "the results."
            )
    return said
