"""Probes: how much of the labels a fixed representation gives away.

`linear` fits a linear classifier, `knn` asks the nearest neighbors; both take features [n, dim].
"""

from lrn.supervised.probes.knn import knn_votes
from lrn.supervised.probes.linear import LinearProbe, linear_probe

__all__ = ["LinearProbe", "knn_votes", "linear_probe"]
