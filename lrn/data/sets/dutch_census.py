"""Dutch census: who held a prestigious occupation in 2001 (Statistics Netherlands; Žliobaitė et al. 2011).

``occupation`` is the target, 1 for a high-level occupation. All columns but ``sex`` are codes of the
census. The codes of ``age`` (five-year groups) and ``edu_level`` are ordered; the other codes have no order.
"""

from lrn.data import convert
from lrn.data.columns import Categorical, Label, Numeric
from lrn.data.spec import DataSpec, Remote, Split

_CODE = Numeric(whole=True)

SPEC = DataSpec(
    name="dutch_census",
    about="60,420 people of the Dutch census of 2001; the target is a high-level occupation.",
    columns={
        "sex": Categorical(("male", "female")),
        "age": _CODE,
        "household_position": _CODE,
        "household_size": _CODE,
        "prev_residence_place": _CODE,
        "citizenship": _CODE,
        "country_birth": _CODE,
        "edu_level": _CODE,
        "economic_status": _CODE,
        "cur_eco_activity": _CODE,
        "marital_status": _CODE,
        "occupation": Label(2),
    },
    splits={
        "train": Split(
            60_420,
            (
                Remote(
                    "https://raw.githubusercontent.com/tailequy/fairness_dataset/"
                    "abb5a18b822ba56a221c5311082e192e85000b95/experiments/data/dutch.csv",
                    "sha256:c0e1df7e2ca07fa84aa99b5565c7b782a381e2fab377648a6d920174d04ce090",
                ),
            ),
        )
    },
    license="none stated",
    citation="Statistics Netherlands, Dutch census 2001; cut for classification by Žliobaitė, Kamiran and "
    "Calders, Handling conditional discrimination, 2011",
    home="https://github.com/tailequy/fairness_dataset",
    convert=convert.csv,
)
