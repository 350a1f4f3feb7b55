"""Generated input for every reader of what other people write: no traceback, no hang, no code run.

``TUNER_FUZZ=50`` tries fifty times as many examples, other ones in each run (``make fuzz``).
"""
