"""Analyse a study: comparison of the best, intervals, pruning errors, Pareto front."""
