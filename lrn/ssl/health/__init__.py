"""Health of embeddings: detectors of collapse, one idea a file, and all of them as metrics during training.

`spread` has standard deviations, `rank` RankMe and LiDAR, `instances` what compares the views of an example,
`monitor` the metrics for `lrn.train.fit`; `lrn.stats.cka` has the similarity of two representations. A
detector sees some collapses and misses others: RankMe, LiDAR, CKA and the scaled standard deviation do not
change with the scale of the embeddings and miss a collapse of their norm, which the logarithm of the raw
standard deviation shows; a BatchNorm at the output fixes the standard deviation and hides collapses from it.
Look at features h and embeddings z.
"""
