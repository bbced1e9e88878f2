"""Meta-reinforcement learning: policies that adapt to a new task in a few episodes.

Tasks come from a `tasks.RLTaskFamily`, one family a file (`point_robot`, `physics`). `maml_rl` learns where
the adaptation starts from, by the derivatives of `dice`; `evaluate` plays on fresh tasks.
"""
