"""Train trials of one shape as a single network: ``trainer.fused``.

Each thread that runs a trial calls ``engine.train`` as usual. Where the threads meet
(``rendezvous``), one of them trains the stacked networks of all for an epoch (``fused_learner``);
then each thread saves and reports its own trial, and may leave. Between epochs, the state is in the
trials' own learners, so a checkpoint is the same as that of a trial that is trained alone.
"""
