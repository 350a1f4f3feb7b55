"""What a study tells: comparison of the best, intervals, pruning errors, Pareto front."""
