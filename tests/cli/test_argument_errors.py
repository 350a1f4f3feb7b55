"""A wrong call causes one line with the error and a hint, and exit code 2."""

import pytest

from tuner import cli
from tuner.cli import parser
from tuner.worker.loop import CRASHED, RESTART_ME

ERRORS = {
    "status --watch=abc": "--watch: expected no value, got 'abc'; hint: --watch alone",
    "status --watch=-1": "--watch: expected no value, got '-1'; hint: --watch alone",
    "report --format pdf": "--format: expected html, md or png, got 'pdf'; hint: for example html",
    "export --format=pt3": "--format: expected pt2 or onnx, got 'pt3'; hint: did you mean 'pt2'?",
    "report --format": "--format: missing value; hint: --format=VALUE",
    "dashboard --port=99999": "--port: expected an integer from 0 to 65535, got '99999'; ",
    "predict x y.png --top=some": "--top: expected an integer of 1 or more, got 'some'; hint: ",
    "init": "directory: missing; hint: tuner init --help",
    "reprot": "unknown command 'reprot'; hint: did you mean 'report'?",
    "help": "unknown command 'help'; hint: tuner --help lists them",
    "-1": "unknown command '-1'; hint: ",
    "--config-dir conf tune a=1": "put the command first: tuner tune --config-dir conf a=1",
    "optimizer=sgd": "put the command first: tuner tune optimizer=sgd",
    "status --wtach": "unknown option --wtach; hint: did you mean '--watch'?",
    "status --storage.url=s3://KEY:SECRET@bucket": "unknown option --storage.url; hint: write an "
    "override without dashes: storage.url=…",
    "tune --n-trials 10": "; settings are overrides without dashes: key=value",
    "status --con=x": "--con=x: ambiguous option; hint: --config-dir, --config-name",
}


@pytest.mark.parametrize("line", ERRORS)
def test_a_wrong_call_is_one_line_with_its_cure(capsys, line):
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert ERRORS[line] in printed.err


def test_a_worker_explains_its_own_exit_codes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["worker", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"{CRASHED}, an error outside of the objective; {RESTART_ME}, a broken device" in told


def test_options_may_stand_before_the_command():
    assert parser.parse(["--json", "best", "a=1"]).json


def test_a_command_that_is_interrupted_as_it_begins_says_so(capsys, monkeypatch):
    def interrupted(_argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    assert cli.main(["status"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
