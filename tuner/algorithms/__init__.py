"""Samplers and pruners on Optuna's interfaces: what to try next, and what to stop."""
