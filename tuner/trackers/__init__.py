"""Trackers, each on its own library, which is an extra and is imported with its module."""
