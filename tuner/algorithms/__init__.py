"""What to try next and what to stop: samplers and pruners on Optuna's interfaces."""
