"""Databases and directories are checked before any work, together with all other errors."""

import json

import pytest

from tests.conftest import Project
from tuner import cli

WRONG = {
    "objective.y=1": "objective.y: unknown key",
    "objective.x=interval(2,1)": "the interval is empty",
    "sampler=tpee": "did you mean 'tpe'?",
    "budget.hours=abc": "budget.hours: expected float above 0 | null",
    "launch.workers=0": "launch.workers: expected int of 1 or more | null, got 0",
    "storage.url=nonsense": "storage.url: not a database URL",
    "study.dir=/proc/nowhere": "study.dir: /proc/nowhere cannot be written to",
    "study.mirror=what://bucket": "study.mirror: Protocol not known",
    "worker.device=cuda:0": "this machine has no GPU",
}


@pytest.mark.parametrize("command", ["tune", "check", "worker"])
def test_mistakes_of_all_stages_are_told_at_once(project: Project, command):
    project.call(command, *WRONG, code=2, CUDA_VISIBLE_DEVICES="")
    assert [what for what in WRONG.values() if what not in project.stderr] == []
    assert f"error: {len(WRONG)} errors:" in project.stderr
    assert not (project.directory / "runs").exists()


def test_check_lists_mistakes_for_programs(capsys, monkeypatch):
    monkeypatch.setenv("TUNER_STORAGE_URL", "postgresql+psycopg://me:secret@127.0.0.1:1/db")
    wrong = ["model.width=a", "optimizer.eps=interval(1,2)", "storage=postgresql"]
    assert cli.main(["check", "--json", *wrong]) == 2
    out, _ = capsys.readouterr()
    found = {m.pop("key"): m for m in json.loads(out)["mistakes"]}
    assert found["model.width"] == {
        "problem": "expected int of 1 or more, got 'a' (str)", "hint": "", "when": []
    }  # fmt: skip
    assert found["space.optimizer.eps"]["when"] == ["optimizer=sgd"]
    assert found["storage.url"]["hint"].startswith("check that the server is running")
    assert "secret" not in out


@pytest.mark.parametrize("command", ["check", "worker"])
def test_the_device_is_judged_where_it_will_be_used(project: Project, command):
    """Login nodes of clusters often have no GPU; a worker works where it is started."""
    asked = ["launch=slurm", "worker.device=cuda:0", "budget.hours=abc"]
    project.call(command, *asked, code=2, CUDA_VISIBLE_DEVICES="")
    assert ("this machine has no GPU" in project.stderr) == (command == "worker")


def test_those_who_only_look_are_told_of_the_url_and_the_settings_at_once(project: Project):
    project.call("status", "budget.hours=abc", "storage.url=mysq://h/db", code=2)
    assert "2 errors" in project.stderr
    assert "did you mean 'mysql'?" in project.stderr


def test_a_report_of_an_unknown_form_is_refused(capsys):
    assert cli.main(["report", "--output=report.pdf"]) == 2
    assert "got 'report.pdf'; hint: report.html, for example" in capsys.readouterr().err
