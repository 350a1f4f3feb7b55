"""The built-in CNN trainer.

It knows no Optuna and no Hydra: `tuner.train.engine.train` is reached by its ``_target_``, as a
user's own objective is, and speaks to the study through ``report`` alone.
"""
