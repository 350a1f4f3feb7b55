"""Real worker processes and real signals: no trial is lost or run twice."""

import json
import os
import signal
from collections import Counter

import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from tests.conftest import Project, wait_for
from tuner.config.composition import Source
from tuner.environment import DEVICE
from tuner.launch import restarts
from tuner.study import create, plan
from tuner.study.attempts import HISTORY, REQUEUE, first_number
from tuner.study.study import Study
from tuner.study.work_time import STUDY, clocks
from tuner.worker import metrics_log
from tuner.worker.loop import _named, work


def ended(project: Project) -> list[FrozenTrial]:
    """The last attempts, having asserted that nothing runs, waits or was reported twice."""
    trials = project.study().optuna.get_trials()
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    last = [t for t in trials if REQUEUE not in t.system_attrs]
    assert len({first_number(t) for t in last}) == len(last)
    return last


def at_work(study: Study) -> set[str]:
    """The ids of live workers that have a trial."""
    return {w.id for w in study.workers() if w.alive and w.trial_id is not None}


@pytest.fixture
def soon(monkeypatch):
    """Workers that die are replaced at once."""
    monkeypatch.setattr(restarts, "FIRST_PAUSE", 0.0)


def test_four_workers_run_twenty_trials_once_each(project):
    args = ["study.n_trials=20", "objective.epochs=1"]
    workers = [project.start("worker", *args) for _ in range(4)]
    for worker in workers:
        _, err = worker.communicate(timeout=280)
        assert worker.returncode == 0, err
    last = ended(project)
    assert len(last) == 20
    assert Counter(Counter(name for name, _, _ in project.journal()).values()) == {1: 20}
    distinct = {t.params["objective.x"] for t in last}
    assert len(distinct) == 20, "workers with one seed must not propose the same"


def test_a_killed_worker_costs_no_configuration_and_no_epoch(project):
    tune = project.start("tune", "study.n_trials=3", "objective.fate=wait", "launch.workers=2")
    project.wait_until_held(2)
    name, _, pid = next(row for row in project.journal() if row[1] == 2)
    os.kill(pid, signal.SIGKILL)
    project.go()
    out, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    last = ended(project)
    assert len(last) == 3
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4] for t in last)
    runs = [(epoch, p) for trial, epoch, p in project.journal() if trial == name]
    assert [epoch for epoch, _ in runs] == [1, 2, 3, 4], "from its checkpoint"
    assert [p == pid for _, p in runs] == [True, True, False, False], "another process"
    (retry,) = [t for t in last if t.system_attrs.get(HISTORY)]
    assert retry.system_attrs[HISTORY] == [int(name.split("-")[0])]
    assert "tuner train" in out


def test_a_process_that_dies_between_checkpoint_and_report_loses_no_epoch(project, soon):
    project.call("tune", "study.n_trials=2", "objective.fate=die", "launch.workers=1")
    assert all(sorted(t.intermediate_values) == [1, 2, 3, 4] for t in ended(project))
    for trial in ended(project):
        kept = metrics_log.read(project.directory / trial.user_attrs["run_dir"])
        assert list(kept) == [1, 2, 3, 4], "all metrics, beside the checkpoint"
        assert {*kept[4]} == {"accuracy", "loss"}
        assert trial.user_attrs["facts"] == {"kind": trial.params["objective.kind"]}
    assert [epoch for _, epoch, _ in project.journal()] == [1, 2, 3, 4] * 2


def test_an_interrupted_study_goes_on_with_the_rest_of_its_budget(project):
    args = ["study.n_trials=3", "objective.fate=wait", "launch.workers=2"]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        tune = project.start("tune", *args)
        project.wait_until_held(2)
        study = project.study()
        wait_for(lambda study=study: len(at_work(study)) == 2)
        tune.send_signal(number)
        _, err = tune.communicate(timeout=280)
        assert tune.returncode == code, err
        assert err.index("stopping: waiting up to") < err.index("run the same command")
        logs = [p.read_text() for p in (project.directory / "runs/toy/logs").glob("worker-*.log")]
        assert all(f"stopping ({signal.Signals(number).name})" in log for log in logs)
        states = Counter(t.state for t in study.optuna.get_trials())
        assert states[TrialState.RUNNING] == 0, "requeued at once, not after the grace period"
    project.go()
    project.call("worker", *args)
    assert len(ended(project)) == 3
    per_epoch = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert set(per_epoch.values()) == {1}, "a graceful stop repeats no epoch"
    project.call("tune", *args)
    assert len(ended(project)) == 3, "a spent budget stays spent"
    project.call("worker", *args[1:], "study.n_trials=5")
    assert len(ended(project)) == 5, "raise the budget"


def test_a_worker_asked_to_leave_requeues_at_once(project):
    worker = project.start("worker", "study.n_trials=1", "objective.fate=wait")
    project.wait_until_held()
    worker.terminate()
    worker.communicate(timeout=280)
    assert worker.returncode == 143
    study = project.study()
    first, second = study.optuna.get_trials()
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert second.params == first.params
    assert second.intermediate_values == first.intermediate_values != {}
    assert study.workers() == []


def test_a_second_signal_leaves_at_once(sleeper):
    worker = sleeper.start("worker")
    wait_for((sleeper.directory / "asleep").exists)
    worker.terminate()
    assert "stopping (SIGTERM)" in next(line for line in worker.stderr if "stopping" in line)
    assert worker.poll() is None, "it waits for the epoch to end"
    # Again until it leaves: Python may miss one that comes just as a sleep goes on.
    wait_for(lambda: worker.terminate() or worker.poll() is not None)
    worker.communicate(timeout=280)
    assert worker.returncode == 143


def test_a_second_signal_to_tune_ends_its_workers_at_once(sleeper):
    tune = sleeper.start("tune", "launch.workers=1")
    wait_for((sleeper.directory / "asleep").exists)
    tune.send_signal(signal.SIGINT)
    assert "press Ctrl-C again to kill them" in next(
        line for line in tune.stderr if "stopp" in line
    )
    tune.send_signal(signal.SIGINT)
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 130
    assert "killed all workers" in err


@pytest.fixture
def sleeper(project: Project) -> Project:
    """A project whose objective hears of nothing for ten minutes."""
    (project.directory / "toy.py").write_text(
        "import time\nfrom pathlib import Path\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    Path('asleep').touch()\n"
        "    time.sleep(600)\n"
    )
    return project


def test_a_paused_worker_is_fenced_out_quietly(project):
    args = ["study.n_trials=2", "objective.fate=wait", "worker.grace=1.5"]
    paused = project.start("worker", *args)
    project.wait_until_held()
    paused.send_signal(signal.SIGSTOP)
    study = project.study(grace=1.5)
    wait_for(lambda: not any(w.alive for w in study.workers()))
    other = project.start("worker", *args)
    wait_for(lambda: len(at_work(study)) == 1)
    project.go()
    wait_for(lambda: any(pid == other.pid for _, _, pid in project.journal()))
    paused.send_signal(signal.SIGCONT)
    for worker in (paused, other):
        _, err = worker.communicate(timeout=280)
        assert worker.returncode == 0, err
    last = ended(project)
    assert len(last) == 2
    for trial in last:
        assert trial.state == TrialState.COMPLETE
        assert sorted(trial.intermediate_values) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fate", "state", "kind", "reason"),
    [
        ("diverge", TrialState.PRUNED, "diverged", "diverged: accuracy is nan at step 1"),
        ("memory", TrialState.PRUNED, "out_of_memory", "out of memory: too large"),
        ("raise", TrialState.FAIL, "error", "ValueError: a mistake in the objective"),
    ],
)
def test_each_trouble_has_its_fate(project, fate, state, kind, reason):
    project.call("worker", "study.n_trials=2", f"objective.fate={fate}", code=1)
    last = ended(project)
    assert [t.state for t in last] == [state, state]
    assert all(t.user_attrs["reason"] == reason for t in last)
    assert all(t.user_attrs["reason_kind"] == kind for t in last)
    assert ("a mistake in the objective" in last[0].user_attrs.get("traceback", "")) == (
        state == TrialState.FAIL
    )


def test_an_objective_that_always_fails_stops_the_study(project):
    args = ["study.n_trials=40", "objective.fate=raise", "launch.workers=2"]
    project.call("tune", *args, code=1)
    said = "too many configurations fail, more than worker.max_failure_rate=0.5 of them"
    assert said in project.stderr
    assert "ValueError: a mistake in the objective" in project.stderr
    assert len(ended(project)) < 10
    assert project.study().workers() == [], "it gave up, and is not lost"


def test_cublas_is_set_up_for_deterministic_trials_before_any_trial(project):
    """It looks once, in the first trial of a process; the next may be one that has to be exact."""
    (project.directory / "toy.py").write_text(
        "import os\ndef train(x: float, kind: str, epochs: int, seconds: float, fate: str, *,"
        " report): return os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'\n"
    )
    project.run("worker", "study.n_trials=1")
    assert [t.value for t in ended(project)] == [1.0]


def test_a_configuration_that_kills_its_workers_is_given_up(project, soon):
    (project.directory / "toy.py").write_text(
        "import os\ndef train(x: float, kind: str, epochs: int, seconds: float, fate: str, *,"
        " report): os.kill(os.getpid(), 9)\n"
    )
    args = ["study.n_trials=1", "worker.max_retries=1", "launch.workers=1"]
    project.call("tune", *args, code=1)
    (last,) = ended(project)
    assert last.state == TrialState.FAIL
    assert last.user_attrs["reason_kind"] == "lost"
    assert "lost 2 times" in last.user_attrs["reason"]


def test_trials_in_threads_of_one_worker_are_trials_like_any_other(project):
    args = ["study.n_trials=5", "worker.concurrency=3", "objective.fate=wait"]
    worker = project.start("worker", *args)
    project.wait_until_held(3)
    assert {id.rpartition(".")[2] for id in at_work(project.study())} == {"0", "1", "2"}
    worker.terminate()
    _, err = worker.communicate(timeout=280)
    assert worker.returncode == 143, err
    project.go()
    project.call("worker", *args)
    assert len(ended(project)) == 5
    per_epoch = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert set(per_epoch.values()) == {1}


def test_what_does_not_fit_beside_others_is_run_alone(project):
    """Each trial 'runs out of memory' unless it is the only one at work; the first two meet."""
    (project.directory / "toy.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    mine = Path(f'busy-{os.getpid()}')\n"
        "    mine.touch()\n"
        "    others = lambda: len(list(Path('.').glob('busy-*'))) - 1\n"
        "    try:\n"
        "        while not (others() or Path('met').exists()): time.sleep(0.02)\n"
        "        Path('met').touch()\n"
        "        time.sleep(0.1)\n"
        "        if others(): raise MemoryError(f'{others()} others')\n"
        "    finally: mine.unlink()\n"
        "    return x\n"
    )
    project.call("tune", "study.n_trials=4", "launch.workers=2")
    logs = "".join(p.read_text() for p in project.directory.glob("runs/toy/logs/*.log"))
    assert "retrying with exclusive access" in logs
    assert {t.state for t in ended(project)} == {TrialState.COMPLETE}


def test_an_objective_that_leaves_the_process_fails_like_any_other(project):
    (project.directory / "toy.py").write_text(
        "import sys\n"
        "def interrupt(): raise KeyboardInterrupt\n"
        "leave = iter([lambda: sys.exit(0), lambda: sys.exit(3), interrupt])\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    next(leave)()\n"
    )
    project.run("worker", "study.n_trials=3", "worker.min_failures=9", code=1)
    last = ended(project)
    assert [t.state for t in last] == [TrialState.FAIL] * 3
    assert [t.user_attrs["reason"].partition(":")[0] for t in last] == [
        "SystemExit", "SystemExit", "KeyboardInterrupt",
    ]  # fmt: skip
    assert all("Traceback" in t.user_attrs["traceback"] for t in last)


def test_a_process_that_ends_without_a_word_has_its_trial_requeued(project, soon):
    (project.directory / "toy.py").write_text(
        "import os\nfrom pathlib import Path\n"
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report,"
        " run_dir):\n"
        "    if not (run_dir / 'tried').exists():\n"
        "        (run_dir / 'tried').touch()\n"
        "        os._exit(0)\n"
        "    return x\n"
    )
    project.call("tune", "study.n_trials=1", "launch.workers=1")
    assert {t.state for t in ended(project)} == {TrialState.COMPLETE}


def test_an_interrupted_configuration_that_has_changed_starts_anew(project):
    args = ["study.n_trials=1", "objective.fate=wait"]
    worker = project.start("worker", *args, "objective.epochs=50")
    project.wait_until_held()
    worker.terminate()
    worker.communicate(timeout=280)
    project.go()
    project.call("worker", *args, "objective.epochs=4")
    assert "starts over" in project.stderr
    assert [epoch for _, epoch, _ in project.journal()[2:]] == [1, 2, 3, 4]
    assert ended(project)[0].state == TrialState.COMPLETE


def test_a_run_at_its_last_epoch_is_complete_not_pruned(project):
    """A pruner that would stop everything at the last of four epochs finds nothing to save."""
    pruner = ["pruner=median", "pruner.n_startup_trials=0", "pruner.n_min_trials=1"]
    project.call("worker", *pruner, "pruner.n_warmup_steps=4", "study.n_trials=6")
    assert {t.state for t in ended(project)} == {TrialState.COMPLETE}
    project.call("worker", *pruner, "pruner.n_warmup_steps=3", "study.n_trials=16")
    assert TrialState.PRUNED in {t.state for t in ended(project)}, "at the third it does"


def test_a_false_alarm_forgets_no_trial(project, monkeypatch):
    """A worker that believes itself lost gives its trial up, but never leaves it RUNNING."""
    monkeypatch.chdir(project.directory)
    monkeypatch.syspath_prepend(project.directory)
    overrides = [*project.DEFAULTS[1:], "study.n_trials=2", "objective.seconds=0.1"]
    asked = plan.load(Source((project.directory / "conf",)), overrides).require()
    opened = create.open_study(asked)
    alarms = [False, True, False]
    beat = opened.leases.beat
    monkeypatch.setattr(opened.leases, "beat", lambda w: alarms.pop() if alarms else beat(w))
    assert work(asked, opened) == 0
    assert alarms == []
    assert {t.state for t in ended(project)} == {TrialState.COMPLETE}
    assert any(t.system_attrs.get(HISTORY) for t in ended(project)), "it was given up and taken up"


def test_a_budget_of_time_pauses_what_runs_and_a_larger_one_goes_on_with_it(project):
    args = ["study.n_trials=3", "objective.fate=wait", "launch.workers=2"]
    tune = project.start("tune", *args, "budget.hours=1")
    project.wait_until_held(2)
    study = project.study()
    with study.storage.engine.begin() as others:  # what they work counts as well
        others.execute(sa.update(clocks).where(clocks.c.name == STUDY).values(seconds=7200))
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 0, err
    assert "the search has ended: budget.hours: " in err
    assert "paused: 2 configurations; raise the budget to resume them" in err
    assert len(project.journal()) == 4
    states = Counter(t.state for t in study.attempts())
    assert states == {TrialState.WAITING: 2}
    status = json.loads(project.call("status", "--json"))
    assert status["finished_reason"].startswith("budget.hours: ")
    assert status["budget"]["budget.hours"]["spent"] >= 2
    assert "ended: budget.hours" in project.call("status")
    project.go()
    project.call("tune", *args, "budget.hours=1")
    assert len(project.journal()) == 4, "a spent budget stays spent"
    assert "is complete (budget.hours" in project.stderr
    project.call("worker", *args, "budget.hours=3")
    assert len(ended(project)) == 3
    per_epoch = Counter((name, epoch) for name, epoch, _ in project.journal())
    assert set(per_epoch.values()) == {1}, "paused and resumed, no epoch is run twice"
    assert len(per_epoch) == 12


def test_a_search_ends_once_its_expected_gain_is_below_the_noise(project):
    """Long before its configurations do; what was noise to it is told."""
    args = ["study.n_trials=200", "objective.epochs=1"]
    project.call("worker", *args, "budget.stop_when=gain_below_noise", "budget.noise=10")
    assert len(ended(project)) == 20, "the least"
    assert (
        "the search has ended: budget.stop_when: doubling the number of configurations would gain"
        in (project.stderr)
    )
    assert "less than the seed-to-seed noise, 10" in project.stderr


def test_a_budget_of_epochs_is_never_overshot(project):
    project.call("tune", "study.n_trials=null", "launch.workers=3", "budget.epochs=10")
    assert len(project.journal()) == 8, "the two left are too few for a configuration"
    assert {t.state for t in ended(project)} == {TrialState.COMPLETE}
    assert "8 of 10; the remaining 2 are too few for another configuration of 4" in project.stderr


def test_epochs_of_an_objective_that_does_not_tell_its_length_are_not_overshot(project):
    (project.directory / "conf/objective/endless.yaml").write_text(
        "_target_: endless.train\nx: 0.5\nkind: a\n"
    )
    (project.directory / "endless.py").write_text(
        "import time\n"
        "def train(x: float, kind: str, *, report):\n"
        "    for epoch in range(1, 10):\n"
        "        time.sleep(0.05)\n"
        "        open('journal.txt', 'a').write(f'{x} {epoch} 0\\n')\n"
        "        report(epoch, accuracy=x)\n"
    )
    args = ["objective=endless", "study.name=toy", "study.n_trials=null", "launch.workers=2"]
    project.call("tune", *args, "budget.epochs=12")
    reported = sum(len(t.intermediate_values) for t in project.study().attempts())
    assert 12 - 1 <= reported <= 12
    assert "budget.epochs: " in project.stderr


def test_gpus_of_one_machine_are_told_apart(monkeypatch):
    """To a process that is pinned its GPU is cuda:0, whichever it is."""
    assert (_named(None), _named("cuda:1")) == ("auto", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert _named(None) == "auto"
    monkeypatch.setenv(DEVICE, "cuda:0")
    assert (_named(None), _named("cpu")) == ("GPU 3", "cpu")
