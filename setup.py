"""The packages of the wheel; everything else about the project is in pyproject.toml.

The folder ``experiments`` is installed as ``lrn_experiments``, see lrn/study/home.py, without its benchmarks,
because they need the repository. pyproject.toml can find packages and cannot rename them.
"""

from setuptools import find_packages, setup

STUDIES = find_packages(include=["experiments", "experiments.*"], exclude=["experiments.bench*"])

setup(
    packages=[*find_packages(include=["lrn", "lrn.*"]), *(f"lrn_{name}" for name in STUDIES)],
    package_dir={"lrn_experiments": "experiments"},
)
