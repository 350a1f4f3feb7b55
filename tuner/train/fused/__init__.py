"""Trials of one shape trained as one: ``trainer.fused``.

Each of the threads that run a trial calls ``engine.train`` as ever.  Where the threads meet
(``rendezvous``), one of them trains the stacked networks of all for an epoch (``crew``); then each
saves, reports and leaves by itself.  Between epochs what was learnt is in the trials' own learners,
so that a checkpoint is the same as that of a trial alone.
"""
