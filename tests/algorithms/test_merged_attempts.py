"""Pruners get configurations, not attempts."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.study.test_next_trial import Bench
from tuner.algorithms.pruners.merged_attempts import TrialPruner
from tuner.study.budget import Budget
from tuner.study.seed_noise import REPEAT


class Looking(optuna.pruners.BasePruner):
    """Notes what it sees."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.trial = trial
        self.trials = study.get_trials(deepcopy=False)
        self.running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return False


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Budget(n_trials=20))


def test_an_interrupted_attempt_is_seen_once_and_under_its_first_number(bench):
    kept = bench.run(0.25, epochs=1)
    trial = bench.claim()
    for step in (1, 2):
        trial.report(0.5, step)
        bench.study.requeue(trial._trial_id, "SIGTERM")
        trial = bench.claim()
    trial.study.pruner = looking = Looking()
    assert trial.number == 3
    assert not TrialPruner(trial).should_prune()
    assert looking.trial.number == 1
    assert [t.number for t in looking.trials] == [0, 1]
    assert [t._trial_id for t in looking.running] == [trial._trial_id]
    assert looking.trials[0]._trial_id == kept._trial_id
    stored = bench.study.storage.get_all_trials(bench.study.id, deepcopy=False)
    assert [t.number for t in stored] == [0, 1, 2, 3], "what others see is left alone"


def test_runs_that_repeat_the_best_are_no_competitors(bench):
    repeat = bench.claim()
    bench.study.storage.set_trial_system_attr(repeat._trial_id, REPEAT, 0)
    trial = bench.claim()
    trial.study.pruner = looking = Looking()
    TrialPruner(trial).should_prune()
    assert [t._trial_id for t in looking.trials] == [trial._trial_id]


def test_a_pruner_that_merges_attempts_itself_is_shown_them_all(bench):
    trial = bench.claim()
    bench.study.requeue(trial._trial_id, "SIGTERM")
    trial = bench.claim()
    looking = Looking()
    looking.merges_attempts = True
    trial.study.pruner = looking
    TrialPruner(trial).should_prune()
    assert [t.number for t in looking.trials] == [0, 1]
    assert looking.trial.number == 0
