"""Start workers on an engine: local processes, Slurm or Ray."""
