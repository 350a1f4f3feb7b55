"""The built-in CNN trainer.

It imports neither Optuna nor Hydra. Like a user's objective, ``tuner.train.engine.train`` is named
by ``objective._target_`` and passes results to the study only through ``report``.
"""
