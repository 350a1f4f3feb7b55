"""Real workers on a real database while everything is killed, paused, restarted and filled up.

``storm`` starts them and disturbs them, ``objective`` is what they run, and ``verdict`` judges from
the database and from the objective's journal what has become of the study.  ``python -m
tests.chaos`` is the long form, ``tests/test_chaos.py`` the short one.
"""
