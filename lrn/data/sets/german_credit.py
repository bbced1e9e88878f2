"""German credit: is a loan a good risk (Hofmann 1994)? Le Quy et al. 2022 replaced the codes by words.

``class-label`` is the target, 1 for a good risk (700 of 1,000). ``sex`` and ``marital-status`` were one
attribute in the original, so "divorced/separated" includes single men.
"""

from lrn.data import convert
from lrn.data.columns import Categorical, Label, Numeric
from lrn.data.spec import DataSpec, Remote, Split

SPEC = DataSpec(
    name="german_credit",
    about="1,000 loans of a German bank; the target is a good risk.",
    columns={
        "checking-account": Categorical(),
        "duration": Numeric(whole=True),  # months
        "credit-history": Categorical(),
        "purpose": Categorical(),
        "credit-amount": Numeric(whole=True),  # German marks
        "savings-account": Categorical(),
        "employment-since": Categorical(),
        "installment-rate": Numeric(whole=True),
        "other-debtors": Categorical(),
        "residence-since": Numeric(whole=True),
        "property": Categorical(),
        "age": Numeric(whole=True),
        "other-installment": Categorical(),
        "housing": Categorical(),
        "existing-credits": Numeric(whole=True),
        "job": Categorical(),
        "numner-people-provide-maintenance-for": Numeric(whole=True),  # spelled so in the file
        "telephone": Categorical(),
        "foreign-worker": Categorical(),
        "sex": Categorical(("male", "female")),
        "marital-status": Categorical(),
        "class-label": Label(2, ("bad", "good")),
    },
    splits={
        "train": Split(
            1_000,
            (
                Remote(
                    "https://raw.githubusercontent.com/tailequy/fairness_dataset/"
                    "abb5a18b822ba56a221c5311082e192e85000b95/experiments/data/german_data_credit.csv",
                    "sha256:61effc34f9ef78ffeeb350141608c2e8ec9bf8978b64c29dbd16bb7a19bf763f",
                ),
            ),
        )
    },
    license="CC BY 4.0",
    citation="Hofmann, Statlog (German credit data), UCI Machine Learning Repository, 1994, "
    "doi:10.24432/C5NC77",
    home="https://archive.ics.uci.edu/dataset/144/statlog+german+credit+data",
    convert=convert.csv,
)
