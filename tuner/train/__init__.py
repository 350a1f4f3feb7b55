"""The built-in CNN trainer.

It imports neither Optuna nor Hydra: `tuner.train.engine.train` is reached by its ``_target_``, like
a user's own objective, and passes results to the study only through ``report``.
"""
