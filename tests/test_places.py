"""Databases and directories are checked before any work, together with all other errors."""

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
def test_mistakes_of_all_stages_are_told_at_once(project: Project, command):
    project.call(command, *WRONG, code=2, CUDA_VISIBLE_DEVICES="")
    assert [what for what in WRONG.values() if what not in project.stderr] == []
    assert f"error: {len(WRONG)} mistakes:" in project.stderr
    assert not (project.directory / "runs").exists()


@pytest.mark.parametrize("command", ["check", "worker"])
def test_the_device_is_judged_where_it_will_be_used(project: Project, command):
    """Login nodes of clusters often have no GPU; a worker works where it is started."""
    asked = ["launch=slurm", "worker.device=cuda:0", "budget.hours=abc"]
    project.call(command, *asked, code=2, CUDA_VISIBLE_DEVICES="")
    assert ("no GPU is here" in project.stderr) == (command == "worker")


def test_those_who_only_look_are_told_of_the_url_and_the_settings_at_once(project: Project):
    project.call("status", "budget.hours=abc", "storage.url=mysq://h/db", code=2)
    assert "2 mistakes" in project.stderr
    assert "did you mean 'mysql'?" in project.stderr


def test_a_report_of_an_unknown_form_is_refused(capsys):
    assert cli.main(["report", "--output=report.pdf"]) == 2
    assert "got 'report.pdf'; hint: or say --format=html" in capsys.readouterr().err
