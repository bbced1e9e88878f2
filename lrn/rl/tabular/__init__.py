"""Tabular reinforcement learning: prediction and control by temporal differences.

    from lrn import train
    from lrn.rl import mdp, tabular

    lake = mdp.frozen_lake()
    env = mdp.as_env(lake, time_limit=100)
    config = tabular.ControlConfig(step_size=tabular.Schedule(power=0.7), epsilon=tabular.Schedule(0.3))
    fitted = train.fit(lambda c: tabular.q_learning(env, c), config, range(10), steps=1000)
    error = abs(fitted.state.q - mdp.solve(lake).action_values).max()

The updates (`q_learning_update` and so on) can be used alone, for loops of your own.
"""

from lrn.rl.tabular.control import ControlConfig, ControlState
from lrn.rl.tabular.double_q_learning import double_q_learning, double_q_learning_update
from lrn.rl.tabular.expected_sarsa import expected_sarsa, expected_sarsa_update
from lrn.rl.tabular.prediction import PredictionState
from lrn.rl.tabular.q_learning import q_learning, q_learning_update
from lrn.rl.tabular.sarsa import sarsa, sarsa_update
from lrn.rl.tabular.schedule import Schedule
from lrn.rl.tabular.td import TDConfig, td, td_update
from lrn.rl.tabular.td_lambda import TDLambdaConfig, td_lambda, td_lambda_update

__all__ = [
    "ControlConfig",
    "ControlState",
    "PredictionState",
    "Schedule",
    "TDConfig",
    "TDLambdaConfig",
    "double_q_learning",
    "double_q_learning_update",
    "expected_sarsa",
    "expected_sarsa_update",
    "q_learning",
    "q_learning_update",
    "sarsa",
    "sarsa_update",
    "td",
    "td_lambda",
    "td_lambda_update",
    "td_update",
]
