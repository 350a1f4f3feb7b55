"""Optimisers, learning-rate schedules, and an average of the weights."""
