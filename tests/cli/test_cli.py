"""The command line end to end, with a study of a user's own function."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml

from tests import warm
from tests.conftest import Project, wait_for


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(word)]


def test_a_users_own_function_is_tuned_from_end_to_end(project: Project):
    """No line of ours in it but `report`; every subcommand reads what `tune` left."""
    args = ["study.n_trials=6", "launch.workers=1"]
    out = project.call("tune", *args)
    assert "accuracy" in out
    assert lines(out, "best:") == ["best:      tuner train $(tuner best toy --overrides)"]
    best = json.loads(project.call("best", "--json", *args))
    assert best["overrides"][-1].startswith("seed=")
    assert set(best["params"]) == {"objective.x", "objective.kind"}
    repeated = subprocess.run(  # a real start, forked from nothing
        [
            sys.executable,
            "-m",
            "tuner",
            "train",
            *project.ask("best", "toy", "--overrides").split(),
        ],
        cwd=project.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(repeated.stdout)["accuracy"] == best["value"], "to the last bit"
    status = json.loads(project.call("status", "--json", *args))
    assert (status["counts"]["complete"], status["workers"]) == (6, [])
    assert "6 complete" in project.call("status", *args)
    final = project.call("final", *args)
    assert "over 3 seeds" in final
    assert "the objective does not read trainer.protocol" in project.stderr
    page = project.directory / project.call("report", *args).strip()
    HTMLParser().feed(page.read_text())
    exported = project.call("export", *args).split("\n")
    assert (project.directory / exported[0]).read_text().split() == best["overrides"]
    config = yaml.safe_load((project.directory / exported[1]).read_text())
    assert config["x"] == best["params"]["objective.x"]


def test_check_shows_the_space_and_runs_nothing(project: Project):
    out = project.call("check")
    assert "objective.x" in out
    assert "float 0 to 1" in out
    assert "the configuration is valid" in out
    run = out.partition("would run:")[2]
    assert re.search(r"pinned +objective=toy$", run, re.MULTILINE)
    assert re.search(r"budget +study.n_trials: 24$", run, re.MULTILINE)
    assert not re.search(r"[\[\]{}']|None", run), "words, not Python's"
    assert "first_decision" not in run, "Optuna's pruners do not tell"
    assert "_target_" not in out
    config = yaml.safe_load(project.call("check", "--config"))
    assert config["objective"]["_target_"] == "toy.train"
    data = json.loads(project.call("check", "--json"))
    assert yaml.safe_load(data["config"]) == config
    assert data["run"]["configurations"] == 24
    assert data["mistakes"] == []
    assert not (project.directory / "journal.txt").exists()


def test_check_tells_when_trials_are_judged_first(project: Project):
    with (project.directory / "toy.py").open("a") as module:
        module.write("\ntrain.check = lambda **_: {'validation_examples': 1000}\n")
    run = json.loads(project.call("check", "--json", "pruner=rungs", "objective.epochs=18"))["run"]
    assert run["first_decision"].startswith("at epoch 2 of 18, against at least 3 others; ")
    assert "1,000 examples, so differences below 0.013 do not count" in run["first_decision"]
    assert "validation_examples" not in run


def test_mistakes_come_before_any_work(project: Project):
    """One at a time; tests/cli/test_preflight.py has all at once, of every command that would
    work."""
    args = ["objective.y=1", "objective.x=interval(2,1)", "study.n_trials=none"]
    project.call("tune", *args, code=2)
    for what in ("objective.y", "interval is empty", "study.n_trials"):
        assert what in project.stderr
    for wrong, what in (
        ("launch.workers=0", "launch.workers: expected int of 1 or more | null, got 0"),
        ("study.name=../escape", "cannot be the name of a directory"),
        ("seed=abc", "seed: expected int, got 'abc'"),
        ("storage=postgresql", "TUNER_STORAGE_URL is not set"),
    ):
        project.call("tune", wrong, code=2)
        assert what in project.stderr
    assert not (project.directory / "runs").exists()
    assert "Traceback" not in project.stderr


def test_a_sweep_means_nothing_to_train(project: Project):
    project.call("train", "objective.x=interval(0,1)", code=2)
    assert "a sweep is not allowed here" in project.stderr


@pytest.mark.parametrize("x", ["nan", "inf"])
def test_a_training_without_a_number_prints_json_all_the_same(project: Project, x):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    out = project.call("train", f"objective.x={x}")
    assert json.loads(out, parse_constant=refuse)["accuracy"] is None


def test_reading_a_study_that_is_not_there(project: Project):
    project.call("best", code=2)
    assert "there is no database runs/tuner.db" in project.stderr
    assert not (project.directory / "runs").exists()
    project.call("worker", "study.n_trials=2", "study.name=other")
    project.call("best", code=2)
    assert "has no study 'toy'; hint: it has other" in project.stderr
    out = project.call("status", "--json", "study.name=other")
    assert json.loads(out)["n_trials"] == 2, "the study's own budget, not this command's"


def test_where_there_is_no_best_trial_its_substitution_trains_nothing(project: Project):
    """`tuner train $(tuner best --overrides)`, the shell going on with what was printed."""
    project.call("best", "--overrides", "--json", code=2)
    assert "--overrides: cannot be combined" in project.stderr
    printed = project.call("best", "--overrides", code=2).split()
    assert printed
    project.call("train", *printed, code=2)
    assert project.journal() == []


def test_a_search_in_vain_fails_and_says_why(project: Project):
    args = ["study.n_trials=2", "objective.fate=diverge", "launch.workers=1"]
    assert "2 infeasible\nreport: " in project.call("tune", *args, code=1)
    told = project.stderr.rpartition("error: ")[2]
    assert "2 of 2: diverged: accuracy is nan at step 1, such as #0; hint: smaller" in told
    (again,) = lines(told, "      tuner train ")
    assert "objective.fate=diverge" in again
    for command in ("tune", "worker", "final", "best"):
        assert "best:" not in project.call(command, *args, code=1)
        assert project.stderr.rpartition("error: ")[2] == told
    args = ["study.n_trials=4", "objective.fate=none", "launch.workers=1"]
    assert "best:" in project.call("tune", *args)


def test_a_training_that_was_interrupted_goes_on_by_its_directory(project: Project):
    process = project.start("train", "objective.fate=wait")
    project.wait_until_held()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 130
    said, again = err.splitlines()[-1].split(": ")
    assert said == "interrupted; to resume from the checkpoint"
    words = shlex.split(again)
    assert words[:2] == ["tuner", "train"]
    project.go()
    project.ask(*words[1:])
    assert [epoch for _, epoch, _ in project.journal()] == [1, 2, 3, 4]


def test_final_trainings_that_were_interrupted_go_on(project: Project):
    project.call("worker", "study.n_trials=2")
    before = len(project.journal())
    args = ["final.finalists=2", "final.race_seeds=2", "final.seeds=2", "launch.workers=1"]
    toy, held = (project.directory / "toy.py").read_text(), project.directory / "held"
    for stop in (6, 19):  # in the race's second training, and in the first of the final ones
        (project.directory / "toy.py").write_text(
            toy.replace(
                "        time.sleep(seconds)\n",
                f"        while len(open('journal.txt').readlines()) == {before + stop}:\n"
                "            Path('held').touch()\n"
                "            time.sleep(0.02)\n"
                "            report.poll()\n",
            )
        )
        process = project.start("final", *args)
        wait_for(held.exists)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=280)
        held.unlink()
        assert process.returncode == 130
        said, again = err.splitlines()[-1].split(": ")
        assert said == "interrupted; to resume"
        assert again.startswith("tuner final --config-dir=conf objective=toy ")
        assert "Traceback" not in err
    (project.directory / "toy.py").write_text(toy)
    assert "over 2 seeds" in project.ask(*shlex.split(again)[1:])
    assert len(project.journal()) == before + 6 * 4, "six trainings of four epochs, none twice"


def test_a_final_goes_on_when_a_worker_is_killed(project: Project):
    project.call("worker", "study.n_trials=2")
    before = len(project.journal())
    toy = (project.directory / "toy.py").read_text()
    killed = (
        "        if 'final' in run_dir.parts and epoch == 3 and not Path('killed').exists():\n"
        "            Path('killed').touch()\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    sleeps = "        time.sleep(seconds)\n"
    (project.directory / "toy.py").write_text(toy.replace(sleeps, killed + sleeps))
    args = ["final.finalists=2", "final.race_seeds=2", "final.seeds=2", "launch.workers=2"]
    assert "over 2 seeds" in project.call("final", *args)
    assert (project.directory / "killed").exists()
    assert len(project.journal()) == before + 6 * 4, "six trainings of four epochs, none twice"


def test_what_is_told_of_a_study_is_told_in_the_words_of_whoever_asks(project: Project):
    """With the words of the search its best is repeated; without them that is refused."""
    project.call("worker", "study.n_trials=2")
    best = json.loads(project.call("best", "--json"))
    words = project.call("best", "--overrides").split()
    assert words == ["--config-dir=conf", *best["overrides"]]
    assert json.loads(project.call("train", *words[1:]))["accuracy"] == best["value"]
    assert shlex.split(project.call("best").splitlines()[1]) == ["tuner", "train", *words]
    out = project.ask("best", "--overrides", "study.name=toy", code=2)
    assert out == "no-best-trial\n"
    assert "has objective.kind, objective.x and lacks" in project.stderr
    assert "hint: repeat the options and overrides of the search" in project.stderr


def test_a_cure_is_named_when_nothing_is_reported(project: Project):
    (project.directory / "toy.py").write_text(
        "def train(x: float, kind: str, epochs: int, seconds: float, fate: str, *, report):\n"
        "    report(1, loss=x)\n"
    )
    project.call("tune", "launch.workers=1", code=1)
    assert "has no 'accuracy' (study.metric), got loss" in project.stderr
    args = ["study.metric=loss", "study.direction=minimize"]
    project.call("tune", *args, code=2)
    assert "another study.name" in project.stderr
    args.append("study.name=b")
    project.call("worker", *args, "study.n_trials=1")
    assert project.call("best", *args).startswith("#0: loss")


def test_a_finished_study_starts_no_worker(project: Project):
    project.call("tune", "study.n_trials=2", "launch.workers=1")
    logs = list(project.directory.glob("runs/toy/logs/*.log"))
    before = [path.stat().st_size for path in logs]
    out = project.call("tune", "study.n_trials=2")
    assert "best:" in out
    assert "is complete" in project.stderr
    assert [path.stat().st_size for path in logs] == before


def test_a_new_study_never_resumes_an_old_ones_files(project: Project):
    project.call("worker", "study.n_trials=2")
    for path in project.directory.glob("runs/tuner.db*"):
        path.unlink()
    project.call("worker", "study.n_trials=2", "seed=7")
    assert len(project.journal()) == 16, "two studies of two configurations of four epochs"


def test_two_trainings_at_once_share_no_directory(project: Project):
    done = [project.start("train", f"objective.x=0.{k}") for k in (1, 2, 3)]
    runs = [json.loads(process.communicate(timeout=280)[0]) for process in done]
    assert len({run["run_dir"] for run in runs}) == len({run["accuracy"] for run in runs}) == 3


def test_an_experiment_to_take_away(project: Project, tmp_path):
    project.call("worker", "study.n_trials=2")
    project.call("export", f"--output={tmp_path}/away")
    best = json.loads(project.call("best", "--json"))
    out = project.call("train", f"--config-dir={tmp_path}/away", "experiment=best")
    assert json.loads(out)["accuracy"] == best["value"]


def coloured(project: Project, study: str, **env: str) -> bool:
    """Whether `tuner tune` on a terminal writes colours (and not only bold or dim text)."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    args = [*project.DEFAULTS, f"study.name={study}", "study.n_trials=1", "launch.workers=1"]
    process = warm.Popen(
        [*warm.COMMAND, "tune", *args],
        cwd=project.directory, env=environment | env, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the terminal is gone once its last writer is
        while piece := os.read(ours, 4096):
            written += piece
    os.close(ours)
    assert process.wait() == 0
    assert b"logs in" in written
    return re.search(rb"\x1b\[([0-9;]*;)?(3|4|9)\d(;[0-9;]*)?m", written) is not None


def test_colour_is_for_terminals_and_no_color_takes_it_away(project: Project):
    assert coloured(project, "a")
    assert not coloured(project, "b", NO_COLOR="1")


def test_data_and_messages_are_kept_apart(project: Project):
    out = project.run("tune", "study.n_trials=2", "launch.workers=1")
    assert "\x1b" not in out + project.stderr, "a file or a pipe gets plain text"
    assert "logs in" in project.stderr
    assert "logs in" not in out
    assert "best:" not in project.stderr
    out = project.call("best", "--json")
    assert json.loads(out)["number"] in (0, 1)
    assert project.stderr == ""


def test_a_trial_is_trained_further(project: Project):
    project.call("worker", "study.n_trials=2")
    best = json.loads(project.call("best", "--json"))
    for words, told in (
        (["--continue=best"], "--continue requires the total number of epochs"),
        (["--continue=9", "objective.epochs=6"], "has no trial '9' (got 2 complete)"),
    ):
        project.call("train", *words, code=1 if "9" in words[0] else 2)
        assert told in project.stderr
    before = len(project.journal())
    project.call("train", "--continue=best", "objective.epochs=6")
    assert [epoch for _, epoch, _ in project.journal()[before:]] == [5, 6]
    project.call("train", f"--continue={best['number']}", "objective.epochs=6", "--run-dir=more")
    assert (project.directory / "more" / "checkpoint.json").read_text() == "6"
    for path in project.directory.glob("runs/toy/trials/*/checkpoint.json"):
        path.unlink()
    project.call("train", "--continue=best", "objective.epochs=6", code=1)
    assert "has no checkpoint on this machine; hint: study.keep_checkpoints=null" in project.stderr
