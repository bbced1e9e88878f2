"""Self-supervised learning: encoders trained without labels, and the measures of what they learned.

A method is a factory named after it (`lrn.ssl.simclr.simclr`, `lrn.ssl.vicreg.vicreg`, ...). It takes an
encoder, its heads, a view (`lrn.ssl.views`) and a config, and returns a `Learner`. The objectives
(`nt_xent`, `info_nce`, ...) are plain functions beside the factories. `lrn.ssl.pretraining` is what the
methods share; `lrn.ssl.pretraining.encode` gives the features of a trained encoder, for the probes of
`lrn.supervised.probes`. Cores see no labels: a method reads the inputs of a batch and nothing else.
"""
