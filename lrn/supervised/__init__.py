"""Supervised learning: the training of a network on labeled batches, and its evaluation.

`learner` trains a network. `losses` and `targets` define the objective, `optimizers` and `schedules` the
update. `averages` and `early_stopping` keep averaged or best weights. `group_weights` gives weight to the
groups with the largest losses. `evaluate` measures loss and accuracy, `probes` measure representations. Every
function is pure, and every float of a config may be swept under vmap.
"""
