"""Fault injection: real workers on a real database while everything is killed, paused and cut off.

``storm`` starts them and injects faults, ``objective`` is what they run, and ``verdict`` checks the
study in the database and the objective's journal. ``python -m tests.chaos`` is the long form,
``tests/test_chaos.py`` the short one.
"""
