"""Samplers of our own, on Optuna's public interface."""
