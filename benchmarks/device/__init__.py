"""All that needs a real device, by one command: ``python -m benchmarks.device``."""
