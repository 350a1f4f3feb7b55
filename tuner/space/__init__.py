"""The search space: its tree, its grammar and what is wrong with it."""
