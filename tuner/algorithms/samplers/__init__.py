"""Implement tuner's samplers on Optuna's public interface."""
