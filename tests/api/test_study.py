"""``tuner.Study`` and ``tuner.open``: what is read from a study, and what is asked of it."""

import shutil
import threading
from pathlib import Path

import pytest

import tuner
from tuner.config import extras

QUICK = ("sampler=random", "pruner=none")
SPACE = {
    "lr": "tag(log, interval(1e-4, 1))",
    "kind": {"sgd": {"momentum": "interval(0.8, 0.99)"}, "adamw": {}},
    "kernel": "choice(3, [3,5])",
}


def train(lr, kind, kernel, momentum=None, *, report):
    if lr < 0.001:
        raise ValueError("too small")
    for epoch in (1, 2):
        report(epoch, accuracy=lr * epoch, loss=1 - lr)
    report.note(size=8)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        tuner.search(train, SPACE, n_trials=6, workers=0, overrides=QUICK)
    return directory


@pytest.fixture
def study(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuner.Study:
    shutil.copytree(searched, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tuner.open("train")


def test_a_study_is_opened_by_its_name_alone(study, tmp_path, monkeypatch):
    assert study.name == "train"
    assert {"complete", "failed"} == {trial.state for trial in study.trials}
    best = study.best
    assert best.value == max(t.value for t in study.trials if t.value is not None)
    assert best.value == 2 * best.params["lr"]
    assert best.curve == {1: best.params["lr"], 2: best.value}
    assert best.metrics == {"accuracy": best.value, "loss": 1 - best.params["lr"]}
    assert best.facts == {"size": 8}
    assert study.trial(best.number) == best
    (failed, *_) = (trial for trial in study.trials if trial.state == "failed")
    assert failed.traceback is not None
    assert "too small" in failed.traceback
    with pytest.raises(tuner.TunerError, match="has no trial 99; hint: existing numbers: 0, 1"):
        study.trial(99)
    url = f"sqlite:///{tmp_path}/copy/runs/tuner.db"
    monkeypatch.chdir("/")
    assert tuner.open("train", url=url).best == best


@pytest.mark.parametrize(
    ("name", "url", "told"),
    [
        ("trian", None, "name: sqlite:///runs/tuner.db has no study 'trian'; hint: it has train"),
        ("train", "sqlite:///absent.db", "url: there is no database absent.db"),
        ("a/b", None, "name: 'a/b' cannot be the name of a directory"),
    ],
)
def test_a_study_that_is_not_there_is_told(study, name, url, told):
    with pytest.raises(tuner.TunerError) as caught:
        tuner.open(name, url=url)
    assert told in str(caught.value)


def test_frames_have_a_row_a_trial_and_a_row_an_epoch(study):
    pytest.importorskip("pandas")
    frame, curves = study.to_frame(), study.curves()
    assert list(frame["number"]) == [trial.number for trial in study.trials]
    assert {"params_lr", "params_momentum", "metrics_loss", "facts_size"} <= set(frame.columns)
    best = frame.loc[frame["value"].idxmax()]
    assert (best["value"], best["params_lr"]) == (study.best.value, study.best.params["lr"])
    assert list(curves.columns) == ["number", "state", "epoch", "value"]
    assert len(curves) == 2 * len(frame.query("state == 'complete'"))


def test_without_pandas_its_extra_is_named(study, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    monkeypatch.setattr(extras, "_requirements", lambda: ["pandas>=2; extra == 'pandas'"])
    with pytest.raises(tuner.TunerError, match=r"hint: pip install 'tuner\[pandas\]'"):
        study.to_frame()


@pytest.mark.filterwarnings("ignore:Some regimes for parameter")
def test_figures_are_those_of_the_metric(study):
    assert study.plot.history().layout.yaxis.title.text == "accuracy"
    assert len(study.plot.curves().data) == sum(t.state == "complete" for t in study.trials)
    assert study.plot.importances().layout.title.text == "Hyperparameter Importances"
    with pytest.raises(tuner.TunerError, match="no pareto_front plot"):
        study.plot.pareto()


def test_a_report_is_written_where_asked(study):
    assert study.report() == Path("runs/train/report.html")
    assert "train" in study.report("page.md").read_text()
    with pytest.raises(tuner.ConfigError, match=r"path: expected a name that ends with .html"):
        study.report("page.pdf")
    with pytest.raises(tuner.ConfigError, match="path: runs is a directory"):
        study.report("runs")


def test_an_enqueued_trial_is_run_next(searched, tmp_path, monkeypatch):
    shutil.copytree(searched, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    given = {"lr": 0.25, "kind": "sgd", "momentum": 0.9, "kernel": [3, 5]}
    tuner.open("train").enqueue(given)
    study = tuner.search(train, SPACE, n_trials=7, workers=0, overrides=QUICK)
    assert study.trials[-1].params == given | {"kernel": "[3,5]"}
    assert study.trials[-1].value == 0.5
    study.enqueue({"lr": 0.5, "kind": "adamw"})
    assert study.run().trials[-1].value == 1.0, "it needs no larger budget"
    assert len(study.run(n_trials=9).trials) == 9


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"lr": 3}, "lr: 3 is not searched; hint: lr: float 0.0001 to 1, log"),
        ({"lr": True}, "lr: True is not searched"),
        ({"lrr": 0.1}, "lrr: is not searched; hint: did you mean 'lr'?"),
        ({"kind": "adam"}, "kind: 'adam' is not searched; hint: kind: one of sgd, adamw"),
        ({"kind": "adamw", "momentum": 0.9}, "momentum: has no effect"),
        ({"lr": "a", "kernel": 4}, "2 errors:"),
    ],
    ids=str,
)
def test_what_the_space_does_not_have_is_not_enqueued(study, params, told):
    with pytest.raises(tuner.ConfigError) as caught:
        study.enqueue(params)
    assert told in str(caught.value)
    assert len(study.trials) == 6


def test_a_function_that_is_not_known_is_asked_for(study):
    with pytest.raises(
        tuner.TunerError, match=r"searches a function, which tuner\.open does not know"
    ):
        study.run()


def test_a_study_is_stopped_from_elsewhere(tmp_path, monkeypatch):
    """By another view of it, as a notebook on another machine has one."""
    monkeypatch.chdir(tmp_path)
    begun, go = threading.Event(), threading.Event()

    def waiting(x, *, report):
        begun.set()
        go.wait(250)
        while True:
            report.poll()

    def stop() -> None:
        begun.wait(250)
        tuner.open("waiting").stop()
        go.set()

    stopping = threading.Thread(target=stop)
    stopping.start()
    fast = ("worker.heartbeat=0.1", *QUICK)
    study = tuner.search(waiting, {"x": "interval(0, 1)"}, n_trials=2, overrides=fast)
    stopping.join()
    assert [trial.state for trial in study.trials] == ["queued"]
    assert study._record.workers() == []
