"""Implement tuner's pruners on Optuna's ``BasePruner``, so that they work in any Optuna study."""
