"""Studies of representation learning."""
