"""The claims of the notes, each with the study that decides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from lrn import check
from lrn.study import SECTIONS


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
        InputError: it is not such a file, or two claims share an id or a study.
    """
    try:
        claims = [Claim(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise check.InputError(f"{path} is no list of claims ({error}); restore it.") from error
    for what in ("id", "study"):
        if len({getattr(claim, what) for claim in claims}) < len(claims):
            raise check.InputError(f"{path} has two claims of one {what}; give each its own.")
    for claim in claims:
        check.choice(f"the section of {claim.id}", claim.section, SECTIONS)
    return claims
