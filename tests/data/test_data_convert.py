"""Readers of public files accept the headers that these files have."""

import pytest

from lrn.data import convert
from lrn.data.columns import Categorical, Label, Numeric
from lrn.data.spec import DataSpec


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_headers_with_marks_quotes_commas_and_twins(tmp_path, start):
    file = tmp_path / "table.csv"
    text = start + '"a","size, cm",b,b,b.1,"say ""it"""\r\n1,2.5,0,7,8,"x, y"\r\n,4,1,,9,\r\n'
    file.write_text(text, encoding="utf-8", newline="")
    columns = {
        "b": Label(2),
        "a": Numeric(),
        "size, cm": Numeric(),
        "b.1": Numeric(),
        "b.1.1": Numeric(whole=True),
        'say "it"': Categorical(),
    }
    spec = DataSpec("table", "", columns, {}, "", "", "")
    table = convert.csv(spec, [file])
    assert table.column_names == list(columns)
    assert table.to_pydict() == {
        "b": [0, 1],
        "a": [1, None],
        "size, cm": [2.5, 4],
        "b.1": [7, None],
        "b.1.1": [8, 9],
        'say "it"': ["x, y", None],
    }
