"""The report: run folders in, one static page out; and two runs side by side.

`build` writes ``<out>/report/index.html`` from the files in the run folders and nothing else, the same bytes
for the same folders. What is damaged or unfinished is said on the page and hides nothing else.
"""

from lrn.report.compare import Comparison, compare, compare_runs
from lrn.report.page import build
from lrn.report.runs import Result, Run, find, load

__all__ = ["Comparison", "Result", "Run", "build", "compare", "compare_runs", "find", "load"]
