"""lrn as it is installed: what the wheel holds, and studies beside a user's own folder ``experiments``."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lrn import check
from lrn.study import discover, home, source

ROOT = Path(__file__).parent.parent
STUDY = "meta.shared_structure"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with lrn and its studies as the wheel lays them, and a user's folder beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns("__pycache__", "bench")
    shutil.copytree(ROOT / "lrn", folder / "site" / "lrn", ignore=leave)
    shutil.copytree(ROOT / "experiments", folder / "site" / "lrn_experiments", ignore=leave)
    (folder / "user" / "experiments").mkdir(parents=True)
    (folder / "user" / "experiments" / "__init__.py").write_text("MINE = True\n")
    return folder


def python(installed, *argv):
    """Run Python in the user's folder, where lrn is found as installed."""
    path = os.pathsep.join([str(installed / "site"), *(p for p in sys.path if p and Path(p) != ROOT)])
    return subprocess.run(
        [sys.executable, *argv], cwd=installed / "user", env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_wheel_holds_every_package(monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    said = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: said.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    packages = set(said["packages"])
    folders = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in ROOT.glob("lrn/**/__init__.py")}
    studies = {f"lrn_experiments.{path.parent.name}" for path in discover.find().values()}
    assert packages == folders | studies | {"lrn_experiments"}
    assert not {name for name in packages if name.split(".")[0] not in ("lrn", "lrn_experiments")}
    # `templates` is no package, and goes with lrn by package-data.
    assert 'lrn = ["py.typed", "templates/*"]' in (ROOT / "pyproject.toml").read_text()


def test_an_installation_lists_the_studies(installed):
    done = python(installed, "-m", "lrn", "list")
    assert done.returncode == 0, done.stderr
    assert {line.split("  ")[0] for line in done.stdout.splitlines()} >= set(discover.find())
    assert "\nlrn describe ID says more" in done.stdout


def test_an_installed_study_is_the_study_of_the_repository(installed):
    """Its hash is the same, so its runs have the same names and seeds, beside a user's ``experiments``."""
    script = f"""
import sys
from lrn.study import discover, register
found = discover.load({STUDY!r}).hashed()
print(found.code.sha256, register.registered(found), found.path)
print(*found.code.files)
import experiments
print(hasattr(experiments, "MINE"))
"""
    done = python(installed, "-c", script)
    assert done.returncode == 0, done.stderr
    said, names, mine = done.stdout.splitlines()
    code = source.read(discover.find()[STUDY])
    assert said.split()[0] == code.sha256
    assert said.split()[1] != "None"
    assert str(installed / "site" / "lrn_experiments") in said
    assert names.split() == list(code.files)
    assert mine == "False"


def test_a_users_package_of_that_name_is_not_replaced(installed):
    script = f"import experiments\nfrom lrn.study import discover\ndiscover.load({STUDY!r})"
    done = python(installed, "-c", script)
    assert re.search(r"another package named experiments \(.*user/experiments/__init__.py\)", done.stderr)


def test_in_the_repository_the_command_is_that_of_the_repository(monkeypatch):
    assert home.folder() == ROOT / "experiments"
    assert home.command() == "python -m experiments"
    monkeypatch.setattr(home, "folder", lambda: None)
    assert home.command() == "lrn"
    assert discover.find() == {}
    with pytest.raises(check.InputError, match="there are no experiments here"):
        discover.claims()
