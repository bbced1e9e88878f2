"""Meta-reinforcement learning: policies that adapt to a new task in a few episodes.

Tasks come from a `tasks.RLTaskFamily`; `point_robot` and `physics` make such families. `maml_rl` learns the
initialization of the adaptation, by the derivatives of `dice`. `evaluate` measures returns on new tasks.
"""
