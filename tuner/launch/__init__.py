"""Launch workers on an engine: each launcher only starts ``tuner worker`` with given overrides."""
