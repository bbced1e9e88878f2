"""Probes: how well a simple classifier predicts labels from a fixed representation.

`linear` fits a linear classifier, `knn` takes the votes of nearest neighbors; both take features [n, dim].
"""

from lrn.supervised.probes.knn import LIGHTLY, SOLO_LEARN, KNNSetting, knn_votes
from lrn.supervised.probes.linear import LinearProbe, linear_probe

__all__ = ["LIGHTLY", "SOLO_LEARN", "KNNSetting", "LinearProbe", "knn_votes", "linear_probe"]
