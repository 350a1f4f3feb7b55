"""Tests and benchmarks that need a GPU, run by one command: ``python -m benchmarks.device``."""
