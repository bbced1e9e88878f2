"""Studies of adversarial robustness."""
