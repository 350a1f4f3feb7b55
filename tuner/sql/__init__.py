"""Optuna's tables, read and written by few statements of our own."""
