"""optuna-dashboard with faster responses and access control.

optuna-dashboard has neither users nor a read-only mode. ``server`` runs it, and ``auth`` controls
access to it.
"""
