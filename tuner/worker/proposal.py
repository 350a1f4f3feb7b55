"""Open claimed trials: with a sampler and a pruner, and with sampled parameters."""

from functools import cached_property

from optuna.pruners import BasePruner
from optuna.trial import Trial

from tuner.algorithms.pruners.factory import Traded, build_pruner
from tuner.algorithms.rung_scores import Scoreboard
from tuner.algorithms.samplers.factory import build_sampler, is_small
from tuner.algorithms.seeds import seed_of
from tuner.study.attempts import ordinal
from tuner.study.plan import Plan
from tuner.study.study import Study


class Proposer:
    """Sampler and pruner for the trials of a process, which cache what they have read."""

    def __init__(self, plan: Plan, study: Study) -> None:
        self.plan, self.study = plan, study
        self.scoreboard = Scoreboard()

    @cached_property
    def pruner(self) -> BasePruner:
        """The pruner of all trials of this process."""
        return build_pruner(self.plan.cfg)

    def open(self, trial_id: int) -> Trial:
        """Return the claimed trial, ready to sample from and to prune.

        In a space that can be exhausted, one trial at a time is sampled and stored, so that each
        sees the others' parameters.
        """
        plan, study = self.plan, self.study
        number = ordinal(study.storage.get_trial(trial_id))
        seed = seed_of(plan.seed, "sampler", number)
        sampler = build_sampler(plan.cfg, plan.space, seed, self.scoreboard)
        optuna_study = Traded(study.name, study.storage, sampler, self.pruner)
        if not is_small(plan.space):
            return Trial(optuna_study, trial_id)
        with study.lock():
            trial = Trial(optuna_study, trial_id)
            plan.space.suggest(trial)
        return trial
