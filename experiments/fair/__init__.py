"""Studies of fairness."""
