"""`tuner status` while real workers run."""

import io
import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.conftest import Project
from tests.samples import START, add, full_study, new_study
from tuner import cli
from tuner.report.summary import Summary, summarise
from tuner.report.terminal import status
from tuner.storage import database, queries
from tuner.study.budget import Budget, Times

C, P = TrialState.COMPLETE, TrialState.PRUNED
NOW = START + timedelta(seconds=400)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Of a study in which everything has happened."""
    return summarise(full_study(tmp_path_factory.mktemp("full")), now=NOW)


def test_what_was_spent_and_what_pruning_saved(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5] * 10, seconds=100)
    add(study, P, [0.1] * 5, seconds=100)  # a slow one: its other half would have taken as long
    found = summarise(study, now=NOW)
    assert found.device_hours == pytest.approx(200 / 3600)
    assert found.device_hours_saved == pytest.approx(100 / 3600)
    shared = summarise(study, now=NOW, times=Times(hours=0.1, device_hours=0.1))
    assert shared.device_hours_saved == pytest.approx(0.05)
    assert summarise(new_study(tmp_path, "empty")).device_hours_saved is None
    add(study, P, [0.1], seconds=300)  # most of that was the start of its worker
    found = summarise(study, now=NOW)
    assert found.device_hours_saved == pytest.approx((100 + 9 * 20) / 3600)


def test_a_study_that_nobody_works_at_says_so_until_it_has_ended(found: Summary) -> None:
    for ended in (None, "study.n_trials: 27 of 27"):
        console = Console(file=io.StringIO(), width=100)
        console.print(status.as_picture(found, Budget(n_trials=27), ended, width=100))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert (status.IDLE in shown) == (ended is None)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC", "America/Los_Angeles"])
def test_times_are_right_wherever_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    study = optuna.create_study(study_name="a", storage=database.connect(url))
    study.tell(study.ask(), 0.5)
    study.ask()
    try:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        queries._offset.cache_clear()
        found = summarise(optuna.load_study(study_name="a", storage=database.connect(url)))
        facts = status._facts(found, None)
        told = json.loads(status.as_json(found, Budget(), None))
    finally:
        monkeypatch.undo()
        time.tzset()
        queries._offset.cache_clear()
    assert any(re.match(r"best configuration found \d+\.\d s ago", fact) for fact in facts)
    since = datetime.now(UTC) - datetime.fromisoformat(told["best"]["found"])
    assert timedelta() < since < timedelta(minutes=1)
    assert 0 < found.rows[1].seconds < 60


def test_programs_are_told_everything_in_one_line(found: Summary) -> None:
    told = json.loads(status.as_json(found, Budget(n_trials=40, length=10), None))
    assert told["best"]["found"].startswith("2026-01-05T12:")
    assert told["best"]["number"] == found.ranking[0].number
    assert told["seconds_left"] > 0
    assert told["trials_per_hour"] == found.hourly
    assert told["device_hours"]["saved"] > 0
    ended = json.loads(status.as_json(found, Budget(n_trials=27), "study.n_trials: 27 of 27"))
    assert ended["seconds_left"] == 0


@pytest.mark.parametrize("width", [50, 80, 200])
def test_people_see_pace_and_price_in_lines_that_fit(found: Summary, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(status.as_picture(found, Budget(n_trials=40, length=10), None, width=width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("configurations per hour", "device time: ", "best configuration found", "ago (#"):
        assert part in text
    assert "saved by pruning (" in " ".join(text.split())  # wrapped where it is narrow, never cut
    assert max(map(len, text.splitlines())) <= width


def test_workers_and_their_trials_are_seen_while_they_run(project: Project) -> None:
    args = ["study.n_trials=3", "objective.epochs=100", "objective.fate=wait"]
    project.start("worker", *args)
    project.wait_until_held()
    told = json.loads(project.call("status", "--json", *args))
    (worker,) = told["workers"]
    assert worker["trial"] == 0
    assert told["counts"]["running"] == 1
    assert (told["finished_reason"], told["n_trials"]) == (None, 3)
    shown = project.call("status", *args)
    assert "1 worker" in shown
    assert status.IDLE not in shown
    assert worker["id"] in shown
    assert "/100" in shown
    assert "auto" not in shown, "no device was chosen, so none is named"


def test_watching_ends_with_the_study(project: Project) -> None:
    worker = project.start("worker", "study.n_trials=1", "objective.fate=wait")
    project.wait_until_held()
    watch = project.start("status", "--watch", "--json")
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline())["finished_reason"] is None
    project.go()
    last = json.loads(watch.stdout.read().splitlines()[-1])
    assert last["finished_reason"]
    assert last["counts"]["complete"] == 1
    assert project.call("status", "--watch").splitlines()[-1].startswith("1 of 1 finished before")
    for process in (worker, watch):
        process.communicate(timeout=280)
        assert process.returncode == 0


def test_watching_begins_before_there_is_a_study(project: Project) -> None:
    """A file that is missing, then one without the study: both are said once, as one wait."""
    watch = project.start("status", "--watch", "--json")
    assert watch.stderr is not None
    assert watch.stdout is not None
    waiting = watch.stderr.readline()
    assert "waiting for the study: storage.url: there is no database" in waiting
    project.call("tune", "study.name=another", "study.n_trials=1", "launch.workers=1")
    project.call("tune", "study.n_trials=1", "launch.workers=1")
    out, err = watch.communicate(timeout=280)
    assert json.loads(out.splitlines()[-1])["counts"]["complete"] == 1
    assert watch.returncode == 0
    assert err == ""


def test_all_studies_are_listed_and_a_wrong_name_offers_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        project.call("worker", f"study.name={name}", "study.n_trials=1")
    shown = project.call("status", "--all").splitlines()
    assert [line.split()[0] for line in shown] == ["study", "first", "second"]
    narrow = project.call("status", "--all", COLUMNS="45")
    assert "0.9" in narrow
    assert "…" not in narrow
    assert all("1 complete" in line for line in shown[1:])
    told = [json.loads(line) for line in project.call("status", "--all", "--json").splitlines()]
    assert [one["study"] for one in told] == ["first", "second"]
    project.call("status", "study.name=secnd", code=2)
    assert "it has second, first" in project.stderr
    monkeypatch.chdir(project.directory)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert cli.main(["status", *project.DEFAULTS, "study.name=first"]) == 0
    sys.stdout.seek(0)
    bare = sys.stdout.read()
    assert "1 complete" in bare
    assert "?" in bare, "what cannot be written in ASCII is replaced"


KEYS = {
    "study", "n_trials", "budget", "finished_reason", "counts", "epochs", "epochs_saved_fraction",
    "pruning",
    "device_hours", "trials_per_hour", "seconds_left", "best", "workers",
}  # fmt: skip


def test_programs_are_told_the_same_keys_and_no_nan(tmp_path: Path) -> None:
    """The keys of docs/howto/dashboard.md, for a study with nothing and one with odd numbers."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    odd = new_study(tmp_path, "odd")
    add(odd, C, [float("inf")], facts={"latency": float("nan")}, metrics={"loss": float("inf")})
    for study in (new_study(tmp_path), odd):
        line = status.as_json(summarise(study, now=NOW), Budget(), None)
        told = json.loads(line, parse_constant=refuse)
        assert told.keys() == KEYS
        assert list(told["counts"]) == [
            "complete", "pruned", "infeasible", "failed", "running", "queued",
        ]  # fmt: skip
    assert (told["best"]["value"], told["best"]["facts"]) == (None, {"latency": None})
    page = (Path(__file__).parents[2] / "docs/howto/dashboard.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in KEYS)
