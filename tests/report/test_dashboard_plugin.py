"""Content added to the dashboard, tested in the real application and in a real browser."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna import Study, Trial
from optuna_dashboard import save_note, wsgi
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import browser, needed
from tests.report.test_dashboard_server import TOKEN, Served, start
from tests.samples import C, F, P, add, new_study
from tuner.config.composition import Source
from tuner.report.dashboard.plugin import Content, note
from tuner.study import plan
from tuner.study.attempts import FIRST, HISTORY, REQUEUE
from tuner.study.plan import Plan
from tuner.worker.artifacts import attach, open_store

OVERRIDES = ["optimizer=sgd", "data.root=/my data"]


def detail(study: Study, query: str = "", asked: Plan | None = None) -> dict[str, Any]:
    """The answer that the study's page is drawn from."""
    application = wsgi(study._storage)
    application.install(Content(study._storage, asked))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "QUERY_STRING": query}
    answer = b"".join(application(environ, lambda *_: None))
    return dict(json.loads(answer))


def columns(trial: dict[str, Any]) -> dict[str, str]:
    found = [item["key"] for item in trial["user_attrs"]]
    assert len(found) == len(set(found))
    return {item["key"]: item["value"] for item in trial["user_attrs"]}


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    made = new_study(tmp_path)
    yield made
    made._storage.remove_session()


def test_metrics_and_facts_are_columns(study: Study) -> None:
    facts = {"device": "cuda:0 NVIDIA", "peak_memory_mb": 512, "parameters": 66557}
    metrics = {"val_accuracy": 0.5, "loss": 1 / 3}
    add(study, C, [0.5], facts=facts, metrics=metrics, device="cuda:0", host="a", seconds=7.25)
    found = detail(study)
    assert columns(found["trials"][0]) == {
        "host": "a",
        "val_accuracy": "0.5",
        "loss": "0.333333",
        "device": "cuda:0 NVIDIA",
        "peak_memory_mb": "512",
        "parameters": "66557",
        "seconds": "7.25",
    }
    sortable = {column["key"]: column["sortable"] for column in found["union_user_attrs"]}
    assert sortable.keys() == columns(found["trials"][0]).keys()
    assert sortable["peak_memory_mb"]
    assert not sortable["device"]
    assert columns(found["best_trials"][0])["loss"] == "0.333333"


def test_columns_stay_when_a_poll_brings_no_trial_that_has_them(study: Study) -> None:
    application = wsgi(study._storage)
    application.install(Content(study._storage))
    add(study, C, [0.5], metrics={"loss": 1.0})
    for query in ("", "after=1"):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "QUERY_STRING": query}
        found = json.loads(b"".join(application(environ, lambda *_: None)))
        assert "loss" in {column["key"] for column in found["union_user_attrs"]}
    assert found["trials"] == []


def test_the_note_repeats_the_trial_as_the_command_that_serves_would(study: Study) -> None:
    words = ["study.name=digits", "space=none", "data=mnist", "optimizer=choice(sgd,adamw)"]
    conf = Path(__file__).parents[1]
    asked = plan.load(Source((conf,)), words, validate=False)
    own = ["data=mnist", "optimizer=sgd", "seed=3"]
    add(study, C, [0.5], params={"optimizer": "sgd"}, overrides=own)
    add(study, C, [0.5], params={"optimizer": "sgd"}, overrides=[*own, "--app=evil.py"])
    study.set_user_attr("command", ["--app=evil.py"])
    ours, planted = (t["note"]["body"] for t in detail(study, asked=asked)["trials"])
    assert ours.startswith("```sh\n")
    assert shlex.split(ours[6:-5].replace("\\\n", "")) == [
        "tuner", "train", "--config-dir=tests", *own,
    ]  # fmt: skip
    assert max(len(line) for line in ours.splitlines()) < 40  # the dashboard does not wrap it
    assert planted == "```text\ndata=mnist\noptimizer=sgd\nseed=3\n--app=evil.py\n```\n"


def test_the_note_lists_the_overrides_of_a_search_that_is_not_known(study: Study) -> None:
    add(study, C, [0.5], overrides=[*OVERRIDES, "a=\x1b[2J"])
    (trial,) = detail(study)["trials"]
    assert trial["note"]["body"] == "```text\noptimizer=sgd\ndata.root=/my data\na=\n```\n"
    assert "overrides" not in columns(trial)


def test_the_note_tells_what_went_wrong_and_the_table_tells_it_in_brief(study: Study) -> None:
    reason = "ValueError: " + "a long story " * 20
    add(study, F, [], overrides=OVERRIDES, reason=reason, traceback="Traceback: ```\nmore")
    add(study, C, [0.5], reason="inherited from the attempt before")
    failed, complete = detail(study)["trials"]
    assert reason.strip() in failed["note"]["body"]
    assert "````python\nTraceback: ```\nmore\n````" in failed["note"]["body"]
    assert len(columns(failed)["reason"]) == 80
    assert "traceback" not in columns(failed)
    assert "reason" not in columns(complete)
    assert complete["note"]["body"] == ""


def test_the_note_of_a_person_stays(study: Study) -> None:
    trial = study.ask()
    trial.set_user_attr("overrides", OVERRIDES)
    save_note(trial, "mine")
    assert detail(study)["trials"][0]["note"] == {"version": 1, "body": "mine"}


def test_a_foreign_study_is_left_as_it_is(study: Study) -> None:
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    found = detail(study)
    assert [trial["note"]["body"] for trial in found["trials"]] == ["", ""]
    assert [column["key"] for column in found["union_user_attrs"]] == ["seconds"]
    assert found["plotly_graph_objects"] == []


def test_an_empty_study_and_one_that_is_not_there(study: Study) -> None:
    assert detail(study)["trials"] == []
    study._storage.delete_study(study._study_id)
    assert "reason" in detail(study)


def test_the_curves_by_fate_are_a_plot_with_a_title(study: Study) -> None:
    add(study, C, [0.1, 0.9])
    add(study, P, [0.1])
    (plot,) = detail(study)["plotly_graph_objects"]
    figure = json.loads(plot["graph_object"])
    assert figure["layout"]["title"]["text"] == "Learning curves by state"
    assert [trace["name"] for trace in figure["data"]] == ["pruned", "best"]


def test_attempts_tell_their_configuration(study: Study) -> None:
    """Optuna numbers attempts; whatever else people see numbers configurations."""
    add(study, C, [0.5])
    stopped = optuna.create_trial(state=F, system_attrs={REQUEUE: {"reason": "SIGTERM"}})
    study.add_trial(stopped)
    add(study, C, [0.5])
    study.add_trial(optuna.create_trial(value=0.5, system_attrs={FIRST: 1, HISTORY: [1]}))
    plain, first, _, second = detail(study)["trials"]
    assert "configuration" not in columns(plain)
    assert plain["note"]["body"] == ""
    assert columns(first)["configuration"] == columns(second)["configuration"] == "1"
    assert first["note"]["body"].startswith("Attempt 1 at configuration #1, interrupted (SIGTERM)")
    assert second["note"]["body"].startswith("Attempt 2 at configuration #1.")


def test_nothing_is_said_of_a_trial_that_says_nothing() -> None:
    assert note({}) == ""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Trial, Path]]:
    """A guarded, read-only dashboard of a study with a finished trial and a running one."""
    directory = tmp_path_factory.mktemp("shown")
    study = new_study(directory)
    trial = study.ask()
    trial.set_user_attr("overrides", OVERRIDES)
    trial.report(0.25, 1)
    (directory / "run" / "artifacts").mkdir(parents=True)
    attach(study, trial, directory / "run", open_store(directory / "artifacts"))
    study.tell(trial, 0.25)
    running = study.ask()
    for epoch in (1, 2):
        running.report(epoch / 10, epoch)
    served = start(directory, "-r", "-l", TUNER_DASHBOARD_TOKEN=TOKEN)
    yield served, running, directory
    served.end()
    study._storage.remove_session()


def points(driver: Any) -> int:
    """Points of all learning curves that the browser has drawn."""
    script = """
      const plots = [...document.querySelectorAll(".js-plotly-plot")];
      const traces = plots.flatMap(plot => plot.data || []);
      return traces.filter(t => /^trial #/.test(t.name || "")).map(t => t.x.length);
    """
    return sum(driver.execute_script(script))


@pytest.mark.slow
@needed
def test_a_browser_logs_in_sees_curves_move_opens_an_artifact_and_deletes_nothing(
    shown: tuple[Served, Trial, Path],
) -> None:
    served, running, directory = shown

    def wait(driver: Any, what: Callable[[Any], Any]) -> Any:
        """Until it holds; a page may be replaced between finding an element and reading it."""
        passing = (NoSuchElementException, StaleElementReferenceException)
        return WebDriverWait(driver, 60, ignored_exceptions=passing).until(what)

    with browser(directory / "profile") as driver:
        driver.get(served.address)
        field = driver.find_element(By.ID, "token")
        field.send_keys("a wrong one" + "\n")
        assert wait(driver, lambda d: "Wrong token" in d.find_element(By.ID, "note").text)
        driver.find_element(By.ID, "token").send_keys(TOKEN + "\n")
        wait(driver, lambda d: "/dashboard" in d.current_url and "digits" in d.page_source)

        driver.get(f"{served.address}dashboard/studies/1")
        wait(driver, lambda d: points(d) == 3)
        assert "Learning curves by state" in driver.page_source
        running.report(0.3, 3)
        running.report(0.4, 4)
        wait(driver, lambda d: points(d) == 5)

        driver.get(f"{served.address}dashboard/studies/1/trials?numbers=0")
        images = "[...document.querySelectorAll('img[src*=artifacts]')]"
        widths = f"return {images}.map(image => image.naturalWidth)"
        wait(driver, lambda d: d.execute_script(widths) == [640])
        assert "data.root=/my data" in driver.find_element(By.TAG_NAME, "body").text
        script = "return fetch('/api/studies/1', {method: 'DELETE'}).then(r => r.status)"
        assert driver.execute_script(script) == 405
        severe = [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]
        assert all("401" in e["message"] or "405" in e["message"] for e in severe), severe
    url = f"sqlite:///{directory}/a b.db"
    assert optuna.get_all_study_names(url) == ["digits"]
