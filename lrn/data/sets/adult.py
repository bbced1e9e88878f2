"""Adult: does a person of the 1994 US census earn more than 50,000 dollars (Becker and Kohavi 1996)?

``income`` is the target. A "?" marks a missing ``workclass``, ``occupation`` or ``native-country``; most
studies treat it as a category of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrn.data.columns import Categorical, Numeric
from lrn.data.convert import stored_type
from lrn.data.spec import DataSpec, Remote, Split

if TYPE_CHECKING:
    import pyarrow as pa

_HOME = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"


def _convert(spec: DataSpec, paths: Sequence[Path]) -> pa.Table:
    """The table of a file without a header, with ", " between fields.

    The test file also has a comment in its first line, and a full stop after each label.
    """
    import pyarrow as pa

    (path,) = paths
    with open(path, encoding="ascii", newline="") as file:
        lines = (line for line in file if line.strip() and not line.startswith("|"))
        rows = [[field.strip() for field in row] for row in csv.reader(lines, skipinitialspace=True)]
    fields = dict(zip(spec.columns, zip(*rows, strict=True), strict=True))
    fields["income"] = tuple(value.rstrip(".") for value in fields["income"])
    kinds = {name: stored_type(kind) for name, kind in spec.columns.items()}
    return pa.table({name: pa.array(fields[name], pa.string()).cast(kind) for name, kind in kinds.items()})


SPEC = DataSpec(
    name="adult",
    about="48,842 people of the 1994 US census; the target is an income above 50,000 dollars.",
    columns={
        "age": Numeric(whole=True),
        "workclass": Categorical(),
        "fnlwgt": Numeric(whole=True),
        "education": Categorical(),
        "education-num": Numeric(whole=True),
        "marital-status": Categorical(),
        "occupation": Categorical(),
        "relationship": Categorical(),
        "race": Categorical(("White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other")),
        "sex": Categorical(("Male", "Female")),
        "capital-gain": Numeric(whole=True),
        "capital-loss": Numeric(whole=True),
        "hours-per-week": Numeric(whole=True),
        "native-country": Categorical(),
        "income": Categorical(("<=50K", ">50K")),
    },
    splits={
        "train": Split(
            32_561,
            (
                Remote(
                    _HOME + "adult.data",
                    "sha256:5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
                ),
            ),
        ),
        "test": Split(
            16_281,
            (
                Remote(
                    _HOME + "adult.test",
                    "sha256:a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
                ),
            ),
        ),
    },
    license="CC BY 4.0",
    citation="Becker and Kohavi, Adult, UCI Machine Learning Repository, 1996, doi:10.24432/C5XW20",
    home="https://archive.ics.uci.edu/dataset/2/adult",
    convert=_convert,
)
