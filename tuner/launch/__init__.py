"""Start workers on an engine: local processes, Slurm, Kubernetes or Ray."""
