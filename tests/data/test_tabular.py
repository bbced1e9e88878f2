"""Tables as features, and the sets of decisions as the literature counts them."""

import numpy as np
import pytest

from lrn.check import InputError
from lrn.data.decisions import NAMES, decisions
from lrn.data.tabular import encoded

COLUMNS = {
    "age": np.array([20.0, 40.0, 60.0]),
    "code": np.array([3, 1, 3]),
    "city": np.array(["b", "a", "?"]),
    "same": np.array([7, 7, 7]),
}
# Rows, the share of label 1 in each group, and the share of group 0, counted in the files without lrn.
KNOWN = {
    "adult": (48842, 0.1093, 0.3038, 0.3315),
    "compas": (5278, 0.4769, 0.6091, 0.6016),
    "dutch_census": (60420, 0.3271, 0.6256, 0.5010),
    "german_credit": (1000, 0.6484, 0.7232, 0.3100),
    "law_school": (20798, 0.7230, 0.9213, 0.1590),
}


def test_numbers_are_standardized_and_categories_coded():
    found = encoded(COLUMNS, ["code"])
    assert found.names == ("age", "code=1", "code=3", "city=?", "city=a", "city=b", "same")
    root = np.sqrt(1.5)
    expected = [[-root, 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0, 0], [root, 0, 1, 1, 0, 0, 0]]
    np.testing.assert_allclose(found.x, expected, atol=1e-6)
    assert found.x.dtype == np.float32


def test_an_encoding_may_be_fitted_on_some_rows():
    found = encoded(COLUMNS, fit_on=np.array([0, 1]))
    assert found.names == ("age", "code", "city=a", "city=b", "same")
    np.testing.assert_allclose(found.x[2], [3, 1, 0, 0, 0], atol=1e-6)


def test_bad_tables():
    with pytest.raises(InputError, match="missing"):
        encoded({"age": np.array([1.0, np.nan])})
    with pytest.raises(InputError, match="columns"):
        encoded({})
    with pytest.raises(InputError, match="the columns have no rows"):
        encoded({"age": np.zeros(0), "city": np.array([], str)})
    with pytest.raises(InputError, match="fit_on names no rows"):
        encoded(COLUMNS, fit_on=np.zeros(3, bool))
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    for dates in (days, days - days[0], days.astype(object)):
        with pytest.raises(InputError, match="column 'day' holds dates or times"):
            encoded({"age": np.ones(2), "day": dates})
    with pytest.raises(InputError, match="flat columns"):
        encoded({"a": np.zeros(3), "b": np.zeros(2)})
    with pytest.raises(InputError, match="categorical"):
        encoded(COLUMNS, ["town"])
    with pytest.raises(InputError, match="set of decisions"):
        decisions("adul")


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_decisions_are_those_of_the_literature(name, real):
    real(name)
    found = decisions(name)
    rows, low, high, share = KNOWN[name]
    assert found.x.shape == (rows, len(found.names))
    assert found.y[found.group == 0].mean() == pytest.approx(low, abs=1e-3)
    assert found.y[found.group == 1].mean() == pytest.approx(high, abs=1e-3)
    assert (found.group == 0).mean() == pytest.approx(share, abs=1e-3)
    assert np.abs(found.x.mean(0)).max() < 1.1


@pytest.mark.real_data
def test_the_group_may_be_a_feature(real):
    real("compas")
    found = decisions("compas", with_group=True, without=["juv_fel_count"])
    assert found.names[-1] == "race"
    assert "juv_fel_count" not in found.names
    assert np.unique(found.x[found.group == 1, -1]).size == 1
