"""Law school: US law students, their grades and the bar exam (Wightman 1998), cleaned by Le Quy et al. 2022.

``pass_bar`` is the target; ``zfygpa``, the standardized first-year average, is the usual regression
target. ``male`` is 0 or 1, ``race`` White or Non-White.
"""

from lrn.data import convert
from lrn.data.columns import Categorical, Label, Numeric
from lrn.data.spec import DataSpec, Remote, Split

SPEC = DataSpec(
    name="law_school",
    about="20,798 US law students with admission scores, grades and the outcome of the bar exam.",
    columns={
        "decile1b": Numeric(),
        "decile3": Numeric(),
        "lsat": Numeric(),
        "ugpa": Numeric(),
        "zfygpa": Numeric(),
        "zgpa": Numeric(),
        "fulltime": Numeric(),
        "fam_inc": Numeric(),
        "male": Label(2),
        "tier": Numeric(),
        "race": Categorical(("White", "Non-White")),
        "pass_bar": Label(2),
    },
    splits={
        "train": Split(
            20_798,
            (
                Remote(
                    "https://raw.githubusercontent.com/tailequy/fairness_dataset/"
                    "abb5a18b822ba56a221c5311082e192e85000b95/experiments/data/law_school_clean.csv",
                    "sha256:23c1b173f3480beb7afc4957b107a9917dfc4a8dc9d87ea6034ec35222152452",
                ),
            ),
        )
    },
    license="none stated",
    citation="Wightman, LSAC national longitudinal bar passage study, 1998",
    home="https://github.com/tailequy/fairness_dataset",
    convert=convert.csv,
)
