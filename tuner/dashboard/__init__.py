"""optuna-dashboard with faster responses and access control.

optuna-dashboard has neither users nor a read-only mode. ``server`` runs it, and ``gate`` controls
access to it.
"""
