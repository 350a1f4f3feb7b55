"""Trackers; each imports its own library, which is an extra, in its own module."""
