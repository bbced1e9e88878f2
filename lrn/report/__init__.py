"""The report: run folders in, one static page out; two runs side by side; and the published results.

`build` writes ``<out>/report/index.html`` from the files in the run folders and the list of claims, the same
bytes for the same files. What is damaged or unfinished is said on the page and hides nothing else.
"""

from lrn.report.claims import Claim, read_claims
from lrn.report.compare import Comparison, compare, compare_runs
from lrn.report.folders import find, load
from lrn.report.page import build
from lrn.report.run import Result, Run

__all__ = [
    "Claim", "Comparison", "Result", "Run", "build", "compare", "compare_runs", "find", "load", "read_claims",
]  # fmt: skip
