"""Representation learning: generative models, identifiability, invariance, bottlenecks, metrics."""
