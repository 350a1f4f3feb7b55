"""Read and write Optuna's tables with few SQL statements."""
