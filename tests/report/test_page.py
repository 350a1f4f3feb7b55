"""The report page works offline, is well-formed and true, and runs no foreign code."""

import base64
import dataclasses
import hashlib
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna import Study

from tests import browser
from tests.samples import HOSTILE, C, F, Known, P, R, add, final_record, full_study, new_study
from tuner.report.html import plots
from tuner.report.html.document import breakable
from tuner.report.html.page import page
from tuner.report.markdown import markdown
from tuner.report.summary import summarise
from tuner.report.write import write_page

VOID = {"meta", "br", "img", "wbr"}


class Reader(HTMLParser):
    """Text, tags and scripts of a page; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def read(study: Study, directory: Path) -> Reader:
    path = directory / "out" / "report.html"
    return Reader(write_page(study, path, commands=Known()).read_text("utf-8"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    directory = tmp_path_factory.mktemp("page")
    return read(full_study(directory), directory)


def test_every_figure_has_its_element(full: Reader) -> None:
    ids = {attrs.get("id") for tag, attrs in full.tags if tag == "div"} - {None}
    assert ids == set(full.figures)
    assert {"plot-history", "plot-curves", "plot-importances", "plot-parallel"} < ids


def test_nothing_is_fetched(full: Reader) -> None:
    for tag, attrs in full.tags:
        assert tag not in {"link", "img", "iframe"}
        assert "src" not in attrs
    (policy,) = [a["content"] for _, a in full.tags if a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_policy_allows_exactly_our_scripts(full: Reader) -> None:
    (policy,) = [a["content"] for _, a in full.tags if a.get("http-equiv")]
    allowed = set(re.findall(r"'sha256-([^']+)'", policy or ""))
    run = {
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in full.scripts[1:]
    }
    assert run == allowed
    assert len(run) == 3
    assert "unsafe-eval" not in str(policy)


def test_it_says_what_was_found(full: Reader) -> None:
    for part in ("digits", "val_accuracy", "optimizer.lr@sgd", "optimizer=sgd"):
        assert part in full.text
    assert "worker lost" not in full.text  # that attempt was retried, and completed
    assert "1 × ValueError: bad shape" in full.text  # noqa: RUF001
    assert "1 × diverged" in full.text  # noqa: RUF001
    assert "pruning saved" in full.text


def test_the_winner_can_be_pasted(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    overrides = ["data.name=my data/$HOME", "model='cnn'", "seed=3", "storage.url=sqlite:///x.db"]
    add(study, C, [0.9], overrides=overrides)
    text = read(study, tmp_path).text
    (line,) = [line for line in text.splitlines() if "tuner train" in line]
    assert shlex.split(line[line.index("tuner train") :]) == ["tuner", "train", *overrides[:3]]


def test_storage_urls_are_never_shown(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    url = "postgresql+psycopg://me:secret@host/db"
    study.set_user_attr("config", f"storage:\n  url: {url}\n")
    study.set_user_attr("overrides", [f"storage.url={url}", "data=digits"])
    add(study, F, [], reason=f"cannot reach {url}", traceback=f"raise X('{url}')", overrides=[url])
    html = write_page(study, tmp_path / "r.html").read_text("utf-8")
    assert "secret" not in html
    assert "data=digits" in html


def empty(study: Study) -> None:
    pass


def all_failed(study: Study) -> None:
    for _ in range(3):
        add(study, F, [], reason="ValueError: no")


def one_complete(study: Study) -> None:
    add(study, C, [0.5], params={"optimizer": "sgd", "optimizer.lr@sgd": 0.1})


def without_curves(study: Study) -> None:
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)


def not_finite(study: Study) -> None:
    add(study, C, [float("inf")], params={"loss.weights": None})
    add(study, P, [float("nan")], params={"loss.weights": "balanced"}, metrics={"a": float("nan")})
    add(study, R, [])


@pytest.mark.parametrize("make", [empty, all_failed, one_complete, without_curves, not_finite])
def test_odd_studies_have_a_page(tmp_path: Path, make: Any) -> None:
    study = new_study(tmp_path)
    make(study)
    page = read(study, tmp_path)
    assert ("Importances need" in page.text) == (make not in (empty, all_failed))
    assert ("Is the winner really better" in page.text) == (make not in (empty, all_failed))
    assert bool(page.figures) == bool(len(page.scripts) > 2)  # plotly.js only where it draws


def test_a_study_not_made_by_tuner_has_a_page(tmp_path: Path) -> None:
    import optuna

    study = optuna.create_study(study_name="foreign")
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_int("n", 1, 3), n_trials=12)
    page = read(study, tmp_path)
    assert "FloatDistribution" in page.text
    assert "plot-importances" in page.figures


def hostile_study(directory: Path) -> Study:
    study = new_study(directory, HOSTILE)
    for key in ("metric", "config", "git_commit", "seed"):
        study.set_user_attr(key, HOSTILE)
    study.set_user_attr("overrides", [HOSTILE])
    study.set_user_attr("versions", {HOSTILE: HOSTILE})
    study.set_user_attr("space", [{"name": HOSTILE, "distribution": HOSTILE, "condition": HOSTILE}])
    study.optimize(
        lambda trial: float(len(trial.suggest_categorical(HOSTILE, [HOSTILE, HOSTILE + "2"]))),
        n_trials=12,
    )
    add(study, C, [90.0, 99.0], overrides=[HOSTILE], metrics={HOSTILE: 1.0})
    add(study, F, [0.1], reason=HOSTILE, traceback=HOSTILE)
    return study


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    page = read(hostile_study(tmp_path), tmp_path)
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"] * 4
    assert not [tag for tag, attrs in page.tags if tag == "img" or "onerror" in attrs]
    assert page.text.count(HOSTILE) >= 8
    assert HOSTILE not in json.dumps(page.figures, ensure_ascii=False)


def test_the_winner_is_held_against_the_others(tmp_path: Path) -> None:
    study = full_study(tmp_path)
    (tmp_path / "out" / "final").mkdir(parents=True)
    final = final_record(values=[0.9, 0.92], mean=0.91, sd=0.014, interval=[0.78, 1.04])
    (tmp_path / "out" / "final" / "final.json").write_text(json.dumps(final))
    finalists = [{"number": number, "overrides": [], "values": [0.9]} for number in (0, 1)]
    final["race"] = {"finalists": finalists, "winner": 0, "lead": None}
    (tmp_path / "out" / "final" / "final.json").write_text(json.dumps(final))
    page = read(study, tmp_path)
    text = page.text
    assert "code" in [tag for tag, _ in page.tags]
    assert "tuner final raced the best 2 on new seeds: #0 won" in text
    assert "the runner-up (#" in text
    assert "standard deviation 0.014, from 2 final trainings" in text
    assert "0.91 over 2 seeds, 95 % interval 0.78 to 1." in text


def test_the_search_can_be_repeated_by_one_command(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.set_user_attr("command", ["experiment=digits", "storage.url=sqlite:///x.db"])
    study.set_user_attr("git_commit", "abc0123456789")
    study.set_user_attr("git_changes", "def")
    text = read(study, tmp_path).text
    assert "tuner tune experiment=digits" in text
    assert "x.db" not in text
    assert "abc0123456, with uncommitted changes" in text


def test_a_long_reason_is_whole_among_the_failures_alone(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    reason = "a long story " * 20
    add(study, F, [], reason=reason)
    page = write_page(study, tmp_path / "r.html").read_text("utf-8")
    assert page.count(reason.strip()) == 1
    assert re.search(r"a long story[^<]{0,46}…", page)


def test_settings_of_all_configurations_are_said_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k in range(3):
        add(study, C, [0.9], params={"model.width": 18 + k, "model.layers": 3})
    text = read(study, tmp_path).text
    assert "The same in all of them: model.layers=3" in text
    listing = text[text.index("The same in all of them") :]
    assert listing.count("model.layers=3") == 1
    assert [f"model.width={18 + k}" in listing for k in range(3)] == [True] * 3


def test_an_axis_that_is_cut_says_so() -> None:
    near = [0.9 + k / 100 for k in range(8)]
    assert plots.cut([near]) == ""
    assert plots.cut([[*near, -50.0]]).startswith("The axis is cut: 1 value outside.")
    assert plots.cut([near, [*near, -50.0, 70.0]]).startswith("Axes are cut: up to 2 values each")


@browser.needed
@pytest.mark.slow
def test_a_table_is_sorted_by_its_titles_and_a_command_is_copied(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for k, value in enumerate((0.5, 0.9, 0.7)):
        params = {"model.width": 18 + k}
        add(study, C, [value], params=params, overrides=["model.width=18"])
    path = write_page(study, tmp_path / "report.html", commands=Known())
    numbers = "return [...document.querySelector('.sortable').rows].map(r => r.cells[0].innerText)"
    with browser.browser(tmp_path / "profile") as driver:
        driver.get(path.as_uri())
        assert driver.execute_script(numbers)[1:] == ["1", "2", "0"], "the best first"
        metric = driver.find_elements("css selector", ".sortable th button")[2]
        metric.click()
        assert driver.execute_script(numbers)[1:] == ["0", "2", "1"]
        metric.click()
        assert driver.execute_script(numbers)[1:] == ["1", "2", "0"]
        copy = driver.find_element("css selector", "button.copy")
        copy.click()
        assert copy.text == "Copied"
        assert "tuner train" in driver.execute_script("return getSelection().toString()")


@pytest.mark.slow
def test_a_page_of_ten_thousand_can_be_sent(tmp_path: Path) -> None:
    study = full_study(tmp_path)
    few = summarise(study)
    rows = [dataclasses.replace(few.rows[k % 20], number=k) for k in range(10_000)]
    many = dataclasses.replace(few, rows=rows)
    small, large = (len(page(study, found, {})) for found in (few, many))
    assert small < 2_000_000  # most of it plotly.js
    assert large - small < 3_000_000
    drawn = Reader(page(study, many, {}))
    assert "of 10000 curves are drawn" in drawn.text
    assert "9800 more" in drawn.text
    for figure in drawn.figures.values():
        assert sum(len(trace.get("x", ())) for trace in figure["data"]) < 12_000


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_it_and_runs_no_hostile_script(tmp_path: Path) -> None:
    page = write_page(hostile_study(tmp_path), tmp_path / "report.html")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += ["--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", "--enable-logging=stderr", "--v=0"]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=280, check=True
    )
    assert done.stdout.count('class="main-svg"') >= 6  # two or three a figure
    assert "<script>window.owned" not in done.stdout
    assert "<img" not in done.stdout
    assert "Refused" not in done.stderr
    assert "Error" not in "".join(re.findall(r"CONSOLE.*", done.stderr))


def test_no_parameter_is_left_out_in_silence(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    names = [f"model.part_{k:02d}" for k in range(18)]
    study.optimize(lambda t: sum(t.suggest_float(name, 0, 1) for name in names), n_trials=25)
    page = read(study, tmp_path)
    assert "and 3 more" in page.text
    bars = " ".join(page.figures["plot-importances"]["data"][0]["y"])
    listed = page.text[page.text.index("and 3 more") :].partition("Importance for reaching")[0]
    assert all((name in bars) != (name in listed) for name in names)


def test_the_states_that_occur_add_up_and_are_explained(full: Reader, tmp_path: Path) -> None:
    assert "infeasible: no score" in full.text
    assert "queued: waiting" in full.text
    study = new_study(tmp_path)
    one_complete(study)
    assert "waits" not in read(study, tmp_path).text


def test_a_table_tells_its_titles_where_its_head_has_no_room(full: Reader) -> None:
    titles = [attrs.get("data-title") for tag, attrs in full.tags if tag == "td"]
    assert {"state", "val_accuracy", "epochs", "time"} <= set(titles)


def test_several_objectives_and_limits_are_all_named(tmp_path: Path) -> None:
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/x.db")
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    study.set_user_attr("metric", "accuracy")
    study.set_user_attr("objectives", {"accuracy": "maximize", "parameters": "minimize"})
    study.set_user_attr("constraints", {"latency_ms": 2.0})
    shape = {"params": {}, "distributions": {}, "intermediate_values": {1: 0.4, 2: 0.5}}
    study.add_trial(optuna.create_trial(state=P, **shape))
    study.add_trial(optuna.create_trial(values=[0.9, 129600.0], **shape))
    found = read(study, tmp_path)
    aim = "the highest accuracy and the lowest parameters, with latency_ms at most 2"
    assert f"Searched for {aim}" in found.text
    assert "· parameters 129600" in found.text
    assert "the Pareto front below" in found.text
    (pruned,) = [t for t in found.figures["plot-history"]["data"] if t["name"] == "pruned"]
    assert pruned["y"] == [0.5]
    summary = summarise(study)
    assert f"Searched for {aim}".replace("_", "\\_") in markdown(study, summary, {})


def test_long_names_break_after_their_parts_and_numbers_do_not(full: Reader) -> None:
    breaks = [tag for tag, _ in full.tags if tag == "wbr"]
    assert breaks
    assert "optimizer.lr@sgd" in full.text
    assert breakable("optimizer.lr_x@sgd 0.01") == "optimizer.<wbr>lr_<wbr>x@<wbr>sgd 0.01"
