"""Checkpoints: what they hold, and files that are replaced as a whole and checked."""
