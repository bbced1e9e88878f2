"""What every supervised learner shares, one idea a file.

`learner` trains a network on labeled batches; `losses` and `targets` say on what, `optimizers` and
`schedules` how, `averages` and `early_stopping` which weights are kept, `evaluate` and `probes` how good they
are. Every function is pure, and every float of a config may be swept under vmap.
"""
