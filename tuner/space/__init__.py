"""The search space: its tree, its grammar and its checks."""
