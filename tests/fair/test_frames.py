"""Frames in, frames out: the figures are those of the arrays, and what is wrong is said in one sentence."""

import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.by_group import rates_by_group
from lrn.fair.frames import audit, front_frame, table
from lrn.fair.front import fairness_front, overall_accuracy
from lrn.fair.logistic import logistic
from lrn.fair.methods import unconstrained

pd = pytest.importorskip("pandas")


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "age": rng.integers(18, 70, 200),
            "city": rng.choice(["a", "b"], 200),
            "sex": rng.choice(["f", "m"], 200),
            "race": rng.choice(["x", "y", "z"], 200),
            "paid": rng.choice(["yes", "no"], 200),
            "given": rng.choice(["yes", "no"], 200),
        }
    )
    found.loc[(found.sex == "f") & (found.race == "z"), "race"] = "y"  # an empty intersection
    return found


def test_an_audit_is_that_of_the_arrays(frame):
    found = audit(frame, "paid", "given", ["sex", "race"], favorable="yes")
    assert list(found.columns[:5]) == ["sex", "race", "metric", "rate", "trials"]
    assert len(found) == 4 * 6
    y, d = (frame[c].eq("yes").to_numpy().astype(float) for c in ("paid", "given"))
    codes = frame.sex.eq("m").to_numpy().astype(int), frame.race.map({"x": 0, "y": 1, "z": 2}).to_numpy()
    direct = rates_by_group("true_positive_rate", y, d, codes, (2, 3))
    own = found[found.metric == "true_positive_rate"]
    np.testing.assert_allclose(own["rate"], np.ravel(direct.rate))
    np.testing.assert_allclose(own["joint_high"], np.ravel(direct.joint_high))
    empty = found.query("sex == 'f' and race == 'z'")
    assert np.isnan(empty["rate"].to_numpy()).all()
    assert next(iter(empty["note"])) == "no row is behind selection_rate, so it is unknown; merge groups"
    assert list(found["note"]).count("") == 4 * 5
    one = found.query("sex == 'm' and race == 'x' and metric == 'selection_rate'")
    inside = frame[(frame.sex == "m") & (frame.race == "x")]
    assert one["rate"].item() == pytest.approx((inside.given == "yes").mean())


def test_a_table_trains_and_a_front_is_a_frame(frame):
    found = table(frame, "paid", "sex", favorable="yes")
    assert found.groups == ("f", "m")
    assert found.names == ("age", "city=a", "city=b", "race=x", "race=y", "race=z", "given=no", "given=yes")
    front = fairness_front(unconstrained(logistic()), found.people, 2, [1.0], (0, 1))
    shown = front_frame(front)
    np.testing.assert_allclose(shown["test_accuracy"], np.ravel(overall_accuracy(front.test)))
    assert list(shown["seed"]) == [0, 1]


CASES = [
    (dict(by="sexx"), "no column 'sexx'; did you mean sex"),
    (dict(by="race", favorable=1), "favorable=1"),
    (dict(by=[]), "at least one column"),
    (dict(label="race", favorable="x"), "'race' must have two values"),
    (dict(label="lacking"), "'lacking' is missing in 4 of 200"),
    (dict(decision="lacking"), "'lacking' is missing in 4 of 200"),
    (dict(by="lacking"), "'lacking' is missing in 4 of 200"),
    (dict(decision="score"), "'score' must be a decision 0 or 1 or a probability"),
    (dict(weight="score"), "'score' must be finite"),
    (dict(rates=["tpr"]), "a rate 'tpr' is not known"),
    (dict(level=1.5), "level must lie between"),
]


@pytest.mark.parametrize(("options", "words"), CASES)
def test_what_is_wrong_with_an_audit_is_said(frame, options, words):
    frame = frame.assign(lacking=frame.paid.where(frame.index > 3), score=np.linspace(-1, 1, 200))
    given = {"label": "paid", "decision": "given", "by": "sex", "favorable": "yes"}
    with pytest.raises(InputError, match=words):
        audit(frame, **given | options)


def test_what_is_wrong_with_a_table_is_said(frame):
    with pytest.raises(InputError, match="no column 'sexx'; did you mean sex"):
        table(frame, "paid", "sexx", favorable="yes")
    with pytest.raises(InputError, match="no column 'agee'"):
        table(frame, "paid", "sex", favorable="yes", features=["agee"])
    with pytest.raises(InputError, match="'paid' is among the features"):
        table(frame, "paid", "sex", favorable="yes", features=frame.columns)
    with pytest.raises(InputError, match="DataFrame, got dict"):
        table(dict(frame), "paid", "sex", favorable="yes")  # pyright: ignore
    with pytest.raises(InputError, match="'age' is missing"):
        table(frame.assign(age=np.nan), "paid", "sex", favorable="yes")
    one = frame.assign(sex=np.where(frame.index == 0, "q", "m"))
    with pytest.raises(InputError, match="group 'q' has 1 row"):
        table(one, "paid", "sex", favorable="yes")
    constant = frame.assign(paid=np.where(frame.sex == "f", "yes", frame.paid))
    with pytest.raises(InputError, match="group 'f' has labels of class 1 only"):
        table(constant, "paid", "sex", favorable="yes")


def test_a_group_of_one_is_said_beside_its_rate(frame):
    found = audit(
        frame.assign(sex=np.where(frame.index == 0, "q", "m")), "paid", "given", "sex", favorable="yes"
    )
    own = found.query("sex == 'q' and metric == 'selection_rate'")
    assert own["note"].item().startswith("fewer than two rows are behind selection_rate")
    assert own["joint_high"].item() - own["joint_low"].item() > 0.7
