"""optuna-dashboard, made quick and safe to leave running.

It knows neither users nor a read-only mode.  ``server`` runs it, ``gate`` stands before it.
"""
