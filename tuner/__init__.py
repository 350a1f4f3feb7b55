"""Hyperparameter optimisation for PyTorch CNNs, and for any callable named by ``_target_``."""

__version__ = "0.1.0"
