"""COMPAS: risk scores and two-year recidivism in Broward County, Florida (ProPublica 2016).

``two_year_recid`` is the target. Names, birth dates and case numbers are dropped when the file is converted.
`propublica_filter` keeps the 6,172 people that nearly every study uses.
"""

from lrn.data import convert
from lrn.data.columns import Categorical, Label, Numeric, Text
from lrn.data.dataset import Dataset
from lrn.data.spec import DataSpec, Remote, Split


def propublica_filter(compas: Dataset) -> Dataset:
    """Keep the rows of ProPublica's analysis: 6,172 of 7,214.

    A row is kept if the person was screened within 30 days of the arrest (``days_b_screening_arrest``), the
    recidivism is known (``is_recid`` not -1), the charge is no ordinary traffic offense
    (``c_charge_degree`` not "O"), and there is a score.
    Source: Larson, Mattu, Kirchner and Angwin, How we analyzed the COMPAS recidivism algorithm, 2016.

    Raises:
        ValueError: ``compas`` is another data set.
    """
    if compas.name != "compas":
        raise ValueError(f"propublica_filter applies to compas, got {compas.name}; load('compas').")
    days = compas["days_b_screening_arrest"]
    keep = (days >= -30) & (days <= 30)  # a missing number is NaN and compares false
    keep &= (compas["is_recid"] != -1) & (compas["c_charge_degree"] != "O") & (compas["score_text"] != "N/A")
    return compas.take(keep)


_WHOLE = Numeric(whole=True)

SPEC = DataSpec(
    name="compas",
    about="7,214 defendants of Broward County with their COMPAS scores and two-year recidivism.",
    columns={
        "id": _WHOLE,
        "compas_screening_date": Text(),
        "sex": Categorical(("Male", "Female")),
        "age": _WHOLE,
        "age_cat": Categorical(("Less than 25", "25 - 45", "Greater than 45")),
        "race": Categorical(
            ("African-American", "Caucasian", "Hispanic", "Asian", "Native American", "Other"),
        ),
        "juv_fel_count": _WHOLE,
        "decile_score": _WHOLE,
        "juv_misd_count": _WHOLE,
        "juv_other_count": _WHOLE,
        "priors_count": _WHOLE,
        "days_b_screening_arrest": Numeric(),
        "c_jail_in": Text(),
        "c_jail_out": Text(),
        "c_offense_date": Text(),
        "c_arrest_date": Text(),
        "c_days_from_compas": Numeric(),
        "c_charge_degree": Categorical(("F", "M", "O")),
        "c_charge_desc": Categorical(),
        "is_recid": _WHOLE,
        "r_charge_degree": Categorical(),
        "r_days_from_arrest": Numeric(),
        "r_offense_date": Text(),
        "r_charge_desc": Categorical(),
        "r_jail_in": Text(),
        "r_jail_out": Text(),
        "violent_recid": Numeric(),  # missing in every row
        "is_violent_recid": _WHOLE,
        "vr_charge_degree": Categorical(),
        "vr_offense_date": Text(),
        "vr_charge_desc": Categorical(),
        "type_of_assessment": Categorical(),
        "decile_score.1": _WHOLE,
        "score_text": Categorical(("Low", "Medium", "High", "N/A")),
        "screening_date": Text(),
        "v_type_of_assessment": Categorical(),
        "v_decile_score": _WHOLE,
        "v_score_text": Categorical(("Low", "Medium", "High", "N/A")),
        "v_screening_date": Text(),
        "in_custody": Text(),
        "out_custody": Text(),
        "priors_count.1": _WHOLE,
        "start": _WHOLE,
        "end": _WHOLE,
        "event": Label(2),
        "two_year_recid": Label(2),
    },
    splits={
        "train": Split(
            7_214,
            (
                Remote(
                    "https://raw.githubusercontent.com/propublica/compas-analysis/"
                    "bafff5da3f2e45eca6c2d5055faad269defd135a/compas-scores-two-years.csv",
                    "sha256:c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d",
                ),
            ),
        )
    },
    license="none stated; public records published by ProPublica",
    citation="Angwin, Larson, Mattu and Kirchner, Machine bias, ProPublica, 2016",
    home="https://github.com/propublica/compas-analysis",
    convert=convert.csv,
)
