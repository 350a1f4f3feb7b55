"""The device of a run, and steps captured as CUDA graphs."""
