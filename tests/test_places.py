"""The places that a search needs are asked before any work, beside all other mistakes."""

import pytest

from tests.conftest import Project
from tuner import cli

WRONG = {
    "objective.y=1": "unknown key 'objective.y'",
    "objective.x=interval(2,1)": "the interval is empty",
    "sampler=tpee": "did you mean 'tpe'?",
    "budget.hours=abc": "budget.hours: expected float | null",
    "launch.workers=0": "launch.workers: must be at least 1, got 0",
    "storage.url=nonsense": "storage.url: not a database URL",
    "study.dir=/proc/nowhere": "study.dir: /proc/nowhere cannot be written to",
    "study.mirror=what://bucket": "study.mirror: Protocol not known",
    "worker.device=cuda:0": "no GPU is here",
}


@pytest.mark.parametrize("command", ["tune", "check", "worker"])
def test_mistakes_of_all_stages_are_told_at_once(project: Project, capsys, monkeypatch, command):
    monkeypatch.chdir(project.directory)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cli.main([command, *project.DEFAULTS, *WRONG]) == 2
    said = capsys.readouterr().err
    assert [what for what in WRONG.values() if what not in said] == []
    assert f"error: {len(WRONG)} mistakes:" in said
    assert not (project.directory / "runs").exists()


@pytest.mark.parametrize("command", ["check", "worker"])
def test_the_device_is_judged_where_it_will_be_used(project: Project, capsys, monkeypatch, command):
    """Login nodes of clusters often have no GPU; a worker works where it is started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked = ["launch=slurm", "worker.device=cuda:0"]
    assert cli.main([command, *project.DEFAULTS, *asked, "budget.hours=abc"]) == 2
    assert ("no GPU is here" in capsys.readouterr().err) == (command == "worker")


def test_those_who_only_look_are_told_of_the_url_and_the_settings_at_once(project: Project, capsys):
    assert cli.main(["status", "budget.hours=abc", "storage.url=mysq://h/db"]) == 2
    said = capsys.readouterr().err
    assert "2 mistakes" in said
    assert "did you mean 'mysql'?" in said


def test_a_report_of_an_unknown_form_is_refused(capsys):
    assert cli.main(["report", "--output=report.pdf"]) == 2
    assert "got 'report.pdf'; hint: or say --format=html" in capsys.readouterr().err
