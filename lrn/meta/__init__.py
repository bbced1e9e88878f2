"""Meta-learning: learning to learn from few examples. Each file holds one algorithm or idea.

Tasks come from an `episode.TaskFamily`, a tuple of pure functions of a key. A `problem.Problem` defines the
network's outputs on a task, the loss and the score. Algorithms are factories that return a
`learner.MetaLearner`: `maml`, `prototypical` and so on. For reinforcement learning see `lrn.meta.rl`.
"""
