"""Studies of self-supervised learning."""
