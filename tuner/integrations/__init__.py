"""Callbacks that report from other training libraries; each module imports its own library."""
