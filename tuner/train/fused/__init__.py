"""Train trials of one shape as a single network: ``trainer.fused``.

Each of the threads that run a trial calls ``engine.train`` as usual. Where the threads meet
(``rendezvous``), one of them trains the stacked networks of all for an epoch (``fused_learner``);
then each saves, reports and leaves by itself. Between epochs the state is in the trials' own
learners, so that a checkpoint is the same as that of a trial that is trained alone.
"""
