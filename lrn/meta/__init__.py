"""Meta-learning: learning to learn from few examples, pure cores, one algorithm or idea a file.

Tasks come from an `episode.TaskFamily`, pure functions of a key. A `problem.Problem` says what a network does
on a task. Algorithms are factories that return a `learner.MetaLearner`: `maml`, `prototypical` and so on. For
reinforcement learning see `lrn.meta.rl`.
"""
