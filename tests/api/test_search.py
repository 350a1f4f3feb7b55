"""``tuner.search``: a function is searched as by ``tuner tune``."""

import functools
import importlib
import os
import re
import signal
from pathlib import Path

import pytest

import tuner
from tuner.api import arguments
from tuner.study import study as records


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SPACE = {
    "lr": "tag(log, interval(1e-4, 1))",
    "optimizer": {"sgd": {"momentum": "interval(0.8, 0.99)", "nesterov": True}, "adamw": {}},
    "layers": {1: {}, 2: {"width": "choice(8, 16)"}},
    "label": "a plain, quoted text",
    "epochs": 2,
}
QUICK = ("sampler=random", "pruner=none")


def test_a_function_is_given_what_is_searched_and_what_is_not(tmp_path):
    calls = []

    def train(lr, optimizer, layers, epochs, label, report, run_dir, momentum=None, nesterov=None,
              width=None):  # fmt: skip
        calls.append({key: value for key, value in locals().items() if key != "calls"})
        for epoch in range(1, epochs + 1):
            report(epoch, accuracy=lr)

    study = tuner.search(train, SPACE, n_trials=8, overrides=QUICK)
    assert len(calls) == 8
    assert {call["label"] for call in calls} == {"a plain, quoted text"}
    for call in calls:
        assert 1e-4 <= call["lr"] <= 1
        assert call["optimizer"] in ("sgd", "adamw")
        assert (call["nesterov"] is True) == (call["optimizer"] == "sgd")
        assert (call["momentum"] is None) == (call["optimizer"] == "adamw")
        assert (call["width"] in (8, 16)) == (call["layers"] == 2)
    best = max(calls, key=lambda call: call["lr"])
    assert study.best.value == best["lr"]
    assert study.best.run_dir is not None
    assert study.best.run_dir.absolute() == best["run_dir"]
    assert {key: best[key] for key in study.best.params} == study.best.params
    assert study.name == "train"
    assert (tmp_path / "runs/tuner.db").is_file()


def test_the_same_call_resumes_and_a_larger_budget_goes_on():
    calls = []

    def train(x, y=0, *, report):
        calls.append(x)
        return x

    searched = functools.partial(tuner.search, train, {"x": "interval(0, 1)"}, name="a study")
    first = searched(n_trials=2, overrides=QUICK)
    assert [t.value for t in searched(n_trials=2, overrides=QUICK).trials] == calls
    assert [t.value for t in searched(n_trials=3, overrides=QUICK).trials] == calls
    assert len(calls) == 3
    assert [t.value for t in first.trials] == calls, "it is read anew"
    with pytest.raises(tuner.TunerError, match="exists with other settings"):
        tuner.search(train, {"x": "interval(0, 1)", "y": "choice(1, 2)"}, name="a study")


def test_all_mistakes_are_told_at_once_in_the_words_of_the_call(tmp_path):
    def train(lr: float, epochs: int, *, report):
        raise AssertionError("never called")

    with pytest.raises(tuner.ConfigError) as caught:
        tuner.search(
            train,
            {"lr": "interval(1, 0)", "momentun": "choice(1, 2)", "epochs": "interval(1, 3)"},
            n_trials=0,
            metric="loss",
            url="nonsense",
            overrides=["sampler=tpee"],
        )
    told = str(caught.value)
    for expected in (
        "lr: the interval is empty", "momentun: unknown key", "epochs: expected int",
        "n_trials: expected int of 1 or more | null, got 0",
        "metric: lower values of loss are better", "direction=minimize",
        "url: not a database URL", "did you mean 'tpe'?",
    ):  # fmt: skip
        assert expected in told
    assert not re.search("objective|study\\.|storage", told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (["lr"], "space: expected a mapping of the function's keywords"),
        ({"lr": [0.1, 0.2]}, 'lr: expected a sweep or one value, got [0.1, 0.2]; hint: "choice('),
        ({"lr": object}, "lr: expected a sweep, a mapping of options or one value"),
        ({1: 2}, "space: expected a keyword of the function, got 1"),
        ({"lr": {"a": 1}}, "lr.a: expected a mapping of the keywords of this option, got 1"),
        ({"lr": {None: {}}}, "lr: expected the name or number of an option, got None"),
        ({"lr": {"8": {}}}, "lr: expected a name, got the string '8'"),
        ({"lr": {}}, "lr: this mapping has no options"),
        ({}, "space: nothing to search"),
    ],
    ids=str,
)
def test_a_space_of_another_form_is_refused(space, told):
    with pytest.raises(tuner.ConfigError) as caught:
        tuner.search(lambda lr=1, *, report: lr, space)
    assert told in str(caught.value)


def test_what_workers_could_not_import_is_refused():
    with pytest.raises(tuner.ConfigError, match="workers: objective is not defined in a module"):
        tuner.search(lambda lr, *, report: lr, {"lr": "choice(1, 2)"}, workers=2)
    with pytest.raises(tuner.ConfigError, match="overrides: expected a list"):
        tuner.search(lambda lr, *, report: lr, {"lr": "choice(1, 2)"}, overrides="seed=1")
    with pytest.raises(tuner.ConfigError, match="function: objective has no parameter 'report'"):
        tuner.search(lambda lr: lr, {"lr": "choice(1, 2)"})
    with pytest.raises(tuner.ConfigError, match="function: expected a function, got 3"):
        tuner.search(3, {"lr": "choice(1, 2)"})  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_queues_the_trial_again(times):
    calls = []

    def train(x, *, report):
        calls.append(x)
        if len(calls) == 2:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            if times == 2:
                raise AssertionError("the second one leaves at once")
        report(1, accuracy=x)

    searched = functools.partial(tuner.search, train, {"x": "interval(0, 1)"}, n_trials=3)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="repeat the call to resume it"):
        searched(overrides=QUICK)
    assert signal.getsignal(signal.SIGINT) is before
    record = records.load("sqlite:///runs/tuner.db", "train", grace=60, patience=5)
    assert [t.state.name for t in record.attempts()] == ["COMPLETE", "WAITING"]
    assert [t.state for t in searched(overrides=QUICK).trials] == 3 * ["complete"]
    assert calls[2] == calls[1], "resumed with the same values"


def test_a_function_that_was_edited_is_told(caplog):
    def same_name(factor):
        if factor == 1:

            def train(x, *, report):
                return x
        else:

            def train(x, *, report):
                return 2 * x

        return train

    space = {"x": "interval(0, 1)"}
    for factor, n_trials in ((1, 1), (1, 2), (2, 3)):
        assert "has changed" not in caplog.text
        tuner.search(same_name(factor), space, n_trials=n_trials, overrides=QUICK)
    assert "the objective's file has changed" in caplog.text


def test_a_search_without_a_value_says_why():
    def train(x, *, report):
        raise tuner.Infeasible("never works")

    with pytest.raises(tuner.TunerError, match="has a value") as caught:
        tuner.search(train, {"x": "interval(0, 1)"}, n_trials=2, overrides=QUICK)
    assert "never works" in str(caught.value)


MODULE = """
import os
def learn(x, *, report):
    report(1, accuracy=x)
    report.note(process=os.getpid())
"""


@pytest.mark.slow  # workers of their own, to see what they import
def test_a_function_of_a_module_runs_in_workers_and_goes_on_in_this_process(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/of_a_user.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    module = importlib.import_module("of_a_user")
    study = tuner.search(module.learn, {"x": "interval(0, 1)"}, n_trials=3, overrides=QUICK)
    assert [trial.state for trial in study.trials] == 3 * ["complete"]
    assert os.getpid() not in {trial.facts["process"] for trial in study.trials}
    assert study.run(n_trials=4, workers=0).trials[-1].facts["process"] == os.getpid()
    assert "another" not in caplog.text, "the configuration is the same"
    assert "PYTHONPATH" not in os.environ or str(tmp_path) not in os.environ["PYTHONPATH"]


def test_a_password_is_in_no_argument_of_a_process():
    words = arguments.overrides(
        "json.dumps", {"skipkeys": "choice(true, false)"},
        {"url": "postgresql://me:secret123@host/db"}, [],
    )  # fmt: skip
    assert "secret123" not in " ".join(words)
    assert os.environ["TUNER_GIVEN_STORAGE_URL"] == "postgresql://me:secret123@host/db"
    assert "TUNER_STORAGE_URL" not in os.environ
