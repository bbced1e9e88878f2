"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015).

``label`` numbers the characters of a split in the alphabetical order of (alphabet, character): 0 to 963 in
"background", 0 to 658 in "evaluation". Ink is 0 and paper 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrn.data import archive, convert
from lrn.data.columns import Categorical, Image, Numeric
from lrn.data.spec import DataSpec, Remote, Split

if TYPE_CHECKING:
    import pyarrow as pa

_HOME = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python/"
)


def _convert(spec: DataSpec, paths: Sequence[Path]) -> pa.Table:
    """The table of a zip with files <folder>/<alphabet>/<character>/<id>_<drawer>.png."""
    import pyarrow as pa

    (path,) = paths
    rows = []
    for name, picture in archive.members(path):
        if name.suffix == ".png":
            _, alphabet, character, file = name.parts
            rows.append((alphabet, character, int(Path(file).stem.split("_")[1]), picture))
    rows.sort(key=lambda row: row[:3])
    alphabets, characters, drawers, pictures = zip(*rows)
    return pa.table(
        {
            "image": convert.pictures(pictures),
            "alphabet": pa.array(alphabets, pa.string()),
            "character": pa.array(characters, pa.string()),
            "drawer": pa.array(drawers, pa.int64()),
        }
    )


def _derive(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = np.char.add(np.char.add(columns["alphabet"], "/"), columns["character"])
    return {"label": np.unique(names, return_inverse=True)[1].astype(np.int32)}


SPEC = DataSpec(
    name="omniglot",
    about="1,623 handwritten characters of 50 alphabets, 20 drawers each, 105x105 black on white.",
    columns={
        "image": Image(105, 105, 1),
        "alphabet": Categorical(),
        "character": Categorical(),
        "drawer": Numeric(whole=True),
    },
    splits={
        # The MD5s are those in torchvision; the commit in the address pins the content too.
        "background": Split(
            19_280, (Remote(_HOME + "images_background.zip", "md5:68d2efa1b9178cc56df9314c21c6e718"),)
        ),
        "evaluation": Split(
            13_180, (Remote(_HOME + "images_evaluation.zip", "md5:6b91aef0f799c5bb55b94e3f2daec811"),)
        ),
    },
    license="MIT",
    citation="Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program "
    "induction, Science 350, 2015",
    home="https://github.com/brendenlake/omniglot",
    convert=_convert,
    derive=_derive,
)
