"""Which changes of a study and its files change which hash, and the place of an error in a user's code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lrn.study import source

STUDY = '''"""What is tried."""
from lrn.study import Study

RATE = 0.1
WIDTHS = (3, 4)
COLORS = {"a": "red"}
NAME: str = "a"


def train(rate):
    """Train."""
    return shared(rate) * RATE


def shared(x):
    return x + 1


def run(config, context):
    train(config)


def bars(ax):
    ax.bar(COLORS, shared(1))


def figure(table, config):
    """Draw."""
    bars(table)


def answer(findings):
    return NAME


STUDY = Study(
    title="a title", claim="a claim", claim_id="X1", section="Insights", regime="here",
    regimes=[0.5], run=run, figure=figure, tour=True,
)
'''


@pytest.fixture
def write(tmp_path):
    """Writes files below a folder, and returns the study's code."""

    def write(study: str = STUDY, **others: str) -> source.Code:
        for name, text in {"toy": study, **others}.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            path = path.with_name("__init__.py") if path.name == "init.py" else path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source.read(tmp_path / "toy.py")

    return write


def replaced(*pairs: tuple[str, str]) -> str:
    text = STUDY
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


SHOWN = {
    "a comment": ("RATE = 0.1", "RATE = 0.1  # of learning"),
    "layout": ("return x + 1", "return (\n        x + 1\n    )"),
}
TEXTS = {
    "the figure": ("bars(table)", "bars(config)"),
    "a function of the figure": ("ax.bar(", "ax.barh("),
    "a constant of the figure": ('"red"', '"blue"'),
    "the answer": ("return NAME", "return NAME + '.'"),
    "a constant of the answer": ('= "a"', '= "b"'),
    "another figure": ("figure=figure", "figure=lambda t, c: bars(t)"),
    "the title": ("a title", "another title"),
    "the claim's row": ("X1", "X2"),
    "the tour": ("tour=True", "tour=False"),
    "the module's docstring": ("What is tried.", "What is tried, and why."),
    "a docstring": ('"""Train."""', '"""Train it."""'),
    "a text below a constant": ("RATE = 0.1", 'RATE = 0.1\n"""Of learning."""'),
}
TRAINING = {
    "run": ("train(config)", "train(2)"),
    "what run calls": ("* RATE", "/ RATE"),
    "a constant that training uses": ("RATE = 0.1", "RATE = 0.2"),
    "what run and figure call": ("x + 1", "x + 2"),
    "a prediction": ("[0.5]", "[0.4]"),
    "the claim": ("a claim", "a weaker claim"),
    "the regime": ("here", "there"),
    "an import": ("from lrn.study import Study", "from lrn.study import Cell, Study"),
    "a figure that is made at import": ("figure=figure", "figure=print(figure)"),
    "a statement of the module": ("RATE = 0.1", "RATE = 0.1\nprint(RATE)"),
}


@pytest.mark.parametrize("case", SHOWN)
def test_comments_and_layout_change_no_hash(case, write):
    before = write()
    assert write(replaced(SHOWN[case]))[:3] == before[:3]


@pytest.mark.parametrize("case", TEXTS)
def test_figure_answer_and_texts_are_hashed_apart(case, write):
    before, after = write(), write(replaced(TEXTS[case]))
    assert after.sha256 == before.sha256
    assert after.text_sha256 != before.text_sha256


@pytest.mark.parametrize("case", TRAINING)
def test_what_training_could_use_changes_its_hash(case, write):
    assert write().sha256 != write(replaced(TRAINING[case])).sha256


FIGURE = ("bars(table)", "bars(config)")
REACHED = {
    "run calls the figure's function": [("train(config)", "train(config), bars(0)")],
    "the study is used in training": [("train(config)", "train(STUDY)")],
    "the function is decorated": [("def bars", "@print\ndef bars"), ("ax.bar(", "ax.barh(")],
    "a default is computed": [("def figure(table, config)", "def figure(table, config=print())")],
    "the module looks at its names": [("train(config)", "train(globals())")],
    "the module looks at its docstring": [("train(config)", "train(len(__doc__))")],
    "the module finds itself": [("train(config)", "train(sys.modules)")],
    "a class uses it": [("def answer", "class Other:\n    draw = figure\n\n\ndef answer")],
    "a name is given twice": [("def answer", "bars = print(figure)\n\n\ndef answer")],
    "the study is made otherwise": [("STUDY = Study(", "STUDY = wrapped(")],
}


@pytest.mark.parametrize("case", REACHED)
def test_what_could_be_used_in_training_counts_as_such(case, write):
    """An edit of the figure then changes the hash of the training."""
    edit = ("ax.bar", "ax.step") if "ax.barh" not in REACHED[case][-1][1] else ("ax.barh", "ax.step")
    text = replaced(*REACHED[case])
    edits = [edit, FIGURE]
    assert any(write(text).sha256 != write(text.replace(*e)).sha256 for e in edits)
    assert all(write().sha256 == write(replaced(e)).sha256 for e in [("ax.bar", "ax.step"), FIGURE])


def test_imported_files_of_its_own_tree_are_found(write):
    code = write(
        replaced(
            ("RATE = 0.1", "RATE = 0.1\nimport numpy, json\nfrom helper import f"),
            ("train(config)", "from parts import one\n    __import__('importlib').import_module('named')"),
            ("bars(table)", "import drawn"),
        ),
        helper='"""Doc."""\nimport deeper.inner\n',
        deeper__init="",
        deeper__inner="from . import sibling\nfrom .sub.far import g\nfrom ..x import nothing\n",
        deeper__sibling="import deeper.cousin as c\n",
        deeper__cousin="import toy_cycle\n",
        deeper__sub__init="",
        deeper__sub__far="",
        toy_cycle="import helper\n",
        parts__one="",
        named="",
        drawn="import colors\n",
        colors="",
        unused="",
    )  # fmt: skip
    expected = {"toy", "helper", "deeper", "deeper.inner", "deeper.sibling", "deeper.cousin", "deeper.sub"}
    assert set(code.files) == expected | {"deeper.sub.far", "toy_cycle", "parts.one", "named"}
    assert {path.name for path in code.paths.values()} == {
        "toy.py", "helper.py", "__init__.py", "inner.py", "sibling.py", "cousin.py", "far.py", "toy_cycle.py",
        "one.py", "named.py",
    }  # fmt: skip


def test_a_helper_of_training_and_one_of_the_figure(write):
    study = replaced(("train(config)", "import used"), ("bars(table)", "import drawn"))
    before = write(study, used='"""Doc."""\nx = 1\n', drawn="y = 1\n")
    assert write(study, used='"""Other."""\nx = 1  # one\n').sha256 == before.sha256
    after = write(study, drawn="y = 2\n")
    assert after.sha256 == before.sha256
    assert after.text_sha256 != before.text_sha256
    changed = write(study, used="x = 2\n")
    assert changed.sha256 != before.sha256
    assert {name for name, digest in changed.files.items() if before.files[name] != digest} == {"used"}


def test_a_helper_that_imports_the_study_may_use_all_of_it(write):
    study = replaced(("train(config)", "import used"))
    before = write(study, used="import toy\n")
    assert write(study.replace("ax.bar(", "ax.barh(")).sha256 != before.sha256


def test_a_helper_that_is_no_python_is_hashed_as_it_is(write):
    study = replaced(("train(config)", "import used"))
    before = write(study, used="print 'two'\n")
    assert write(study, used="print 'three'\n").sha256 != before.sha256
    with pytest.raises(SyntaxError):
        write("def (:\n")


def test_a_study_in_a_package(tmp_path):
    for name, text in {
        "lab/__init__.py": "from lab import setup",
        "lab/setup.py": "",
        "lab/a/__init__.py": "",
        "lab/a/study.py": "from . import _helper\nfrom ..b.other import f\nimport lab.c\n",
        "lab/a/_helper.py": "",
        "lab/b/__init__.py": "",
        "lab/b/other.py": "from .third import g\n",
        "lab/b/third.py": "",
        "lab/c.py": "",
        "numpy/__init__.py": "",  # beside the package, where Python does not look
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = source.read(tmp_path / "lab" / "a" / "study.py")
    assert next(iter(code.files)) == "lab.a.study"
    names = {"lab", "lab.setup", "lab.a", "lab.a.study", "lab.a._helper", "lab.b", "lab.b.other", "lab.c"}
    assert set(code.files) == names | {"lab.b.third"}


def test_the_studies_of_lrn_know_their_helper():
    root = Path(__file__).parent.parent / "experiments"
    assert "experiments.meta._distances" in source.read(root / "meta" / "task_similarity.py").files
    assert "experiments.rl._worlds" in source.read(root / "rl" / "exploration.py").files
    code = source.read(root / "meta" / "shared_structure.py")
    assert list(code.files) == ["experiments.meta.shared_structure", "experiments", "experiments.meta"]


def test_where_it_lies_changes_no_hash(write, tmp_path):
    before = write(replaced(("train(config)", "import used")), used="x = 1\n")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("toy.py", "used.py"):
        (tmp_path / name).rename(moved / name)
    assert source.read(moved / "toy.py")[:3] == before[:3]


def test_a_helper_on_the_path_is_found(write, tmp_path, monkeypatch):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "lrn_test_helper.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "shared"))
    study = replaced(("train(config)", "import lrn_test_helper"))
    assert set(write(study).files) == {"toy", "lrn_test_helper"}


def test_the_line_of_an_error_is_that_of_the_users_code(tmp_path):
    from lrn import check

    path = tmp_path / "mine.py"
    path.write_text("def inner(check):\n    check.positive('x', -1)\n\ndef outer(check):\n    inner(check)\n")
    space: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    with pytest.raises(check.InputError) as raised:
        space["outer"](check)
    assert source.line(raised.value) == f"{path}, line 2, in inner"
    with pytest.raises(SyntaxError) as broken:
        compile("\nx = (", str(path), "exec")
    assert re.fullmatch(rf"{re.escape(str(path))}, line \d", source.line(broken.value))
    assert source.line(ValueError("no traceback")) == ""
    installed = Path(sys.modules["numpy"].__file__ or "")
    assert source.is_installed(installed)
    assert not source.is_installed(path)
