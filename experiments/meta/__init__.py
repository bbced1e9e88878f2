"""Studies of meta-learning."""
