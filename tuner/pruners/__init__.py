"""Pruners of our own, which are Optuna's ``BasePruner`` and work in any Optuna study."""
