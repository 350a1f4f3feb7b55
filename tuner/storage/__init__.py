"""Databases: connections, locks, and an Optuna storage on Optuna's own tables."""
