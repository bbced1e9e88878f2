"""The ids that options of ``run`` stand for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lrn import check
from lrn.study import discover


def of_areas(areas: Sequence[str]) -> list[str]:
    """The ids of all studies of some areas.

    Raises:
        InputError: there is no such area.
    """
    ids = list(discover.find())
    for area in areas:
        check.choice("--area", area, sorted({name.split(".")[0] for name in ids}))
    return [name for name in ids if name.split(".")[0] in areas]


def of_tour() -> list[str]:
    """The ids of the tour's studies. A study whose file is broken is reported and left out."""
    ids = []
    for name, path in discover.find().items():
        try:
            ids += [name] if discover.described(name, path)["tour"] else []
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
    return ids
