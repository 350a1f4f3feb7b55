"""``worker.turn``: a worker gives way to others, and what its start costs."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.conftest import Project
from tests.study.test_next_trial import Bench
from tests.worker.test_worker import ended
from tuner.config.composition import Source
from tuner.environment import GAVE_WAY, QUEUE
from tuner.errors import ConfigError
from tuner.study import create, plan
from tuner.study.attempts import HISTORY
from tuner.study.budget import Budget
from tuner.study.plan import Plan
from tuner.worker import turn
from tuner.worker.loop import work
from tuner.worker.signals import Signals
from tuner.worker.turn import StartCost, waiting

WANTED = "echo '7 ann Priority'; echo '9 bob Resources'"


def with_turns(project: Project, monkeypatch, *overrides: str) -> Plan:
    """A plan whose turns take a third of a second, less than what a configuration may ask for."""
    monkeypatch.chdir(project.directory)
    monkeypatch.syspath_prepend(project.directory)
    args = [*project.DEFAULTS[1:], "worker.turn=1", *overrides]
    asked = plan.load(Source((project.directory / "conf",)), args).require()
    vars(asked)["worker"] = replace(asked.worker, turn=0.005)
    return asked


def test_a_worker_gives_way_when_somebody_waits_and_no_epoch_runs_twice(
    project, monkeypatch, caplog
):
    caplog.set_level("INFO", "tuner")
    asked = with_turns(project, monkeypatch, "study.n_trials=2", "objective.seconds=0.2")
    opened = create.open_study(asked)
    monkeypatch.setenv(QUEUE, WANTED)
    codes = [work(asked, opened)]
    assert codes == [GAVE_WAY]
    assert opened.workers() == []
    why = "its turn of 0.005 min is over, 2 waiting, the first: 7 ann Priority"
    assert f"trial 0 is requeued: {why}" in caplog.text
    while codes[-1] == GAVE_WAY:
        codes.append(work(asked, opened))
    assert codes[-1] == 0
    last = ended(project)
    assert len(last) == 2
    assert any(t.system_attrs.get(HISTORY) for t in last)
    assert sum(t.system_attrs.get("tuner:crashes", 0) for t in last) == 0, "no failed attempt"
    per_epoch = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert per_epoch == dict.fromkeys(per_epoch, 1)
    assert len(per_epoch) == 8


def test_a_worker_goes_on_where_nobody_waits(project, monkeypatch):
    asked = with_turns(project, monkeypatch, "study.n_trials=1", "objective.seconds=0.2")
    monkeypatch.setenv(QUEUE, "touch asked; grep -x nobody /dev/null")
    assert work(asked, create.open_study(asked)) == 0
    assert (project.directory / "asked").exists()
    assert not any(HISTORY in t.system_attrs for t in ended(project))


def test_places_of_one_process_give_way_together(project, monkeypatch):
    asked = with_turns(
        project, monkeypatch, "study.n_trials=2", "worker.concurrency=2", "objective.seconds=0.5"
    )
    monkeypatch.setenv(QUEUE, WANTED)
    opened = create.open_study(asked)
    assert work(asked, opened) == GAVE_WAY
    assert opened.workers() == []


def test_an_engine_that_does_not_answer_lets_nobody_wait(monkeypatch):
    assert waiting() == "", "there is none to be asked"
    monkeypatch.setattr(turn, "ANSWER_WITHIN", 0.05)
    for silent in ("exit 1", "echo away >&2", "exec sleep 60"):
        monkeypatch.setenv(QUEUE, silent)
        assert waiting() is None


def test_a_study_that_is_stopped_is_not_asked_for_again():
    signals = Signals()
    signals.ask("its turn is over", GAVE_WAY)
    signals.ask("the study was stopped")
    assert (signals.reason(), signals.code) == ("the study was stopped", 0)


def test_the_cost_of_a_start_is_what_precedes_the_first_epoch(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "tuner")
    study = Bench(tmp_path, Budget(n_trials=9)).study
    reports = iter([110.0, 113.0])  # three to an epoch, and the trial began at 100
    monkeypatch.setattr(turn, "_age", lambda: 5.0)
    monkeypatch.setattr(turn, "time", SimpleNamespace(monotonic=lambda: next(reports)))
    cost = StartCost(study, 1.0)
    for _ in range(3):
        cost.reported(begun=100.0)
    assert study.attrs["start_seconds"] == 5 + 10 - 3
    (told,) = [r for r in caplog.records if "worker.turn" in r.getMessage()]
    assert told.levelname == "WARNING"
    assert told.getMessage() == "worker.turn: 1 min, of which a start takes 12.0 s (20.0 %)"


def test_the_age_of_a_process_counts_its_imports():
    first = turn._age()
    assert 0 < first <= turn._age()


def test_a_turn_shorter_than_ten_starts_is_refused(tmp_path):
    bench = Bench(tmp_path, Budget(n_trials=9))
    bench.study.storage.set_study_user_attr(bench.study.id, "start_seconds", 12.0)

    def again(minutes: float) -> None:
        overrides = [*bench.plan.overrides, f"worker.turn={minutes}"]
        create.open_study(plan.load(Source(), overrides).require())

    again(2)
    with pytest.raises(ConfigError) as caught:
        again(1)
    assert str(caught.value) == (
        "worker.turn: too short: 1 min, of which a start takes 12.0 s (20.0 %); "
        "hint: at least 2, 10 starts"
    )


def test_where_no_engine_hands_the_slot_on_a_turn_is_refused(project):
    project.call("tune", "worker.turn=5", code=2)
    assert "worker.turn: launch=local has no queue" in project.stderr
    assert "hint: null, launch=slurm or launch=ray" in project.stderr
    project.call("worker", "worker.turn=0.01", code=2)
    assert "worker.turn: expected float of 0.1 or more" in project.stderr
    assert not (project.directory / "runs").exists()
